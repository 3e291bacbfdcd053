"""Routes as data, and the way of a request to its handler through a stack of middlewares."""

import re
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial

from aiohttp import hdrs, web

from service.errors import MethodNotAllowed, RouteNotFound
from service.telemetry.metrics import UNMATCHED
from service.web.answer import Answer
from service.web.context import SHARED, Exchange, Shared

Handler = Callable[[Exchange], Answer | Awaitable[Answer]]
Step = Callable[[Exchange], Answer | Awaitable[Answer | None] | None]
"""Ends an exchange with an answer or an error, or lets it go on to the next step, and at last to the handler."""

Entry = Callable[[Shared, "Route", Sequence[Step], web.Request], Awaitable[Answer]]
"""Makes an exchange of a request, takes it through the steps, and makes an answer of whatever becomes of it."""

Expect = Callable[[web.Request], Awaitable[None]]

_REST = ":path"


@dataclass(frozen=True, slots=True)
class Route:
    """What answers ``method`` on a path; GET is HEAD as well.

    In the path, ``{name}`` stands for a segment and ``{name:path}`` for all the rest, which may be empty. With
    ``own_type`` it answers in a media type of its own, whatever Accept says; its errors are negotiated still.
    """

    method: str
    path: str
    handler: Handler
    own_type: bool = False
    pattern: str = field(init=False)
    """The path as metrics show it."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "pattern", self.path.replace(_REST, ""))


def add_routes(
    app: web.Application, routes: Iterable[Route], *, entry: Entry, stack: Sequence[Step], expect: Expect
) -> None:
    """Add routes, each behind ``stack``; and one for all else, so that this is answered alike.

    The middlewares of an aiohttp application would cost each request another wrapper.
    """

    def add(resource: web.Resource, method: str, route: Route) -> None:
        handler = partial(entry, app[SHARED], route, stack)
        resource.add_route(method, handler, expect_handler=expect)

    paths: dict[str, _Path] = {}
    for route in routes:
        if route.path not in paths:
            paths[route.path] = _Path(route)
            app.router.register_resource(paths[route.path])
        for method in (hdrs.METH_GET, hdrs.METH_HEAD) if route.method == hdrs.METH_GET else (route.method,):
            add(paths[route.path], method, route)
    anything = _Anything("/")
    app.router.register_resource(anything)
    add(anything, hdrs.METH_ANY, Route(hdrs.METH_ANY, UNMATCHED, _unmatched))


class _Path(web.PlainResource):
    """Matches a route's path. What the names stand for is left to the handler, which reads the raw path."""

    def __init__(self, route: Route) -> None:
        super().__init__(route.pattern)
        parts = re.split(r"\{\w+(:path)?\}", route.path)
        expressions = {None: "[^/]+", _REST: r"[\s\S]*"}
        self._matches = re.compile(
            "".join(expressions[part] if index % 2 else re.escape(str(part)) for index, part in enumerate(parts))
        ).fullmatch

    def _match(self, path: str) -> dict[str, str] | None:
        return {} if self._matches(path) else None


class _Anything(web.PlainResource):
    """A resource for request targets of any form: HTTP has some that are no path, such as ``*``."""

    def _match(self, path: str) -> dict[str, str]:
        del path
        return {}


async def _unmatched(exchange: Exchange) -> Answer:
    request = exchange.request
    allowed: set[str] = set()
    for resource in request.app.router.resources():
        _, methods = await resource.resolve(request)
        allowed |= methods
    allowed.discard(hdrs.METH_ANY)
    if allowed:
        raise MethodNotAllowed(request.method, request.path, allowed)
    raise RouteNotFound(request.path)
