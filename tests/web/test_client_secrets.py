"""Secrets of Clients over HTTP: generation, rotation, length; and revocation of tokens."""

import json
import re
from datetime import UTC, datetime

import pytest
from aiohttp import encode_basic_auth
from support.hashes import make_cheap, scrypt_text

from service.web.context import APP

ROOT = ("root", "a root secret, long enough")
SECRET = "hush, sixteen letters"
TEAM = ("team", SECRET)


@pytest.fixture(autouse=True)
def cheap_hashes(monkeypatch):
    make_cheap(monkeypatch)


@pytest.fixture
async def ask(make_client):
    """Send requests to an application in which the Client team may read ``/$version``."""
    client = await make_client(SIGNER_ROOT_CLIENT_ID=ROOT[0], SIGNER_ROOT_CLIENT_SECRET=ROOT[1])

    async def ask(method, path, auth=ROOT, **options):
        authorization = auth if isinstance(auth, str) else encode_basic_auth(*auth)
        headers = {"Authorization": authorization, **options.pop("headers", {})}
        response = await client.request(method, path, headers=headers, **options)
        await response.read()
        return response

    ask.client = client
    ask.store = client.app[APP].store
    ask.authenticator = client.app[APP].access.authenticator
    await ask("PUT", "/Client/team", json={"secret": SECRET, "grant_types": ["basic", "client_credentials"]})
    await ask("PUT", "/Client/other", json={"secret": SECRET, "grant_types": ["client_credentials"]})
    await ask("PUT", "/AccessPolicy/team", json={"engine": "matcho", "matcho": {"uri": "/$version"}})
    return ask


async def lets_in(ask, auth):
    return (await ask("GET", "/$version", auth)).status == 200


async def token(ask, auth=TEAM):
    answer = await ask("POST", "/auth/token", auth, json={"grant_type": "client_credentials"})
    assert answer.status == 200
    return (await answer.json())["access_token"]


async def rotate(ask, auth=ROOT, path="/Client/team/$rotate-secret", **fields):
    answer = await ask("POST", path, auth, json={name.replace("_", "-"): value for name, value in fields.items()})
    return answer.status, await answer.json(), answer.headers


async def test_a_generated_secret_is_shown_once(ask):
    created = await ask("POST", "/Client", json={"id": "new", "grant_types": ["basic"]})
    secret = (await created.json())["secret"]
    read = await (await ask("GET", "/Client/new")).json()

    assert (created.status, created.headers["Cache-Control"]) == (201, "no-store")
    assert re.fullmatch(r"[\w-]{43}", secret)
    assert "_secret" not in await created.json()
    assert await lets_in(ask, ("new", secret))
    assert "secret" not in read
    assert read["_secret"]


async def test_generated_secrets_differ(ask):
    answers = [await (await ask("POST", "/Client", json={})).json() for _ in range(5)]

    assert len({answer["secret"] for answer in answers}) == 5


@pytest.mark.parametrize("sent", [{"secret": SECRET}, {"secret": SECRET, "_secret": None}])
async def test_a_secret_that_is_sent_is_not_shown(ask, sent):
    created = await ask("POST", "/Client", json=sent)

    assert created.status == 201
    assert "secret" not in await created.json()


async def test_a_conditional_create_shows_a_secret_only_if_it_creates(ask):
    answers = [await ask("POST", "/Client?_id=new", json={}) for _ in range(2)]

    assert [answer.status for answer in answers] == [201, 200]
    assert ["secret" in await answer.json() for answer in answers] == [True, False]
    assert [answer.headers["Cache-Control"] for answer in answers] == ["no-store", "no-cache"]


async def test_a_marker_in_a_new_client_is_refused(ask, faults):
    shown = await (await ask("GET", "/Client/team")).json()
    answer = await ask("POST", "/Client", json={"_secret": shown["_secret"]})

    assert await faults(answer, 422) == ("invalid", ["Client.secret"])


async def test_a_generated_secret_is_shown_in_yaml_too(ask):
    created = await ask("POST", "/Client", data="id: new\n", headers={"Content-Type": "text/yaml"})

    # A secret that begins with a digit is quoted.
    assert re.search(r"^secret: \"?[\w-]{43}\"?$", (await created.text()).replace("'", ""), re.MULTILINE)


