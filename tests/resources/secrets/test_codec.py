import base64

import pytest
from support.hashes import make_cheap, scrypt_text

from service.access.types import CLIENT
from service.errors import DecryptionFailed, Invalid
from service.resources.schemas import MASKED
from service.resources.secrets.codec import SecretCodec
from service.resources.secrets.encryption import Encryptor
from service.resources.secrets.stored_secret import StoredSecret
from service.resources.types import AWS_ACCOUNT
from service.stores.record import Resource

KEYS = {"access-key-id": "AKIA", "secret-access-key": "hush"}
OLD, NEW = ({name: bytes([n]) * 32} for n, name in enumerate(("old", "new"), 1))


@pytest.fixture(autouse=True)
def cheap_hashes(monkeypatch):
    make_cheap(monkeypatch)


@pytest.fixture
def codec(hasher):
    """One that seals nothing."""
    return SecretCodec(Encryptor(), hasher)


@pytest.fixture
def sealing(hasher):
    """One that has an older key too."""
    return SecretCodec(Encryptor(NEW | OLD), hasher)


def account(**fields):
    return Resource("AwsAccount", "a", {name.replace("_", "-"): text for name, text in fields.items()})


def sealed(keys, field="secret-access-key", id="a"):
    return Encryptor(keys).encrypt("hush", kind="AwsAccount", id=id, field=field)


async def test_a_secret_is_sealed_or_hashed_as_its_type_has_it(sealing, hasher):
    kept = await sealing.encoded(AWS_ACCOUNT, "a", {**KEYS, "session-token": "shh", "region": "x"}, None)
    client = await sealing.encoded(CLIENT, "a", {"secret": "hush", "grant_types": ["basic"]}, None)

    assert {name: text for name, text in kept.items() if "sealed" not in text} == {
        "access-key-id": "AKIA",
        "region": "x",
    }
    assert sealing.decrypted(AWS_ACCOUNT, Resource("AwsAccount", "a", kept)) == {
        **KEYS,
        "session-token": "shh",
        "region": "x",
    }
    assert await hasher.verify("hush", StoredSecret.parse(client["secret"]).valid_at(0))


async def test_what_it_was_given_stays_as_it_was(sealing):
    values = {**KEYS, "_session-token": MASKED}
    before = dict(values)
    await sealing.encoded(AWS_ACCOUNT, "a", values, account(access_key_id="AKIA", session_token="shh"))

    assert values == before


async def test_without_keys_a_secret_is_kept_as_it_is(codec):
    assert await codec.encoded(AWS_ACCOUNT, "a", KEYS, None) == KEYS


async def test_a_hash_is_nothing_that_opens(sealing):
    kept = await sealing.encoded(CLIENT, "a", {"secret": "hush"}, None)

    assert sealing.decrypted(CLIENT, Resource("Client", "a", kept)) == kept
    assert sealing.is_current(CLIENT, Resource("Client", "a", kept))


async def test_a_marker_keeps_what_is_stored(codec):
    seen = account(access_key_id="AKIA", secret_access_key="hush")
    values = {"access-key-id": "AKIA", "_secret-access-key": MASKED}

    assert await codec.encoded(AWS_ACCOUNT, "a", values, seen) == KEYS


async def test_a_marker_keeps_a_hash_to_the_letter(sealing):
    seen = Resource("Client", "a", await sealing.encoded(CLIENT, "a", {"secret": "hush"}, None))

    assert await sealing.encoded(CLIENT, "a", {"_secret": MASKED}, seen) == dict(seen.fields)


async def test_a_secret_that_is_sent_beats_its_marker(codec):
    seen = account(access_key_id="AKIA", secret_access_key="old")

    assert await codec.encoded(AWS_ACCOUNT, "a", {**KEYS, "_secret-access-key": MASKED}, seen) == KEYS


async def test_without_a_marker_nothing_is_kept(codec):
    seen = account(access_key_id="AKIA", secret_access_key="hush")

    assert await codec.encoded(AWS_ACCOUNT, "a", {"region": "x"}, seen) == {"region": "x"}


@pytest.mark.parametrize(
    "seen",
    [
        None,
        account(access_key_id="AKIA"),
        account(access_key_id="AKIA", secret_access_key=""),
        account(access_key_id="OTHER", secret_access_key="hush"),
        account(secret_access_key="hush"),
    ],
)
async def test_a_marker_keeps_no_secret_of_nothing_or_of_another_key(codec, seen):
    values = {"access-key-id": "AKIA", "_secret-access-key": MASKED, "_session-token": MASKED}
    with pytest.raises(Invalid) as caught:
        await codec.encoded(AWS_ACCOUNT, "a", values, seen)

    assert [issue.expression for issue in caught.value.issues] == [
        "AwsAccount.secret-access-key",
        "AwsAccount.session-token",
    ]
    assert "hush" not in str(caught.value)


