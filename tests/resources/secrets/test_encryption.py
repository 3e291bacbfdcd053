import base64
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import example, given
from hypothesis import strategies as st

from service.errors import DecryptionFailed
from service.resources.secrets.encryption import ENCRYPTED_PREFIX, Encryptor

OLD, NEW = b"o" * 32, b"n" * 32
PLACE = {"kind": "AwsAccount", "id": "a", "field": "secret-access-key"}
SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
ENCRYPTOR = Encryptor({"k1": OLD})

texts = st.text(st.characters(exclude_categories=()))
places = st.fixed_dictionaries(dict.fromkeys(PLACE, texts))


def line(key_id, key=OLD):
    return f"{key_id}: {base64.b64encode(key).decode()}"


def problem(encryptor, text, **place):
    with pytest.raises(DecryptionFailed) as refusal:
        encryptor.decrypt(text, **{**PLACE, **place})
    return str(refusal.value)


def is_shown_alone(error):
    """Return whether a traceback leaves out the cause, which can quote a key."""
    return error.__cause__ is None and error.__suppress_context__


@given(text=texts, place=places)
@example(text=SECRET, place=PLACE)
@example(text="", place=PLACE)
@example(text=f"{ENCRYPTED_PREFIX}v1:k1:AAAA", place=PLACE)
@example(text="\udcff\ud800 ключ 🔑", place=PLACE)
def test_encrypted_text_is_decrypted(text, place):
    assert ENCRYPTOR.decrypt(ENCRYPTOR.encrypt(text, **place), **place) == text


@given(texts.filter(bool))
def test_encrypted_text_is_ascii_with_a_prefix_and_differs_each_time(text):
    first, second = ENCRYPTOR.encrypt(text, **PLACE), ENCRYPTOR.encrypt(text, **PLACE)

    assert first.isascii()
    assert first.startswith(f"{ENCRYPTED_PREFIX}v1:k1:")
    assert first != second
    assert "=" not in first


def test_encrypted_text_holds_nothing_of_the_secret():
    encrypted = ENCRYPTOR.encrypt(SECRET, **PLACE)

    assert SECRET not in encrypted
    assert SECRET.encode() not in base64.urlsafe_b64decode(encrypted.rpartition(":")[2] + "==")


def test_the_format_of_encrypted_text_is_stable():
    associated_data = b"10:AwsAccount1:a17:secret-access-key"
    theirs = base64.urlsafe_b64encode(b"n" * 12 + AESGCM(OLD).encrypt(b"n" * 12, SECRET.encode(), associated_data))
    ours = base64.urlsafe_b64decode(ENCRYPTOR.encrypt(SECRET, **PLACE).removeprefix("sealed:v1:k1:") + "==")

    assert ENCRYPTOR.decrypt(f"sealed:v1:k1:{theirs.decode().rstrip('=')}", **PLACE) == SECRET
    assert AESGCM(OLD).decrypt(ours[:12], ours[12:], associated_data) == SECRET.encode()


def test_empty_text_stays_empty():
    assert ENCRYPTOR.encrypt("", **PLACE) == ""
    assert ENCRYPTOR.is_current("")


@given(place=places, other=places)
def test_text_encrypted_for_one_place_cannot_be_decrypted_in_another(place, other):
    if place != other:
        assert "cannot be decrypted with key k1" in problem(ENCRYPTOR, ENCRYPTOR.encrypt(SECRET, **place), **other)


@pytest.mark.parametrize(
    "other",
    [
        {"kind": "Client"},
        {"id": "b"},
        {"field": "session-token"},
        # Neighbouring parts must not run together.
        {"kind": "AwsAccounta", "id": ""},
        {"id": "", "field": "asecret-access-key"},
        {"kind": "AwsAccount1:a17:secret-access-key", "id": "", "field": ""},
    ],
    ids=str,
)
def test_an_error_about_a_moved_secret_names_its_key(other):
    message = problem(ENCRYPTOR, ENCRYPTOR.encrypt(SECRET, **PLACE), **other)

    place = {**PLACE, **other}
    assert message == (
        f"The {place['field']} of {place['kind']}/{place['id']} cannot be decrypted with key k1: it was encrypted for "
        "another resource or field, or with another key of that name, or changed since"
    )


def test_no_character_of_an_id_moves_the_border_between_parts():
    encrypted = ENCRYPTOR.encrypt(SECRET, kind="a:1", id="b", field="c")

    assert problem(ENCRYPTOR, encrypted, kind="a", id="1:b", field="c")


@given(text=texts.filter(bool), data=st.data())
def test_a_changed_bit_after_the_prefix_is_refused(text, data):
    encrypted = ENCRYPTOR.encrypt(text, **PLACE)
    position = data.draw(st.integers(len(ENCRYPTED_PREFIX), len(encrypted) - 1))
    flipped = chr(ord(encrypted[position]) ^ 1 << data.draw(st.integers(0, 7)))

    assert problem(ENCRYPTOR, encrypted[:position] + flipped + encrypted[position + 1 :])


