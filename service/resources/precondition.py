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
        current = stored.meta.version_id if stored else None
        edited = stored is not None and stored.edited
        # The version of an edited resource is that of other fields.
        has_version = self.versions is None or (current in self.versions and not edited)
        if not has_version or (self.exists and stored is None) or (self.absent and stored is not None):
            raise VersionConflict(kind, id, current, edited=edited)


ALWAYS = Precondition()
