"""Authentication and authorization over HTTP: decisions, credentials, and the coverage of all routes."""

import base64
import hashlib
import io
import json
import re
import time
from itertools import product
from urllib.parse import urlencode

import pytest
from aiohttp import hdrs
from documents import blocks
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from issuer import SigningKey, compact, encode, key_set
from jwt.algorithms import HMACAlgorithm
from multidict import CIMultiDict
from support.hashes import make_cheap
from web.decisions import DECISIONS, KEYS, B, body, upload
from yarl import URL

from service import app
from service.errors import Throttled, Unauthenticated
from service.settings import load
from service.web import target
from service.web.context import APP
from service.web.handlers import health
from service.web.routing import Guard


def basic(text):
    return f"Basic {base64.b64encode(text if isinstance(text, bytes) else text.encode()).decode()}"


ROOT_SECRET, SECRET = "a root secret, long enough", "hush: ünd so weiter"
ROOT, TEAM = basic(f"root:{ROOT_SECRET}"), basic(f"team:{SECRET}")
PUBLIC_ROUTES = {
    ("GET", "/live"),
    ("GET", "/ready"),
    ("GET", "/health"),
    ("POST", "/auth/token"),
    # These handlers authenticate the client themselves, because its credentials may be in the body.
    ("POST", "/auth/revoke"),
    # Pages are the same for all callers and contain no stored data.
    ("GET", "/"),
    ("GET", "/docs"),
    ("GET", "/openapi.json"),
    ("GET", "/metadata"),
    ("GET", "/fhir/metadata"),
    ("GET", "/openapi.yaml"),
    ("GET", "/console"),
    ("GET", "/console/{file:[^/]+}"),
    ("GET", "/static/docs.js"),
    ("GET", "/static/scalar.js"),
}
KEY = SigningKey()
ISSUER, AUDIENCE = "https://issuer.example", "s3-signer"


@pytest.fixture(autouse=True)
def cheap_hashes(monkeypatch):
    make_cheap(monkeypatch)


class Signer:
    """Send requests to an application, with targets as they are written."""

    def __init__(self, client):
        self.client = client
        self.store = client.app[APP].store

    async def ask(self, method, target, *, auth=TEAM, headers=(), **options):
        headers = CIMultiDict(headers)
        if auth:
            headers.add(hdrs.AUTHORIZATION, auth)
        url = URL(f"http://127.0.0.1:{self.client.port}{target}", encoded=True)
        # Without this, the client would send text/plain for a body without a type.
        untyped = {hdrs.CONTENT_TYPE} if "data" in options else ()
        response = await self.client.session.request(method, url, headers=headers, skip_auto_headers=untyped, **options)
        await response.read()
        return response

    async def status(self, method, target, **options):
        return (await self.ask(method, target, **options)).status

    async def put(self, kind, id_, **fields):
        response = await self.ask("PUT", f"/{kind}/{id_}", auth=ROOT, json=fields)
        assert response.status in {200, 201}, await response.text()

    async def client_named(self, id_, secret, *grants):
        await self.put("Client", id_, secret=secret, grant_types=list(grants or ("basic", "client_credentials")))

    async def policy(self, pattern, id_="policy", **fields):
        await self.put("AccessPolicy", id_, engine="matcho", matcho=pattern, **fields)

    async def token(self, auth=TEAM):
        response = await self.ask("POST", "/auth/token", auth=auth, json={"grant_type": "client_credentials"})
        assert response.status == 200, await response.text()
        return f"Bearer {(await response.json())['access_token']}"


@pytest.fixture
async def make_signer(make_client):
    async def make(**environ):
        client = await make_client(SIGNER_ROOT_CLIENT_ID="root", SIGNER_ROOT_CLIENT_SECRET=ROOT_SECRET, **environ)
        signer = Signer(client)
        await signer.client_named("team", SECRET)
        for id_ in ("acme", "other"):
            await signer.put("AwsAccount", id_, **KEYS)
        return signer

    return make


@pytest.fixture
async def signer(make_signer):
    return await make_signer()


@pytest.fixture
async def allowed(signer):
    """The same, with a policy that allows every caller to sign for the account acme."""
    await signer.policy({"params": {"account": "acme"}})
    return signer


@pytest.mark.parametrize(("pattern", "method", "target", "options", "status"), DECISIONS.values(), ids=DECISIONS)
async def test_a_policy_decides(signer, pattern, method, target, options, status):
    await signer.policy(pattern)

    # Twice, because a cached policy takes another code path.
    assert [await signer.status(method, target, **options) for _ in range(2)] == [status] * 2


@pytest.mark.parametrize("name", ["authorization", "cookie", "proxy-authorization"])
async def test_a_policy_of_an_earlier_version_sees_no_credentials(signer, name):
    pattern = {"headers": {name: "present?"}, "params": {"account": "acme"}}
    await signer.store.replace(
        "AccessPolicy", "policy", {"engine": "matcho", "matcho": json.dumps(pattern)}, expected=None
    )
    headers = {} if name == "authorization" else {name: "x=y"}

    assert await signer.status("GET", f"{B}/x", headers=headers) == 403


@pytest.mark.parametrize(
    "link",
    [
        [{"reference": "Client/team"}],
        [{"id": "team", "resourceType": "Client"}],
        [{"reference": "Client/partner"}, {"reference": "Client/team"}],
        None,
    ],
)
async def test_a_policy_applies_to_linked_clients_or_to_all(signer, link):
    for id_ in ("stranger", "partner"):
        await signer.client_named(id_, "hush hush hush hush")
    await signer.policy({"params": {"account": "acme"}}, link=link)
    stranger = basic("stranger:hush hush hush hush")

    assert await signer.status("GET", f"{B}/x") == 200
    assert await signer.status("GET", f"{B}/x", auth=stranger) == (200 if link is None else 403)


