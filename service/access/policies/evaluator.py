"""The evaluation of policies: on the event loop if it is certainly short, otherwise in a thread."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter
from typing import Any, TypeVar

from service.access.policies.evaluation import TooMuchTime, TooMuchWork
from service.access.policies.policy_set import PolicySet
from service.errors import Overloaded, StoreUnavailable
from service.stores.pacing import take_turn

LOGGER = logging.getLogger(__name__)

LOOP_SECONDS = 0.002
# Evaluations that take longer share the turns of the event loop with other long work.
SHORT_SECONDS = 0.0002
# The next evaluation of so many policies may be a long one, although the last one was short.
MANY_POLICIES = 100
# More threads would take the processor from the event loop.
THREADS = 1
MAX_WAITING = 32

_T = TypeVar("_T")


class PolicyEvaluator:
    """Evaluates policies without blocking the event loop. The decision does not depend on where it is made."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(THREADS, "policies")
        self._waiting = 0

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def first_match(self, policies: PolicySet, request: Mapping[str, Any]) -> str | None:
        """Return the id of the first policy that allows ``request``. None if none does, or if it has too much text.

        Raises:
            Overloaded: if the evaluation is long, and too many others are waiting.
            StoreUnavailable: if no policy allows it, but one that is missing in an outage may.
        """
        if policies.seconds > SHORT_SECONDS or len(policies.policies) > MANY_POLICIES:
            await take_turn()
        started = perf_counter()
        try:
            try:
                found = policies.first_match(request, seconds=LOOP_SECONDS)
            except TooMuchTime:
                policies.seconds = LOOP_SECONDS
                found = await self._run_in_thread(lambda: policies.first_match(request))
            else:
                policies.seconds = perf_counter() - started
        except TooMuchWork as error:
            LOGGER.warning("A request is denied, as %s", error)
            return None
        _require_complete(policies, found)
        return found

    async def explain(self, policies: PolicySet, request: Mapping[str, Any]) -> tuple[str | None, Mapping[str, str]]:
        """Return the id of the first policy that allows ``request``, or None and the mismatch of each policy.

        Raises:
            TooMuchWork: the reason why the request is denied.
            Overloaded: see ``first_match``.
            StoreUnavailable: likewise.
        """

        def explain() -> tuple[str | None, Mapping[str, str]]:
            policy = policies.first_match(request)
            return policy, {} if policy is not None else policies.mismatches(request)

        policy, mismatches = await self._run_in_thread(explain)
        _require_complete(policies, policy)
        return policy, mismatches

    async def _run_in_thread(self, evaluate: Callable[[], _T]) -> _T:
        if self._waiting >= MAX_WAITING:
            raise Overloaded
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, evaluate)
        finally:
            self._waiting -= 1


def _require_complete(policies: PolicySet, found: str | None) -> None:
    if found is None and not policies.is_complete:
        raise StoreUnavailable("The account store cannot be reached, and a changed policy may allow the request")
