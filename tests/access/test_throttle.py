import pytest

from service.access.throttle import (
    MAX_COUNTED,
    MOST_OF_ADDRESS,
    MOST_OF_CLIENT,
    MOST_OF_PAIR,
    WINDOW_SECONDS,
    Throttle,
)
from service.errors import Throttled


@pytest.fixture
def throttle(clock):
    return Throttle(clock)


def held_up(throttle, client="a", address="here"):
    """The seconds it says to wait; None if it does not."""
    try:
        throttle.begin(client, address)
    except Throttled as error:
        return int(error.headers["Retry-After"])
    return None


def fail(throttle, times, client="a", address="here"):
    for n in range(times):
        throttle.begin(client.format(n), address.format(n))


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
        throttle.begin("a", "here")
        throttle.succeeded("a", "here")
    throttle.begin("a", "here")

    assert held_up(throttle)


def test_tries_at_the_same_time_are_no_way_around(throttle):
    tries = [held_up(throttle) for _ in range(MOST_OF_PAIR + 5)]

    assert [seconds is None for seconds in tries] == [True] * MOST_OF_PAIR + [False] * 5


def test_a_window_begins_with_its_first_failure_and_ends(throttle, clock):
    throttle.begin("a", "here")
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
    throttle.begin("a", "here")
    clock.now += WINDOW_SECONDS
    throttle.succeeded("a", "here")
    fail(throttle, MOST_OF_PAIR)

    assert held_up(throttle)


def test_successes_after_their_window_buy_no_further_try(throttle, clock):
    fail(throttle, 2)
    clock.now += WINDOW_SECONDS
    throttle.begin("a", "here")
    for _ in range(3):
        throttle.succeeded("a", "here")
    fail(throttle, MOST_OF_PAIR)

    assert held_up(throttle)


def test_what_is_counted_is_bounded_and_the_latest_stays(throttle):
    for n in range(MAX_COUNTED):
        throttle.begin(f"{n}-" + "a" * 1000, f"address-{n}")
        if n % 1000 == 0:
            throttle.begin("victim", "here")

    assert len(throttle._failures) == MAX_COUNTED
    assert throttle._failures["pair", "victim", "here"][1] == MAX_COUNTED // 1000
    assert max(len(client) for _, client, _ in throttle._failures) == 65
