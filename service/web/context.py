"""What all requests of an application share, and what becomes known of one."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from aiohttp import hdrs, web

from service.access.callers import ANYBODY
from service.resources.repository import Repository
from service.resources.schemas import Document
from service.resources.store import Store
from service.signing.presigner import Presigner
from service.telemetry.audit import AuditLog
from service.web import media
from service.web.target import NO_PARAMETERS

if TYPE_CHECKING:
    from service.web.access import Access
    from service.web.routing import Route

UNSETTLED = media.answer_type(None, None, None)
_NO_BODY = Document({}, text=False)


@dataclass(slots=True)
class Readiness:
    """Whether this process wants new requests; not while it drains. ``in_flight`` counts those it has begun."""

    draining: bool = False
    in_flight: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Shared:
    """What all requests of an application share."""

    store: Store
    access: "Access | None"
    """None where nobody is asked who calls."""

    audit: AuditLog
    repository: Repository
    presigner: Presigner
    commit: str
    max_body: int
    max_concurrency: float
    cors_origins: frozenset[str]
    loopback_only: bool
    readiness: Readiness = field(default_factory=Readiness)


class Exchange:
    """A request, and what becomes known of it on its way to its answer."""

    # Each lookup in a request or an application costs as much as a few attributes.
    __slots__ = (
        "answer_type",
        "body",
        "caller",
        "params",
        "path",
        "policy",
        "query",
        "request",
        "request_id",
        "route",
        "shared",
    )

    def __init__(self, request: web.BaseRequest, request_id: str, shared: Shared, route: "Route") -> None:
        self.request = request
        self.request_id = request_id
        self.shared = shared
        self.route = route
        self.path = ""
        """As it was sent."""

        self.query = NO_PARAMETERS
        self.answer_type = UNSETTLED
        self.body = _NO_BODY
        self.caller = ANYBODY
        self.policy: str | None = None
        """The one that allowed the request, if it took one."""

        self.params: Mapping[str, Any] = NO_PARAMETERS
        """What the request is about, as policies were asked."""

    def settle(self, body_type: str | None) -> None:
        """Settle the answer's type, for a request whose body is of ``body_type``. Raises NotAcceptable."""
        # A client may send the header in several lines.
        accept = self.request.headers.getall(hdrs.ACCEPT, None)
        wanted = None if accept is None else ",".join(accept)
        self.answer_type = media.answer_type(self.query.get("_format"), wanted, body_type)
