"""POST /AccessPolicy/$explain: which policy would allow a request, or why each does not. Nothing is signed or done."""

from typing import Any

from aiohttp import hdrs

from service.access.callers import Caller
from service.access.types import ACCESS_POLICY, REQUEST_NAMES, linked_client
from service.errors import Invalid, Issue, StoreUnavailable
from service.web import target
from service.web.access import permitted, request_method
from service.web.answer import Answer, respond
from service.web.context import Exchange
from service.web.description import described
from service.web.routing import Guard, Route

_TEXTS = frozenset({"request-method", "uri"})


@described(
    "explain",
    "Which policy would allow a request, or why each does not",
    answer="Explanation",
    body="DescribedRequest",
    errors=(StoreUnavailable,),
)
async def explain(exchange: Exchange) -> Answer:
    target.only(exchange.query)
    # It tells of all policies, and so is for those who may list them.
    await permitted(exchange, {"resource/type": ACCESS_POLICY.kind, "resource/id": None})
    request = _request(exchange)
    access = exchange.shared.access
    if access is None:
        return respond(exchange, {"allowed": True, "reason": "Nobody is asked for credentials here"})
    rules = await access.policies.of(_caller(request))
    policy = rules.allowing(request)
    if policy is not None:
        return respond(exchange, {"allowed": True, "policy": policy})
    mismatches = [{"policy": id_, "mismatch": text} for id_, text in rules.mismatches(request).items()]
    return respond(exchange, {"allowed": False, "policies": mismatches})


def _request(exchange: Exchange) -> dict[str, Any]:
    given = exchange.body.values
    if unknown := [name for name in given if name not in REQUEST_NAMES]:
        raise Invalid(*(Issue(f"{name} is nothing that a request has", name) for name in unknown))
    faults = [Issue(f"{name} must be text", name) for name in _TEXTS & given.keys() if not isinstance(given[name], str)]
    faults += [
        Issue(f"{name} must be an object", name)
        for name in given.keys() - _TEXTS
        if not isinstance(given[name], dict | None)
    ]
    if faults:
        raise Invalid(*faults)
    return {**given, "request-method": request_method(str(given.get("request-method", "get")))}


def _caller(request: dict[str, Any]) -> Caller:
    client = request.get("client")
    if client is None:
        return Caller("described", jwt=request.get("jwt") or {})
    id_ = linked_client({"resourceType": "Client", **client}) if isinstance(client, dict) else None
    if id_ is None:
        raise Invalid(Issue("client must be {id: the id of a Client}", "client"))
    request["client"] = {"id": id_, "resourceType": "Client"}
    return Caller("described", id_)


ROUTES = (
    Route(
        hdrs.METH_POST,
        f"/{ACCESS_POLICY.kind}/$explain",
        explain,
        guard=Guard.HANDLER,
        judged_as=hdrs.METH_GET,
        operation="explain",
    ),
)
