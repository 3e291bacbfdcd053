"""Policies over HTTP: undecidable values, rules for stored policies, and policies from before these rules."""

import asyncio
import json
import threading

import pytest
from aiohttp import encode_basic_auth, hdrs
from multidict import CIMultiDict
from support.accounts import KEYS

from service.access.policies.evaluation import MAX_SEARCHED_BYTES, MAX_VALUE_BYTES
from service.app import create_app
from service.settings import load
from service.stores.memory import EmbeddedStore
from service.web.context import APP

ROOT_SECRET, SECRET = "a root secret, long enough", "a secret of the team"
ROOT, TEAM, PARTNER = (
    encode_basic_auth(id_, secret) for id_, secret in (("root", ROOT_SECRET), ("team", SECRET), ("partner", SECRET))
)
SETTINGS = {"SIGNER_ROOT_CLIENT_ID": "root", "SIGNER_ROOT_CLIENT_SECRET": ROOT_SECRET}
DOWNLOAD = "/aws/storage/acme/uploads/x"
LINK = [{"reference": "Client/team"}]
PATTERN = {"params": {"account": "acme"}}


class Service:
    """Send requests to an application with an account ``acme`` and a Client ``team``."""

    def __init__(self, client):
        self.client = client

    async def ask(self, method, path, *, auth=TEAM, headers=(), **options):
        headers = CIMultiDict(headers)
        headers.add(hdrs.AUTHORIZATION, auth)
        response = await self.client.request(method, path, headers=headers, **options)
        await response.read()
        return response

    async def status(self, method, path, **options):
        return (await self.ask(method, path, **options)).status

    async def put(self, path, **fields):
        response = await self.ask("PUT", path, auth=ROOT, json=fields)
        assert response.status in {200, 201}, await response.text()
        return await response.json()

    async def policy(self, pattern, id_="policy", **fields):
        return await self.put(f"/AccessPolicy/{id_}", engine="matcho", matcho=pattern, **fields)

    async def explained(self, **described):
        answer = await self.ask("POST", "/AccessPolicy/$explain", auth=ROOT, json=described)
        assert answer.status == 200
        return await answer.json()


@pytest.fixture
def store():
    return EmbeddedStore()


@pytest.fixture
async def service(aiohttp_client, audit_log, store):
    app = create_app(load(SETTINGS), store=store, audit=audit_log)
    service = Service(await aiohttp_client(app))
    await service.put("/Client/team", secret=SECRET, grant_types=["basic"])
    await service.put("/AwsAccount/acme", **KEYS)
    return service


# Values that a regular expression cannot decide.


def role(pattern):
    return {"params": {"account": "acme"}, "headers": {"x-role": pattern}}


UNDECIDABLE = {
    "not": role({"$not": "#admin"}),
    "not a prefix": role({"$not": "#^admin"}),
    "one of": role({"$one-of": ["present?", "#admin"]}),
    "one of, the other way round": role({"$one-of": ["#admin", "present?"]}),
    "not, of the whole": {"$not": {"headers": {"x-role": "#admin"}}},
    "elsewhere": {"$one-of": [PATTERN, {"headers": {"x-role": "#admin"}}]},
}


@pytest.mark.parametrize("pattern", UNDECIDABLE.values(), ids=UNDECIDABLE)
@pytest.mark.slow
async def test_a_header_that_is_too_long_matches_no_pattern(service, pattern):
    await service.policy(pattern)
    # Each has the maximum length of a header.
    headers = CIMultiDict([("X-Role", "a" * 5000), ("X-Role", "a" * 5000)])

    assert await service.status("GET", DOWNLOAD, headers={"X-Role": "a"}) == 200
    assert await service.status("GET", DOWNLOAD, headers=headers) == 403


@pytest.mark.parametrize("pattern", UNDECIDABLE.values(), ids=UNDECIDABLE)
@pytest.mark.slow
async def test_a_header_that_is_not_utf_8_matches_no_pattern(service, pattern):
    await service.policy(pattern)
    reader, writer = await asyncio.open_connection("127.0.0.1", service.client.port)
    head = f"GET {DOWNLOAD} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: {TEAM}\r\nConnection: close\r\n"
    writer.write(head.encode() + b"X-Role: adm\xffin\r\n\r\n")
    answer = await reader.read()
    writer.close()

    assert answer.startswith(b"HTTP/1.1 403 ")