@pytest.mark.parametrize(("method", "path"), [("PUT", "/Client/x"), ("POST", "/Client"), ("PATCH", "/Client/team")])
async def test_a_new_secret_has_sixteen_characters(ask, faults, method, path):
    short = await ask(method, path, json={"secret": "short-secret-15"})
    long = await ask(method, path, json={"secret": "secret-of-16-abc"})

    assert await faults(short, 422) == ("invalid", ["Client.secret"])
    assert long.status in {200, 201}


async def test_a_short_stored_secret_stays_valid(ask, caplog):
    fields = {"secret": scrypt_text("short"), "grant_types": '["basic"]'}
    await ask.store.replace("Client", "old", fields, expected=None)

    assert await lets_in(ask, ("old", "short"))
    assert "The secret of Client/old has fewer than 16 characters" in caplog.text


async def test_a_login_upgrades_an_old_hash_without_other_effects(ask):
    fields = {"secret": scrypt_text(SECRET), "grant_types": '["basic", "client_credentials"]'}
    await ask.store.replace("Client", "team", fields, expected=await ask.store.get("Client", "team"))
    before = await ask("GET", "/Client/team")
    first = await token(ask)
    after = await ask("GET", "/Client/team")

    assert "argon2id" in (await ask.store.get("Client", "team")).fields["secret"]
    assert (after.headers["ETag"], await after.text()) == (before.headers["ETag"], await before.text())
    assert await lets_in(ask, f"Bearer {first}")
    assert (await ask("PUT", "/Client/team", json={}, headers={"If-Match": before.headers["ETag"]})).status == 200


@pytest.mark.parametrize("base", ["", "/fhir"])
async def test_a_rotation_shows_a_new_secret_once_and_the_old_one_stays_valid(ask, base):
    before = datetime.now(UTC)
    status, shown, headers = await rotate(ask, path=f"{base}/Client/team/$rotate-secret")
    left = datetime.fromisoformat(shown["previous-expires"]) - before

    assert (status, headers["Cache-Control"]) == (200, "no-store")
    assert list(shown) == ["secret", "previous-expires"]
    assert 86_300 < left.total_seconds() < 86_500
    assert [await lets_in(ask, ("team", secret)) for secret in (SECRET, shown["secret"], "x")] == [True, True, False]


async def test_tokens_of_the_old_secret_end_with_it(ask):
    old = await token(ask)
    _, shown, _ = await rotate(ask, previous_valid_for=600)
    new = await token(ask, ("team", shown["secret"]))
    before = [await lets_in(ask, auth) for auth in (f"Bearer {old}", f"Bearer {new}", TEAM)]
    clock = datetime.now(UTC).timestamp() + 601
    ask.authenticator._credentials._clock = ask.authenticator._tokens._clock = lambda: clock
    after = [await lets_in(ask, auth) for auth in (f"Bearer {old}", f"Bearer {new}", TEAM)]

    assert before == [True, True, True]
    assert after == [False, True, False]


async def test_an_old_secret_can_end_at_once(ask):
    old = await token(ask)
    chosen = "another secret, longer"
    _, shown, _ = await rotate(ask, secret=chosen, previous_valid_for=0)

    assert shown["secret"] == chosen
    assert [await lets_in(ask, auth) for auth in (("team", chosen), TEAM, f"Bearer {old}")] == [True, False, False]


async def test_a_rotation_changes_the_version(ask):
    before = await ask("GET", "/Client/team")
    _, _, headers = await rotate(ask)
    after = await ask("GET", "/Client/team")
    stale = await ask("POST", "/Client/team/$rotate-secret", json={}, headers={"If-Match": before.headers["ETag"]})

    assert before.headers["ETag"] != headers["ETag"] == after.headers["ETag"]
    assert stale.status == 412


async def test_reading_changing_and_saving_keeps_both_secrets(ask):
    _, rotated, _ = await rotate(ask)
    shown = await (await ask("GET", "/Client/team")).json()
    await ask("PUT", "/Client/team", json={**shown, "description": "the team"})

    assert [await lets_in(ask, ("team", secret)) for secret in (SECRET, rotated["secret"])] == [True, True]


@pytest.mark.parametrize(
    ("fields", "where"),
    [
        ({"secret": "short"}, "secret"),
        ({"secret": 5}, "secret"),
        ({"previous_valid_for": 604_801}, "previous-valid-for"),
        ({"previous_valid_for": -1}, "previous-valid-for"),
        ({"previous_valid_for": 1.5}, "previous-valid-for"),
        ({"previous_valid_for": True}, "previous-valid-for"),
        ({"previous_valid_for": "60"}, "previous-valid-for"),
        ({"previous": 1}, "previous"),
    ],
)
async def test_an_invalid_rotation_changes_nothing(ask, fields, where):
    status, outcome, _ = await rotate(ask, **fields)

    assert (status, [issue["expression"] for issue in outcome["issue"]]) == (422, [[where]])
    assert await lets_in(ask, TEAM)


