"""Probes, version and metrics for operators and orchestrators."""

import asyncio
import platform
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from aiohttp import hdrs, web

import service
from service.errors import AuditUnavailable, StoreUnavailable
from service.telemetry.metrics import IN_FLIGHT, exposition
from service.web import target
from service.web.context import CONTEXT
from service.web.openapi.metadata import documented
from service.web.rendering import render
from service.web.routing import Guard, Route

# To sum the files of sixteen workers takes 20 ms or more. Large bodies would delay a scrape in their thread.
_SCRAPES = ThreadPoolExecutor(1, "scrapes")


@documented(
    "live",
    "Probe the process",
    description="Answers 200 while the process serves, for a liveness probe.",
    response="Status",
)
async def live(request: web.Request) -> web.Response:
    target.reject_unknown_parameters(request[CONTEXT].query)
    return render(request, {"status": "pass"})


@documented(
    "ready",
    "Probe the readiness",
    description="Answers 200 if the process accepts requests, for a readiness probe. It answers 503 while it starts or"
    " drains, and after a long outage of the store.",
    response="Status",
    errors=(StoreUnavailable,),
)
async def ready(request: web.Request) -> web.Response:
    """Return 200 if the process can sign.

    A short outage affects all replicas at once, so it must not take all of them out of a load balancer.

    Raises:
        StoreUnavailable: while draining, before the store was first reached, once cached accounts are too old to sign,
            and before the bundle of the settings was first applied.
    """
    target.reject_unknown_parameters(request[CONTEXT].query)
    app = request[CONTEXT].app
    if app.state.draining:
        raise StoreUnavailable("The service is draining")
    if not await app.store.reached_within(app.settings.stale_seconds):
        raise StoreUnavailable("The account store cannot be reached")
    if app.state.bundle_pending:
        raise StoreUnavailable("The bundle has not been applied yet")
    return render(request, {"status": "pass"})


@documented(
    "health",
    "Read the health",
    description="Shows the state of the service, of its store, of its audit log and of the files of its settings.",
    response="Health",
)
async def health(request: web.Request) -> web.Response:
    """Return the state in the format of Aidbox. Source: https://docs.aidbox.app/api/other/health-check."""
    target.reject_unknown_parameters(request[CONTEXT].query)
    checks = {"store": await _store(request)}
    if not request[CONTEXT].app.audit.is_available():
        checks["audit"] = {"status": "fail", "output": str(AuditUnavailable())}
    if warnings := request[CONTEXT].app.files.warnings():
        checks["files"] = {"status": "warn", "output": "; ".join(warnings)}
    return render(
        request,
        {
            "status": "pass" if all(check["status"] == "pass" for check in checks.values()) else "warn",
            "description": "s3-signer",
            "about": _about(request),
            "checks": checks,
        },
    )


@documented(
    "version",
    "Read the version",
    description="Shows the version of the service, its commit, and the version of Python.",
    response="Version",
)
async def version(request: web.Request) -> web.Response:
    target.reject_unknown_parameters(request[CONTEXT].query)
    return render(request, _about(request))


@documented(
    "metrics",
    "Read the metrics",
    description="Returns the metrics in the format of Prometheus, or of OpenMetrics if `Accept` asks for it.",
    response="Text",
    media_types=("text/plain", "application/openmetrics-text"),
)
async def metrics(request: web.Request) -> web.Response:
    target.reject_unknown_parameters(request[CONTEXT].query)
    IN_FLIGHT.set(request[CONTEXT].app.state.in_flight)
    accept = ",".join(request.headers.getall(hdrs.ACCEPT, ()))
    text, content_type = await asyncio.get_running_loop().run_in_executor(_SCRAPES, exposition, accept)
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
        "commit": request[CONTEXT].app.settings.commit or "unknown",
        "python": platform.python_version(),
    }


PROBES = (
    Route(hdrs.METH_GET, "/live", live, guard=Guard.PUBLIC, operations=True),
    Route(hdrs.METH_GET, "/ready", ready, guard=Guard.PUBLIC, operations=True),
    Route(hdrs.METH_GET, "/health", health, guard=Guard.PUBLIC, operations=True),
)
METRICS = (Route(hdrs.METH_GET, "/metrics", metrics, fixed_media_type=True, operations=True),)
ROUTES = (*PROBES, Route(hdrs.METH_GET, "/$version", version))
