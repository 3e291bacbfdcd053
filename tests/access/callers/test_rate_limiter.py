import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.metrics import value_of

from service.access.callers.rate_limiter import (
    KNOWN_SECONDS,
    MAX_COUNTERS,
    MAX_KNOWN_ADDRESSES,
    MAX_KNOWN_CLIENTS,
    MAX_OF_ADDRESS,
    MAX_OF_CLIENT,
    MAX_OF_PAIR,
    WINDOW_SECONDS,
    LoginRateLimiter,
)
from service.addresses import network
from service.errors import Throttled
from service.telemetry import metrics


@pytest.fixture
def limiter(clock):
    return LoginRateLimiter(clock)


def retry_after(limiter, client="a", address="here"):
    """Return the seconds to wait, or None if the attempt is allowed."""
    try:
        limiter.acquire(client, address)
    except Throttled as error:
        return int(error.headers["Retry-After"])
    return None


def fail(limiter, times, client="a", address="here"):
    for n in range(times):
        limiter.acquire(client.format(n), address.format(n))


def test_failures_of_a_client_from_one_address_are_limited(limiter):
    fail(limiter, MAX_OF_PAIR)

    assert retry_after(limiter) == WINDOW_SECONDS


def test_each_refused_login_is_counted(limiter):
    fail(limiter, MAX_OF_PAIR)
    before = value_of(metrics.LOGINS_THROTTLED)
    assert retry_after(limiter)
    assert retry_after(limiter)
    assert retry_after(limiter, address="there") is None

    assert value_of(metrics.LOGINS_THROTTLED) == before + 2


def test_other_addresses_and_clients_are_not_limited(limiter):
    fail(limiter, MAX_OF_PAIR)

    assert retry_after(limiter, address="there") is None
    assert retry_after(limiter, client="b") is None


def test_failures_from_one_address_are_limited(limiter):
    fail(limiter, MAX_OF_ADDRESS, client="client-{}")

    assert retry_after(limiter, client="another")
    assert retry_after(limiter, client="another", address="there") is None


def test_failures_of_one_client_are_limited(limiter):
    fail(limiter, MAX_OF_CLIENT, address="address-{}")

    assert retry_after(limiter, address="another")
    assert retry_after(limiter, client="b", address="another") is None


def test_a_refund_takes_back_one_attempt(limiter):
    fail(limiter, MAX_OF_PAIR - 1)
    for _ in range(100):
        limiter.refund(limiter.acquire("a", "here"))
    limiter.acquire("a", "here")

    assert retry_after(limiter)


def test_concurrent_attempts_are_limited(limiter):
    attempts = [retry_after(limiter) for _ in range(MAX_OF_PAIR + 5)]

    assert [seconds is None for seconds in attempts] == [True] * MAX_OF_PAIR + [False] * 5


def test_a_window_begins_with_its_first_failure_and_ends(limiter, clock):
    limiter.acquire("a", "here")
    clock.now += WINDOW_SECONDS - 10.5
    fail(limiter, MAX_OF_PAIR - 1)
    within = retry_after(limiter)
    clock.now += 10.5

    assert (within, retry_after(limiter)) == (11, None)


def test_refused_attempts_do_not_extend_the_window(limiter, clock):
    fail(limiter, MAX_OF_PAIR)
    for _ in range(50):
        clock.now += 1
        retry_after(limiter)
    clock.now += WINDOW_SECONDS - 50

    assert retry_after(limiter) is None


def test_a_late_refund_changes_no_later_window(limiter, clock):
    attempt = limiter.acquire("a", "here")
    clock.now += WINDOW_SECONDS
    limiter.refund(attempt)
    fail(limiter, MAX_OF_PAIR)

    assert retry_after(limiter)


def test_late_refunds_allow_no_further_attempt(limiter, clock):
    attempts = [limiter.acquire("a", "here") for _ in range(3)]
    clock.now += WINDOW_SECONDS
    fail(limiter, MAX_OF_PAIR)
    for attempt in attempts:
        limiter.refund(attempt)

    assert retry_after(limiter)


def counted(limiter):
    """Return the failures of each window by key."""
    return {key: window.failures for windows in (limiter._counting, limiter._full) for key, window in windows.items()}


def test_counters_are_bounded_and_the_oldest_is_evicted(limiter):
    for n in range(MAX_COUNTERS):
        limiter.acquire(f"{n}-" + "a" * 1000, f"address-{n}")
        if n % 1000 == 0:
            limiter.acquire("victim", f"there-{n}")

    assert len(limiter._counting) == MAX_COUNTERS
    assert counted(limiter)["client", "victim", ""] == MAX_COUNTERS // 1000
    assert max(len(client) for _, client, _ in limiter._counting) == 65


def test_a_counter_at_its_limit_is_never_evicted(limiter):
    fail(limiter, MAX_OF_PAIR)
    fail(limiter, MAX_COUNTERS, client="client-{}", address="address-{}")

    assert retry_after(limiter)