@pytest.mark.parametrize(("seconds", "status"), [("604800", 200), ("0", 200), ("0x1", 422), ("'60'", 200)])
async def test_a_rotation_in_yaml_has_plain_digits(ask, seconds, status):
    body = f"previous-valid-for: {seconds}"
    answer = await ask("POST", "/Client/team/$rotate-secret", data=body, headers={"Content-Type": "text/yaml"})

    assert answer.status == status


@pytest.mark.parametrize(("id_", "status"), [("absent", 404), ("a%20b", 422)])
async def test_the_secret_of_a_missing_client_is_not_rotated(ask, id_, status):
    assert (await ask("POST", f"/Client/{id_}/$rotate-secret", json={})).status == status
    assert (await ask("POST", "/AwsAccount/team/$rotate-secret", json={})).status == 404


@pytest.mark.parametrize(
    ("fields", "where"),
    [
        ({"grant_types": "basic"}, "grant_types"),
        ({"grant_types": '["password"]'}, "grant_types"),
        ({"grantTypes": '["basic"]'}, "grantTypes"),
    ],
)
async def test_the_secret_of_an_invalid_client_is_not_rotated(ask, faults, fields, where):
    stored = await ask.store.replace("Client", "edited", {"secret": scrypt_text(SECRET), **fields}, expected=None)
    answer = await ask("POST", "/Client/edited/$rotate-secret", json={})

    assert await faults(answer, 422) == ("invalid", [f"Client.{where}"])
    assert await ask.store.get("Client", "edited") is stored


async def test_a_rotation_replaces_a_secret_that_is_no_hash(ask):
    fields = {"secret": "plain text of an operator", "grant_types": '["basic"]'}
    await ask.store.replace("Client", "edited", fields, expected=None)
    status, rotated, _ = await rotate(ask, path="/Client/edited/$rotate-secret")

    assert status == 200
    assert await lets_in(ask, ("edited", rotated["secret"]))


@pytest.mark.parametrize(
    ("pattern", "status"),
    [
        ({"request-method": "patch", "params": {"resource/id": "team"}}, 200),
        ({"request-method": "patch", "params": {"resource/id": "other"}}, 403),
        # A caller who may create Clients must not take over existing ones.
        ({"request-method": "post"}, 403),
    ],
)
async def test_a_rotation_needs_the_permission_to_patch_the_client(ask, pattern, status):
    await ask("PUT", "/AccessPolicy/team", json={"engine": "matcho", "matcho": pattern})

    assert (await rotate(ask, TEAM))[0] == status


async def test_a_rotation_is_audited_without_the_secret(ask, audit_file):
    _, shown, _ = await rotate(ask)
    await ask.client.close()
    line = json.loads(audit_file.read_text().splitlines()[-1])

    assert (line["event"], line["operation"], line["resource"]) == ("changed", "rotate-secret", "Client/team")
    assert shown["secret"] not in audit_file.read_text()


async def test_secrets_are_rotated_without_authentication(client):
    await client.put("/Client/team", json={"secret": SECRET})

    assert (await client.post("/Client/team/$rotate-secret", json={})).status == 200


async def revoke(ask, text, auth=TEAM, **fields):
    answer = await ask("POST", "/auth/revoke", auth, json={"token": text, **fields})
    return answer.status, await answer.json()


async def test_a_client_ends_its_own_token(ask):
    text = await token(ask)
    before = await lets_in(ask, f"Bearer {text}")
    answer = await revoke(ask, text)

    assert (before, await lets_in(ask, f"Bearer {text}")) == (True, False)
    assert answer == (200, {})


async def test_a_revocation_is_audited(ask, audit_file):
    await revoke(ask, await token(ask))
    await revoke(ask, "unknown")
    await ask.client.close()
    line = json.loads(audit_file.read_text().splitlines()[-1])

    assert [line[name] for name in ("caller", "operation", "resource")] == [
        *("Client/team", "revoke-token", "Client/team")
    ]


async def test_the_root_client_ends_any_token(ask):
    text = await token(ask)

    assert await revoke(ask, text, ROOT) == (200, {})
    assert not await lets_in(ask, f"Bearer {text}")