@pytest.mark.parametrize("length", range(9))
def test_a_change_of_the_last_character_is_refused(length):
    # For most lengths, two or four bits of the last character are unused.
    encrypted = ENCRYPTOR.encrypt("x" * length or "xyz", **PLACE)

    for last in "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_":
        if last != encrypted[-1]:
            assert problem(ENCRYPTOR, encrypted[:-1] + last)


def test_an_error_about_truncated_text_names_its_key():
    encrypted = ENCRYPTOR.encrypt(SECRET, **PLACE)

    for end in range(len("sealed:v1:k1:"), len(encrypted)):
        assert "cannot be decrypted with key k1" in problem(ENCRYPTOR, encrypted[:end])


@pytest.mark.parametrize("garbage", ["=", "==", "\n", " ", "é", "\ud800", "A", "AAAA", ":k1", "*"])
def test_characters_added_to_the_base64_are_refused(garbage):
    encrypted = ENCRYPTOR.encrypt(SECRET, **PLACE)

    assert "cannot be decrypted with key k1" in problem(ENCRYPTOR, encrypted + garbage)
    assert "cannot be decrypted with key k1" in problem(ENCRYPTOR, f"{encrypted[:20]}{garbage}{encrypted[20:]}")


def test_the_standard_alphabet_of_base64_is_refused():
    encrypted = next(
        encrypted for _ in range(100) if {"-", "_"} <= set((encrypted := ENCRYPTOR.encrypt(SECRET, **PLACE))[10:])
    )

    assert problem(ENCRYPTOR, encrypted.replace("-", "+").replace("_", "/"))


@pytest.mark.parametrize(
    "text",
    ["", "v1", "v1:", "v1:k1", "v2:k1:AAAA", "V1:k1:AAAA", "v1::AAAA", "v1:k 1:AAAA", f"v1:{'k' * 65}:AAAA", "v1:é:A"],
)
def test_a_malformed_text_is_refused_and_not_quoted(text):
    message = problem(ENCRYPTOR, ENCRYPTED_PREFIX + text)

    assert message == "The secret-access-key of AwsAccount/a is encrypted in a format that this version does not know"


def test_an_error_about_another_key_of_the_same_id_names_the_id():
    message = problem(Encryptor({"k1": NEW}), ENCRYPTOR.encrypt(SECRET, **PLACE))

    assert "cannot be decrypted with key k1: " in message
    assert "another key of that name" in message


@pytest.mark.parametrize("encryptor", [Encryptor(), Encryptor({"k2": OLD})], ids=repr)
def test_an_error_about_a_missing_key_names_the_key(encryptor):
    message = problem(encryptor, ENCRYPTOR.encrypt(SECRET, **PLACE))

    assert message == (
        "The secret-access-key of AwsAccount/a is encrypted with key k1, which is not among the encryption keys"
    )


def test_a_failed_decryption_is_a_fault_of_the_deployment():
    with pytest.raises(DecryptionFailed) as refusal:
        Encryptor().decrypt(ENCRYPTOR.encrypt(SECRET, **PLACE), **PLACE)

    assert (refusal.value.status, refusal.value.code) == (500, "exception")
    assert [issue.expression for issue in refusal.value.issues] == ["AwsAccount.secret-access-key"]


def test_no_error_or_representation_holds_key_or_ciphertext():
    encryptor = Encryptor({"k1": NEW, "k2": b"2" * 32})
    encrypted = ENCRYPTOR.encrypt(SECRET, **PLACE)
    message = problem(encryptor, encrypted)

    assert repr(encryptor) == str(encryptor) == "Encryptor(k1, k2)"
    assert repr(Encryptor()) == "Encryptor()"
    assert encrypted.rpartition(":")[2] not in message
    assert "nnn" not in message


@pytest.mark.parametrize("encryptor", [ENCRYPTOR, Encryptor()], ids=repr)
@pytest.mark.parametrize("text", ["", SECRET, "v1:k1:AAAA", "Sealed:v1:k1:AAAA", " sealed:", "\udcff"])
def test_plain_text_is_returned_unchanged(encryptor, text):
    assert encryptor.decrypt(text, **PLACE) == text


@given(texts)
def test_without_keys_text_is_stored_as_plain_text(text):
    assert Encryptor().encrypt(text, **PLACE) == text


