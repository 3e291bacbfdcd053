import asyncio
import logging
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.waiting import PerTurn, until

from service.access.access_policy import AccessPolicy
from service.access.policies import evaluator as evaluator_module
from service.access.policies.evaluation import MAX_SEARCHED_BYTES, TooMuchWork
from service.access.policies.evaluator import MAX_WAITING, PolicyEvaluator
from service.access.policies.matcho import compile_pattern
from service.access.policies.policy_set import PolicySet
from service.errors import Overloaded, StoreUnavailable
from service.stores import pacing

COSTLY = "#[^/]{1,255}$"
LONG = "a" * 1000
LOOP = threading.current_thread()


class RecordedSet(PolicySet):
    """Policies that record the threads of their evaluations, and wait for ``go_on`` in any but the loop's."""

    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self.threads = []
        self.go_on = threading.Event()
        self.go_on.set()

    def first_match(self, request, **options):
        self.threads.append(threading.current_thread())
        if threading.current_thread() is not LOOP:
            assert self.go_on.wait(10)
        return super().first_match(request, **options)


async def recorded_set(*patterns):
    return await RecordedSet.of(
        [
            AccessPolicy(id=f"policy-{number}", engine="matcho", pattern=compile_pattern(pattern))
            for number, pattern in enumerate(patterns)
        ]
    )


@pytest.fixture
async def evaluator():
    evaluator = PolicyEvaluator()
    yield evaluator
    evaluator.close()


def request(**params):
    return {"request-method": "get", "params": params}


@pytest.mark.parametrize("key", ["a", "a/"])
async def test_a_short_evaluation_runs_on_the_loop(evaluator, key):
    policies = await recorded_set({"params": {"key": COSTLY}})
    policy = await evaluator.first_match(policies, request(key=key))

    assert policy == policies.first_match(request(key=key))
    assert set(policies.threads) == {LOOP}


@pytest.mark.parametrize("key", [LONG, f"{LONG}/"])
async def test_a_long_evaluation_runs_in_a_thread(evaluator, key):
    policies = await recorded_set({"params": {"key": COSTLY}})
    policy = await evaluator.first_match(policies, request(key=key))

    assert policy == (await PolicySet.of(policies.policies)).first_match(request(key=key))
    assert [thread is LOOP for thread in policies.threads] == [True, False]


async def test_long_evaluations_on_the_loop_at_the_same_time_take_turns(evaluator, monkeypatch):
    monkeypatch.setattr(evaluator_module, "SHORT_SECONDS", 0)
    monkeypatch.setattr(pacing, "MAX_BLOCK_SECONDS", 0)
    policies, evaluated = await recorded_set({"params": {"key": "x"}}), PerTurn()
    monkeypatch.setattr(policies, "first_match", lambda *_, **__: evaluated.count())
    await evaluated.during(asyncio.gather(*(evaluator.first_match(policies, request(key="a")) for _ in range(20))))

    assert evaluated.total == 20
    # Only the first one shows that they are long.
    assert evaluated.most <= 2


async def test_evaluations_of_many_policies_take_turns_although_the_last_one_was_short(evaluator, monkeypatch):
    monkeypatch.setattr(evaluator_module, "MANY_POLICIES", 0)
    monkeypatch.setattr(pacing, "MAX_BLOCK_SECONDS", 0)
    sets, evaluated = [await recorded_set({"params": {"key": "x"}}) for _ in range(20)], PerTurn()
    for policies in sets:
        monkeypatch.setattr(policies, "first_match", lambda *_, **__: evaluated.count())
    await evaluated.during(asyncio.gather(*(evaluator.first_match(each, request(key="a")) for each in sets)))

    assert (evaluated.total, evaluated.most) == (20, 1)


@given(st.text("a/", max_size=3), st.sampled_from([1, 500]))
def test_the_decision_does_not_depend_on_the_thread(text, times):
    policies = asyncio.run(
        recorded_set({"params": {"key": {"$not": COSTLY}}}, {"params": {"key": "#^[^a]{1,200}[a/]{1,200}$"}})
    )
    asked = request(key=text * times)

    async def first_match():
        evaluator = PolicyEvaluator()
        try:
            return await evaluator.first_match(policies, asked)
        finally:
            evaluator.close()

    assert asyncio.run(first_match()) == asyncio.run(PolicySet.of(policies.policies)).first_match(asked)


async def test_the_loop_is_not_blocked_by_the_thread(evaluator):
    policies = await recorded_set({"params": {"key": COSTLY}})
    policies.go_on.clear()
    waiting = asyncio.create_task(evaluator.first_match(policies, request(key=LONG)))
    await asyncio.sleep(0.01)
    others = [await evaluator.first_match(policies, request(key="a")) for _ in range(10)]
    is_waiting = not waiting.done()
    policies.go_on.set()

    assert (others, is_waiting) == (["policy-0"] * 10, True)
    assert await waiting == "policy-0"


async def test_an_explanation_is_made_in_a_thread(evaluator):
    policies = await recorded_set({"params": {"key": "x"}})

    assert await evaluator.explain(policies, request(key="x")) == ("policy-0", {})
    assert await evaluator.explain(policies, request(key="y")) == (None, {"policy-0": "params.key is not x"})
    assert LOOP not in policies.threads


async def test_the_number_of_waiting_evaluations_is_limited(evaluator):
    policies = await recorded_set({"params": {"key": COSTLY}})
    policies.go_on.clear()
    waiting = [asyncio.create_task(evaluator.first_match(policies, request(key=LONG))) for _ in range(MAX_WAITING)]
    await until(lambda: policies.threads.count(LOOP) == MAX_WAITING)
    for evaluate in (evaluator.first_match, evaluator.explain):
        with pytest.raises(Overloaded):
            await asyncio.wait_for(evaluate(policies, request(key=LONG)), 5)
    short = await evaluator.first_match(policies, request(key="a"))
    policies.go_on.set()

    assert short == "policy-0"
    assert await asyncio.gather(*waiting) == ["policy-0"] * MAX_WAITING
    assert await evaluator.first_match(policies, request(key=LONG)) == "policy-0"


async def test_the_thread_has_the_same_limits_as_the_loop(evaluator, caplog):
    length = 8000
    params = {f"a{number}": f"{number:04}".ljust(length, "a") for number in range(MAX_SEARCHED_BYTES // length + 1)}
    costly = [{"params": {name: "#[^/]{99}[/]$"}} for name in params]
    policies = await recorded_set(*costly, {"params": {"a0": "present?"}})

    with caplog.at_level(logging.WARNING):
        assert await evaluator.first_match(policies, request(**params)) is None
    assert "A request is denied, as the policies would search" in caplog.text
    assert LOOP is not policies.threads[-1]
    with pytest.raises(TooMuchWork):
        await evaluator.explain(policies, request(**params))
    params.pop("a1")
    assert await evaluator.first_match(policies, request(**params)) == f"policy-{len(costly)}"


async def test_a_denial_is_an_outage_if_a_policy_may_be_missing(evaluator):
    policy = AccessPolicy(id="a", engine="matcho", pattern=compile_pattern({"params": {"key": "x"}}))
    policies = await PolicySet.of([policy], is_complete=False)
    granted, denied = {"params": {"key": "x"}}, {"params": {"key": "y"}}

    assert await evaluator.first_match(policies, granted) == "a"
    assert await evaluator.explain(policies, granted) == ("a", {})
    for evaluate in (evaluator.first_match, evaluator.explain):
        with pytest.raises(StoreUnavailable):
            await evaluate(policies, denied)
