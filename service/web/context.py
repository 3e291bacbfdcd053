"""The application context and the request context, with their keys."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from service.access.callers.authenticator import Authenticator
from service.access.callers.principals import ANONYMOUS, Principal
from service.access.policies.evaluator import PolicyEvaluator
from service.access.policies.policy_set import Policies
from service.mounted_files import MountedFiles
from service.resources.repository import Repository
from service.resources.schemas import ParsedBody
from service.settings.settings import Settings
from service.signing.credentials import BorrowedKeys
from service.signing.presigner import Presigner
from service.stores.store import Store
from service.telemetry.audit import AuditLog
from service.telemetry.tracing import Tracer
from service.web.formats import media
from service.web.formats.media import ResponseType
from service.web.forwarded import TrustedProxies
from service.web.routing import Route
from service.web.target import NOTHING

DEFAULT_RESPONSE_TYPE = media.response_type(None, None, None)
_NO_BODY = ParsedBody({}, text=False)


@dataclass(slots=True)
class ServerState:
    """The mutable state of one server.

    Args:
        draining: The server accepts no new connections.
        in_flight: The number of requests in progress.
        large_body_bytes: The bytes of large bodies that arrive or wait to be parsed.
        large_body_peak: Their maximum since memory was last returned to the system.
        bundle_pending: The bundle of the settings has not been applied since the start.
        anonymous_bodies: Held while a body without credentials is parsed.
    """

    draining: bool = False
    in_flight: int = 0
    large_body_bytes: int = 0
    large_body_peak: int = 0
    bundle_pending: bool = False
    anonymous_bodies: asyncio.Lock = field(default_factory=asyncio.Lock)


@dataclass(frozen=True, slots=True)
class Access:
    """Authentication and authorization."""

    authenticator: Authenticator
    policies: Policies
    evaluator: PolicyEvaluator = field(default_factory=PolicyEvaluator)

    async def open(self) -> None:
        await self.authenticator.open()

    async def close(self) -> None:
        await self.authenticator.close()
        self.evaluator.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class AppContext:
    """State and settings that all requests of an application share."""

    store: Store
    access: Access | None
    """None if the service runs without authentication."""

    audit: AuditLog
    repository: Repository
    files: MountedFiles
    presigner: Presigner
    borrowed_keys: BorrowedKeys
    settings: Settings
    cors_origins: frozenset[str]
    loopback_only: bool
    proxies: TrustedProxies | None
    """None if the client's address is the address of the connection."""

    tracer: Tracer | None
    """None while traces are off."""

    state: ServerState = field(default_factory=ServerState)
    routes: Mapping[web.AbstractRoute, Route] = field(default_factory=dict)
    """Routes by aiohttp's route objects. An unknown path or method has UNMATCHED_ROUTE."""


class RequestContext:
    """The results of the middlewares for one request.

    It must not refer to the request, because the garbage collector would have to free such a reference cycle.
    """

    query: Mapping[str, str] = NOTHING
    response_type: ResponseType = DEFAULT_RESPONSE_TYPE
    body: ParsedBody = _NO_BODY
    caller: Principal = ANONYMOUS
    policy: str | None = None
    """The id of the policy that allowed the request; None if the request needed no policy."""

    params: Mapping[str, Any] = NOTHING
    """The ``params`` that policies see."""

    address: str | None = None
    """The client's address; None until it is needed."""

    operation: str | None = None
    """The operation's name in the audit log, if it is not the one of the route."""

    def __init__(self, app: AppContext, route: Route, request_id: str) -> None:
        self.app = app
        self.route = route
        self.request_id = request_id


APP = web.AppKey("APP", AppContext)
CONTEXT = web.RequestKey("CONTEXT", RequestContext)
