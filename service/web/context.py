"""The keys under which an application and a request keep their context."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from aiohttp import web

from service.access.callers.authenticator import Authenticator
from service.access.callers.principals import ANONYMOUS, Principal
from service.access.policies.evaluator import PolicyEvaluator
from service.access.policies.policy_set import Policies
from service.resources.repository import Repository
from service.resources.schemas import ParsedBody
from service.signing.presigner import Presigner
from service.stores.store import Store
from service.telemetry.audit import AuditLog
from service.web.formats import media
from service.web.formats.media import AnswerType
from service.web.forwarded import TrustedProxies
from service.web.routing import Route

DEFAULT_ANSWER_TYPE = media.answer_type(None, None, None)
_NO_BODY = ParsedBody({}, text=False)
_NOTHING: Mapping[str, Any] = MappingProxyType({})


@dataclass(slots=True)
class ServerState:
    """``in_flight`` counts the requests in progress. A server that is ``draining`` wants no new ones.

    ``large_body_bytes`` counts the bytes of large bodies that arrive or are parsed, ``large_body_peak`` is their
    maximum since memory was last returned.
    """

    draining: bool = False
    in_flight: int = 0
    large_body_bytes: int = 0
    large_body_peak: int = 0
    anonymous_bodies: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held by the body without credentials that is being parsed."""


@dataclass(frozen=True, slots=True)
class Access:
    """Authentication and authorization."""

    callers: Authenticator
    policies: Policies
    judge: PolicyEvaluator = field(default_factory=PolicyEvaluator)

    async def open(self) -> None:
        await self.callers.open()

    async def close(self) -> None:
        await self.callers.close()
        self.judge.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class AppContext:
    """Everything that the handlers of one application share."""

    store: Store
    access: Access | None
    """None where the service runs without authentication."""

    audit: AuditLog
    repository: Repository
    presigner: Presigner
    commit: str
    max_body: int
    max_concurrency: float
    cors_origins: frozenset[str]
    loopback_only: bool
    stale_seconds: int
    """How long accounts are signed for from the cache while the store cannot be reached."""

    proxies: TrustedProxies | None
    """None where the address of the connection counts."""

    access_log: str
    """``SIGNER_ACCESS_LOG``."""

    state: ServerState = field(default_factory=ServerState)
    routes: Mapping[web.AbstractRoute, Route] = field(default_factory=dict)
    """The route of each match; UNMATCHED_ROUTE stands for an unknown path or method."""


class RequestContext:
    """What the middlewares learned about one request.

    It does not refer to the request: such a reference cycle would have to wait for the garbage collector.
    """

    query: Mapping[str, str] = _NOTHING
    answer_type: AnswerType = DEFAULT_ANSWER_TYPE
    body: ParsedBody = _NO_BODY
    caller: Principal = ANONYMOUS
    policy: str | None = None
    """The id of the policy that allowed the request, None where no policy was needed."""

    params: Mapping[str, Any] = _NOTHING
    """The ``params`` that policies see."""

    def __init__(self, app: AppContext, route: Route, request_id: str) -> None:
        self.app = app
        self.route = route
        self.request_id = request_id


APP = web.AppKey("APP", AppContext)
CONTEXT = web.RequestKey("CONTEXT", RequestContext)