async def test_the_engine_allow_permits_everything_to_its_client(signer):
    await signer.put("AccessPolicy", "policy", engine="allow", link=[{"reference": "Client/team"}])

    assert await signer.status("GET", "/AccessPolicy") == 200
    assert await signer.status("GET", "/metrics") == 200


async def test_without_a_policy_everything_is_denied(signer):
    assert await signer.status("GET", f"{B}/x") == 403


@pytest.mark.parametrize("change", ["delete", "link away", "narrow"])
async def test_a_deleted_policy_allows_nothing(allowed, change):
    before = await allowed.status("GET", f"{B}/x")
    if change == "delete":
        await allowed.ask("DELETE", "/AccessPolicy/policy", auth=ROOT)
    elif change == "link away":
        await allowed.client_named("x", "hush hush hush hush")
        await allowed.ask("PATCH", "/AccessPolicy/policy", auth=ROOT, json={"link": [{"reference": "Client/x"}]})
    else:
        await allowed.policy({"params": {"account": "acme", "key": "y"}})

    assert (before, await allowed.status("GET", f"{B}/x")) == (200, 403)


@pytest.mark.parametrize("method", ["GET", "DELETE", "POST"])
async def test_a_forbidden_account_does_not_reveal_whether_it_exists(signer, method):
    options = upload("x") if method == "POST" else {}
    tail = "" if method == "POST" else "/x"
    await signer.status("GET", "/aws/storage/other/bucket/x", auth=ROOT)
    answers = [
        await signer.ask(method, f"/aws/storage/{account}/bucket{tail}", **options) for account in ("other", "absent")
    ]

    assert [answer.status for answer in answers] == [403] * 2
    assert await answers[0].read() == await answers[1].read()
    assert [set(answer.headers) for answer in answers] == [set(answers[0].headers)] * 2


@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE", "HEAD"])
@pytest.mark.parametrize("kind", ["AwsAccount", "Client", "AccessPolicy"])
async def test_a_forbidden_resource_does_not_reveal_whether_it_exists(signer, kind, method):
    await signer.client_named("other", "hush hush hush hush")
    await signer.put("AccessPolicy", "other", engine="allow", link=[{"reference": "Client/other"}])
    options = {"json": {"nonsense": 1}} if method in {"PUT", "PATCH"} else {}
    answers = [await signer.ask(method, f"/{kind}/{id_}", **options) for id_ in ("other", "absent")]

    assert [answer.status for answer in answers] == [403] * 2
    assert await answers[0].read() == await answers[1].read()


def every_route():
    return [*app.routes(load({})), *health.PROBES, *health.METRICS]


def test_only_public_routes_need_no_credentials():
    open_ = {(route.method, route.path) for route in every_route() if route.guard is Guard.PUBLIC}

    assert open_ == PUBLIC_ROUTES


def test_no_route_handles_options():
    assert not {route.method for route in every_route()} & {"OPTIONS", "*"}


BODIES = {
    "$check": {"bucket": "uploads"},
    "$sign": {"items": [{"filename": "x"}]},
    "$sign-request": {"method": "PUT", "key": "x"},
}


async def test_every_other_route_needs_credentials_and_a_policy(signer):
    guarded = [route for route in every_route() if route.guard is not Guard.PUBLIC]
    answers = {}
    for route in guarded:
        target = route.pattern.replace("{account}", "acme").replace("{bucket}", "uploads").replace("{key}", "x")
        target = target.replace("{id}", "acme")
        default = {"filename": "x"} if "storage" in target else {} if "$" in target else {"id": "acme"}
        fields = BODIES.get(target.rpartition("/")[2], default)
        options = {"json": fields} if route.method in {"POST", "PUT", "PATCH"} else {}
        answers[route.method, route.path] = (
            await signer.status(route.method, target, auth=None, **options),
            await signer.status(route.method, target, **options),
        )

    # 28 resource routes and more: a new one is here by itself.
    assert len(answers) >= 47
    # Each item of a batch has its own outcome.
    batches = [route for route in answers if route[1].endswith("/$sign")]
    assert [answers.pop(batch) for batch in batches] == [(401, 200)] * 2
    assert {route: answer for route, answer in answers.items() if answer != (401, 403)} == {}


@pytest.mark.parametrize("target", ["/nonsense", "/AwsAccount/a/b", "/Session", "/Session/x", "//", "/aws/storage"])
async def test_unknown_paths_need_credentials_too(signer, target):
    assert await signer.status("GET", target, auth=None) == 401
    assert await signer.status("GET", target) == 404


BAD = {
    "nothing": "",
    "a scheme alone": "Basic",
    "a scheme and a blank": "Basic ",
    "another scheme": "Digest username=root",
    "no base64": "Basic ?",
    "no colon": basic("root"),
    "nothing on either side": basic(":"),
    "no secret": basic("root:"),
    "no id": basic(f":{ROOT_SECRET}"),
    "no UTF-8": basic(b"root:\xff"),
    "no ASCII": "Basic röot",
    "a wrong secret": basic("root:wrong"),
    "more than the secret": basic(f"root:{ROOT_SECRET}x"),
    "less than the secret": basic(f"root:{ROOT_SECRET[:-1]}"),
    "another case": basic(f"Root:{ROOT_SECRET}"),
    "a NUL behind": basic(f"root:{ROOT_SECRET}\0"),
    "a colon moved": basic("team:hush: ünd so weiter".replace(":", "", 1)),
    "a Client that is not": basic("absent:hush"),
    "a Client's id that is none": basic("../team:hush"),
    "a secret that goes on": basic(f"root:{ROOT_SECRET}:x"),
    "Bearer alone": "Bearer",
    "Bearer and blanks": "Bearer   ",
    "a token of another length": "Bearer abc",
    "a token that is none": f"Bearer {'a' * 43}",
    "a token that is no ASCII": f"Bearer {'ä' * 43}",
    "Basic credentials as a Bearer token": basic(f"root:{ROOT_SECRET}").replace("Basic", "Bearer"),
    "two in one": f"{basic('a:b')}, {basic(f'root:{ROOT_SECRET}')}",
}


