"""What the application and a request carry, each under one typed key."""

from dataclasses import dataclass, field

from aiohttp import web

from service.resources.repository import Repository
from service.resources.schemas import Document
from service.resources.store import Store
from service.signing.presigner import Presigner
from service.web import media
from service.web.target import NO_PARAMETERS

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
    repository: Repository
    presigner: Presigner
    commit: str
    max_body: int
    cors_origins: frozenset[str]
    loopback_only: bool
    readiness: Readiness = field(default_factory=Readiness)


# A lookup in a request or an application costs as much as a few attributes: each has one, for all that it carries.
class Exchange:
    """What becomes known of one request on its way to its answer."""

    __slots__ = ("answer_type", "body", "query", "request_id", "shared")

    def __init__(self, shared: Shared, request_id: str) -> None:
        self.shared = shared
        self.request_id = request_id
        self.query = NO_PARAMETERS
        self.answer_type = UNSETTLED
        self.body = _NO_BODY


SHARED = web.AppKey("SHARED", Shared)
EXCHANGE = web.RequestKey("EXCHANGE", Exchange)
