"""Wiring: which store, which middlewares, which routes, and in what order they open and close."""

from collections.abc import AsyncIterator

from aiohttp import web

from service.resources.repository import Repository
from service.resources.store import EmbeddedStore, Store
from service.resources.types import RESOURCE_TYPES
from service.settings import Settings
from service.signing.presigner import Presigner
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
from service.web.middleware import STACK
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
    # Signing comes first: the router tries the routes in this order.
    app.add_routes(storage.ROUTES)
    for type_ in RESOURCE_TYPES:
        handlers = ResourceHandlers(type_)
        app.add_routes([*handlers.routes(""), *handlers.routes("/fhir")])
    app.add_routes(operations.ROUTES)
    app.cleanup_ctx.append(_resources)
    return app


def make_store(settings: Settings) -> Store:
    if settings.store_url == "memory://":
        return EmbeddedStore()
    # Who keeps accounts in memory need not load what Redis takes.
    from service.resources.redis import RedisStore  # noqa: PLC0415

    return RedisStore.at(settings.store_url, prefix=settings.key_prefix)


async def _resources(app: web.Application) -> AsyncIterator[None]:
    await app[STORE].open()
    yield
    await app[PRESIGNER].close()
    await app[STORE].close()