@pytest.mark.parametrize("authorization", BAD.values(), ids=BAD)
async def test_invalid_credentials_are_refused(allowed, authorization, faults):
    # The cache of credentials must not help.
    for auth in (ROOT, TEAM):
        assert await allowed.status("GET", f"{B}/x", auth=auth) == 200
    answer = await allowed.ask("GET", f"{B}/x", auth=None, headers={"Authorization": authorization})

    assert await faults(answer, 401)
    assert answer.headers["WWW-Authenticate"] == (
        'Basic realm="s3-signer", charset="UTF-8", Bearer realm="s3-signer", charset="UTF-8"'
    )


@given(
    st.one_of(
        st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), max_size=80),
        st.builds("{} {}".format, st.sampled_from(["Basic", "basic", "Bearer", "BEARER"]), st.text(max_size=60)),
        st.builds(basic, st.binary(max_size=80)),
        st.builds(lambda name, secret: basic(f"{name}:{secret}"), st.sampled_from(["root", "team", ""]), st.text()),
    )
)
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_any_other_authorization_text_is_refused(lasting_callers, authorization):
    if basic(f"root:{ROOT_SECRET}") in authorization:
        return
    answer = await lasting_callers(authorization)

    assert answer in {"Unauthenticated", "Throttled"}


@pytest.fixture
async def lasting_callers(allowed):
    authenticator = allowed.client.app[APP].access.authenticator

    async def ask(authorization):
        # aiohttp decodes headers in this way.
        text = authorization.encode(errors="surrogatepass").decode(errors="surrogateescape")
        try:
            return await authenticator.authenticate(text, address="a")
        except (Unauthenticated, Throttled) as error:
            return "Throttled" if isinstance(error, Throttled) else "Unauthenticated"

    return ask


@pytest.mark.parametrize("scheme", ["Basic", "basic", "BASIC", "bAsIc"])
async def test_the_authorization_scheme_is_case_insensitive(allowed, scheme):
    text = TEAM.replace("Basic", scheme)

    assert [await allowed.status("GET", f"{B}/x", auth=text) for _ in range(2)] == [200] * 2


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
async def test_a_token_authenticates_its_client(allowed, scheme):
    token = (await allowed.token()).replace("Bearer", scheme)

    assert [await allowed.status("GET", f"{B}/x", auth=token) for _ in range(2)] == [200] * 2
    assert await allowed.status("GET", "/aws/storage/other/bucket/x", auth=token) == 403


async def test_a_web_page_gets_no_basic_challenge(signer):
    page = await signer.ask("GET", "/AwsAccount", auth=None, headers={"Sec-Fetch-Site": "cross-site"})
    wrong = await signer.ask("GET", "/AwsAccount", auth=basic("root:x"), headers={"Sec-Fetch-Site": "same-origin"})

    assert [answer.status for answer in (page, wrong)] == [401] * 2
    assert not any("Basic" in answer.headers["WWW-Authenticate"] for answer in (page, wrong))


async def test_options_returns_the_allowed_methods_and_has_no_effect(signer):
    answer = await signer.ask("OPTIONS", "/AwsAccount/acme", auth=None)

    assert answer.status == 204
    assert answer.headers["Allow"] == "DELETE, GET, HEAD, OPTIONS, PATCH, PUT"


async def test_foreign_origins_get_no_challenge(make_signer):
    signer = await make_signer(SIGNER_CORS_ORIGINS="https://app.example")
    answers = [
        await signer.ask("GET", f"{B}/x", auth=ROOT, headers={"Origin": origin})
        for origin in ("https://app.example", "https://evil.example", "null")
    ]

    assert [answer.headers.get("Access-Control-Allow-Origin") for answer in answers] == [
        "https://app.example",
        None,
        None,
    ]
    assert not any("Access-Control-Allow-Credentials" in answer.headers for answer in answers)


async def test_a_client_logs_in_only_by_its_grant_types(allowed):
    await allowed.client_named("basic", "hush hush hush hush", "basic")
    await allowed.client_named("tokens", "hush hush hush hush", "client_credentials")
    grant = {"json": {"grant_type": "client_credentials"}}
    statuses = [
        await allowed.status("GET", f"{B}/x", auth=basic("basic:hush hush hush hush")),
        await allowed.status("POST", "/auth/token", auth=basic("basic:hush hush hush hush"), **grant),
        await allowed.status("POST", "/auth/token", auth=basic("tokens:hush hush hush hush"), **grant),
        # The secret is cached by now.
        await allowed.status("GET", f"{B}/x", auth=basic("tokens:hush hush hush hush")),
    ]

    assert statuses == [200, 401, 200, 401]


CHANGES = {
    "deleted": ("DELETE", {}),
    "another secret": ("PATCH", {"json": {"secret": "another one, longer"}}),
    "the same secret, hashed again": ("PATCH", {"json": {"secret": SECRET}}),
    "no secret": ("PATCH", {"json": {"secret": None}}),
    "no grants": ("PATCH", {"json": {"grant_types": []}}),
}


@pytest.mark.parametrize("change", CHANGES)
async def test_credentials_and_tokens_end_with_their_client_or_secret(allowed, change):
    token = await allowed.token()
    before = [await allowed.status("GET", f"{B}/x", auth=auth) for auth in (TEAM, TEAM, token, token)]
    method, options = CHANGES[change]
    await allowed.ask(method, "/Client/team", auth=ROOT, **options)
    after = [await allowed.status("GET", f"{B}/x", auth=auth) for auth in (TEAM, token)]

    assert before == [200] * 4
    assert after == [200 if change == "the same secret, hashed again" else 401, 401]


async def test_recreating_a_client_does_not_revive_its_tokens(allowed):
    token = await allowed.token()
    await allowed.ask("DELETE", "/Client/team", auth=ROOT)
    await allowed.client_named("team", SECRET)

    assert await allowed.status("GET", f"{B}/x", auth=token) == 401


