"""Requests are judged by policies: on the event loop if that is short for certain, otherwise in a thread."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from service.access.policies.evaluation import TooMuchTime, TooMuchWork
from service.access.policies.policy_set import PolicySet
from service.errors import Overloaded

LOGGER = logging.getLogger(__name__)

# A request may be judged twice before it lets others have their turn, and the loop is to be held for 20 ms at most.
LOOP_SECONDS = 0.005
# More would take the processor from the loop.
THREADS = 1
MAX_WAITING = 32

_T = TypeVar("_T")


class PolicyEvaluator:
    """Judges requests without holding the event loop for long. Where a request is judged makes no difference to it."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(THREADS, "policies")
        self._waiting = 0

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def first_match(self, rules: PolicySet, request: Mapping[str, Any]) -> str | None:
        """The id of the first policy that lets ``request`` pass; None if none does, or if it would take too much text.

        Raises:
            Overloaded: if it takes long, and too many others that do are waiting.
        """
        try:
            return await self._first_match(rules, request)
        except TooMuchWork as error:
            LOGGER.warning("A request is denied, as %s", error)
            return None

    async def explained(self, rules: PolicySet, request: Mapping[str, Any]) -> tuple[str | None, Mapping[str, str]]:
        """The same id, and why each policy does not let the request pass where none does.

        Raises:
            TooMuchWork: the request is denied for this reason.
            Overloaded: as for ``first_match``.
        """

        def explain() -> tuple[str | None, Mapping[str, str]]:
            policy = rules.first_match(request)
            return policy, {} if policy is not None else rules.mismatches(request)

        return await self._elsewhere(explain)

    async def _first_match(self, rules: PolicySet, request: Mapping[str, Any]) -> str | None:
        try:
            return rules.first_match(request, seconds=LOOP_SECONDS)
        except TooMuchTime:
            return await self._elsewhere(lambda: rules.first_match(request))

    async def _elsewhere(self, judge: Callable[[], _T]) -> _T:
        if self._waiting >= MAX_WAITING:
            raise Overloaded
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, judge)
        finally:
            self._waiting -= 1
