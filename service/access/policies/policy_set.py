"""The access policies that apply to a principal, and their decision on a request."""

import asyncio
import json
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from math import inf
from typing import Any, NamedTuple, Self

from cachetools import FIFOCache

from service.access.access_policy import ACCESS_POLICY, AccessPolicy, linked_client, unknown_members
from service.access.callers.principals import Principal
from service.access.policies.evaluation import Evaluation, TooMuchWork, UndecidableValue
from service.access.policies.matchers import PRESENT, Condition, Predicate
from service.access.policies.unrestricted import unrestricted_faults
from service.errors import Invalid, StoreUnavailable
from service.resources.repository import Repository
from service.stores.pacing import paced, repeat
from service.stores.record import IncompleteListing, Resource

LOGGER = logging.getLogger(__name__)

MAX_IDS_IN_WARNING = 100
# The policies in the sets of all Clients, with 90 bytes each. Thousands of Clients may each have thousands.
MAX_SELECTED = 1_000_000
# A hundred faults with long paths have 400 KB.
MAX_REASON = 500

_ALWAYS = Condition((), PRESENT)


class _PrefilteredPolicy(NamedTuple):
    """A policy with its most selective condition, which is tested first."""

    policy: AccessPolicy
    path: tuple[str, ...]
    test: Predicate


class PolicySet:
    """The policies of one principal. ``names`` are the parts of a request that they read.

    Without ``is_complete``, a policy that has changed is missing in an outage, so that a request may be denied wrongly.
    """

    def __init__(
        self, prefiltered: Sequence[_PrefilteredPolicy], names: frozenset[str], *, is_complete: bool = True
    ) -> None:
        self.policies = [each.policy for each in prefiltered]
        self.names = names
        self.is_complete = is_complete
        self.seconds = 0.0
        """The time that the last evaluation took on the event loop."""

        self._prefiltered = prefiltered

    @classmethod
    async def of(cls, policies: Sequence[AccessPolicy], *, is_complete: bool = True) -> Self:
        names = set[str]()
        uses = Counter[object]()
        async for policy in paced(policies):
            if policy.pattern:
                names |= policy.pattern.names
                uses.update(condition.key for condition in policy.pattern.conditions)
        prefiltered = [_prefilter(policy, uses) async for policy in paced(policies)]
        return cls(prefiltered, frozenset(names), is_complete=is_complete)

    def first_match(self, request: Mapping[str, Any], *, seconds: float = inf) -> str | None:
        """Return the id of the first policy that allows ``request``, which has at least ``names``, or None.

        Raises:
            TooMuchWork: if the evaluation exceeds its limits; the request is denied.
            TooMuchTime: if it may take longer than ``seconds``.
        """
        evaluation = Evaluation(request, seconds)
        values: dict[tuple[str, ...], Any] = {}
        for policy, path, test in self._prefiltered:
            evaluation.check_time()
            if path not in values:
                values[path] = _value_at(request, path)
            try:
                if test(values[path], evaluation) and policy.allows(evaluation):
                    return policy.id
            except UndecidableValue:
                continue
        return None

    def mismatches(self, request: Mapping[str, Any]) -> dict[str, str]:
        """Return by id why each policy does not allow ``request``."""
        evaluation = Evaluation(request)
        found = {policy.id: _mismatch(policy, evaluation) for policy in self.policies}
        return {id_: mismatch for id_, mismatch in found.items() if mismatch}


class Policies:
    """The stored policies. Those of each principal are compiled and selected once.

    There may be many thousands, so other requests go on meanwhile.
    """

    def __init__(self, repository: Repository) -> None:
        self._repository = repository
        self._lock = asyncio.Lock()
        """Of the request that compiles and selects policies, so that the others do not do the same."""

        self._listing: Sequence[Resource] | None = None
        self._is_complete = True
        self._policies: list[AccessPolicy] = []
        self._invalid: Mapping[str, str] = {}
        self._linked_clients = set[str]()
        self._sets = _sets()

    async def open(self) -> None:
        """Log a warning about stored policies that today's rules would refuse.

        If the store is unavailable, the first request that reaches it logs the warning.
        """
        with suppress(StoreUnavailable):
            listing = await self._repository.all(ACCESS_POLICY)
            async with self._lock:
                await self._update(listing)

    @property
    def invalid(self) -> Mapping[str, str]:
        """The ids of the stored policies that are invalid and grant nothing, each with the reason."""
        return self._invalid

    async def for_principal(self, principal: Principal) -> PolicySet:
        """Return the policies of a principal. Raises StoreUnavailable."""
        listing = await self._repository.all(ACCESS_POLICY)
        if listing is self._listing and (known := self._sets.get(self._linked_client(principal))):
            return known
        async with self._lock:
            # Another request may have a newer listing meanwhile. Each request is decided by its own.
            if listing is not self._listing:
                await self._update(listing)
            client = self._linked_client(principal)
            if client not in self._sets:
                policies = [policy for policy in self._policies if not policy.link or client in policy.link]
                self._sets[client] = await PolicySet.of(policies, is_complete=self._is_complete)
            return self._sets[client]

    def _linked_client(self, principal: Principal) -> str | None:
        """Return the client of a principal, or None if no policy names it.

        Principals without a link share a set, as their number is unbounded.
        """
        return principal.client if principal.client in self._linked_clients else None

    async def _update(self, listing: Sequence[Resource]) -> None:
        is_complete = not isinstance(listing, IncompleteListing)
        if self._listing is None or await _differ(self._listing, listing) or is_complete is not self._is_complete:
            policies, invalid = await _compile(listing, self._repository)
            if self._listing is None:
                await _warn_of_outdated(policies, listing)
            linked_clients = set[str]()
            async for policy in paced(policies):
                linked_clients |= policy.link
            old_sets, old_policies = self._sets, self._policies
            # From here on, no other request runs.
            self._policies, self._is_complete = policies, is_complete
            self._set_invalid(invalid)
            self._linked_clients = linked_clients
            self._sets = _sets()
            self._listing = listing
            # Policies that are freed all at once block requests for 10 ms per 1,000.
            await repeat(old_sets.popitem, len(old_sets))
            await repeat(old_policies.pop, len(old_policies))
        else:
            self._listing = listing

    def _set_invalid(self, reasons: Mapping[str, str]) -> None:
        """Log a warning with the ids that were not invalid in the previous listing."""
        if found := [id_ for id_ in reasons if id_ not in self._invalid]:
            LOGGER.warning("These stored policies are invalid and grant nothing (a PUT says why): %s", _join(found))
        self._invalid = reasons


