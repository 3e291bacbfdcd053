import base64

import pytest
from support.hashes import make_cheap, scrypt_text

from service.access.client import CLIENT
from service.errors import DecryptionFailed, Invalid
from service.resources.fields import MASKED
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
    """A codec without encryption keys."""
    return SecretCodec(Encryptor(), hasher)


@pytest.fixture
def encrypting(hasher):
    """A codec with a current and an older key."""
    return SecretCodec(Encryptor(NEW | OLD), hasher)


def account(**fields):
    return Resource("AwsAccount", "a", {name.replace("_", "-"): text for name, text in fields.items()})


def encrypted(keys, field="secret-access-key", id="a"):
    return Encryptor(keys).encrypt("hush", kind="AwsAccount", id=id, field=field)


async def test_a_secret_is_encrypted_or_hashed_by_its_type(encrypting, hasher):
    encoded = await encrypting.encode(AWS_ACCOUNT, "a", {**KEYS, "session-token": "shh", "region": "x"}, None)
    client = await encrypting.encode(CLIENT, "a", {"secret": "hush", "grant_types": ["basic"]}, None)

    assert {name: text for name, text in encoded.items() if "sealed" not in text} == {
        "access-key-id": "AKIA",
        "region": "x",
    }
    assert encrypting.decrypt(AWS_ACCOUNT, Resource("AwsAccount", "a", encoded)) == {
        **KEYS,
        "session-token": "shh",
        "region": "x",
    }
    assert await hasher.verify("hush", StoredSecret.parse(client["secret"]).valid_at(0))


async def test_encoding_does_not_change_its_argument(encrypting):
    values = {**KEYS, "_session-token": MASKED}
    before = dict(values)
    await encrypting.encode(AWS_ACCOUNT, "a", values, account(access_key_id="AKIA", session_token="shh"))

    assert values == before


async def test_without_keys_a_secret_is_stored_as_plain_text(codec):
    assert await codec.encode(AWS_ACCOUNT, "a", KEYS, None) == KEYS


async def test_a_hash_is_not_decrypted(encrypting):
    encoded = await encrypting.encode(CLIENT, "a", {"secret": "hush"}, None)

    assert encrypting.decrypt(CLIENT, Resource("Client", "a", encoded)) == encoded
    assert encrypting.is_current(CLIENT, Resource("Client", "a", encoded))


async def test_a_marker_keeps_the_stored_secret(codec):
    stored = account(access_key_id="AKIA", secret_access_key="hush")
    values = {"access-key-id": "AKIA", "_secret-access-key": MASKED}

    assert await codec.encode(AWS_ACCOUNT, "a", values, stored) == KEYS


async def test_a_marker_keeps_a_hash_unchanged(encrypting):
    stored = Resource("Client", "a", await encrypting.encode(CLIENT, "a", {"secret": "hush"}, None))

    assert await encrypting.encode(CLIENT, "a", {"_secret": MASKED}, stored) == dict(stored.fields)


async def test_a_sent_secret_takes_precedence_over_its_marker(codec):
    stored = account(access_key_id="AKIA", secret_access_key="old")

    assert await codec.encode(AWS_ACCOUNT, "a", {**KEYS, "_secret-access-key": MASKED}, stored) == KEYS


async def test_without_a_marker_no_secret_is_kept(codec):
    stored = account(access_key_id="AKIA", secret_access_key="hush")

    assert await codec.encode(AWS_ACCOUNT, "a", {"region": "x"}, stored) == {"region": "x"}


@pytest.mark.parametrize(
    "stored",
    [
        None,
        account(access_key_id="AKIA"),
        account(access_key_id="AKIA", secret_access_key=""),
        account(access_key_id="OTHER", secret_access_key="hush"),
        account(secret_access_key="hush"),
    ],
)
async def test_a_marker_without_a_stored_secret_or_with_another_key_is_invalid(codec, stored):
    values = {"access-key-id": "AKIA", "_secret-access-key": MASKED, "_session-token": MASKED}
    with pytest.raises(Invalid) as caught:
        await codec.encode(AWS_ACCOUNT, "a", values, stored)

    assert [issue.expression for issue in caught.value.issues] == [
        "AwsAccount.secret-access-key",
        "AwsAccount.session-token",
    ]
    assert "hush" not in str(caught.value)


async def test_a_marker_of_a_client_without_a_secret_is_invalid(codec):
    with pytest.raises(Invalid):
        await codec.encode(CLIENT, "a", {"_secret": MASKED}, Resource("Client", "a", {}))


async def test_a_kept_secret_of_an_older_key_is_encrypted_with_the_current_key(encrypting):
    stored = account(access_key_id="AKIA", secret_access_key=encrypted(OLD))
    encoded = await encrypting.encode(AWS_ACCOUNT, "a", {"access-key-id": "AKIA", "_secret-access-key": MASKED}, stored)

    assert not encrypting.is_current(AWS_ACCOUNT, stored)
    assert encrypting.is_current(AWS_ACCOUNT, Resource("AwsAccount", "a", encoded))
    assert encrypting.decrypt(AWS_ACCOUNT, Resource("AwsAccount", "a", encoded))["secret-access-key"] == "hush"


