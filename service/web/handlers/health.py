"""What operators and orchestrators ask: live, ready, health, version, metrics."""

import platform
from typing import Any

from aiohttp import hdrs, web

import service
from service.errors import StoreUnavailable
from service.telemetry.metrics import exposition
from service.web import target
from service.web.context import CONTEXT
from service.web.openapi.metadata import documented
from service.web.rendering import render
from service.web.routing import Guard, Route


@documented("live", "Whether the process serves", answer="Status")
async def live(request: web.Request) -> web.Response:
    target.reject_unknown_parameters(request[CONTEXT].query)
    return render(request, {"status": "pass"})


@documented("ready", "Whether requests may come", answer="Status", errors=(StoreUnavailable,))
async def ready(request: web.Request) -> web.Response:
    """503 while draining, before the store was first reached, and once the cache is too old to sign from.

    A short outage meets all replicas at once, so it must not take them all out of a load balancer.
    """
    target.reject_unknown_parameters(request[CONTEXT].query)
    app = request[CONTEXT].app
    if app.state.draining:
        raise StoreUnavailable("The service is draining")
    if not await app.store.reached_within(app.stale_seconds):
        raise StoreUnavailable("The account store cannot be reached")
    return render(request, {"status": "pass"})


@documented("health", "What is well, and what is not", answer="Health")
async def health(request: web.Request) -> web.Response:
    """In the shape of Aidbox. Source: https://docs.aidbox.app/api/other/health-check."""
    target.reject_unknown_parameters(request[CONTEXT].query)
    store = await _store(request)
    return render(
        request,
        {
            "status": "pass" if store["status"] == "pass" else "warn",
            "description": "s3-signer",
            "about": _about(request),
            "checks": {"store": store},
        },
    )


@documented("version", "What runs", answer="Version")
async def version(request: web.Request) -> web.Response:
    target.reject_unknown_parameters(request[CONTEXT].query)
    return render(request, _about(request))


@documented(
    "metrics",
    "Metrics for Prometheus",
    answer="Text",
    media=("text/plain", "application/openmetrics-text"),
)
async def metrics(request: web.Request) -> web.Response:
    target.reject_unknown_parameters(request[CONTEXT].query)
    text, content_type = exposition(",".join(request.headers.getall(hdrs.ACCEPT, ())))
    return web.Response(body=text, headers={hdrs.CONTENT_TYPE: content_type})


async def _store(request: web.Request) -> dict[str, Any]:
    try:
        await request[CONTEXT].app.store.check()
    except StoreUnavailable as error:
        return {"status": "fail", "output": str(error)}
    if warnings := request[CONTEXT].app.store.warnings():
        return {"status": "warn", "output": "; ".join(warnings)}
    return {"status": "pass"}


def _about(request: web.Request) -> dict[str, str]:
    return {
        "version": service.__version__,
        "commit": request[CONTEXT].app.commit or "unknown",
        "python": platform.python_version(),
    }


PROBES = (
    Route(hdrs.METH_GET, "/live", live, guard=Guard.PUBLIC, operations=True),
    Route(hdrs.METH_GET, "/ready", ready, guard=Guard.PUBLIC, operations=True),
    Route(hdrs.METH_GET, "/health", health, guard=Guard.PUBLIC, operations=True),
)
METRICS = (Route(hdrs.METH_GET, "/metrics", metrics, fixed_media_type=True, operations=True),)
ROUTES = (*PROBES, Route(hdrs.METH_GET, "/$version", version))
