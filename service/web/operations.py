"""What operators and orchestrators ask: live, ready, health, version, metrics."""

import platform
from http import HTTPStatus
from typing import Any

from aiohttp import hdrs, web

import service
from service.errors import StoreUnavailable
from service.telemetry.metrics import exposition
from service.web import target
from service.web.answer import Answer, head_of, respond
from service.web.context import EXCHANGE
from service.web.routing import Route


async def live(request: web.Request) -> Answer:
    target.only(request[EXCHANGE].query)
    return respond(request, {"status": "pass"})


async def ready(request: web.Request) -> Answer:
    """503 while draining, or while the store cannot be reached."""
    target.only(request[EXCHANGE].query)
    if request[EXCHANGE].shared.readiness.draining:
        raise StoreUnavailable("The service is draining")
    await request[EXCHANGE].shared.store.check()
    return respond(request, {"status": "pass"})


async def health(request: web.Request) -> Answer:
    """In the shape of Aidbox. Source: https://docs.aidbox.app/api/other/health-check."""
    target.only(request[EXCHANGE].query)
    store = await _store(request)
    return respond(
        request,
        {
            "status": "pass" if store["status"] == "pass" else "warn",
            "description": "s3-signer",
            "about": _about(request),
            "checks": {"store": store},
        },
    )


async def version(request: web.Request) -> Answer:
    target.only(request[EXCHANGE].query)
    return respond(request, _about(request))


async def metrics(request: web.Request) -> Answer:
    target.only(request[EXCHANGE].query)
    text, content_type = exposition(",".join(request.headers.getall(hdrs.ACCEPT, ())))
    return Answer(head_of(HTTPStatus.OK, {hdrs.CONTENT_TYPE: content_type}), text)


async def _store(request: web.Request) -> dict[str, Any]:
    try:
        await request[EXCHANGE].shared.store.check()
    except StoreUnavailable as error:
        return {"status": "fail", "output": str(error)}
    if warnings := request[EXCHANGE].shared.store.warnings():
        return {"status": "warn", "output": "; ".join(warnings)}
    return {"status": "pass"}


def _about(request: web.Request) -> dict[str, str]:
    return {
        "version": service.__version__,
        "commit": request[EXCHANGE].shared.commit or "unknown",
        "python": platform.python_version(),
    }


PROBES = (
    Route(hdrs.METH_GET, "/live", live),
    Route(hdrs.METH_GET, "/ready", ready),
    Route(hdrs.METH_GET, "/health", health),
)
METRICS = (Route(hdrs.METH_GET, "/metrics", metrics, own_type=True),)
ROUTES = (*PROBES, Route(hdrs.METH_GET, "/$version", version))
