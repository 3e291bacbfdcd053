"""Routes as data, and the way of a request to its handler through a stack of middlewares."""

import re
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial

from aiohttp import hdrs, web

from service.errors import MethodNotAllowed, RouteNotFound
from service.telemetry.metrics import UNMATCHED
from service.web.answer import Answer

Handler = Callable[[web.Request], Awaitable[Answer]]
Expect = Callable[[web.Request], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Route:
    """What answers ``method`` on a path of aiohttp's notation; GET is HEAD as well.

    With ``own_type`` it answers in a media type of its own, whatever Accept says; its errors are negotiated still.
    """

    method: str
    path: str
    handler: Handler
    own_type: bool = False
    pattern: str = field(init=False)
    """The path as metrics show it: ``/AwsAccount/{id}``."""

    def __post_init__(self) -> None:
        pattern = UNMATCHED if self.method == hdrs.METH_ANY else re.sub(r"\{(\w+):.*?\}", r"{\1}", self.path)
        object.__setattr__(self, "pattern", pattern)


Middleware = Callable[[Route, Handler, web.Request], Awaitable[Answer]]


def add_routes(app: web.Application, routes: Iterable[Route], stack: Sequence[Middleware], *, expect: Expect) -> None:
    """Add routes, each behind ``stack``, outermost first; and one for all else, so that this is answered alike.

    The middlewares of an aiohttp application would cost each request another wrapper.
    """
    for route in routes:
        methods = (hdrs.METH_GET, hdrs.METH_HEAD) if route.method == hdrs.METH_GET else (route.method,)
        for method in methods:
            app.router.add_route(method, route.path, _behind(stack, route), expect_handler=expect)
    anything = _Anything("/")
    app.router.register_resource(anything)
    anything.add_route(hdrs.METH_ANY, _behind(stack, Route(hdrs.METH_ANY, "/", _unmatched)), expect_handler=expect)


def _behind(stack: Sequence[Middleware], route: Route) -> Handler:
    handler = route.handler
    for middleware in reversed(stack):
        handler = partial(middleware, route, handler)
    return handler


class _Anything(web.PlainResource):
    """A resource for request targets of any form: HTTP has some that are no path, such as ``*``."""

    def _match(self, path: str) -> dict[str, str]:
        del path
        return {}


async def _unmatched(request: web.Request) -> Answer:
    allowed: set[str] = set()
    for resource in request.app.router.resources():
        _, methods = await resource.resolve(request)
        allowed |= methods
    allowed.discard(hdrs.METH_ANY)
    if allowed:
        raise MethodNotAllowed(request.method, request.path, allowed)
    raise RouteNotFound(request.path)