@pytest.mark.parametrize("value", ["a" * (MAX_VALUE_BYTES + 1), "é" * MAX_VALUE_BYTES, "a" * 1_000_000])
async def test_an_explanation_names_an_undecidable_value(service, value):
    await service.policy(role({"$not": "#admin"}))
    explanation = await service.explained(params={"account": "acme"}, headers={"x-role": value})

    assert explanation == {
        "allowed": False,
        "policies": [
            {
                "policy": "policy",
                "mismatch": "headers.x-role.$not cannot be decided: the value is longer than 8192 bytes",
            }
        ],
    }


async def test_an_explanation_limits_the_list_of_unknown_names(service):
    described = {f"request-metho{number}": "x" for number in range(2000)}
    answer = await service.ask("POST", "/AccessPolicy/$explain", json=described)
    issues = (await answer.json())["issue"]

    assert answer.status == 422
    assert (len(issues), sum("did you mean" in issue["diagnostics"] for issue in issues)) == (101, 5)


async def test_the_text_that_policies_search_for_a_request_is_limited(service, caplog):
    text = "b" * 8000
    most = MAX_SEARCHED_BYTES // len(text)
    for number in range(most):
        await service.policy({"headers": {"x-role": f"#[a-c]{{{number + 1}}}[d]"}}, f"a-{number:03}")
    await service.policy({"params": {"account": "acme"}}, "b")
    before = await service.status("GET", DOWNLOAD, headers={"X-Role": text})
    await service.policy({"headers": {"x-role": "#[a-c][e]"}}, "a-last")
    after = await service.status("GET", DOWNLOAD, headers={"X-Role": text})
    explanation = await service.explained(params={"account": "acme"}, headers={"x-role": text})

    assert (before, after) == (200, 403)
    assert "A request is denied, as the policies would search more than 262144" in caplog.text
    assert explanation["allowed"] is False
    assert "would search more than 262144 bytes" in explanation["reason"]


@pytest.mark.slow
async def test_policies_of_one_regex_search_a_text_once(service):
    for number in range(100):
        await service.policy(
            {"headers": {"x-role": "#[a-c][d]"}, "params": {"account": {"$enum": [number]}}}, f"a-{number:03}"
        )
    await service.policy({"params": {"account": "acme"}}, "b")

    assert await service.status("GET", DOWNLOAD, headers={"X-Role": "b" * 8000}) == 200


@pytest.mark.parametrize(("length", "in_threads"), [(20, 0), (8000, 1)])
async def test_regular_expressions_search_long_texts_in_a_thread(service, length, in_threads):
    await service.policy(role("#[a-c]{1,255}[d]$"))
    before = threading.enumerate()
    statuses = [
        await service.status("GET", DOWNLOAD, headers={"X-Role": text})
        for text in ("b" * length, "b" * (length - 1) + "d")
    ]
    started = [thread.name for thread in threading.enumerate() if thread not in before]

    assert statuses == [403, 200]
    assert len([name for name in started if name.startswith("policies")]) == in_threads


@pytest.mark.parametrize("length", [20, 8000])
async def test_an_explanation_equals_the_decision_on_the_request(service, length):
    await service.policy(role("#[a-c]{1,255}[d]$"))
    explanations = [
        await service.explained(params={"account": "acme"}, headers={"x-role": text})
        for text in ("b" * length, "b" * (length - 1) + "d")
    ]

    assert explanations == [
        {
            "allowed": False,
            "policies": [{"policy": "policy", "mismatch": "headers.x-role does not match #[a-c]{1,255}[d]$"}],
        },
        {"allowed": True, "policy": "policy"},
    ]


# Bodies are validated before a policy reads them.

BODY_POLICY = {"params": {"resource/type": "AwsAccount"}, "body": {"host": {"$not": "#evil"}}}