async def test_a_change_that_keeps_the_secret_keeps_tokens(allowed):
    token = await allowed.token()
    shown = await (await allowed.ask("GET", "/Client/team", auth=ROOT)).json()
    answer = await allowed.ask("PUT", "/Client/team", auth=ROOT, json={**shown, "description": "the team"})

    assert "_secret" in shown
    assert answer.status == 200
    assert [await allowed.status("GET", f"{B}/x", auth=auth) for auth in (TEAM, token)] == [200] * 2


@pytest.mark.parametrize("sent", [{"secret": None}, {}, {"_secret": None}])
async def test_a_client_without_a_secret_cannot_log_in(allowed, sent):
    await allowed.put("Client", "bare", grant_types=["basic", "client_credentials"], **sent)

    for secret in ("", "None", "null"):
        assert await allowed.status("GET", f"{B}/x", auth=basic(f"bare:{secret}")) == 401


async def test_the_marker_of_a_secret_is_no_secret(allowed):
    marker = {"extension": [{"url": "http://hl7.org/fhir/StructureDefinition/data-absent-reason"}]}
    for masked in (marker, "x", {}):
        answer = await allowed.ask("PUT", "/Client/team", auth=ROOT, json={"_secret": masked})
        assert answer.status == 422

    assert await allowed.status("GET", f"{B}/x") == 200


async def test_no_response_contains_a_secret_or_its_hash(signer):
    await signer.token()
    texts = [await (await signer.ask("GET", path, auth=ROOT)).text() for path in ("/Client", "/Client/team")]

    assert not any(word in text for text in texts for word in ("argon2", "scrypt", "hush"))


async def test_a_client_with_the_root_clients_id_is_not_the_root_client(allowed):
    await allowed.client_named("root", "hush hush hush hush")
    namesake = basic("root:hush hush hush hush")

    assert await allowed.status("GET", f"{B}/x", auth=namesake) == 401
    assert await allowed.status("GET", "/AwsAccount", auth=namesake) == 401
    assert await allowed.status("GET", "/AwsAccount", auth=ROOT) == 200


async def test_a_token_expires(make_signer):
    signer = await make_signer(SIGNER_TOKEN_SECONDS="1")
    await signer.policy({"params": {"account": "acme"}})
    tokens = [await signer.token(auth) for auth in (TEAM, ROOT)]
    before = [await signer.status("GET", f"{B}/x", auth=token) for token in tokens]
    authenticator = signer.client.app[APP].access.authenticator
    authenticator._tokens._clock = authenticator._root_tokens._clock = lambda: time.time() + 1

    assert before == [200, 200]
    assert [await signer.status("GET", f"{B}/x", auth=token) for token in tokens] == [401, 401]


async def test_a_root_token_expires_within_fifteen_minutes_and_is_not_stored(signer):
    answer = await signer.ask("POST", "/auth/token", auth=ROOT, json={"grant_type": "client_credentials"})
    token = (await answer.json())["access_token"]

    assert (await answer.json())["expires_in"] == 900
    assert await signer.status("GET", "/AwsAccount", auth=f"Bearer {token}") == 200
    assert (await signer.store.page("Session", offset=0, count=0)).total == 0


async def test_write_access_to_the_store_does_not_allow_root_tokens(signer):
    proofs = ["", hashlib.sha256(f"root:{ROOT_SECRET}".encode()).hexdigest()]
    for letter, (client, proof) in zip("abcd", product(("", "root"), proofs), strict=True):
        token = letter * 43
        fields = {"client": client, "proof": proof, "ends": "99999999999"}
        await signer.store.put_with_ttl("Session", hashlib.sha256(token.encode()).hexdigest(), fields, seconds=60)

        assert await signer.status("GET", "/AwsAccount", auth=f"Bearer {token}") == 401


async def test_nothing_in_the_store_is_a_fast_function_of_a_secret(signer):
    await signer.token(TEAM)
    await signer.token(ROOT)
    fast = [
        hashlib.new(name, text.encode()).hexdigest()
        for name in ("md5", "sha1", "sha256", "sha512")
        for text in (ROOT_SECRET, SECRET, f"root:{ROOT_SECRET}", f"team:{SECRET}", f"root{ROOT_SECRET}")
    ]
    kept = str([dict(resource.record) for kind in ("Session", "Client") for resource in await signer.store.all(kind)])

    assert "argon2id" in kept
    assert [text for text in (*fast, ROOT_SECRET, SECRET) if text in kept] == []


GRANT = "grant_type=client_credentials&client_id=team&client_secret=hush%3A+%C3%BCnd+so+weiter"
FORM = "application/x-www-form-urlencoded"


@pytest.mark.parametrize(
    ("data", "content_type"),
    [
        (GRANT, FORM),
        (GRANT.replace("%C3%BC", "\u00fc"), FORM),
        (json.dumps({"grant_type": "client_credentials", "client_id": "team", "client_secret": SECRET}), None),
        (f"grant_type: client_credentials\nclient_id: team\nclient_secret: '{SECRET}'", "text/yaml"),
    ],
)
async def test_a_token_request_may_have_any_format(signer, data, content_type):
    headers = {"Content-Type": content_type} if content_type else {}
    answer = await signer.ask("POST", "/auth/token", auth=None, data=data.encode(), headers=headers)
    body = await answer.json(content_type=None) if "json" in answer.content_type else {}

    assert answer.status == 200
    assert answer.headers["Cache-Control"] == "no-store"
    assert not body or (body["token_type"], body["expires_in"], len(body["access_token"])) == ("Bearer", 3600, 43)


@pytest.mark.parametrize(("path", "data"), [("/auth/token", GRANT), ("/auth/revoke", f"token=x&{GRANT}")])
@pytest.mark.parametrize("empty", ["", " "])
async def test_an_empty_authorization_header_counts_as_missing(signer, path, data, empty):
    headers = {"Content-Type": FORM, "Authorization": empty}
    answer = await signer.ask("POST", path, auth=None, data=data, headers=headers)
    refused = await signer.ask("GET", "/AwsAccount", auth=None, headers={"Authorization": empty})

    assert answer.status == 200
    assert refused.status == 401
    assert "Credentials are needed" in await refused.text()


