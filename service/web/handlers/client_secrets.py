"""POST /Client/{id}/$rotate-secret replaces a Client's secret; the previous one stays valid for a while."""

import time
from datetime import UTC, datetime

from aiohttp import hdrs, web

from service.access.client import CLIENT, MAX_PREVIOUS_SECONDS, PREVIOUS_SECONDS, secret_field
from service.errors import Invalid, ResourceNotFound, StoreUnavailable, Throttled, VersionConflict
from service.resources.fields import Number
from service.resources.schemas import Reader, WireSchema
from service.resources.secrets.stored_secret import new_secret
from service.web import target
from service.web.access import require_permission
from service.web.audit import audit_change
from service.web.conditional import precondition, versioned
from service.web.context import CONTEXT
from service.web.openapi.metadata import documented
from service.web.rendering import NO_STORE, render
from service.web.routing import Guard, Route


class Rotation(WireSchema):
    """The body of a rotation. Without ``secret``, the service generates one."""

    secret = secret_field()
    previous_valid_for = Number(
        0,
        MAX_PREVIOUS_SECONDS,
        " of seconds",
        load_default=PREVIOUS_SECONDS,
        metadata={"description": "How long the secret before stays valid, in seconds."},
    )


_ROTATION = Reader(Rotation)
_OPERATION = "rotate-secret"


@documented(
    "rotateClientSecret",
    "Rotate the secret of a Client",
    description="Replaces the secret by yours or by a generated one, which is shown once. The secret before stays valid"
    " for `previous-valid-for` seconds, so its users have time to change. Policies see a PATCH of the Client.",
    response="RotatedSecret",
    request_body="Rotation",
    request_headers=(hdrs.IF_MATCH,),
    response_headers=(hdrs.ETAG, hdrs.LAST_MODIFIED, hdrs.CACHE_CONTROL),
    errors=(ResourceNotFound, StoreUnavailable, Throttled, VersionConflict),
)
async def rotate(request: web.Request) -> web.Response:
    context = request[CONTEXT]
    target.reject_unknown_parameters(context.query, fields=_ROTATION.typed.names)
    id_ = request.match_info["id"]
    if faults := CLIENT.id_faults(id_):
        raise Invalid(*faults)
    context.app.audit.check()
    # Policies must not see an invalid body.
    rotation = _ROTATION.read(context.body)
    await require_permission(request, {"resource/type": CLIENT.kind, "resource/id": id_})
    secret, now = rotation.get("secret") or new_secret(), time.time()
    expires = int(now) + rotation["previous-valid-for"]
    resource = await context.app.repository.rotate(
        CLIENT, id_, "secret", secret, previous_expires=expires, now=now, precondition=precondition(request)
    )
    audit_change(request, _OPERATION, f"{resource.kind}/{resource.id}", fields=["secret"])
    shown = {"secret": secret, "previous-expires": f"{datetime.fromtimestamp(expires, UTC):%Y-%m-%dT%H:%M:%SZ}"}
    return versioned(render(request, shown, headers=NO_STORE), resource)


# Policies see a PATCH, because a caller who may PATCH a Client can replace its secret as well.
ROUTES = (
    Route(
        hdrs.METH_POST,
        f"/{CLIENT.kind}/{{id:[^/]+}}/$rotate-secret",
        rotate,
        guard=Guard.HANDLER,
        policy_method=hdrs.METH_PATCH,
        operation=_OPERATION,
    ),
)