async def test_a_kept_secret_of_the_current_key_stays_unchanged(encrypting):
    stored = account(access_key_id="AKIA", secret_access_key=encrypted(NEW))
    encoded = await encrypting.encode(AWS_ACCOUNT, "a", {"access-key-id": "AKIA", "_secret-access-key": MASKED}, stored)

    assert encoded["secret-access-key"] == stored.fields["secret-access-key"]


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(encrypted(OLD, id="b"), id="another resource"),
        pytest.param(encrypted(OLD, field="session-token"), id="another field"),
        pytest.param(encrypted({"lost": bytes(32)}), id="an unknown key"),
        pytest.param("sealed:v9:x", id="an unknown version"),
    ],
)
def test_a_secret_that_was_encrypted_for_another_place_or_key_cannot_be_decrypted(encrypting, text):
    with pytest.raises(DecryptionFailed):
        encrypting.decrypt(AWS_ACCOUNT, account(secret_access_key=text))


def test_reencryption_uses_the_current_key(encrypting):
    fields = encrypting.reencrypt(
        AWS_ACCOUNT, account(region="x", secret_access_key=encrypted(OLD), session_token="shh")
    )
    resource = Resource("AwsAccount", "a", fields)

    assert encrypting.is_current(AWS_ACCOUNT, resource)
    assert encrypting.decrypt(AWS_ACCOUNT, resource) == {**fields, "secret-access-key": "hush", "session-token": "shh"}
    assert fields["region"] == "x"
    assert base64.b64encode(b"hush").decode() not in str(fields)


@pytest.mark.parametrize("scheme", ["argon2id", "scrypt"])
async def test_a_rotated_secret_stays_valid_until_it_expires(codec, hasher, scheme):
    before = (
        scrypt_text("old")
        if scheme == "scrypt"
        else (await codec.encode(CLIENT, "a", {"secret": "old"}, None))["secret"]
    )
    rotated = StoredSecret.parse(await codec.rotate(before, "new", previous_expires=1000, now=0))
    valid = [[bool(await hasher.verify(text, rotated.valid_at(now))) for text in ("old", "new")] for now in (999, 1000)]

    assert valid == [[True, True], [False, True]]
    assert [each.secret for each in rotated.previous] == [StoredSecret.parse(before).current]


async def test_further_rotations_end_neither_the_oldest_secret_nor_the_last_one(codec, hasher):
    text = ""
    secrets = "first", "second", "third", "fourth"
    for number, secret in enumerate(secrets):
        text = await codec.rotate(text, secret, previous_expires=1000 + number, now=0)
    valid = [
        [bool(await hasher.verify(secret, StoredSecret.parse(text).valid_at(instant))) for secret in secrets]
        for instant in (0, 1001, 1003)
    ]

    assert valid == [[True, False, True, True], [False, False, True, True], [False, False, False, True]]


async def test_a_rotation_can_end_all_earlier_secrets_immediately(codec):
    text = ""
    for secret, expires in ("first", 1000), ("second", 1000), ("third", 0):
        text = await codec.rotate(text, secret, previous_expires=expires, now=0)

    assert StoredSecret.parse(text).previous == ()


@pytest.mark.parametrize("seconds", [0, 100])
async def test_a_repeated_rotation_keeps_the_previous_secret_and_its_tokens(codec, hasher, seconds):
    old = await codec.rotate("", "old", previous_expires=0, now=0)
    first = await codec.rotate(old, "new", previous_expires=9, now=0)
    text = await codec.rotate(first, "new", previous_expires=8 + seconds, now=8)
    valid = [
        [bool(await hasher.verify(secret, StoredSecret.parse(text).valid_at(at))) for secret in ("old", "new")]
        for at in (8 + seconds / 2, 8 + seconds)
    ]

    assert valid == [[seconds > 0, True], [False, True]]
    assert StoredSecret.parse(text).current == StoredSecret.parse(first).current


async def test_a_repeated_rotation_does_not_revive_an_expired_secret(codec):
    old = await codec.rotate("", "old", previous_expires=0, now=0)
    first = await codec.rotate(old, "new", previous_expires=9, now=0)

    assert StoredSecret.parse(await codec.rotate(first, "new", previous_expires=20, now=9)).previous == ()


@pytest.mark.parametrize("before", ["", "what an operator wrote", "v2 x y"])
async def test_a_rotation_keeps_nothing_that_is_not_a_hash(codec, before):
    rotated = await codec.rotate(before, "new", previous_expires=1000, now=0)

    assert StoredSecret.parse(rotated).previous == ()
    assert before not in rotated or not before


async def test_a_rotation_can_end_the_previous_secret_immediately(codec):
    before = (await codec.encode(CLIENT, "a", {"secret": "old"}, None))["secret"]
    rotated = await codec.rotate(before, "new", previous_expires=1000, now=1000)

    assert StoredSecret.parse(rotated).previous == ()
