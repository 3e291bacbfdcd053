import base64
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import example, given
from hypothesis import strategies as st

from service.errors import DecryptionFailed
from service.resources.secrets.encryption import SEALED, Encryptor

OLD, NEW = b"o" * 32, b"n" * 32
PLACE = {"kind": "AwsAccount", "id": "a", "field": "secret-access-key"}
SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
SEALER = Encryptor({"k1": OLD})

texts = st.text(st.characters(exclude_categories=()))
places = st.fixed_dictionaries(dict.fromkeys(PLACE, texts))


def line(key_id, key=OLD):
    return f"{key_id}: {base64.b64encode(key).decode()}"


def problem(encryptor, text, **place):
    with pytest.raises(DecryptionFailed) as refusal:
        encryptor.decrypt(text, **{**PLACE, **place})
    return str(refusal.value)


def is_shown_alone(error):
    """Whether a traceback leaves out what it was raised for, which may quote a key."""
    return error.__cause__ is None and error.__suppress_context__


@given(text=texts, place=places)
@example(text=SECRET, place=PLACE)
@example(text="", place=PLACE)
@example(text=f"{SEALED}v1:k1:AAAA", place=PLACE)
@example(text="\udcff\ud800 ключ 🔑", place=PLACE)
def test_what_is_sealed_is_opened(text, place):
    assert SEALER.decrypt(SEALER.encrypt(text, **place), **place) == text


@given(texts.filter(bool))
def test_sealed_text_is_ascii_that_begins_as_nothing_else_and_never_the_same_twice(text):
    first, second = SEALER.encrypt(text, **PLACE), SEALER.encrypt(text, **PLACE)

    assert first.isascii()
    assert first.startswith(f"{SEALED}v1:k1:")
    assert first != second
    assert "=" not in first


def test_sealed_text_holds_nothing_of_the_secret():
    sealed = SEALER.encrypt(SECRET, **PLACE)

    assert SECRET not in sealed
    assert SECRET.encode() not in base64.urlsafe_b64decode(sealed.rpartition(":")[2] + "==")


def test_the_form_of_sealed_text_is_for_others_to_read_and_write():
    associated_data = b"10:AwsAccount1:a17:secret-access-key"
    theirs = base64.urlsafe_b64encode(b"n" * 12 + AESGCM(OLD).encrypt(b"n" * 12, SECRET.encode(), associated_data))
    ours = base64.urlsafe_b64decode(SEALER.encrypt(SECRET, **PLACE).removeprefix("sealed:v1:k1:") + "==")

    assert SEALER.decrypt(f"sealed:v1:k1:{theirs.decode().rstrip('=')}", **PLACE) == SECRET
    assert AESGCM(OLD).decrypt(ours[:12], ours[12:], associated_data) == SECRET.encode()


def test_an_empty_secret_is_none_and_stays_empty():
    assert SEALER.encrypt("", **PLACE) == ""
    assert SEALER.is_current("")


@given(place=places, other=places)
def test_what_was_sealed_for_one_place_is_opened_in_no_other(place, other):
    if place != other:
        assert "cannot be opened with key k1" in problem(SEALER, SEALER.encrypt(SECRET, **place), **other)


@pytest.mark.parametrize(
    "other",
    [
        {"kind": "Client"},
        {"id": "b"},
        {"field": "session-token"},
        # What stands side by side must not run together.
        {"kind": "AwsAccounta", "id": ""},
        {"id": "", "field": "asecret-access-key"},
        {"kind": "AwsAccount1:a17:secret-access-key", "id": "", "field": ""},
    ],
    ids=str,
)
def test_a_secret_that_was_moved_is_refused_with_its_key_named(other):
    told = problem(SEALER, SEALER.encrypt(SECRET, **PLACE), **other)

    place = {**PLACE, **other}
    assert told == (
        f"The {place['field']} of {place['kind']}/{place['id']} cannot be opened with key k1: it was sealed for "
        "another resource or field, or with another key of that name, or changed since"
    )