@pytest.mark.parametrize(
    ("method", "path", "fields", "status"),
    [
        ("PUT", "/AwsAccount/acme", {**KEYS, "host": ["evil"]}, 422),
        ("PUT", "/AwsAccount/acme", {**KEYS, "host": "evil.example"}, 403),
        ("PUT", "/AwsAccount/acme", {**KEYS, "nonsense": 1}, 422),
        ("PUT", "/AwsAccount/acme", {**KEYS, "host": "a" * 1_000_000}, 422),
        ("PUT", "/AwsAccount", {**KEYS, "id": ["acme"]}, 422),
        ("POST", "/AwsAccount", {**KEYS, "host": {"name": "evil"}}, 422),
        ("POST", "/AwsAccount?_id=acme", {"host": 5}, 422),
        ("PATCH", "/AwsAccount/acme", {"host": ["evil"]}, 422),
        ("PATCH", "/AwsAccount/acme", {"host": "bad host"}, 422),
        ("PATCH", "/AwsAccount/acme", {"nonsense": 1}, 422),
        ("PATCH", "/AwsAccount/acme", {"host": "evil.example"}, 403),
        ("PATCH", "/AwsAccount/acme", {"host": None, "region": "eu-west-1"}, 200),
        ("PATCH", "/AwsAccount/absent", {"host": None}, 404),
        ("PATCH", "/Client/team", {"grant_types": "x"}, 422),
        ("POST", "/AccessPolicy/$explain", {"body": "x"}, 422),
        ("POST", "/Client/team/$rotate-secret", {"host": "evil.example"}, 422),
    ],
)
@pytest.mark.slow
async def test_a_policy_reads_only_valid_bodies(service, method, path, fields, status):
    await service.policy(BODY_POLICY)

    assert await service.status(method, path, json=fields) == status


async def test_a_write_looks_up_the_policies_of_its_caller_once(service, monkeypatch):
    await service.policy(BODY_POLICY)
    policies = service.client.app[APP].access.policies
    look_ups, for_principal = [], policies.for_principal
    monkeypatch.setattr(policies, "for_principal", lambda caller: look_ups.append(caller.name) or for_principal(caller))
    status = await service.status("PUT", "/AwsAccount/acme", json=KEYS)

    assert (status, look_ups) == (200, ["Client/team"])


@pytest.mark.parametrize("header", ["X-Role", "x role", "authorization", ""])
async def test_a_described_request_has_no_header_that_policies_never_see(service, header):
    """The real request of ``X-Role: auditor`` is denied, as policies see ``x-role``."""
    await service.policy({"headers": {"x-role": {"$not": "auditor"}}, "params": {"account": "acme"}})
    described = {"params": {"account": "acme"}, "client": {"id": "team"}, "headers": {header: "auditor"}}
    answer = await service.ask("POST", "/AccessPolicy/$explain", auth=ROOT, json=described)
    (issue,) = (await answer.json())["issue"]

    assert answer.status == 422
    assert issue["expression"] == ["headers"]
    assert issue["diagnostics"].startswith(f"headers has the unknown name headers.{header}, which no request has")


@pytest.mark.parametrize("method", ["PUT", "PATCH"])
@pytest.mark.parametrize("fields", [{"host": ["evil"]}, {"host": "evil.example"}, {"region": 5}, {"host": {}}])
@pytest.mark.slow
async def test_a_422_before_the_policies_reveals_nothing_about_the_store(service, method, fields):
    await service.policy({"params": {"resource/type": "Client"}, "body": {"host": "x"}})
    answers = [await service.ask(method, f"/AwsAccount/{id_}", json=fields) for id_ in ("acme", "absent")]

    assert await answers[0].read() == await answers[1].read()
    assert answers[0].status in {403, 422}


# Rules for a policy that is stored.

REFUSED = {
    "allow without a link": {"engine": "allow"},
    "allow with a link of null": {"engine": "allow", "link": None},
    "a link to a Client that does not exist": {"engine": "allow", "link": [*LINK, {"reference": "Client/absent"}]},
    "the same in another form": {"engine": "allow", "link": [{"id": "absent", "resourceType": "Client"}]},
    "an empty mapping": {"engine": "matcho", "matcho": {"params": {}}},
    "an empty mapping beside others": {"engine": "matcho", "matcho": {"request-method": "get", "params": {}}},
    "an empty mapping inside": {"engine": "matcho", "matcho": {"jwt": {"realm": {}}, "params": {"account": "acme"}}},
    "an empty mapping in an operator": {"engine": "matcho", "matcho": {"params": {"$one-of": [{"key": "x"}, {}]}}},
    "an empty mapping in a list": {"engine": "matcho", "matcho": {"jwt": {"aud": [{}]}}},
    "an empty mapping under $not": {"engine": "matcho", "matcho": {"jwt": {"$not": {}}}},
    "what every request has": {"engine": "matcho", "matcho": {"params": "present?", "uri": "present?"}},
    "with a link, too": {"engine": "matcho", "matcho": {"params": "present?"}, "link": LINK},
}


