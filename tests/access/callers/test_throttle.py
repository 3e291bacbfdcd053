import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.access.callers import throttle as throttle_module
from service.access.callers.throttle import (
    KNOWN_SECONDS,
    MAX_COUNTED,
    MAX_KNOWN_ADDRESSES,
    MAX_KNOWN_CLIENTS,
    MOST_OF_ADDRESS,
    MOST_OF_CLIENT,
    MOST_OF_PAIR,
    WINDOW_SECONDS,
    Throttle,
)
from service.addresses import network
from service.errors import Throttled


@pytest.fixture
def throttle(clock):
    return Throttle(clock)


def held_up(throttle, client="a", address="here"):
    """The seconds it says to wait; None if it does not."""
    try:
        throttle.acquire(client, address)
    except Throttled as error:
        return int(error.headers["Retry-After"])
    return None


def fail(throttle, times, client="a", address="here"):
    for n in range(times):
        throttle.acquire(client.format(n), address.format(n))


def test_a_client_may_fail_so_often_from_one_address(throttle):
    fail(throttle, MOST_OF_PAIR)

    assert held_up(throttle) == WINDOW_SECONDS


def test_who_comes_from_elsewhere_is_not_held_up(throttle):
    fail(throttle, MOST_OF_PAIR)

    assert held_up(throttle, address="there") is None
    assert held_up(throttle, client="b") is None


def test_an_address_may_fail_so_often_whichever_client_it_tries(throttle):
    fail(throttle, MOST_OF_ADDRESS, client="client-{}")

    assert held_up(throttle, client="another")
    assert held_up(throttle, client="another", address="there") is None


def test_a_client_may_fail_so_often_wherever_it_is_tried_from(throttle):
    fail(throttle, MOST_OF_CLIENT, address="address-{}")

    assert held_up(throttle, address="another")
    assert held_up(throttle, client="b", address="another") is None


def test_success_takes_its_try_back_and_no_other(throttle):
    fail(throttle, MOST_OF_PAIR - 1)
    for _ in range(100):
        throttle.refund(throttle.acquire("a", "here"))
    throttle.acquire("a", "here")

    assert held_up(throttle)


def test_tries_at_the_same_time_are_no_way_around(throttle):
    tries = [held_up(throttle) for _ in range(MOST_OF_PAIR + 5)]

    assert [seconds is None for seconds in tries] == [True] * MOST_OF_PAIR + [False] * 5


def test_a_window_begins_with_its_first_failure_and_ends(throttle, clock):
    throttle.acquire("a", "here")
    clock.now += WINDOW_SECONDS - 10.5
    fail(throttle, MOST_OF_PAIR - 1)
    within = held_up(throttle)
    clock.now += 10.5

    assert (within, held_up(throttle)) == (11, None)


def test_who_is_held_up_does_not_make_it_longer(throttle, clock):
    fail(throttle, MOST_OF_PAIR)
    for _ in range(50):
        clock.now += 1
        held_up(throttle)
    clock.now += WINDOW_SECONDS - 50

    assert held_up(throttle) is None


def test_a_success_after_its_window_takes_nothing_else_back(throttle, clock):
    attempt = throttle.acquire("a", "here")
    clock.now += WINDOW_SECONDS
    throttle.refund(attempt)
    fail(throttle, MOST_OF_PAIR)

    assert held_up(throttle)


def test_successes_after_their_window_buy_no_further_try(throttle, clock):
    attempts = [throttle.acquire("a", "here") for _ in range(3)]
    clock.now += WINDOW_SECONDS
    fail(throttle, MOST_OF_PAIR)
    for attempt in attempts:
        throttle.refund(attempt)

    assert held_up(throttle)


def counted(throttle):
    """The failures in each window, by key."""
    return {key: window.failures for windows in (throttle._windows, throttle._full) for key, window in windows.items()}


def test_what_is_counted_is_bounded_and_the_latest_stays(throttle):
    for n in range(MAX_COUNTED):
        throttle.acquire(f"{n}-" + "a" * 1000, f"address-{n}")
        if n % 1000 == 0:
            throttle.acquire("victim", f"there-{n}")

    assert len(throttle._windows) == MAX_COUNTED
    assert counted(throttle)["client", "victim", ""] == MAX_COUNTED // 1000
    assert max(len(client) for _, client, _ in throttle._windows) == 65


def test_others_guesses_free_nobody_who_is_at_a_limit(throttle):
    fail(throttle, MOST_OF_PAIR)
    fail(throttle, MAX_COUNTED, client="client-{}", address="address-{}")

    assert held_up(throttle)


