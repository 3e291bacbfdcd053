"""May they? The policies of a caller, and what they say of a request."""

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from math import inf
from typing import Any, NamedTuple

from service.access.callers.principals import Principal
from service.access.policies.evaluation import Evaluation, TooMuchWork, UndecidableValue
from service.access.policies.matchers import PRESENT, Condition, Test
from service.access.policies.unrestricted import unrestricted_faults
from service.access.types import ACCESS_POLICY, AccessPolicy
from service.errors import StoreUnavailable
from service.resources.repository import Repository
from service.stores.record import Resource

LOGGER = logging.getLogger(__name__)

MAX_IDS_IN_WARNING = 100

_THE_REQUEST = Condition((), PRESENT, "")


class _Candidate(NamedTuple):
    """A policy, and the condition by which most requests that it does not allow are told at once."""

    policy: AccessPolicy
    path: tuple[str, ...]
    test: Test


class PolicySet:
    """The policies of one caller, and the names of what they look at in a request."""

    def __init__(self, policies: Sequence[AccessPolicy] = ()) -> None:
        self.policies = policies
        patterns = [policy.pattern for policy in policies if policy.pattern]
        self.names = frozenset[str]().union(*(pattern.names for pattern in patterns))
        uses = Counter(condition.key for pattern in patterns for condition in pattern.conditions)
        self._candidates = [_candidate(policy, uses) for policy in policies]
        self._paths = {candidate.path for candidate in self._candidates}

    def first_match(self, request: Mapping[str, Any], *, seconds: float = inf) -> str | None:
        """The id of the first policy that lets ``request`` pass, which has at least ``names``; None if none does.

        Raises:
            TooMuchWork: the request is denied for this reason.
            TooMuchTime: this may take longer than so many seconds.
        """
        evaluation = Evaluation(request, seconds)
        values = {path: _value(request, path) for path in self._paths}
        for policy, path, test in self._candidates:
            evaluation.check_time()
            try:
                if test(values[path], evaluation) and policy.allows(evaluation):
                    return policy.id
            except UndecidableValue:
                continue
        return None

    def mismatches(self, request: Mapping[str, Any]) -> dict[str, str]:
        """Why each policy does not let ``request`` pass, by id."""
        evaluation = Evaluation(request)
        found = {policy.id: _mismatch(policy, evaluation) for policy in self.policies}
        return {id_: mismatch for id_, mismatch in found.items() if mismatch}


class Policies:
    """All policies as they are stored now. Those of a caller are compiled and chosen once."""

    def __init__(self, repository: Repository) -> None:
        self._repository = repository
        self._listing: Sequence[Resource] | None = None
        self._policies: Sequence[AccessPolicy] = ()
        self._linked = frozenset[str]()
        self._rules: dict[str | None, PolicySet] = {}

    async def open(self) -> None:
        """Warn of stored policies that a request could no longer store; never fails.

        If the store is away, the first request that reaches it has the warning logged.
        """
        try:
            self._use(await self._repository.all(ACCESS_POLICY))
        except StoreUnavailable:
            return

    async def of(self, caller: Principal) -> PolicySet:
        """Return the rules of a caller. Raises StoreUnavailable."""
        listing = await self._repository.all(ACCESS_POLICY)
        if listing is not self._listing:
            self._use(listing)
        # All to whom no policy links share their rules: there may be any number of them, documented ones too.
        client = caller.client if caller.client in self._linked else None
        if client not in self._rules:
            policies = [policy for policy in self._policies if not policy.link or client in policy.link]
            self._rules[client] = PolicySet(policies)
        return self._rules[client]

    def _use(self, listing: Sequence[Resource]) -> None:
        if self._listing is None or list(listing) != list(self._listing):
            # What is no policy allows nothing; reading it tells what is wrong.
            models = (self._repository.model_if_valid(ACCESS_POLICY, resource) for resource in listing)
            self._policies = [policy for policy in models if policy]
            self._linked = frozenset[str]().union(*(policy.link for policy in self._policies))
            self._rules = {}
            if self._listing is None:
                _warn_of_outdated(self._policies, listing)
        self._listing = listing


async def warn_of_links_to(client: str, repository: Repository) -> None:
    """Log a warning that names the policies that link to a Client which has been deleted; never fails."""
    try:
        listing = await repository.all(ACCESS_POLICY)
    except StoreUnavailable:
        return
    policies = (repository.model_if_valid(ACCESS_POLICY, resource) for resource in listing)
    if ids := [policy.id for policy in policies if policy and client in policy.link]:
        LOGGER.warning(
            "Client/%s is deleted; these policies still name it, and grant nobody for it: %s", client, _listed(ids)
        )


def _warn_of_outdated(policies: Sequence[AccessPolicy], listing: Sequence[Resource]) -> None:
    stored = {resource.id: resource for resource in listing}
    if ids := [policy.id for policy in policies if _is_outdated(policy, stored[policy.id])]:
        LOGGER.warning(
            "These stored policies are in force, but could not be stored today: they have the engine allow and no link,"
            " or a pattern that restricts nothing (a PUT says what to change): %s",
            _listed(ids),
        )


def _is_outdated(policy: AccessPolicy, resource: Resource) -> bool:
    """Whether a stored policy allows more than one that is stored now may allow."""
    if policy.pattern is None:
        return not policy.link
    return bool(unrestricted_faults(ACCESS_POLICY.represent(resource)["matcho"]))


def _listed(ids: Sequence[str]) -> str:
    more = len(ids) - MAX_IDS_IN_WARNING
    return ", ".join(ids[:MAX_IDS_IN_WARNING]) + (f" and {more} more" if more > 0 else "")


def _candidate(policy: AccessPolicy, uses: Mapping[str, int]) -> _Candidate:
    conditions = policy.pattern.conditions if policy.pattern else ()
    # One that many policies have rules out few of them.
    best = min(conditions, key=lambda it: uses[it.key] * it.matcher.cost, default=_THE_REQUEST)
    return _Candidate(policy, best.path, best.matcher.test)


def _value(request: Mapping[str, Any], path: tuple[str, ...]) -> Any:
    value: Any = request
    for name in path:
        value = value.get(name) if isinstance(value, (dict, Mapping)) else None
    return value


def _mismatch(policy: AccessPolicy, evaluation: Evaluation) -> str | None:
    try:
        return policy.mismatch(evaluation)
    except TooMuchWork as error:
        return f"was not decided, as {error}"
