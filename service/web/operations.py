"""What operators and orchestrators ask: live, ready, health, version, metrics."""

import platform
from http import HTTPStatus
from typing import Any

from aiohttp import hdrs

import service
from service.errors import StoreUnavailable
from service.telemetry.metrics import exposition
from service.web import target
from service.web.answer import Answer, head_of, respond
from service.web.context import Exchange
from service.web.description import described
from service.web.routing import Guard, Route


@described("live", "Whether the process serves", answer="Status")
async def live(exchange: Exchange) -> Answer:
    target.only(exchange.query)
    return respond(exchange, {"status": "pass"})


@described("ready", "Whether requests may come", answer="Status", errors=(StoreUnavailable,))
async def ready(exchange: Exchange) -> Answer:
    """503 while draining, or while the store cannot be reached."""
    target.only(exchange.query)
    if exchange.shared.readiness.draining:
        raise StoreUnavailable("The service is draining")
    await exchange.shared.store.check()
    return respond(exchange, {"status": "pass"})


@described("health", "What is well, and what is not", answer="Health")
async def health(exchange: Exchange) -> Answer:
    """In the shape of Aidbox. Source: https://docs.aidbox.app/api/other/health-check."""
    target.only(exchange.query)
    store = await _store(exchange)
    return respond(
        exchange,
        {
            "status": "pass" if store["status"] == "pass" else "warn",
            "description": "s3-signer",
            "about": _about(exchange),
            "checks": {"store": store},
        },
    )


@described("version", "What runs", answer="Version")
async def version(exchange: Exchange) -> Answer:
    target.only(exchange.query)
    return respond(exchange, _about(exchange))


@described(
    "metrics",
    "Metrics for Prometheus",
    answer="Text",
    media=("text/plain", "application/openmetrics-text"),
)
async def metrics(exchange: Exchange) -> Answer:
    target.only(exchange.query)
    text, content_type = exposition(",".join(exchange.request.headers.getall(hdrs.ACCEPT, ())))
    return Answer(head_of(HTTPStatus.OK, {hdrs.CONTENT_TYPE: content_type}), text)


async def _store(exchange: Exchange) -> dict[str, Any]:
    try:
        await exchange.shared.store.check()
    except StoreUnavailable as error:
        return {"status": "fail", "output": str(error)}
    if warnings := exchange.shared.store.warnings():
        return {"status": "warn", "output": "; ".join(warnings)}
    return {"status": "pass"}


def _about(exchange: Exchange) -> dict[str, str]:
    return {
        "version": service.__version__,
        "commit": exchange.shared.commit or "unknown",
        "python": platform.python_version(),
    }


PROBES = (
    Route(hdrs.METH_GET, "/live", live, guard=Guard.NOBODY, operations=True),
    Route(hdrs.METH_GET, "/ready", ready, guard=Guard.NOBODY, operations=True),
    Route(hdrs.METH_GET, "/health", health, guard=Guard.NOBODY, operations=True),
)
METRICS = (Route(hdrs.METH_GET, "/metrics", metrics, own_type=True, operations=True),)
ROUTES = (*PROBES, Route(hdrs.METH_GET, "/$version", version))