@pytest.mark.parametrize("form", [False, True], ids=["json", "form"])
async def test_unknown_parameters_of_a_token_request_are_ignored_however_many(signer, form):
    known = {"grant_type": "client_credentials", "client_id": "team", "client_secret": SECRET}
    extra = dict.fromkeys([f"p{number}" for number in range(target.MAX_PAIRS - 3 if form else 200)], "x")
    data = urlencode({**extra, **known}) if form else json.dumps({**extra, **known})
    headers = {"Content-Type": FORM if form else "application/json"}
    answer = await signer.ask("POST", "/auth/token", auth=None, data=data, headers=headers)

    assert answer.status == 200


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (GRANT.replace("client_credentials", "password"), 422),
        (GRANT.replace("team", "absent"), 401),
        (GRANT.replace("weiter", "fort"), 401),
        (GRANT.replace("&client_id=team", ""), 422),
        (f"{GRANT}&client_id=root", 400),
        (GRANT.replace("team", "team%3Ahush"), 401),
        ("", 422),
    ],
)
async def test_invalid_token_requests_are_refused(signer, data, status):
    answer = await signer.ask("POST", "/auth/token", auth=None, data=data, headers={"Content-Type": FORM})

    assert answer.status == status
    assert "access_token" not in await answer.text()


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ("", 200),
        ("&client_id=&client_secret=", 200),
        ("&client_id=team", 200),
        ("&client_id=root", 400),
        ("&client_id=team&client_secret=hush", 400),
    ],
)
async def test_credentials_come_in_the_header_or_in_the_body(signer, faults, fields, status):
    answer = await signer.ask(
        "POST",
        "/auth/token",
        auth=basic(f"team:{SECRET}"),
        data=f"grant_type=client_credentials{fields}",
        headers={"Content-Type": FORM},
    )

    assert answer.status == status
    if status != 200:
        assert (await answer.json())["error"] == "invalid_request"


@pytest.mark.parametrize(
    ("data", "missing"),
    [
        ("grant_type=", ["grant_type"]),
        ("grant_type=client_credentials&client_id=&client_secret=", ["client_id", "client_secret"]),
    ],
)
async def test_a_parameter_without_a_value_counts_as_not_sent(signer, faults, data, missing):
    answer = await signer.ask("POST", "/auth/token", auth=None, data=data, headers={"Content-Type": FORM})

    assert (await faults(answer, 422))[1] == missing


@pytest.mark.parametrize("extra", ["audience=https%3A%2F%2Fx", "resource=a&prompt=none", "x"])
@pytest.mark.parametrize("content_type", [FORM, "application/json", "text/yaml"])
async def test_unrecognised_parameters_of_a_token_request_are_ignored(signer, extra, content_type):
    fields = {"grant_type": "client_credentials", "client_id": "team", "client_secret": SECRET, "audience": "x"}
    data = f"{GRANT}&{extra}" if content_type == FORM else json.dumps(fields)
    headers = {"Content-Type": content_type}
    answer = await signer.ask("POST", f"/auth/token?{extra}", auth=None, data=data, headers=headers)

    assert answer.status == 200


async def test_a_repeated_form_field_is_named(signer, faults):
    data = f"{GRANT}&client_id=team"
    answer = await signer.ask("POST", "/auth/token", auth=None, data=data, headers={"Content-Type": FORM})

    assert await faults(answer, 400) == ("invalid", ["client_id"])
    assert (await answer.json())["error_description"] == "Form field client_id is given twice"


@pytest.mark.parametrize(
    ("data", "content_type", "status", "error"),
    [
        (GRANT.replace("weiter", "fort"), FORM, 401, "invalid_client"),
        (GRANT.replace("client_credentials", "password"), FORM, 422, "unsupported_grant_type"),
        (GRANT.replace("team", "basic-only"), FORM, 401, "unauthorized_client"),
        (GRANT.replace("&client_id=team", ""), FORM, 422, "invalid_request"),
        ("", FORM, 422, "invalid_request"),
        ("{", "application/json", 400, "invalid_request"),
        ("x", "text/plain", 415, "invalid_request"),
        ("client_secret=%", FORM, 400, "invalid_request"),
        ("{" + " " * 1_048_576, "application/json", 413, "invalid_request"),
    ],
)
async def test_errors_of_the_token_endpoint_are_oauth_errors_too(signer, faults, data, content_type, status, error):
    await signer.client_named("basic-only", SECRET, "basic")
    headers = {"Content-Type": content_type}
    answer = await signer.ask("POST", "/auth/token", auth=None, data=io.BytesIO(data.encode()), headers=headers)
    body = await answer.json()

    assert (await faults(answer, status))[0]
    assert body["error"] == error
    assert re.fullmatch(r"[\x20-\x21\x23-\x5B\x5D-\x7E]+", body["error_description"])


@pytest.mark.parametrize("scope", ["", "read", "https%3A%2F%2Fsigner%2F.default+write"])
async def test_any_scope_is_accepted_and_has_no_effect(allowed, scope):
    data = f"{GRANT}&scope={scope}"
    answer = await allowed.ask("POST", "/auth/token", auth=None, data=data, headers={"Content-Type": FORM})
    body = await answer.json()
    token = f"Bearer {body.pop('access_token')}"

    assert body == {"token_type": "Bearer", "expires_in": 3600}
    assert await allowed.status("GET", f"{B}/x", auth=token) == 200
    assert await allowed.status("GET", "/aws/storage/other/bucket/x", auth=token) == 403


