"""POST /AccessPolicy/$explain evaluates the policies on a described request, without executing it."""

from collections.abc import Iterator, Mapping
from itertools import chain, islice
from typing import Any

from aiohttp import hdrs, web
from marshmallow import ValidationError, fields

from service.access.access_policy import (
    ACCESS_POLICY,
    MAX_UNKNOWN_NAMES,
    linked_client,
    param_names,
    unknown_headers,
    unknown_names,
)
from service.access.callers.principals import Principal
from service.access.policies.evaluation import TooMuchWork
from service.access.policies.matchers import scalar_text
from service.access.policies.values import value_problem
from service.errors import Invalid, Issue, StoreUnavailable
from service.resources.fields import Text
from service.resources.schemas import Reader, WireSchema
from service.web import target
from service.web.access import policy_request_method, require_permission
from service.web.context import CONTEXT
from service.web.openapi.metadata import documented
from service.web.rendering import render, render_list
from service.web.routing import Guard, Route

# The names and mismatches of so many take about 1 ms to encode.
MANY_POLICIES = 100


class _Object(fields.Dict):
    default_error_messages = {"invalid": "must be an object"}


def _check_params(params: Mapping[str, Any]) -> None:
    """Raise ValidationError for names and values that no request has."""
    unknown = unknown_names("params", params, param_names())
    wrong = (
        f"has a value that no request has: {name} {problem}"
        for name, value in params.items()
        if (text := scalar_text(value)) is not None and (problem := value_problem(text, ("params", name), is_text=True))
    )
    if messages := [*islice(chain(unknown, wrong), MAX_UNKNOWN_NAMES)]:
        raise ValidationError(messages)


def _check_headers(headers: Mapping[str, Any]) -> None:
    """Raise ValidationError for names that no request has, such as ``X-Role``: no pattern would see their values."""
    if messages := [*islice(unknown_headers(headers), MAX_UNKNOWN_NAMES)]:
        raise ValidationError(messages)


class DescribedRequest(WireSchema):
    """A request as policies see it. All parts are optional."""

    request_method = Text(metadata={"description": "The method. Without it, get.", "examples": ["post"]})
    uri = Text(
        r"/[\s\S]*",
        "must begin with a slash",
        metadata={"description": "The path.", "examples": ["/aws/storage/my-account/my-bucket"]},
    )
    params = _Object(
        validate=_check_params,
        metadata={
            "description": "What the request names, such as account, bucket, key and operation.",
            "examples": [{"operation": "upload", "account": "my-account", "bucket": "my-bucket", "key": "team-a/1"}],
        },
    )
    client = _Object(metadata={"description": "The Client that calls.", "examples": [{"id": "my-client"}]})
    jwt = _Object(metadata={"description": "The claims of the JWT, if one calls."})
    headers = _Object(validate=_check_headers, metadata={"description": "The headers, with names in lower case."})
    body = _Object(metadata={"description": "The body."})


_DESCRIBED_REQUEST = Reader(DescribedRequest)


@documented(
    "explain",
    "Explain a decision",
    description="Describe a request as policies see it. The answer names the policy that allows it, or says why each"
    " policy does not. Nothing is executed. The caller must be allowed to list all policies.",
    response="Explanation",
    request_body="DescribedRequest",
    errors=(StoreUnavailable,),
)
async def explain(request: web.Request) -> web.Response:
    target.reject_unknown_parameters(request[CONTEXT].query, fields=_DESCRIBED_REQUEST.typed.names)
    # Policies must not see an invalid body.
    described = _DESCRIBED_REQUEST.read(request[CONTEXT].body)
    described["request-method"] = policy_request_method(described.get("request-method", "get"))
    # The answer shows all policies, so the caller must be allowed to list them.
    await require_permission(request, {"resource/type": ACCESS_POLICY.kind, "resource/id": None})
    access = request[CONTEXT].app.access
    if access is None:
        return render(request, {"allowed": True, "reason": "The service runs without authentication"})
    rules = await access.policies.for_principal(_caller(described))
    try:
        policy, mismatches = await access.evaluator.explain(rules, described)
    except TooMuchWork as error:
        return render(request, {"allowed": False, "reason": f"It is denied, as {error}"})
    if policy is not None:
        return render(request, {"allowed": True, "policy": policy})
    invalid = access.policies.invalid
    is_long = len(mismatches) + len(invalid) > MANY_POLICIES
    return await render_list(request, {"allowed": False}, "policies", _reasons(mismatches, invalid), is_long=is_long)


def _reasons(mismatches: Mapping[str, str], invalid: Mapping[str, str]) -> Iterator[dict[str, str]]:
    """Yield why each policy does not allow the request, in the order of their ids."""
    for id_ in sorted({**mismatches, **invalid}):
        text = f"is invalid and grants nothing: {invalid[id_]}" if id_ in invalid else mismatches[id_]
        yield {"policy": id_, "mismatch": text}


def _caller(request: dict[str, Any]) -> Principal:
    client = request.get("client")
    if client is None:
        return Principal("described", jwt=request.get("jwt") or {})
    id_ = linked_client({"resourceType": "Client", **client}) if isinstance(client, dict) else None
    if id_ is None:
        raise Invalid(Issue("client must be {id: the id of a Client}", "client"))
    request["client"] = {"id": id_, "resourceType": "Client"}
    return Principal("described", id_)


ROUTES = (
    Route(
        hdrs.METH_POST,
        f"/{ACCESS_POLICY.kind}/$explain",
        explain,
        guard=Guard.HANDLER,
        policy_method=hdrs.METH_GET,
        operation="explain",
    ),
)
