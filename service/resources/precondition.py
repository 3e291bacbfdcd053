"""Conditions that a request puts on a stored resource, such as an If-Match header. Pure."""

from dataclasses import dataclass

from service.errors import VersionConflict
from service.stores.record import Resource


@dataclass(frozen=True, slots=True)
class Precondition:
    """A condition on the stored resource: it has one of ``versions`` (None: any), ``exists`` or is ``absent``."""

    versions: frozenset[str] | None = None
    exists: bool = False
    absent: bool = False

    def check(self, kind: str, id: str, stored: Resource | None) -> None:
        """Raise VersionConflict if the condition does not hold."""
        has_version = self.versions is None or (stored is not None and stored.has_version(self.versions))
        if not has_version or (self.exists and stored is None) or (self.absent and stored is not None):
            current = stored.meta.version_id if stored else None
            raise VersionConflict(kind, id, current, edited=stored is not None and stored.edited)


ALWAYS = Precondition()
