"""Repeated denials are counted in windows, in bounded memory."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.telemetry import denials
from service.telemetry.denials import MAX_KEYS, MAX_WINDOWS, WINDOW_SECONDS, RepeatedDenials
from service.telemetry.lines import PIPE_BYTES, truncate

FIELDS = {"caller": "Client/team", "bucket": "b", "key": "k", "outcome": "forbidden", "request_id": "r"}


@pytest.fixture
def repeats():
    return RepeatedDenials()


def count(repeats, identity="x", *, now=0.0, **fields):
    return repeats.is_repeat(identity, {**FIELDS, **fields}, time=f"T{now}", now=now)


def test_the_first_denial_is_no_repeat_and_later_ones_are(repeats):
    assert [count(repeats, identity) for identity in "xxyxy"] == [False, True, False, True, True]


def test_a_summary_has_the_count_and_the_common_fields(repeats):
    count(repeats, key="first")
    for number in range(10):
        count(repeats, key=f"k{number % 7}", request_id=str(number), now=number / 10 + 1)

    assert list(repeats.summaries(WINDOW_SECONDS)) == [
        {
            "caller": "Client/team",
            "bucket": "b",
            "outcome": "forbidden",
            "keys": ["k0", "k1", "k2", "k3", "k4"],
            "repeats": 10,
            "since": "T1.0",
        }
    ]


def test_a_summary_without_keys_lists_resources(repeats):
    for number in range(3):
        repeats.is_repeat("x", {"resource": f"AwsAccount/{number}"}, time="T", now=0)

    (summary,) = repeats.summaries(WINDOW_SECONDS)
    assert summary["resources"] == ["AwsAccount/1", "AwsAccount/2"]
    assert "keys" not in summary


def test_a_window_with_repeats_is_followed_by_another_and_one_without_ends(repeats):
    count(repeats)
    count(repeats, now=1)
    summaries = list(repeats.summaries(WINDOW_SECONDS))
    still_repeats = count(repeats, now=WINDOW_SECONDS + 1)
    summaries += repeats.summaries(2 * WINDOW_SECONDS)
    quiet = list(repeats.summaries(3 * WINDOW_SECONDS))

    assert [summary["repeats"] for summary in summaries] == [1, 1]
    assert still_repeats
    assert quiet == []
    assert repeats.next_end() is None
    assert not count(repeats, now=3 * WINDOW_SECONDS)


def test_a_window_has_no_summary_before_its_end(repeats):
    count(repeats, now=5)
    count(repeats, now=5)

    assert repeats.next_end() == 5 + WINDOW_SECONDS
    assert list(repeats.summaries(5 + WINDOW_SECONDS - 0.1)) == []


def test_many_identities_take_bounded_memory_and_lose_no_counts(repeats, monkeypatch):
    monkeypatch.setattr(denials, "MAX_WINDOWS", 100)
    total = 0
    for number in range(1000):
        count(repeats, number)
        count(repeats, number)
        total += sum(summary["repeats"] for summary in repeats.summaries(0))
        assert len(repeats._windows) <= 100
    total += sum(summary["repeats"] for summary in repeats.summaries(WINDOW_SECONDS))

    assert total == 1000
    assert MAX_WINDOWS <= 1000


@given(st.lists(st.text(max_size=1024), min_size=1, max_size=20))
def test_a_summary_of_any_keys_fits_into_one_atomic_write(keys):
    repeats = RepeatedDenials()
    for key in ["", *keys]:
        count(repeats, key=key)
    (summary,) = repeats.summaries(WINDOW_SECONDS)

    line = truncate(summary)
    assert len(line) <= PIPE_BYTES
    assert line[:-1].isascii()
    assert line[:-1].isprintable()
    assert len(json.loads(line)["keys"]) <= MAX_KEYS
    assert json.loads(line)["repeats"] == len(keys)
