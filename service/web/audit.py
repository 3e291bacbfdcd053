"""Audit lines about one request: changes and denials. Lines about signed URLs are written where URLs are signed."""

from collections.abc import Sequence

from aiohttp import web

from service.access.callers.principals import Principal
from service.errors import AuditUnavailable, ServiceError
from service.resources.signing_schemas.forms import FILE_NAME_VARIABLE
from service.web.access import client_address
from service.web.context import CONTEXT

# Params of a signing request that are not bound.
_TARGET = frozenset({"operation", "account", "bucket", "key", "expiration"})


def audit_change(
    request: web.Request,
    operation: str,
    resource: str,
    *,
    caller: Principal | None = None,
    fields: Sequence[str] | None = None,
    host: str | None = None,
) -> None:
    """Record that a request changed ``resource``, such as ``AwsAccount/x``.

    Args:
        request: The request that made the change.
        operation: The name of the operation, such as ``update``.
        resource: Kind and id of what changed.
        caller: The authenticated caller; by default the one that the middleware found.
        fields: The names of the changed fields.
        host: The new value of ``host``.
    """
    context = request[CONTEXT]
    context.app.audit.changed(
        caller=(caller or context.caller).name,
        address=client_address(request),
        policy=context.policy,
        operation=operation,
        method=request.method,
        resource=resource,
        fields=fields,
        host=host,
        request_id=context.request_id,
    )


def audit_denial(request: web.Request, denial: ServiceError) -> ServiceError:
    """Record a denial and return it. Return AuditUnavailable instead if the audit log cannot take the line."""
    context = request[CONTEXT]
    params = context.params
    kind, id_ = params.get("resource/type"), params.get("resource/id")
    key, prefix = params.get("key"), params.get("key-prefix")
    try:
        context.app.audit.denied(
            caller=context.caller.name,
            address=client_address(request),
            operation=context.operation or context.route.operation,
            method=request.method,
            route=context.route.pattern,
            account=params.get("account"),
            resource=f"{kind}/{id_}" if kind and id_ else kind,
            bucket=params.get("bucket"),
            key=key if prefix is None else f"{prefix}{FILE_NAME_VARIABLE}",
            bound={name: params[name] for name in params if name not in _TARGET} if "account" in params else None,
            expiration=params.get("expiration"),
            outcome=denial.code,
            request_id=context.request_id,
        )
    except AuditUnavailable as unavailable:
        return unavailable
    return denial
