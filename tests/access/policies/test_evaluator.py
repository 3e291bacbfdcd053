import asyncio
import logging
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.access.policies.evaluation import MAX_SEARCHED_BYTES, TooMuchWork
from service.access.policies.evaluator import MAX_WAITING, PolicyEvaluator
from service.access.policies.matcho import compile_pattern
from service.access.policies.policy_set import PolicySet
from service.access.types import AccessPolicy
from service.errors import Overloaded

COSTLY = "#[^/]{1,255}$"
LONG = "a" * 1000
LOOP = threading.current_thread()


class Recorded(PolicySet):
    """Policies that know by which threads they were asked, and wait for ``go_on`` in any but the loop's."""

    def __init__(self, *patterns):
        super().__init__(
            [
                AccessPolicy(id=f"policy-{number}", engine="matcho", pattern=compile_pattern(pattern))
                for number, pattern in enumerate(patterns)
            ]
        )
        self.threads = []
        self.go_on = threading.Event()
        self.go_on.set()

    def first_match(self, request, **options):
        self.threads.append(threading.current_thread())
        if threading.current_thread() is not LOOP:
            assert self.go_on.wait(10)
        return super().first_match(request, **options)


@pytest.fixture
async def judge():
    judge = PolicyEvaluator()
    yield judge
    judge.close()


def request(**params):
    return {"request-method": "get", "params": params}


@pytest.mark.parametrize("key", ["a", "a/"])
async def test_what_is_short_is_judged_on_the_loop(judge, key):
    rules = Recorded({"params": {"key": COSTLY}})
    policy = await judge.first_match(rules, request(key=key))

    assert policy == rules.first_match(request(key=key))
    assert set(rules.threads) == {LOOP}


@pytest.mark.parametrize("key", [LONG, f"{LONG}/"])
async def test_what_may_take_long_is_judged_in_a_thread(judge, key):
    rules = Recorded({"params": {"key": COSTLY}})
    policy = await judge.first_match(rules, request(key=key))

    assert policy == PolicySet(rules.policies).first_match(request(key=key))
    assert [thread is LOOP for thread in rules.threads] == [True, False]


@given(st.text("a/", max_size=3), st.sampled_from([1, 500]))
def test_the_decision_is_the_same_wherever_it_is_made(text, times):
    rules = Recorded({"params": {"key": {"$not": COSTLY}}}, {"params": {"key": "#^[^a]{1,200}[a/]{1,200}$"}})
    asked = request(key=text * times)

    async def first_match():
        judge = PolicyEvaluator()
        try:
            return await judge.first_match(rules, asked)
        finally:
            judge.close()

    assert asyncio.run(first_match()) == PolicySet(rules.policies).first_match(asked)


async def test_the_loop_goes_on_while_a_thread_judges(judge):
    rules = Recorded({"params": {"key": COSTLY}})
    rules.go_on.clear()
    waiting = asyncio.create_task(judge.first_match(rules, request(key=LONG)))
    await asyncio.sleep(0.01)
    others = [await judge.first_match(rules, request(key="a")) for _ in range(10)]
    is_waiting = not waiting.done()
    rules.go_on.set()

    assert (others, is_waiting) == (["policy-0"] * 10, True)
    assert await waiting == "policy-0"


async def test_an_explanation_is_made_in_a_thread(judge):
    rules = Recorded({"params": {"key": "x"}})

    assert await judge.explained(rules, request(key="x")) == ("policy-0", {})
    assert await judge.explained(rules, request(key="y")) == (None, {"policy-0": "params.key is not x"})
    assert LOOP not in rules.threads


async def test_so_many_wait_at_most_and_afterwards_there_is_room_again(judge):
    rules = Recorded({"params": {"key": COSTLY}})
    rules.go_on.clear()
    waiting = [asyncio.create_task(judge.first_match(rules, request(key=LONG))) for _ in range(MAX_WAITING)]
    await asyncio.sleep(0.01)
    for judged in (judge.first_match, judge.explained):
        with pytest.raises(Overloaded):
            await asyncio.wait_for(judged(rules, request(key=LONG)), 5)
    short = await judge.first_match(rules, request(key="a"))
    rules.go_on.set()

    assert short == "policy-0"
    assert await asyncio.gather(*waiting) == ["policy-0"] * MAX_WAITING
    assert await judge.first_match(rules, request(key=LONG)) == "policy-0"


async def test_a_thread_searches_no_more_text_than_the_loop(judge, caplog):
    length = 8000
    params = {f"a{number}": f"{number:04}".ljust(length, "a") for number in range(MAX_SEARCHED_BYTES // length + 1)}
    costly = [{"params": {name: "#[^/]{99}[/]$"}} for name in params]
    rules = Recorded(*costly, {"params": {"a0": "present?"}})

    with caplog.at_level(logging.WARNING):
        assert await judge.first_match(rules, request(**params)) is None
    assert "A request is denied, as the policies would search" in caplog.text
    assert LOOP is not rules.threads[-1]
    with pytest.raises(TooMuchWork):
        await judge.explained(rules, request(**params))
    params.pop("a1")
    assert await judge.first_match(rules, request(**params)) == f"policy-{len(costly)}"