def test_a_login_below_the_limit_again_is_let_in(throttle):
    attempts = [throttle.acquire("a", "here") for _ in range(MOST_OF_PAIR)]
    before = held_up(throttle)
    throttle.refund(attempts[-1])

    assert (bool(before), held_up(throttle)) == (True, None)


def test_what_is_at_a_limit_is_forgotten_after_its_window(throttle, clock):
    fail(throttle, MOST_OF_PAIR)
    clock.now += WINDOW_SECONDS
    throttle.acquire("b", "there")

    assert not throttle._full


def test_a_refused_attempt_leaves_no_trace(throttle):
    fail(throttle, MOST_OF_PAIR)
    before = counted(throttle)
    refused = [held_up(throttle) for _ in range(2 * MOST_OF_ADDRESS)]

    assert all(refused)
    assert counted(throttle) == before


def test_a_refunded_attempt_leaves_no_trace(throttle):
    fail(throttle, 3)
    before = counted(throttle)
    for n in range(100):
        throttle.refund(throttle.acquire(f"client-{n}", f"address-{n}"))

    assert counted(throttle) == before


def test_who_has_logged_in_from_an_address_is_not_locked_out_by_its_other_guesses(throttle, clock):
    throttle.remember("a", "here")
    fail(throttle, MOST_OF_ADDRESS, client="client-{}")
    clock.now += WINDOW_SECONDS - 1

    assert held_up(throttle, client="b")
    assert held_up(throttle, client="a") is None


def test_who_has_logged_in_from_an_address_is_not_locked_out_by_guesses_from_elsewhere(throttle):
    throttle.remember("a", "here")
    fail(throttle, MOST_OF_CLIENT, address="address-{}")

    assert held_up(throttle, address="there")
    assert held_up(throttle) is None


def test_guesses_at_a_known_client_from_its_own_address_are_limited(throttle):
    throttle.remember("a", "here")
    fail(throttle, MOST_OF_PAIR)

    assert held_up(throttle)


def test_a_login_is_known_for_a_day(throttle, clock):
    throttle.remember("a", "here")
    clock.now += KNOWN_SECONDS
    fail(throttle, MOST_OF_ADDRESS, client="client-{}")

    assert held_up(throttle)


def test_logins_that_are_known_are_bounded_and_the_latest_stay(throttle):
    for n in range(MAX_KNOWN_CLIENTS + 10):
        throttle.remember(f"client-{n}", "here")
        throttle.remember("client-0", "here")

    assert len(throttle._known) == MAX_KNOWN_CLIENTS
    assert "client-0" in throttle._known


def test_a_client_with_many_addresses_displaces_its_own_alone(throttle):
    throttle.remember("other", "here")
    for n in range(MAX_KNOWN_CLIENTS):
        throttle.remember("a", f"10.0.{n // 256}.{n % 256}")
        throttle.remember("a", "here")

    assert len(throttle._known["a"]) == MAX_KNOWN_ADDRESSES
    assert "here" in throttle._known["a"]
    assert "here" in throttle._known["other"]


def test_addresses_of_one_ipv6_network_are_one(throttle):
    fail(throttle, MOST_OF_ADDRESS, client="client-{}", address="2001:db8:1:2::{}")

    assert held_up(throttle, client="b", address="2001:db8:1:2:ffff:ffff:ffff:ffff")
    assert held_up(throttle, client="b", address="2001:db8:1:3::1") is None


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
def test_who_has_a_64_has_one_network(address, host):
    if address.ipv4_mapped:
        return
    neighbour = ipaddress.IPv6Address(int(address) >> 64 << 64 | host)

    assert neighbour.ipv4_mapped or network(str(address)) == network(str(neighbour))


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("xyz"), st.booleans()), max_size=200))
def test_what_is_counted_is_what_was_not_refunded(attempts):
    throttle = throttle_module.Throttle(lambda: 0.0)
    failures = {}
    for client, address, right in attempts:
        try:
            attempt = throttle.acquire(client, address)
        except Throttled:
            assert failures[client, address] == MOST_OF_PAIR or sum(failures.values()) >= MOST_OF_ADDRESS
            continue
        if right:
            throttle.refund(attempt)
        else:
            failures[client, address] = failures.get((client, address), 0) + 1

    assert {key[1:]: n for key, n in counted(throttle).items() if key[0] == "pair"} == failures
