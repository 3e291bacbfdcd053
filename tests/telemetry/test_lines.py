import json
from base64 import b64decode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.telemetry.lines import KEY_BYTES, PIPE_BYTES, truncate

EVENT = {"event": "denied", "caller": "Client/x", "bucket": "b", "key": "k", "expiration": 60}


@settings(max_examples=200, deadline=None)
@given(text=st.text(st.characters(codec="utf-8"), max_size=300), field=st.sampled_from(["caller", "key", "bucket"]))
def test_any_text_is_restored_from_one_line(text, field):
    line = truncate({**EVENT, field: text})

    assert line[:-1].isascii()
    assert line[:-1].isprintable()
    assert line.endswith("}\n")
    assert json.loads(line) == {**EVENT, field: text}


@settings(max_examples=200, deadline=None)
@given(text=st.text(st.characters(categories=["Cs"]) | st.sampled_from("a\\é😀"), min_size=1, max_size=300))
def test_surrogates_are_escaped(text):
    line = truncate({**EVENT, "key": text})

    assert json.loads(line)["key"] == text.encode(errors="backslashreplace").decode()


@settings(max_examples=100, deadline=None)
@given(key=st.text(st.sampled_from("\x01\x7fé€😀a"), min_size=600, max_size=1024), others=st.integers(0, 2000))
def test_a_key_of_valid_length_is_never_cut(key, others):
    key = key.encode()[:KEY_BYTES].decode(errors="ignore")
    line = truncate({**EVENT, "key": key, "caller": "\x01" * others, "bucket": "b" * others})

    entry = json.loads(line)
    assert len(line) <= PIPE_BYTES
    assert (b64decode(entry["key_base64"]).decode() if "key_base64" in entry else entry["key"]) == key
    assert "key" not in entry.get("cut", ())


@pytest.mark.parametrize("text", ["k" * 5000, "\x01" * 1500, "😀\ud800" * 1000, "k" * 1_000_000])
def test_a_text_that_is_too_long_is_cut_and_listed(text):
    line = truncate({**EVENT, "caller": text, "bucket": text, "key": text})

    entry = json.loads(line)
    assert len(line) <= PIPE_BYTES
    assert sorted(entry["cut"]) == ["bucket", "caller", "key"]
    assert len(b64decode(entry["key_base64"])) == KEY_BYTES
    assert text.encode(errors="backslashreplace").decode().startswith(entry["caller"])
    assert len(entry["caller"]) > 30
    assert entry["expiration"] == 60


def test_a_line_of_exactly_the_limit_is_unchanged():
    room = PIPE_BYTES - len(truncate({**EVENT, "caller": ""}))
    whole, longer = ({**EVENT, "caller": "x" * length} for length in (room, room + 1))

    assert len(truncate(whole)) == PIPE_BYTES
    assert json.loads(truncate(whole)) == whole
    assert json.loads(truncate(longer))["key_base64"] == "aw=="


def test_a_key_is_not_cut_even_if_it_is_the_longest_text():
    line = truncate(
        {**EVENT, "key": "\x01" * KEY_BYTES, "caller": "c" * 1200, "bucket": "b" * 1200, "host": "h" * 1200}
    )

    entry = json.loads(line)
    assert len(line) <= PIPE_BYTES
    assert b64decode(entry["key_base64"]) == b"\x01" * KEY_BYTES
    assert set(entry["cut"]) < {"caller", "bucket", "host"}


@pytest.mark.parametrize(
    "names", [["n" * 5000], [f"name-{n}" for n in range(3000)], ["\x01" * 1500, "\ud800" * 900] * 9]
)
@pytest.mark.timeout(10)
def test_a_list_that_is_too_long_is_cut_and_listed(names):
    line = truncate({**EVENT, "fields": names})

    entry = json.loads(line)
    assert len(line) <= PIPE_BYTES
    assert "fields" in entry["cut"]
    assert entry["expiration"] == 60
