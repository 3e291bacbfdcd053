"""Principals: the authenticated senders of requests."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any


@dataclass(frozen=True, slots=True)
class Principal:
    """The sender of a request.

    ``name`` is for the audit log, ``client`` is the id of a Client, ``jwt`` has the claims of a JWT.
    An ``unlimited`` principal needs no policy.
    """

    name: str
    client: str | None = None
    jwt: Mapping[str, Any] = field(default_factory=dict, repr=False)
    unlimited: bool = False


ANONYMOUS = Principal("anonymous", unlimited=True)
ROOT = Principal("root", unlimited=True)


@lru_cache(maxsize=1024)
def client_principal(id_: str) -> Principal:
    """Return the principal of a Client."""
    return Principal(f"Client/{id_}", id_)
