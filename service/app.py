"""Wiring: which store, which middlewares, which routes, and in what order they open and close."""

from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import replace

from aiohttp import web

from service.resources.repository import Repository
from service.resources.store import EmbeddedStore, Store
from service.resources.types import RESOURCE_TYPES
from service.settings import Settings
from service.signing.presigner import Presigner
from service.telemetry import metrics
from service.web import operations, storage
from service.web.context import SHARED, Shared
from service.web.middleware import STACK, answered, expectation
from service.web.resources import ResourceHandlers
from service.web.routing import Route, Router


def create_app(settings: Settings, *, store: Store | None = None) -> web.Application:
    """The application, ready to run. ``store`` takes the place of the one that the settings name."""
    app = web.Application(client_max_size=settings.max_body)
    store = store or make_store(settings)
    app[SHARED] = Shared(
        store=store,
        repository=Repository(store),
        presigner=Presigner(default_use_ssl=settings.default_use_ssl),
        commit=settings.commit,
        max_body=settings.max_body,
        cors_origins=frozenset(settings.cors_origins),
        loopback_only=settings.is_loopback and not settings.socket,
    )
    metrics.describe(settings.commit)
    _route(app, _routes(settings))
    app.cleanup_ctx.append(_resources)
    return app


def _routes(settings: Settings) -> Iterator[Route]:
    # Signing comes first: the router tries the routes in this order.
    yield from storage.ROUTES
    for type_ in RESOURCE_TYPES:
        for base in ("", "/fhir"):
            yield from ResourceHandlers(type_).routes(base)
    yield from operations.ROUTES
    if settings.ops_port is None:
        yield from operations.METRICS


def _route(app: web.Application, routes: Iterable[Route]) -> None:
    Router(routes, shared=app[SHARED], entry=answered, stack=STACK, expect=expectation).serve(app)


def create_operations_app(main: web.Application) -> web.Application:
    """What the operators' own port serves, of what ``main`` has, opens and closes."""
    app = web.Application()
    # The same requests in flight and the same drain, but a kubelet asks by the pod's address.
    app[SHARED] = replace(main[SHARED], cors_origins=frozenset(), loopback_only=False)
    _route(app, [*operations.PROBES, *operations.METRICS])
    return app


def make_store(settings: Settings) -> Store:
    if settings.store_url == "memory://":
        return EmbeddedStore()
    # Who keeps accounts in memory need not load what Redis takes.
    from service.resources.cache import CachedStore  # noqa: PLC0415
    from service.resources.redis import RedisStore  # noqa: PLC0415
    from service.resources.tracking import Tracker  # noqa: PLC0415

    store = RedisStore.at(settings.store_url, prefix=settings.key_prefix)
    if not settings.cache_size:
        return store
    kinds = [type_.kind for type_ in RESOURCE_TYPES]
    tracker = Tracker.at(settings.store_url, kinds=kinds, prefix=settings.key_prefix)
    return CachedStore(store, tracker, size=settings.cache_size, ttl=settings.cache_ttl, stale=settings.stale_seconds)


async def _resources(app: web.Application) -> AsyncIterator[None]:
    await app[SHARED].store.open()
    yield
    await app[SHARED].presigner.close()
    await app[SHARED].store.close()