@pytest.mark.parametrize("fields", REFUSED.values(), ids=REFUSED)
@pytest.mark.slow
async def test_an_unrestricted_policy_is_not_stored(service, faults, fields):
    answers = [await service.ask("PUT", "/AccessPolicy/policy", auth=ROOT, json=fields)]
    answers.append(await service.ask("POST", "/AccessPolicy", auth=ROOT, json=fields))
    await service.policy(PATTERN, link=LINK)
    patch = {"matcho": None, **fields, "link": fields.get("link")} if fields["engine"] == "allow" else fields
    if "link" in fields or fields["engine"] == "allow":
        answers.append(await service.ask("PATCH", "/AccessPolicy/policy", auth=ROOT, json=patch))

    field = "AccessPolicy.link" if fields["engine"] == "allow" else "AccessPolicy.matcho"
    for answer in answers:
        assert await faults(answer, 422) == ("invalid", [field] if answer.status == 422 else [])


@pytest.mark.parametrize("method", ["PUT", "PATCH"])
async def test_a_stored_link_is_not_dropped(service, faults, method):
    await service.policy(PATTERN, link=LINK)
    fields = {"engine": "matcho", "matcho": PATTERN} if method == "PUT" else {"link": None}
    answer = await service.ask(method, "/AccessPolicy/policy", auth=ROOT, json=fields)

    assert await faults(answer, 422) == ("invalid", ["AccessPolicy.link"])
    assert (await (await service.ask("GET", "/AccessPolicy/policy", auth=ROOT)).json())["link"] == LINK


@pytest.mark.parametrize(
    ("stored", "patch"),
    [
        ({"uri": "/a"}, {"params": {"account": "acme", "key": None}}),
        ({"params": {"account": "acme"}}, {"params": {"key": None}}),
        # As it was read, changed and sent back.
        ({"params": {"account": "acme", "key": None}}, {"params": {"account": "other", "key": None}}),
        ({"params": "present?", "uri": "/a"}, {"params": {"account": "acme", "key": {"$not": None}}}),
        ({"uri": "/a"}, {"client": None}),
    ],
)
@pytest.mark.parametrize("media_type", ["application/json", "text/yaml"])
async def test_a_patch_does_not_lose_the_null_that_a_pattern_asks_for(service, faults, stored, patch, media_type):
    await service.policy(stored, link=LINK)
    body = json.dumps({"matcho": patch})
    headers = {hdrs.CONTENT_TYPE: media_type, hdrs.ACCEPT: "application/json"}
    answer = await service.ask("PATCH", "/AccessPolicy/policy", auth=ROOT, headers=headers, data=body)

    assert await faults(answer, 422) == ("invalid", ["AccessPolicy.matcho"])
    assert (await (await service.ask("GET", "/AccessPolicy/policy", auth=ROOT)).json())["matcho"] == stored


async def test_a_null_removes_what_a_pattern_has(service):
    await service.policy({"params": {"account": "acme", "key": "x"}, "uri": {"$enum": ["/a"]}}, link=LINK)
    patch = {"matcho": {"params": {"key": None}, "uri": None, "client": {"$one-of": [{"id": None}, {"id": "team"}]}}}
    answer = await service.ask("PATCH", "/AccessPolicy/policy", auth=ROOT, json=patch)

    assert answer.status == 200
    assert (await answer.json())["matcho"] == {
        "params": {"account": "acme"},
        "client": {"$one-of": [{"id": None}, {"id": "team"}]},
    }


async def test_a_policy_that_was_deleted_may_come_back_without_its_link(service):
    await service.policy(PATTERN, link=LINK)
    await service.ask("DELETE", "/AccessPolicy/policy", auth=ROOT)

    assert "link" not in await service.policy(PATTERN)


async def test_a_policy_is_read_changed_and_saved(service):
    """The libraries aidboxpy and fhirpy send back the whole resource, including ``meta`` and ``resourceType``."""
    await service.policy({**PATTERN, "headers": "present?"}, link=LINK, **{"max-expiration": 600})
    shown = await (await service.ask("GET", "/AccessPolicy/policy", auth=ROOT)).json()
    saved = await service.put("/AccessPolicy/policy", **{**shown, "description": "for the team"})
    patched = await service.ask("PATCH", "/AccessPolicy/policy", auth=ROOT, json={"description": "for all"})

    assert {**saved, "meta": None} == {**shown, "meta": None, "description": "for the team"}
    assert patched.status == 200
    assert await service.status("GET", f"{DOWNLOAD}?expiration=600") == 200


