"""May they? The policies of a caller, and what they say of a request."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from service.access.callers import Caller
from service.access.types import ACCESS_POLICY, AccessPolicy
from service.resources.repository import Repository
from service.resources.resource import Resource


@dataclass(frozen=True, slots=True)
class Rules:
    """The policies of one caller, and the names of what they look at in a request."""

    policies: Sequence[AccessPolicy]
    names: frozenset[str]

    def allowing(self, request: Mapping[str, Any]) -> str | None:
        """The id of the first policy that lets ``request`` pass, which has at least ``names``; None if none does."""
        for policy in self.policies:
            if policy.pattern is None or policy.pattern.matches(request):
                return policy.id
        return None

    def mismatches(self, request: Mapping[str, Any]) -> dict[str, str]:
        """Why each policy does not let ``request`` pass, by id."""
        found = ((policy.id, policy.pattern.mismatch(request)) for policy in self.policies if policy.pattern)
        return {id_: mismatch for id_, mismatch in found if mismatch}


class Policies:
    """All policies as they are stored now. Those of a caller are compiled and chosen once."""

    def __init__(self, repository: Repository) -> None:
        self._repository = repository
        self._listing: Sequence[Resource] | None = None
        self._policies: Sequence[AccessPolicy] = ()
        self._linked = frozenset[str]()
        self._rules: dict[str | None, Rules] = {}

    async def of(self, caller: Caller) -> Rules:
        """Return the rules of a caller. Raises StoreUnavailable."""
        listing = await self._repository.all(ACCESS_POLICY)
        if listing is not self._listing and (self._listing is None or list(listing) != list(self._listing)):
            # What is no policy allows nothing; reading it tells what is wrong.
            models = (self._repository.model_if_valid(ACCESS_POLICY, resource) for resource in listing)
            self._policies = [policy for policy in models if policy]
            self._linked = frozenset[str]().union(*(policy.link for policy in self._policies))
            self._rules = {}
        self._listing = listing
        # All to whom no policy links share their rules: there may be any number of them, described ones too.
        client = caller.client if caller.client in self._linked else None
        if client not in self._rules:
            policies = [policy for policy in self._policies if not policy.link or client in policy.link]
            names = frozenset[str]().union(*(policy.pattern.names for policy in policies if policy.pattern))
            self._rules[client] = Rules(policies, names)
        return self._rules[client]