async def test_a_client_does_not_end_anothers_token(ask):
    text = await token(ask)
    status, body = await revoke(ask, text, ("other", SECRET))

    assert (status, body["error"]) == (400, "invalid_grant")
    assert body["error_description"]
    assert await lets_in(ask, f"Bearer {text}")


@pytest.mark.parametrize("text", ["unknown", "a" * 43, "a.b"])
async def test_revoking_an_unknown_token_succeeds(ask, text):
    assert await revoke(ask, text) == (200, {})
    assert await revoke(ask, text, token_type_hint="refresh_token", scope="x") == (200, {})


@pytest.mark.parametrize("make", ["jwt", "root"])
@pytest.mark.parametrize("auth", [TEAM, ROOT])
async def test_a_jwt_or_root_token_cannot_be_revoked(ask, faults, make, auth):
    text = await token(ask, ROOT) if make == "root" else "a.b.c"
    answer = await ask("POST", "/auth/revoke", auth, json={"token": text})
    body = await answer.json()

    assert await faults(answer, 400) == ("invalid", ["token"])
    assert body["error"] == "unsupported_token_type"
    assert re.fullmatch(r"[\x20-\x21\x23-\x5B\x5D-\x7E]+", body["error_description"])


async def test_credentials_and_token_may_come_in_a_form(ask):
    text = await token(ask)
    data = {"token": text, "token_type_hint": "access_token", "client_id": "team", "client_secret": SECRET}
    answer = await ask.client.post("/auth/revoke", data=data)

    assert answer.status == 200
    assert not await lets_in(ask, f"Bearer {text}")


@pytest.mark.parametrize("body", [{}, {"token": 5}, {"token": None}])
async def test_a_revocation_needs_a_token(ask, body):
    answer = await ask("POST", "/auth/revoke", TEAM, json=body)

    assert (answer.status, (await answer.json())["error"]) == (422, "invalid_request")


@pytest.mark.parametrize(
    ("pasted", "name"),
    [
        ("{}\n", "U+000A LINE FEED"),
        (" {}", "U+0020 SPACE"),
        ("{}\u200b", "U+200B ZERO WIDTH"),
        ("Bearer {}", "U+0020"),
        ('"{}"', "of A-Z a-z 0-9"),
        ("<{}>", "of A-Z a-z 0-9"),
        ("{},", "of A-Z a-z 0-9"),
        ("{}\u00e4", "of A-Z a-z 0-9"),
    ],
)
@pytest.mark.parametrize("form", [False, True], ids=["json", "form"])
async def test_a_token_pasted_with_other_characters_is_not_taken_for_an_ended_one(ask, pasted, name, form):
    text = await token(ask)
    body = {"token": pasted.format(text)}
    answer = await ask("POST", "/auth/revoke", TEAM, **{"data" if form else "json": body})
    error = await answer.json()

    assert (answer.status, error["error"]) == (422, "invalid_request")
    assert name in error["error_description"]
    assert text not in json.dumps(error)
    assert await lets_in(ask, f"Bearer {text}")


async def test_without_authentication_the_revocation_endpoint_does_not_exist(client, faults):
    assert (await faults(await client.post("/auth/revoke", json={"token": "x"}), 404))[0] == "not-found"


async def test_guesses_at_the_revocation_endpoint_are_limited_too(ask):
    statuses = [(await revoke(ask, "x", ("team", f"guess {n}")))[0] for n in range(11)]

    assert statuses == [401] * 10 + [429]


@pytest.mark.parametrize(
    "secret", ["sesame-is-open-0123 ", " sesame-is-open-0123", "sesame-is-open\u200b-0123", "sesame-\u00a0is-open-0123"]
)
async def test_an_invisible_character_in_a_secret_is_named(ask, faults, secret):
    answer = await ask("PUT", "/Client/pasted", json={"secret": secret, "grant_types": ["basic"]})

    assert await faults(answer, 422) == ("invalid", ["Client.secret"])
    assert "it has U+" in await answer.text()


@pytest.mark.parametrize("secret", ['"sesame-is-open-0123"', "$(SECRET_OF_THE_CLIENT)", "${SECRET_OF_THE_CLIENT}"])
async def test_a_secret_in_quotes_or_a_placeholder_is_refused(ask, faults, secret):
    answer = await ask("PUT", "/Client/pasted", json={"secret": secret, "grant_types": ["basic"]})

    assert await faults(answer, 422) == ("invalid", ["Client.secret"])
    assert "not in quotes, and no placeholder such as ${NAME}" in await answer.text()