async def test_a_client_is_deleted_even_if_a_policy_names_it(service, caplog):
    await service.put("/AccessPolicy/a", engine="allow", link=LINK)
    await service.policy(PATTERN, "b", link=[{"id": "team", "resourceType": "Client"}])
    await service.policy({"params": {"account": "other"}}, "c")
    before = await service.status("GET", DOWNLOAD)
    deleted = await service.status("DELETE", "/Client/team", auth=ROOT)
    await service.put("/Client/partner", secret=SECRET, grant_types=["basic"])

    assert (before, deleted) == (200, 200)
    assert await service.status("GET", DOWNLOAD) == 401
    assert await service.status("GET", DOWNLOAD, auth=PARTNER) == 403
    assert [
        record.getMessage() for record in caplog.records if record.name == "service.access.policies.policy_set"
    ] == ["Client/team is deleted; these policies still name it, and grant nobody for it: a, b"]


@pytest.mark.parametrize(
    ("expiration", "status"), [("?expiration=600", 200), ("?expiration=601", 403), ("", 403), ("?expiration=1", 200)]
)
@pytest.mark.slow
async def test_a_policy_limits_the_expiration(service, expiration, status):
    await service.policy(PATTERN, **{"max-expiration": 600})

    assert await service.status("GET", f"{DOWNLOAD}{expiration}") == status


async def test_an_explanation_shows_that_a_pattern_must_name_the_operation(service):
    await service.policy(PATTERN, "a")
    params = {"account": "acme", "operation": "list"}
    explained = await service.explained(params=params, client={"id": "team"})
    await service.policy({"params": {"account": "acme", "operation": {"$enum": ["list", "upload"]}}}, "b")

    assert explained["policies"] == [
        {"policy": "a", "mismatch": "params.operation is one that a pattern must name: form, list, multipart"}
    ]
    assert await service.explained(params=params, client={"id": "team"}) == {"allowed": True, "policy": "b"}


async def test_max_expiration_is_plain_digits_in_yaml_and_another_policy_may_allow_more(service):
    headers = {"Content-Type": "text/yaml"}
    body = "engine: allow\nlink: [{reference: Client/team}]\nmax-expiration: 600"
    stored = await service.ask("PUT", "/AccessPolicy/a", auth=ROOT, data=body, headers=headers)
    refused = await service.status("GET", f"{DOWNLOAD}?expiration=601")
    explained = await service.explained(client={"id": "team"}, params={"account": "acme", "expiration": 601})
    await service.policy(PATTERN, "b", link=LINK)

    assert stored.status == 201
    assert (refused, await service.status("GET", f"{DOWNLOAD}?expiration=601")) == (403, 200)
    # It limits only signed URLs.
    assert await service.status("GET", "/AwsAccount") == 200
    assert explained["policies"] == [{"policy": "a", "mismatch": "params.expiration is more than max-expiration, 600"}]


LARGE = {"params": {"account": "acme", "key": {"$one-of": [f"#[^/]{{0,255}}{end}$" for end in "xyz"]}}}


async def test_a_slow_pattern_is_not_stored_but_an_older_one_stays_valid(service, store):
    refused = await service.ask("PUT", "/AccessPolicy/a", auth=ROOT, json={"engine": "matcho", "matcho": LARGE})
    before = await service.status("GET", DOWNLOAD)
    await store.replace(
        "AccessPolicy", "a", {"engine": "matcho", "matcho": json.dumps(LARGE)}, expected=None, validated=True
    )

    assert (refused.status, before) == (422, 403)
    assert "must be a smaller regular expression" in await refused.text()
    assert await service.status("GET", DOWNLOAD) == 200


# Policies that were stored before these rules existed.

OUTDATED = {
    "allow": {"engine": "allow"},
    "empty": {"engine": "matcho", "matcho": json.dumps({"params": {}})},
    "present": {"engine": "matcho", "matcho": json.dumps({"uri": "present?"})},
    "typo": {"engine": "matcho", "matcho": json.dumps({"params": {"account": "acme", "version_id": "nil?"}})},
}