@pytest.mark.parametrize("path", ["/auth/token", "/auth/revoke"])
@pytest.mark.parametrize("content_type", ["text/plain", "multipart/form-data; boundary=x", f"{FORM}; charset=utf-16"])
async def test_a_token_request_of_another_type_gets_advice(signer, faults, path, content_type):
    answer = await signer.ask("POST", path, auth=None, data=GRANT, headers={"Content-Type": content_type})
    _, (message,) = await faults(answer, 415)

    assert f"Content-Type: {FORM}, application/json or text/yaml" in message
    assert FORM in (await answer.json())["error_description"]


@pytest.mark.parametrize(("path", "data"), [("/auth/token", GRANT), ("/auth/revoke", f"token=x&{GRANT}")])
async def test_a_form_without_a_content_type_is_told_which_to_send(signer, faults, path, data):
    answer = await signer.ask("POST", path, auth=None, data=data.encode(), headers={"Accept": "application/json"})
    _, (told,) = await faults(answer, 415)

    assert told == f"This body looks like a form; send it with Content-Type: {FORM}"


@pytest.mark.parametrize("path", ["/auth/token", "/auth/revoke"])
@pytest.mark.parametrize(
    ("data", "advice"),
    [
        (f"{GRANT}\n", "%0A"),
        (f"{GRANT}\r\n", "%0D"),
        (f"{GRANT}\x00", "%00"),
        (f"grant_type: client_credentials\nclient_id: team\nclient_secret: '{SECRET}'", "Content-Type: text/yaml"),
        (json.dumps({"grant_type": "client_credentials"}), "Content-Type: application/json"),
    ],
    ids=["line end", "CRLF", "NUL", "YAML", "JSON"],
)
async def test_what_is_no_form_is_not_read_as_one(signer, faults, path, data, advice):
    answer = await signer.ask("POST", path, auth=None, data=data.encode(), headers={"Content-Type": FORM})
    _, (told,) = await faults(answer, 400)

    assert advice in told


@pytest.mark.parametrize("content_type", ["application/json", "text/yaml"])
@pytest.mark.parametrize("scope", [None, "", "read", ["read", "write"], [], {"read": True}, 5, 0.5, True], ids=repr)
async def test_a_scope_may_be_of_any_type(signer, content_type, scope):
    fields = {"grant_type": "client_credentials", "client_id": "team", "client_secret": SECRET, "scope": scope}
    answer = await signer.ask(
        "POST", "/auth/token", auth=None, data=json.dumps(fields), headers={"Content-Type": content_type}
    )

    assert answer.status == 200


@pytest.mark.parametrize("charset", ["iso-8859-1", "utf8; charset=utf-16"])
async def test_a_form_is_utf_8(signer, charset):
    headers = {"Content-Type": f"{FORM}; charset={charset}"}

    assert await signer.status("POST", "/auth/token", auth=None, data=GRANT, headers=headers) == 415


async def test_only_oauth_routes_accept_forms(signer):
    answer = await signer.ask("POST", B, auth=ROOT, data="filename=x", headers={"Content-Type": FORM})

    assert answer.status == 415


async def test_guessing_is_limited_on_every_way_to_log_in(allowed):
    form = {"Content-Type": FORM}
    statuses = [await allowed.status("GET", f"{B}/x", auth=basic(f"team:{n}")) for n in range(5)]
    for n in range(6):
        data = GRANT.replace("weiter", str(n))
        statuses.append(await allowed.status("POST", "/auth/token", auth=None, data=data, headers=form))
    limited = await allowed.ask("GET", f"{B}/x", auth=basic("team:x"))

    assert statuses == [401] * 10 + [429]
    assert limited.status == 429
    assert 0 < int(limited.headers["Retry-After"]) <= 60
    # The right secret does not succeed from there either.
    assert await allowed.status("GET", f"{B}/x") == 429
    assert await allowed.status("GET", f"{B}/x", auth=ROOT) == 200


async def test_guesses_of_others_do_not_lock_out_a_known_client(allowed):
    before = await allowed.status("GET", f"{B}/x")
    for n in range(12):
        await allowed.status("GET", f"{B}/x", auth=basic(f"team:{n}"))

    assert (before, await allowed.status("GET", f"{B}/x")) == (200, 200)
    assert await allowed.status("GET", f"{B}/x", auth=await allowed.token()) == 200


@pytest.fixture
async def trusting(make_signer, tmp_path):
    """An application that trusts an issuer. Callers in the namespace lab may sign for acme."""
    (tmp_path / "keys.json").write_bytes(key_set(KEY))
    signer = await make_signer(
        SIGNER_JWT_ISSUER=ISSUER, SIGNER_JWT_AUDIENCE=AUDIENCE, SIGNER_JWT_JWKS=str(tmp_path / "keys.json")
    )
    await signer.policy({"jwt": {"sub": "#^lab:"}, "params": {"account": "acme"}})
    return signer


async def test_the_settings_limit_the_lifetime_of_a_jwt(make_signer, tmp_path):
    (tmp_path / "keys.json").write_bytes(key_set(KEY))
    signer = await make_signer(
        SIGNER_JWT_ISSUER=ISSUER,
        SIGNER_JWT_AUDIENCE=AUDIENCE,
        SIGNER_JWT_JWKS=str(tmp_path / "keys.json"),
        SIGNER_JWT_MAX_SECONDS="3600",
    )
    await signer.policy({"params": {"account": "acme"}})
    tokens = [KEY.token(claims(iat=int(time.time()) - age, exp=int(time.time()) + 9999)) for age in (3000, 3601)]

    assert [await signer.status("GET", f"{B}/x", auth=f"Bearer {token}") for token in tokens] == [200, 401]


def claims(**changes):
    now = int(time.time())
    return {"iss": ISSUER, "aud": AUDIENCE, "sub": "lab:job", "iat": now, "exp": now + 60, **changes}


def unsigned(**changes):
    return f"{compact({'alg': 'none', 'kid': KEY.kid})}.{compact(claims(**changes))}."