def test_a_refund_lifts_the_limit(limiter):
    attempts = [limiter.acquire("a", "here") for _ in range(MAX_OF_PAIR)]
    before = retry_after(limiter)
    limiter.refund(attempts[-1])

    assert (bool(before), retry_after(limiter)) == (True, None)


@pytest.mark.parametrize("failures", [1, MAX_OF_PAIR])
@pytest.mark.parametrize("reads", range(1, 9))
def test_a_window_may_end_during_a_refund(failures, reads):
    times = [1000.0]
    limiter = LoginRateLimiter(lambda: times.pop(0) if len(times) > 1 else times[0])
    attempts = [limiter.acquire("a", "here") for _ in range(failures)]
    times[:] = [1059.9] * reads + [1060.0]
    limiter.refund(attempts[0])

    assert retry_after(limiter) is None


def test_a_counter_at_its_limit_expires_with_its_window(limiter, clock):
    fail(limiter, MAX_OF_PAIR)
    clock.now += WINDOW_SECONDS
    limiter.acquire("b", "there")

    assert not limiter._full


def test_a_refused_attempt_changes_no_counter(limiter):
    fail(limiter, MAX_OF_PAIR)
    before = counted(limiter)
    refused = [retry_after(limiter) for _ in range(2 * MAX_OF_ADDRESS)]

    assert all(refused)
    assert counted(limiter) == before


def test_a_refunded_attempt_leaves_the_counters_as_they_were(limiter):
    fail(limiter, 3)
    before = counted(limiter)
    for n in range(100):
        limiter.refund(limiter.acquire(f"client-{n}", f"address-{n}"))

    assert counted(limiter) == before


def test_a_known_client_is_not_locked_out_by_others_at_its_address(limiter, clock):
    limiter.remember("a", "here")
    fail(limiter, MAX_OF_ADDRESS, client="client-{}")
    clock.now += WINDOW_SECONDS - 1

    assert retry_after(limiter, client="b")
    assert retry_after(limiter, client="a") is None


def test_a_known_client_is_not_locked_out_by_guesses_from_elsewhere(limiter):
    limiter.remember("a", "here")
    fail(limiter, MAX_OF_CLIENT, address="address-{}")

    assert retry_after(limiter, address="there")
    assert retry_after(limiter) is None


def test_guesses_at_a_known_client_from_its_address_are_limited(limiter):
    limiter.remember("a", "here")
    fail(limiter, MAX_OF_PAIR)

    assert retry_after(limiter)


def test_a_login_is_known_for_a_day(limiter, clock):
    limiter.remember("a", "here")
    clock.now += KNOWN_SECONDS
    fail(limiter, MAX_OF_ADDRESS, client="client-{}")

    assert retry_after(limiter)


def test_known_clients_are_bounded_and_the_oldest_is_evicted(limiter):
    for n in range(MAX_KNOWN_CLIENTS + 10):
        limiter.remember(f"client-{n}", "here")
        limiter.remember("client-0", "here")

    assert len(limiter._known) == MAX_KNOWN_CLIENTS
    assert "client-0" in limiter._known


def test_a_client_with_many_addresses_evicts_its_own_only(limiter):
    limiter.remember("other", "here")
    for n in range(MAX_KNOWN_CLIENTS):
        limiter.remember("a", f"10.0.{n // 256}.{n % 256}")
        limiter.remember("a", "here")

    assert len(limiter._known["a"]) == MAX_KNOWN_ADDRESSES
    assert "here" in limiter._known["a"]
    assert "here" in limiter._known["other"]


def test_addresses_of_one_ipv6_network_share_a_counter(limiter):
    fail(limiter, MAX_OF_ADDRESS, client="client-{}", address="2001:db8:1:2::{}")

    assert retry_after(limiter, client="b", address="2001:db8:1:2:ffff:ffff:ffff:ffff")
    assert retry_after(limiter, client="b", address="2001:db8:1:3::1") is None


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:0DB8:1:2::", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("::1", "::/64"),
        ("", ""),
        ("unix:", "unix:"),
        ("1.2.3", "1.2.3"),
    ],
)
def test_the_network_of_an_address(address, expected):
    assert network(address) == expected


@given(st.ip_addresses(v=6), st.integers(0, 2**64 - 1))
def test_addresses_of_one_ipv6_64_have_one_network(address, host):
    if address.ipv4_mapped:
        return
    neighbour = ipaddress.IPv6Address(int(address) >> 64 << 64 | host)

    assert neighbour.ipv4_mapped or network(str(address)) == network(str(neighbour))


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("xyz"), st.booleans()), max_size=200))
def test_counters_equal_the_attempts_without_a_refund(attempts):
    limiter = LoginRateLimiter(lambda: 0.0)
    failures = {}
    for client, address, right in attempts:
        try:
            attempt = limiter.acquire(client, address)
        except Throttled:
            assert failures[client, address] == MAX_OF_PAIR or sum(failures.values()) >= MAX_OF_ADDRESS
            continue
        if right:
            limiter.refund(attempt)
        else:
            failures[client, address] = failures.get((client, address), 0) + 1

    assert {key[1:]: n for key, n in counted(limiter).items() if key[0] == "pair"} == failures