async def started(aiohttp_client, audit_log, store, caplog):
    caplog.clear()
    client = await aiohttp_client(create_app(load(SETTINGS), store=store, audit=audit_log))
    # The warning comes beside the first requests. One with policies waits until they are read.
    await client.get(DOWNLOAD, headers={hdrs.AUTHORIZATION: TEAM})
    return [record.getMessage() for record in caplog.records if "stored policies" in record.getMessage()]


async def test_outdated_policies_are_listed_in_one_warning_at_the_start(
    aiohttp_client, audit_log, service, store, caplog
):
    await service.policy(PATTERN, "fine")
    before = await started(aiohttp_client, audit_log, store, caplog)
    for id_, fields in OUTDATED.items():
        await store.replace("AccessPolicy", id_, fields, expected=None, validated=True)
    warnings = await started(aiohttp_client, audit_log, store, caplog)

    assert before == []
    assert len(warnings) == 1
    assert warnings[0].endswith(": allow, empty, present, typo")


@pytest.mark.parametrize("fields", OUTDATED.values(), ids=OUTDATED)
async def test_an_outdated_policy_stays_valid(service, store, fields):
    before = await service.status("GET", DOWNLOAD)
    await store.replace("AccessPolicy", "old", fields, expected=None, validated=True)
    shown = await (await service.ask("GET", "/AccessPolicy/old", auth=ROOT)).json()

    assert (before, await service.status("GET", DOWNLOAD)) == (403, 200)
    assert await service.status("PUT", "/AccessPolicy/old", auth=ROOT, json=shown) == 422
    assert await service.status("DELETE", "/AccessPolicy/old", auth=ROOT) == 200


async def test_policies_see_the_same_params_under_the_fhir_prefix(service):
    await service.policy({"params": {"account": "acme", "bucket": "uploads"}})

    assert await service.status("GET", f"/fhir{DOWNLOAD}") == 200
    assert await service.status("GET", "/fhir/aws/storage/acme/others/x") == 403
    await service.policy({"uri": "#^/aws/storage/acme/", "request-method": "get"})
    assert await service.status("GET", DOWNLOAD) == 200
    assert await service.status("GET", f"/fhir{DOWNLOAD}") == 403


async def test_a_json_patch_is_refused_if_a_policy_reads_the_body(service):
    headers = {"Content-Type": "application/json-patch+json"}
    operations = json.dumps([{"op": "add", "path": "/region", "value": "eu-west-1"}])
    pattern = {"params": {"resource/id": "acme"}, "request-method": "patch"}
    await service.policy(pattern)
    before = await service.status("PATCH", "/AwsAccount/acme", data=operations, headers=headers)
    await service.policy({**pattern, "body": {"$not": {"region": "present?"}}})

    assert before == 200
    assert await service.status("PATCH", "/AwsAccount/acme", json={"region": "eu-west-1"}) == 403
    assert await service.status("PATCH", "/AwsAccount/acme", json={"use-ssl": False}) == 200
    assert await service.status("PATCH", "/AwsAccount/acme", data=operations, headers=headers) == 422


@pytest.mark.parametrize("excluded", ["#^[0-9]{7,}$", {"$enum": [5_000_000]}, 5e6])
@pytest.mark.parametrize(
    ("length", "status"),
    [("5000000", 403), ("5e6", 403), ("5000000.0", 403), ("500000e1", 403), ("499999.0", 200)],
)
async def test_no_spelling_of_a_number_in_json_escapes_a_pattern(service, excluded, length, status):
    await service.policy({"params": {"operation": "upload"}, "body": {"content-length": {"$not": excluded}}})
    body = f'{{"filename": "x", "content-length": {length}}}'
    headers = {"Content-Type": "application/json"}

    assert await service.status("POST", "/aws/storage/acme/uploads", data=body, headers=headers) == status


async def test_no_spelling_of_a_number_in_yaml_escapes_a_pattern(service):
    await service.policy({"params": {"operation": "upload"}, "body": {"content-length": {"$not": 5}}})
    statuses = {
        length: await service.status(
            "POST",
            "/aws/storage/acme/uploads",
            data=f"filename: x\ncontent-length: {length}",
            headers={"Content-Type": "text/yaml"},
        )
        for length in ("5", "'5'", "05", "0005", "5.0", "5e0", "6")
    }

    assert statuses == {"5": 403, "'5'": 403, "05": 422, "0005": 422, "5.0": 422, "5e0": 422, "6": 200}