def confused():
    """Return a JWT that is signed by HMAC with the public key."""
    signed = f"{compact({'alg': 'HS256', 'kid': KEY.kid})}.{compact(claims())}"
    secret = json.dumps(KEY.public_jwk).encode()
    return f"{signed}.{encode(HMACAlgorithm(HMACAlgorithm.SHA256).sign(signed.encode(), secret))}"


JWTS = {
    "good": (lambda: KEY.token(claims()), 200),
    "of another subject": (lambda: KEY.token(claims(sub="labs:job")), 403),
    "without a subject": (lambda: KEY.token({k: v for k, v in claims().items() if k != "sub"}), 403),
    "expired": (lambda: KEY.token(claims(exp=int(time.time()) - 1)), 401),
    "not yet": (lambda: KEY.token(claims(nbf=int(time.time()) + 600)), 401),
    "for another audience": (lambda: KEY.token(claims(aud="another")), 401),
    "of another issuer": (lambda: KEY.token(claims(iss=f"{ISSUER}/")), 401),
    "of another key": (lambda: SigningKey("stranger").token(claims(), kid=KEY.kid), 401),
    "unsigned": (unsigned, 401),
    "signed with the public key": (confused, 401),
    "changed": (lambda: KEY.token(claims())[:-4] + "AAAA", 401),
    "with a client in it": (lambda: KEY.token(claims(sub="x", client={"id": "team"})), 403),
}


@pytest.mark.parametrize(("make", "status"), JWTS.values(), ids=JWTS)
async def test_a_jwt_is_verified_and_evaluated(trusting, make, status):
    await trusting.policy({"client": {"id": "team"}}, "team")
    token = make()

    assert [await trusting.status("GET", f"{B}/x", auth=f"Bearer {token}") for _ in range(2)] == [status] * 2


async def test_the_caller_of_a_jwt_is_no_client(trusting):
    await trusting.client_named("None", "hush hush hush hush")
    await trusting.put("AccessPolicy", "linked", engine="allow", link=[{"reference": "Client/None"}])
    token = f"Bearer {KEY.token(claims(sub='lab:job', client_id='team', azp='None'))}"

    assert await trusting.status("GET", "/aws/storage/other/bucket/x", auth=token) == 403
    assert await trusting.status("GET", "/AwsAccount", auth=token) == 403


async def test_without_an_issuer_every_jwt_is_refused(allowed):
    assert await allowed.status("GET", f"{B}/x", auth=f"Bearer {KEY.token(claims())}") == 401


EXPLAINED = {"request-method": "get", "client": {"id": "team"}, "params": {"account": "acme", "key": "x"}}


async def explained(signer, auth=ROOT, **changes):
    answer = await signer.ask("POST", "/AccessPolicy/$explain", auth=auth, json={**EXPLAINED, **changes})
    return answer.status, await answer.json()


async def test_an_explanation_names_the_allowing_policy_or_each_mismatch(signer):
    await signer.policy({"params": {"account": "acme", "key": "#^team-a/"}})
    denied = await explained(signer)
    allowed = await explained(signer, params={"account": "acme", "key": "team-a/x"})

    assert denied == (
        200,
        {"allowed": False, "policies": [{"policy": "policy", "mismatch": "params.key does not match #^team-a/"}]},
    )
    assert allowed == (200, {"allowed": True, "policy": "policy"})


async def test_an_explanation_shows_each_invalid_stored_policy_with_the_reason(signer):
    await signer.policy({"params": {"account": "acme", "key": "#^team-a/"}})
    await signer.store.replace("AccessPolicy", "broken", {"engine": "sql"}, expected=None)
    _, explanation = await explained(signer)

    assert explanation == {
        "allowed": False,
        "policies": [
            {
                "policy": "broken",
                "mismatch": "is invalid and grants nothing: AccessPolicy.engine must be allow or matcho",
            },
            {"policy": "policy", "mismatch": "params.key does not match #^team-a/"},
        ],
    }


@pytest.mark.parametrize("method", ["HEAD", "head"])
async def test_an_explanation_treats_head_as_get(signer, method):
    await signer.policy({"request-method": "get"})

    assert (await explained(signer, **{"request-method": method}))[1]["allowed"]


async def test_an_explanation_signs_nothing_and_shows_no_values(allowed):
    _, explanation = await explained(allowed, params={"account": "absent", "key": "a secret name"})

    assert "secret" not in json.dumps(explanation)
    assert "X-Amz-Signature" not in json.dumps(await explained(allowed))


@pytest.mark.parametrize(
    "changes",
    [
        *({"clinet": {"id": "x"}}, {"client": "team"}, {"client": {"id": "../x"}}, {"client": {"id": "x", "more": 1}}),
        *(
            {"params": []},
            {"params": {"account": "acme", "version_id": "v"}},
            *({"params": {"operation": "uplod"}}, {"params": {"acl": "public"}}, {"params": {"expiration": "60s"}}),
            *({"params": {"account": "AwsAccount/acme"}}, {"uri": "aws/storage/acme"}),
            {"request-method": 5},
            {"jwt": "x", "client": None},
        ),
    ],
)
async def test_an_invalid_description_is_refused(signer, changes):
    assert (await explained(signer, **changes))[0] == 422


@pytest.mark.parametrize("described", [{}, {"params": None}, {"params": {}, "jwt": {}}])
async def test_an_almost_empty_description_is_denied(signer, described):
    await signer.policy({"params": {"account": "acme"}})
    answer = await signer.ask("POST", "/AccessPolicy/$explain", auth=ROOT, json=described)

    assert (answer.status, (await answer.json())["allowed"]) == (200, False)


async def test_a_pattern_with_an_unknown_name_is_refused(signer):
    for pattern in ({"request_method": "nil?"}, {"parms": {"$not": {"key": "x"}}}, {"user": None}, {}):
        answer = await signer.ask(
            "PUT", "/AccessPolicy/policy", auth=ROOT, json={"engine": "matcho", "matcho": pattern}
        )
        assert answer.status == 422, pattern


