import pytest
from support.hashes import scrypt_text

from service.resources.secrets.stored_secret import HashedSecret, PreviousSecret, StoredSecret, new_secret

OLD, NEW = HashedSecret("old", "$argon2id$old"), HashedSecret("new", "$argon2id$new")
OLDEST = HashedSecret("oldest", "$argon2id$oldest")
BOTH = StoredSecret(NEW, (PreviousSecret(1000, OLD),))
THREE = StoredSecret(NEW, (PreviousSecret(1000, OLD), PreviousSecret(900, OLDEST)))


@pytest.mark.parametrize("stored", [StoredSecret(NEW), BOTH, THREE])
def test_a_stored_secret_survives_writing_and_parsing(stored):
    assert StoredSecret.parse(str(stored)) == stored


def test_the_longest_text_fits_the_schema():
    previous = (
        PreviousSecret(10**12, HashedSecret("f" * 22, "h" * 97)),
        PreviousSecret(10**12, HashedSecret("f" * 64, scrypt_text("x"))),
    )
    longest = StoredSecret(HashedSecret("f" * 22, "h" * 97), previous)

    assert len(str(longest)) <= 512


@pytest.mark.parametrize("text", [scrypt_text("x"), "", "plain text", "v2", "v2 a", "v2 a b c", "v3 a b", "\udcff"])
def test_other_text_is_a_hash_with_its_own_fingerprint(text):
    stored = StoredSecret.parse(text)

    assert stored.current.hash == text
    assert stored.previous == ()
    assert len(stored.current.fingerprint) == 64
    assert stored.current.fingerprint != StoredSecret.parse(f"{text}x").current.fingerprint


@pytest.mark.parametrize("expires", ["", "x", "-1", "1e9", "\u0661", "9" * 16, "9" * 5000])
def test_a_previous_secret_with_an_invalid_end_has_ended(expires):
    assert StoredSecret.parse(f"v2 new $argon2id$new {expires} old $argon2id$old") == StoredSecret(NEW)


def test_each_previous_secret_is_valid_until_it_expires():
    assert [THREE.valid_at(instant) for instant in (899.9, 900, 1000)] == [(NEW, OLD, OLDEST), (NEW, OLD), (NEW,)]


def test_a_hash_is_replaced_under_the_same_fingerprint():
    assert THREE.with_hash(NEW, "x") == StoredSecret(HashedSecret("new", "x"), THREE.previous)
    assert BOTH.with_hash(OLD, "x") == StoredSecret(NEW, (PreviousSecret(1000, HashedSecret("old", "x")),))


def test_a_missing_hash_is_not_replaced():
    assert BOTH.with_hash(HashedSecret("new", "$argon2id$other"), "x") is None
    assert StoredSecret(NEW).with_hash(OLD, "x") is None


def test_fingerprints_and_secrets_are_random():
    assert len({HashedSecret.new("x").fingerprint for _ in range(100)}) == 100
    assert len({new_secret() for _ in range(100)}) == 100
    assert len(new_secret()) == 43


def test_no_representation_holds_a_hash():
    assert "argon2id" not in repr(THREE)