def _sets() -> FIFOCache[str | None, PolicySet]:
    return FIFOCache(MAX_SELECTED, getsizeof=lambda policies: 1 + len(policies.policies))


async def warn_of_links_to(client: str, repository: Repository) -> None:
    """Log a warning with the policies that link to a deleted Client. An outage of the store is ignored."""
    try:
        listing = await repository.all(ACCESS_POLICY)
    except StoreUnavailable:
        return
    # To compile them here would leave a million links to be freed at once if the listing is not cached.
    if ids := [stored.id async for stored in paced(listing) if _names(stored, client)]:
        LOGGER.warning(
            "Client/%s is deleted; these policies still name it, and grant nobody for it: %s", client, _join(ids)
        )


def _names(stored: Resource, client: str) -> bool:
    """Return whether a stored policy has a link to a Client."""
    try:
        links = json.loads(stored.fields.get("link", "[]"))
    except (ValueError, RecursionError):
        return False
    return isinstance(links, list) and client in map(linked_client, links)


async def _differ(old: Sequence[Resource], new: Sequence[Resource]) -> bool:
    """Return whether the listings differ. Give each new resource the policy of an equal old one.

    Without that, a change of one policy compiles all of them, and a collection of the garbage blocks requests for 50
    ms.
    """
    known = {resource.id: resource for resource in old}
    differ = len(old) != len(new)
    async for resource in paced(new):
        before = known.get(resource.id)
        if before == resource:
            resource.model = resource.model or before.model
        else:
            differ = True
    return differ


async def _compile(listing: Sequence[Resource], repository: Repository) -> tuple[list[AccessPolicy], dict[str, str]]:
    """Return the valid policies, and the ids of the others with the reason.

    Each resource keeps its policy; an invalid one is read again each time. A large one takes 5 ms, and other requests
    go on.
    """
    policies, invalid = [], {}
    async for stored in paced(listing):
        try:
            policies.append(repository.model(ACCESS_POLICY, stored))
        except Invalid as error:
            invalid[stored.id] = str(error)[:MAX_REASON]
    return policies, invalid


async def _warn_of_outdated(policies: Sequence[AccessPolicy], listing: Sequence[Resource]) -> None:
    stored = {resource.id: resource for resource in listing}
    if ids := [policy.id async for policy in paced(policies) if _is_outdated(policy, stored[policy.id])]:
        LOGGER.warning(
            "These stored policies are in force, but could not be stored today: they have the engine allow and no link,"
            " or a pattern that restricts nothing, or has a name or text that no request has"
            " (a PUT says what to change): %s",
            _join(ids),
        )


def _is_outdated(policy: AccessPolicy, resource: Resource) -> bool:
    """Return whether today's rules would refuse a stored policy because it can allow too much."""
    if policy.pattern is None:
        return not policy.link
    is_misspelt = any(unknown_members(policy.pattern))
    return is_misspelt or bool(unrestricted_faults(ACCESS_POLICY.represent(resource)["matcho"]))


def _join(ids: Sequence[str]) -> str:
    more = len(ids) - MAX_IDS_IN_WARNING
    return ", ".join(ids[:MAX_IDS_IN_WARNING]) + (f" and {more} more" if more > 0 else "")


def _prefilter(policy: AccessPolicy, uses: Mapping[object, int]) -> _PrefilteredPolicy:
    conditions = policy.pattern.conditions if policy.pattern else ()
    # A condition that many policies share excludes few of them.
    best = min(conditions, key=lambda it: uses[it.key] * it.matcher.cost, default=_ALWAYS)
    return _PrefilteredPolicy(policy, best.path, best.matcher.test)


def _value_at(request: Mapping[str, Any], path: tuple[str, ...]) -> Any:
    value: Any = request
    for name in path:
        value = value.get(name) if isinstance(value, (dict, Mapping)) else None
    return value


def _mismatch(policy: AccessPolicy, evaluation: Evaluation) -> str | None:
    try:
        return policy.mismatch(evaluation)
    except TooMuchWork as error:
        return f"was not decided, as {error}"