async def test_a_missing_field_matches_only_absence(signer):
    await signer.policy({"params": {"account": "acme", "version-id": ".jwt.version"}})

    assert await signer.status("GET", f"{B}/x") == 403


async def test_an_invalid_stored_policy_grants_nothing(signer):
    await signer.policy({"params": {"account": "acme"}})
    for id_, fields in {
        "a": {"engine": "nonsense"},
        "b": {"engine": "matcho", "matcho": "{}"},
        "c": {"engine": "allow", "link": "[]"},
        "d": {"engine": "allow", "link": "Client/team"},
        "e": {"engine": "matcho", "matcho": "[" * 10_000},
    }.items():
        await signer.store.replace("AccessPolicy", id_, fields, expected=None)

    assert await signer.status("GET", f"{B}/x") == 200
    assert await signer.status("GET", "/AwsAccount") == 403


async def test_a_denial_has_the_documented_fields(allowed, audit_file):
    await allowed.ask("DELETE", "/aws/storage/other/bucket/k")
    await allowed.client.close()
    line = json.loads(audit_file.read_text().splitlines()[-1])
    documented, *_ = [json.loads(block) for _, block in blocks("docs/security/audit.md") if '"denied"' in block]

    assert list(line) == list(documented)
    assert [line[name] for name in ("caller", "method", "account", "outcome")] == [
        *("Client/team", "DELETE", "other", "forbidden")
    ]


@pytest.mark.parametrize(
    ("method", "path", "operation"),
    [
        ("GET", "/aws/storage/other/bucket/k", "get_object"),
        ("POST", "/aws/storage/other/bucket", "put_object"),
        ("GET", "/AwsAccount", "search"),
        ("GET", "/AwsAccount/a", "read"),
        ("PUT", "/AwsAccount/a", "update"),
        ("PATCH", "/Client/a", "update"),
        ("POST", "/AccessPolicy", "create"),
        ("POST", "/AccessPolicy/$explain", "explain"),
        ("POST", "/fhir/AccessPolicy/$explain", "explain"),
        ("DELETE", "/aws/storage/other/bucket/k", "delete_object"),
        ("GET", "/$version", None),
    ],
)
async def test_a_denial_names_its_resource(allowed, audit_file, method, path, operation):
    fields = {} if "$explain" in path else {"filename": "k"}
    answer = await allowed.ask(method, path, json=fields if method != "GET" else None)
    await allowed.client.close()
    line = json.loads(audit_file.read_text().splitlines()[-1])

    assert answer.status == 403
    assert (line["event"], line.get("operation")) == ("denied", operation)


@pytest.mark.parametrize(
    ("id_", "resource"),
    [("a", "AwsAccount/a"), ("a" * 100_000, "AwsAccount"), ("a b", "AwsAccount"), (5, "AwsAccount")],
)
async def test_a_denial_omits_an_invalid_id(allowed, audit_file, id_, resource):
    answer = await allowed.ask("PUT", "/AwsAccount", json={"id": id_})
    await allowed.client.close()
    line = json.loads(audit_file.read_text().splitlines()[-1])

    assert answer.status == 403
    assert line["resource"] == resource


async def test_every_change_is_audited_once(allowed, audit_file):
    await allowed.ask("PUT", "/AwsAccount/new", auth=ROOT, **body())
    await allowed.ask("PUT", "/AwsAccount/new", auth=ROOT, **body())
    await allowed.ask("PATCH", "/AwsAccount/new", auth=ROOT, json={"region": "eu-west-1"})
    await allowed.ask("DELETE", "/AwsAccount/new", auth=ROOT)
    await allowed.client.close()
    lines = [json.loads(line) for line in audit_file.read_text().splitlines()]

    assert [line["operation"] for line in lines if line.get("resource") == "AwsAccount/new"] == [
        "create",
        "update",
        "update",
        "delete",
    ]


async def test_only_permitted_callers_learn_the_faults_of_an_account(signer):
    seen = await signer.store.get("AwsAccount", "other")
    # An operator may have written this into Redis.
    await signer.store.replace("AwsAccount", "other", {"region": "!"}, expected=seen)
    denied = await signer.ask("GET", "/aws/storage/other/bucket/x")

    assert denied.status == 403
    assert "region" not in await denied.text()


@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize("order", [1, -1])
async def test_several_authorization_headers_are_refused(allowed, known, order):
    if known:
        await allowed.status("GET", f"{B}/x")
    headers = [("Authorization", TEAM), ("Authorization", ROOT)][::order]

    assert await allowed.status("GET", f"{B}/x", auth=None, headers=headers) == 401
    grant = {"grant_type": "client_credentials"}
    assert await allowed.status("POST", "/auth/token", auth=None, headers=headers, json=grant) == 401


@pytest.mark.parametrize(
    ("method", "id_", "status"), [("get", None, 200), ("post", None, 403), ("get", "policy", 403), (None, None, 200)]
)
async def test_an_explanation_needs_the_permission_to_list_policies(signer, method, id_, status):
    pattern = {"params": {"resource/type": "AccessPolicy", "resource/id": id_}}
    await signer.policy({**pattern, "request-method": method} if method else pattern)

    assert (await explained(signer, TEAM))[0] == status


async def test_a_policy_with_an_empty_link_grants_nothing(signer):
    answer = await signer.ask("PUT", "/AccessPolicy/policy", auth=ROOT, json={"engine": "allow", "link": []})

    assert answer.status == 422
    assert await signer.status("GET", f"{B}/x") == 403


@pytest.mark.parametrize("fields", [{"grant_types": "basic"}, {"resourceType": "Client", "meta": "{}"}, {"x": "y"}])
async def test_unknown_fields_of_a_stored_client_are_ignored(allowed, fields):
    known = await allowed.status("GET", f"{B}/x")
    seen = await allowed.store.get("Client", "team")
    await allowed.store.replace("Client", "team", {**seen.fields, **fields}, expected=seen)

    assert known == 200
    assert await allowed.status("GET", f"{B}/x") == (200 if "resourceType" in fields else 401)