def test_the_first_key_encrypts_and_every_key_decrypts():
    rotated = Encryptor({"k2": NEW, "k1": OLD})
    old, new = ENCRYPTOR.encrypt(SECRET, **PLACE), rotated.encrypt(SECRET, **PLACE)

    assert new.startswith("sealed:v1:k2:")
    assert rotated.decrypt(old, **PLACE) == rotated.decrypt(new, **PLACE) == SECRET
    assert not rotated.is_current(old)
    assert not rotated.is_current(SECRET)
    assert rotated.is_current(new)


def test_a_key_whose_id_begins_like_the_current_one_is_not_current():
    assert not Encryptor({"k": NEW, "k1": OLD}).is_current(ENCRYPTOR.encrypt(SECRET, **PLACE))


def test_without_keys_only_plain_text_is_current():
    assert Encryptor().is_current(SECRET)
    assert not Encryptor().is_current(ENCRYPTOR.encrypt(SECRET, **PLACE))


def test_a_key_file_is_read(tmp_path):
    path = tmp_path / "keys"
    path.write_text(f"# the new one\r\n\r\n  {line('k2', NEW)}  \n \t# the old one\nk1:{line('k1')[3:]}", "utf-8")
    encryptor = Encryptor.from_file(path)

    assert repr(encryptor) == "Encryptor(k2, k1)"
    assert Encryptor({"k2": NEW}).decrypt(encryptor.encrypt(SECRET, **PLACE), **PLACE) == SECRET
    assert encryptor.decrypt(ENCRYPTOR.encrypt(SECRET, **PLACE), **PLACE) == SECRET


@pytest.mark.parametrize("key_id", ["k", "2026-01", "A.b_C-9", ".", "k" * 64])
def test_a_key_id_is_valid(key_id):
    encryptor = Encryptor.parse(line(key_id))

    assert encryptor.decrypt(encryptor.encrypt(SECRET, **PLACE), **PLACE) == SECRET


@pytest.mark.parametrize(
    ("fault", "rule"),
    [
        ("k1", "it must be key-id: base64"),
        (base64.b64encode(OLD).decode(), "it must be key-id: base64"),
        (line(""), "a key id must be 1 to 64 of"),
        (line("k 1"), "a key id must be 1 to 64 of"),
        (line("k1 "), "a key id must be 1 to 64 of"),
        (line("é"), "a key id must be 1 to 64 of"),
        (line("\ufeffk1"), "a key id must be 1 to 64 of"),
        (line("k" * 65), "a key id must be 1 to 64 of"),
        (f"{base64.b64encode(OLD).decode()}: k1", "a key id must be 1 to 64 of"),
        ("k1:", "a key must be 32 bytes"),
        (line("k1", OLD[:16]), "a key must be 32 bytes"),
        (line("k1", OLD + b"o"), "a key must be 32 bytes"),
        (line("k1").rstrip("="), "a key must be base64"),
        (f"{line('k1')} # mine", "a key must be base64"),
        (f"k1: {'_-' * 21}_=", "a key must be base64"),
        (f"k1: {'é' * 43}=", "a key must be base64"),
        (line("k0", NEW), "a line before it has the same key id"),
    ],
)
def test_an_error_about_a_key_file_names_line_and_rule_without_the_key(fault, rule):
    with pytest.raises(ValueError, match="has a fault in line 3: ") as refusal:
        Encryptor.parse(f"{line('k0')}\n\n{fault}\n{line('k9')}")

    message = str(refusal.value)
    assert rule in message
    assert is_shown_alone(refusal.value)
    assert not any(part in message for part in fault.replace(":", " ").split() if len(part) > 15)


@pytest.mark.parametrize("text", ["", "\n \n", "# k1: nothing\n"])
def test_a_key_file_must_hold_a_key(text):
    with pytest.raises(ValueError, match="must hold a key"):
        Encryptor.parse(text)


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("missing", "No such file or directory"),
        (".", "it is not a regular file"),
        ("latin", "not UTF-8 text"),
        ("\0", "not UTF-8 text"),
        (line("k1"), "No such file or directory"),
    ],
)
def test_an_error_about_an_unreadable_key_file_does_not_quote_the_path(tmp_path, path, reason):
    (tmp_path / "latin").write_bytes(b"k1: \xff")

    with pytest.raises(ValueError, match=f"^cannot be read: {reason}$") as refusal:
        Encryptor.from_file(tmp_path / path)

    assert is_shown_alone(refusal.value)


def test_without_a_key_the_library_is_not_loaded():
    program = f"""
import sys
from service.errors import DecryptionFailed
from service.resources.secrets.encryption import Encryptor
encryptor = Encryptor()
encryptor.decrypt(encryptor.encrypt("plain", **{PLACE}), **{PLACE})
try:
    encryptor.decrypt("sealed:v1:k1:AAAA", **{PLACE})
except DecryptionFailed:
    sys.exit("cryptography" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=Path(__file__).parents[3], check=False)

    assert done.returncode == 0