def test_no_character_of_an_id_can_move_the_border_to_its_neighbour():
    sealed = SEALER.encrypt(SECRET, kind="a:1", id="b", field="c")

    assert problem(SEALER, sealed, kind="a", id="1:b", field="c")


@given(text=texts.filter(bool), data=st.data())
def test_any_bit_that_changes_behind_the_prefix_is_refused(text, data):
    sealed = SEALER.encrypt(text, **PLACE)
    position = data.draw(st.integers(len(SEALED), len(sealed) - 1))
    flipped = chr(ord(sealed[position]) ^ 1 << data.draw(st.integers(0, 7)))

    assert problem(SEALER, sealed[:position] + flipped + sealed[position + 1 :])


@pytest.mark.parametrize("length", range(9))
def test_every_bit_of_the_last_character_counts(length):
    # Two or four of its bits belong to no byte, unless the length happens to fit.
    sealed = SEALER.encrypt("x" * length or "xyz", **PLACE)

    for last in "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_":
        if last != sealed[-1]:
            assert problem(SEALER, sealed[:-1] + last)


def test_truncated_text_is_refused_with_its_key_named():
    sealed = SEALER.encrypt(SECRET, **PLACE)

    for end in range(len("sealed:v1:k1:"), len(sealed)):
        assert "cannot be opened with key k1" in problem(SEALER, sealed[:end])


@pytest.mark.parametrize("garbage", ["=", "==", "\n", " ", "é", "\ud800", "A", "AAAA", ":k1", "*"])
def test_what_is_added_to_the_base64_is_refused(garbage):
    sealed = SEALER.encrypt(SECRET, **PLACE)

    assert "cannot be opened with key k1" in problem(SEALER, sealed + garbage)
    assert "cannot be opened with key k1" in problem(SEALER, f"{sealed[:20]}{garbage}{sealed[20:]}")


def test_the_other_alphabet_of_base64_is_refused():
    sealed = next(sealed for _ in range(100) if {"-", "_"} <= set((sealed := SEALER.encrypt(SECRET, **PLACE))[10:]))

    assert problem(SEALER, sealed.replace("-", "+").replace("_", "/"))


@pytest.mark.parametrize(
    "text",
    ["", "v1", "v1:", "v1:k1", "v2:k1:AAAA", "V1:k1:AAAA", "v1::AAAA", "v1:k 1:AAAA", f"v1:{'k' * 65}:AAAA", "v1:é:A"],
)
def test_what_is_malformed_behind_the_prefix_is_refused_and_not_quoted(text):
    told = problem(SEALER, SEALED + text)

    assert told == "The secret-access-key of AwsAccount/a is sealed in no form that this version knows"


def test_another_key_of_the_same_name_is_told_by_that_name():
    told = problem(Encryptor({"k1": NEW}), SEALER.encrypt(SECRET, **PLACE))

    assert "cannot be opened with key k1: " in told
    assert "another key of that name" in told


@pytest.mark.parametrize("encryptor", [Encryptor(), Encryptor({"k2": OLD})], ids=repr)
def test_a_missing_key_is_named(encryptor):
    told = problem(encryptor, SEALER.encrypt(SECRET, **PLACE))

    assert told == (
        "The secret-access-key of AwsAccount/a is sealed with key k1, which is not among the encryption keys"
    )


def test_what_cannot_be_opened_is_a_fault_of_the_deployment():
    with pytest.raises(DecryptionFailed) as refusal:
        Encryptor().decrypt(SEALER.encrypt(SECRET, **PLACE), **PLACE)

    assert (refusal.value.status, refusal.value.code) == (500, "exception")
    assert [issue.expression for issue in refusal.value.issues] == ["AwsAccount.secret-access-key"]


