"""Rules for the keys with which an account signs, if they are not its own: who may choose them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from service.errors import Issue
from service.resources.secrets.codec import Canonical
from service.resources.types import DESTINATION

_ROLE = ("role-arn", "external-id")
_KEYS = ("access-key-id", "secret-access-key")
# Without a host, the region decides the endpoint.
_WHERE_IT_SIGNS = sorted({*DESTINATION, "region"})
_ROOT_ALONE = "may be set, changed and removed by the root client alone"


@dataclass(frozen=True, slots=True)
class IdentityRules:
    """The limits for callers other than the root client.

    Otherwise, a caller who may write accounts could sign with rights that nobody has given to it.

    Args:
        canonical: See ``SecretCodec``.
        ambient: Whether accounts without keys sign with the credentials of the service's environment.
    """

    canonical: Canonical
    ambient: bool

    def issues(self, before: Mapping[str, str], after: Mapping[str, str]) -> list[Issue]:
        """Return the faults of a write, from the stored fields before and after it."""
        return [*self._issues(before, after)]

    def _issues(self, before: Mapping[str, str], after: Mapping[str, str]) -> Iterator[Issue]:
        for name in _ROLE:
            if before.get(name) != after.get(name):
                yield Issue(f"AwsAccount.{name} {_ROOT_ALONE}", f"AwsAccount.{name}")
        if not self.ambient or "access-key-id" in after:
            return
        # A secret alone is invalid, so such an account did not sign before the write has removed it.
        if not before or any(name in before and name not in after for name in _KEYS):
            problem = "is missing; only the root client may store an account without keys, as it signs with"
            yield Issue(
                f"AwsAccount.access-key-id {problem} the credentials of the service", "AwsAccount.access-key-id"
            )
            return
        old, new = self.canonical(before) or before, self.canonical(after) or after
        for name in _WHERE_IT_SIGNS:
            if old.get(name) != new.get(name):
                problem = f"of an account without keys {_ROOT_ALONE}"
                yield Issue(f"AwsAccount.{name} {problem}", f"AwsAccount.{name}")
