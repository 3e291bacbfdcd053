"""Routes as data, and the way of a request to its handler through a stack of middlewares."""

import re
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from functools import partial

from aiohttp import hdrs, web

from service.errors import MethodNotAllowed, RouteNotFound
from service.telemetry.metrics import UNMATCHED
from service.web.answer import Answer
from service.web.context import Exchange, Shared

Handler = Callable[[Exchange], Answer | Awaitable[Answer]]
Step = Callable[[Exchange], Answer | Awaitable[Answer | None] | None]
"""Ends an exchange with an answer or an error, or lets it go on to the next step, and at last to the handler."""

Stack = Callable[["Route", str], Iterable[Step]]
Entry = Callable[[Shared, "Route", Sequence[Step], web.BaseRequest], Awaitable[Answer]]
"""Makes an exchange of a request, takes it through the steps, and makes an answer of whatever becomes of it."""

Methods = dict[str, Callable[[web.BaseRequest], Awaitable[Answer]]]

_REST = ":path"
_NOTHING: Methods = {}


class Guard(Enum):
    """Who asks whether a request may be answered, once it is known who calls."""

    NOBODY = "it is for everybody, without credentials"
    ROUTE = "a policy must allow the request, by what any request has"
    HANDLER = "the handler asks, as it knows what the request is about"


@dataclass(frozen=True, slots=True)
class Route:
    """What answers ``method`` on a path; GET is HEAD as well.

    In the path, ``{name}`` stands for a segment and ``{name:path}`` for all the rest, which may be empty. With
    ``own_type`` it answers in a media type of its own, whatever Accept says; its errors are negotiated still. With
    ``form`` it takes a body as HTML forms send it, too. Those for ``operations`` are answered however much there is to
    do. Policies are asked about the method ``judged_as``, if there is one: of a POST that only reads. What is denied is
    called ``operation`` in the audit log.
    """

    method: str
    path: str
    handler: Handler
    own_type: bool = False
    guard: Guard = Guard.ROUTE
    form: bool = False
    operations: bool = False
    judged_as: str | None = None
    operation: str | None = None
    pattern: str = field(init=False)
    """The path as metrics show it."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "pattern", self.path.replace(_REST, ""))


class Router:
    """Finds what answers a request: a route, behind the steps that ``stack`` has for it and its method, or one for all.

    aiohttp's own dispatcher walks up each path, has no place for targets without one, such as ``*``, and takes a tenth
    of a signed GET's time, with an application and a match for each request.
    """

    def __init__(self, routes: Iterable[Route], *, shared: Shared, entry: Entry, stack: Stack) -> None:
        self._plain: dict[str, Methods] = {}
        self._patterns: dict[str, tuple[Callable[[str], object], Methods]] = {}
        for route in routes:
            for method in (hdrs.METH_GET, hdrs.METH_HEAD) if route.method == hdrs.METH_GET else (route.method,):
                self._methods(route.path)[method] = partial(entry, shared, route, tuple(stack(route, method)))
        unmatched = Route(hdrs.METH_ANY, UNMATCHED, self._refuse, guard=Guard.HANDLER)
        self._unmatched = partial(entry, shared, unmatched, tuple(stack(unmatched, hdrs.METH_ANY)))

    def handle(self, request: web.BaseRequest) -> Awaitable[Answer]:
        return self._find(request).get(request.method, self._unmatched)(request)

    def _methods(self, path: str) -> Methods:
        if "{" not in path:
            return self._plain.setdefault(path, {})
        _, methods = self._patterns.setdefault(path, (_expression(path).fullmatch, {}))
        return methods

    def _find(self, request: web.BaseRequest) -> Methods:
        """What answers which method on the path as it is when decoded, but for its slashes."""
        path = request.raw_path
        if not path.startswith("/") or "%" in path or "?" in path or "#" in path:
            path = request.rel_url.path_safe
        if methods := self._plain.get(path):
            return methods
        for matches, methods in self._patterns.values():
            if matches(path):
                return methods
        return _NOTHING

    async def _refuse(self, exchange: Exchange) -> Answer:
        request = exchange.request
        if allowed := self._find(request).keys():
            raise MethodNotAllowed(request.method, request.path, allowed)
        raise RouteNotFound(request.path)


def _expression(path: str) -> re.Pattern[str]:
    parts = re.split(r"(\{\w+(?::path)?\})", path)
    return re.compile(
        "".join((r"[\s\S]*" if _REST in part else "[^/]+") if part[:1] == "{" else re.escape(part) for part in parts)
    )