def test_no_error_or_representation_holds_key_or_ciphertext():
    encryptor = Encryptor({"k1": NEW, "k2": b"2" * 32})
    sealed = SEALER.encrypt(SECRET, **PLACE)
    told = problem(encryptor, sealed)

    assert repr(encryptor) == str(encryptor) == "Encryptor(k1, k2)"
    assert repr(Encryptor()) == "Encryptor()"
    assert sealed.rpartition(":")[2] not in told
    assert "nnn" not in told


@pytest.mark.parametrize("encryptor", [SEALER, Encryptor()], ids=repr)
@pytest.mark.parametrize("text", ["", SECRET, "v1:k1:AAAA", "Sealed:v1:k1:AAAA", " sealed:", "\udcff"])
def test_what_is_not_sealed_is_readable_as_it_is(encryptor, text):
    assert encryptor.decrypt(text, **PLACE) == text


@given(texts)
def test_without_keys_text_is_stored_as_it_is(text):
    assert Encryptor().encrypt(text, **PLACE) == text


def test_the_first_key_seals_and_every_key_opens():
    rotated = Encryptor({"k2": NEW, "k1": OLD})
    old, new = SEALER.encrypt(SECRET, **PLACE), rotated.encrypt(SECRET, **PLACE)

    assert new.startswith("sealed:v1:k2:")
    assert rotated.decrypt(old, **PLACE) == rotated.decrypt(new, **PLACE) == SECRET
    assert not rotated.is_current(old)
    assert not rotated.is_current(SECRET)
    assert rotated.is_current(new)


def test_a_key_whose_id_begins_like_the_current_one_is_not_current():
    assert not Encryptor({"k": NEW, "k1": OLD}).is_current(SEALER.encrypt(SECRET, **PLACE))


def test_without_keys_only_plain_text_is_current():
    assert Encryptor().is_current(SECRET)
    assert not Encryptor().is_current(SEALER.encrypt(SECRET, **PLACE))


def test_a_key_file_is_read(tmp_path):
    path = tmp_path / "keys"
    path.write_text(f"# the new one\r\n\r\n  {line('k2', NEW)}  \n \t# the old one\nk1:{line('k1')[3:]}", "utf-8")
    encryptor = Encryptor.from_file(path)

    assert repr(encryptor) == "Encryptor(k2, k1)"
    assert Encryptor({"k2": NEW}).decrypt(encryptor.encrypt(SECRET, **PLACE), **PLACE) == SECRET
    assert encryptor.decrypt(SEALER.encrypt(SECRET, **PLACE), **PLACE) == SECRET


@pytest.mark.parametrize("key_id", ["k", "2026-01", "A.b_C-9", ".", "k" * 64])
def test_a_key_id_can_be_sealed_with(key_id):
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
def test_a_fault_in_a_key_file_is_told_by_line_and_rule_without_the_key(fault, rule):
    with pytest.raises(ValueError, match="has a fault in line 3: ") as refusal:
        Encryptor.parse(f"{line('k0')}\n\n{fault}\n{line('k9')}")

    told = str(refusal.value)
    assert rule in told
    assert is_shown_alone(refusal.value)
    assert not any(part in told for part in fault.replace(":", " ").split() if len(part) > 15)


@pytest.mark.parametrize("text", ["", "\n \n", "# k1: nothing\n"])
def test_a_key_file_must_hold_a_key(text):
    with pytest.raises(ValueError, match="must hold a key"):
        Encryptor.parse(text)


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("missing", "No such file or directory"),
        (".", "Is a directory"),
        ("latin", "not UTF-8 text"),
        ("\0", "not UTF-8 text"),
        (line("k1"), "No such file or directory"),
    ],
)
def test_a_key_file_that_cannot_be_read_is_told_without_what_may_be_a_key(tmp_path, path, reason):
    (tmp_path / "latin").write_bytes(b"k1: \xff")

    with pytest.raises(ValueError, match=f"^cannot be read: {reason}$") as refusal:
        Encryptor.from_file(tmp_path / path)

    assert is_shown_alone(refusal.value)


def test_without_a_key_nothing_is_loaded_to_seal_with():
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
