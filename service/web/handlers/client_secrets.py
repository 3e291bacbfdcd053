"""POST /Client/{id}/$rotate-secret: a new secret for a Client, beside which the one before stays valid for a while."""

import time
from datetime import UTC, datetime

from aiohttp import hdrs, web

from service.access.types import CLIENT, MAX_PREVIOUS_SECONDS, PREVIOUS_SECONDS, secret_field
from service.errors import Invalid, ResourceNotFound, StoreUnavailable, Throttled, VersionConflict
from service.resources.fields import Number
from service.resources.schemas import Reader, WireSchema
from service.resources.secrets.stored_secret import new_secret
from service.web import target
from service.web.access import client_address, require_permission
from service.web.conditional import precondition, versioned
from service.web.context import CONTEXT
from service.web.openapi.metadata import documented
from service.web.rendering import NO_STORE, render
from service.web.routing import Guard, Route


class Rotation(WireSchema):
    """The body that asks for a new secret. Without ``secret``, one is made."""

    secret = secret_field()
    previous_valid_for = Number(0, MAX_PREVIOUS_SECONDS, " of seconds", load_default=PREVIOUS_SECONDS)


_ROTATION = Reader(Rotation)
_OPERATION = "rotate-secret"


@documented(
    "rotateClientSecret",
    "Replace the secret, which is shown once; the one before stays valid for a while",
    answer="RotatedSecret",
    body="Rotation",
    heeds=(hdrs.IF_MATCH,),
    headers=(hdrs.ETAG, hdrs.LAST_MODIFIED, hdrs.CACHE_CONTROL),
    errors=(ResourceNotFound, StoreUnavailable, Throttled, VersionConflict),
)
async def rotate(request: web.Request) -> web.Response:
    context = request[CONTEXT]
    target.reject_unknown_parameters(context.query, fields=_ROTATION.typed.names)
    id_ = request.match_info["id"]
    if faults := CLIENT.id_faults(id_):
        raise Invalid(*faults)
    context.app.audit.check()
    # Policies see no body that is not valid.
    asked = _ROTATION.read(context.body)
    await require_permission(request, {"resource/type": CLIENT.kind, "resource/id": id_})
    secret, now = asked.get("secret") or new_secret(), time.time()
    expires = int(now) + asked["previous-valid-for"]
    resource = await context.app.repository.rotate(
        CLIENT, id_, "secret", secret, previous_expires=expires, now=now, precondition=precondition(request)
    )
    context.app.audit.changed(
        caller=context.caller.name,
        address=client_address(request),
        policy=context.policy,
        operation=_OPERATION,
        method=request.method,
        resource=f"{resource.kind}/{resource.id}",
        fields=["secret"],
        request_id=context.request_id,
    )
    shown = {"secret": secret, "previous-expires": f"{datetime.fromtimestamp(expires, UTC):%Y-%m-%dT%H:%M:%SZ}"}
    return versioned(render(request, shown, headers=NO_STORE), resource)


# Policies see a PATCH: whoever may send one can replace the secret as well, and a POST creates Clients.
ROUTES = tuple(
    Route(
        hdrs.METH_POST,
        f"{base}/{CLIENT.kind}/{{id:[^/]+}}/$rotate-secret",
        rotate,
        guard=Guard.HANDLER,
        policy_method=hdrs.METH_PATCH,
        operation=_OPERATION,
    )
    for base in ("", "/fhir")
)