async def test_a_marker_of_a_client_without_a_secret_keeps_nothing(codec):
    with pytest.raises(Invalid):
        await codec.encoded(CLIENT, "a", {"_secret": MASKED}, Resource("Client", "a", {}))


async def test_what_an_older_key_has_sealed_is_sealed_anew_when_it_is_kept(sealing):
    seen = account(access_key_id="AKIA", secret_access_key=sealed(OLD))
    kept = await sealing.encoded(AWS_ACCOUNT, "a", {"access-key-id": "AKIA", "_secret-access-key": MASKED}, seen)

    assert not sealing.is_current(AWS_ACCOUNT, seen)
    assert sealing.is_current(AWS_ACCOUNT, Resource("AwsAccount", "a", kept))
    assert sealing.decrypted(AWS_ACCOUNT, Resource("AwsAccount", "a", kept))["secret-access-key"] == "hush"


async def test_what_the_first_key_has_sealed_stays_as_it_is(sealing):
    seen = account(access_key_id="AKIA", secret_access_key=sealed(NEW))
    kept = await sealing.encoded(AWS_ACCOUNT, "a", {"access-key-id": "AKIA", "_secret-access-key": MASKED}, seen)

    assert kept["secret-access-key"] == seen.fields["secret-access-key"]


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(sealed(OLD, id="b"), id="another resource"),
        pytest.param(sealed(OLD, field="session-token"), id="another field"),
        pytest.param(sealed({"lost": bytes(32)}), id="an unknown key"),
        pytest.param("sealed:v9:x", id="an unknown version"),
    ],
)
def test_a_secret_that_was_sealed_for_something_else_does_not_open(sealing, text):
    with pytest.raises(DecryptionFailed):
        sealing.decrypted(AWS_ACCOUNT, account(secret_access_key=text))


def test_sealed_anew_is_sealed_with_the_first_key(sealing):
    fields = sealing.reencrypted(AWS_ACCOUNT, account(region="x", secret_access_key=sealed(OLD), session_token="shh"))
    resource = Resource("AwsAccount", "a", fields)

    assert sealing.is_current(AWS_ACCOUNT, resource)
    assert sealing.decrypted(AWS_ACCOUNT, resource) == {**fields, "secret-access-key": "hush", "session-token": "shh"}
    assert fields["region"] == "x"
    assert base64.b64encode(b"hush").decode() not in str(fields)


@pytest.mark.parametrize("scheme", ["argon2id", "scrypt"])
async def test_a_rotated_secret_stays_valid_until_it_expires(codec, hasher, scheme):
    before = (
        scrypt_text("old")
        if scheme == "scrypt"
        else (await codec.encoded(CLIENT, "a", {"secret": "old"}, None))["secret"]
    )
    rotated = StoredSecret.parse(await codec.rotated(before, "new", previous_expires=1000, now=0))
    valid = [[bool(await hasher.verify(text, rotated.valid_at(now))) for text in ("old", "new")] for now in (999, 1000)]

    assert valid == [[True, True], [False, True]]
    assert rotated.previous == StoredSecret.parse(before).current


async def test_a_second_rotation_ends_the_secret_before_the_last(codec, hasher):
    text = ""
    for secret in ("first", "second", "third"):
        text = await codec.rotated(text, secret, previous_expires=1000, now=0)
    valid = StoredSecret.parse(text).valid_at(0)

    assert [bool(await hasher.verify(secret, valid)) for secret in ("first", "second", "third")] == [False, True, True]


@pytest.mark.parametrize("before", ["", "what an operator wrote", "v2 x y"])
async def test_nothing_stays_valid_where_nothing_was(codec, before):
    rotated = await codec.rotated(before, "new", previous_expires=1000, now=0)

    assert StoredSecret.parse(rotated).previous is None
    assert before not in rotated or not before


async def test_without_a_time_the_secret_before_ends_at_once(codec):
    before = (await codec.encoded(CLIENT, "a", {"secret": "old"}, None))["secret"]
    rotated = await codec.rotated(before, "new", previous_expires=1000, now=1000)

    assert StoredSecret.parse(rotated).previous is None
