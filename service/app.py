"""Wiring: which store, which middlewares, which routes, and in what order they open and close."""

from collections.abc import AsyncIterator, Iterable, Iterator

from aiohttp import web

from service.resources.repository import Repository
from service.resources.store import EmbeddedStore, Store
from service.resources.types import RESOURCE_TYPES
from service.settings import Settings
from service.signing.presigner import Presigner
from service.telemetry import metrics
from service.web import operations, storage
from service.web.context import (
    COMMIT,
    CORS_ORIGINS,
    LOOPBACK_ONLY,
    MAX_BODY,
    PRESIGNER,
    READINESS,
    REPOSITORY,
    STORE,
    Readiness,
)
from service.web.middleware import STACK, expectation
from service.web.resources import ResourceHandlers


def create_app(settings: Settings, *, store: Store | None = None) -> web.Application:
    """The application, ready to run. ``store`` takes the place of the one that the settings name."""
    app = web.Application(middlewares=STACK, client_max_size=settings.max_body)
    app[STORE] = store or make_store(settings)
    app[REPOSITORY] = Repository(app[STORE])
    app[PRESIGNER] = Presigner(default_use_ssl=settings.default_use_ssl)
    app[READINESS] = Readiness()
    app[COMMIT] = settings.commit
    app[MAX_BODY] = settings.max_body
    app[CORS_ORIGINS] = frozenset(settings.cors_origins)
    app[LOOPBACK_ONLY] = settings.is_loopback and not settings.socket
    metrics.describe(settings.commit)
    app.add_routes(_with_options(_routes(settings)))
    app.cleanup_ctx.append(_resources)
    return app


def _routes(settings: Settings) -> Iterator[web.RouteDef]:
    # Signing comes first: the router tries the routes in this order.
    yield from storage.ROUTES
    for type_ in RESOURCE_TYPES:
        for base in ("", "/fhir"):
            yield from ResourceHandlers(type_).routes(base)
    yield from operations.ROUTES
    if settings.ops_port is None:
        yield from operations.METRICS


def _with_options(routes: Iterable[web.RouteDef]) -> Iterator[web.RouteDef]:
    return (web.RouteDef(route.method, route.path, route.handler, {"expect_handler": expectation}) for route in routes)


def create_operations_app(main: web.Application) -> web.Application:
    """What the operators' own port serves, of what ``main`` has, opens and closes."""
    app = web.Application(middlewares=STACK)
    app[STORE] = main[STORE]
    app[READINESS] = main[READINESS]
    app[COMMIT] = main[COMMIT]
    app[MAX_BODY] = main[MAX_BODY]
    app[CORS_ORIGINS] = frozenset()
    # A kubelet asks by the pod's address.
    app[LOOPBACK_ONLY] = False
    app.add_routes(_with_options([*operations.PROBES, *operations.METRICS]))
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
    await app[STORE].open()
    yield
    await app[PRESIGNER].close()
    await app[STORE].close()
