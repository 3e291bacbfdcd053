"""Authorize, sign and audit a request for one URL: what the handlers share that sign."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from time import time
from typing import Any

from aiohttp import web

from service.errors import Invalid, Issue, StoreUnavailable, drop_tracebacks
from service.resources.host_rules import is_ambiguous
from service.resources.queries import DEFAULT_EXPIRATION_SECONDS
from service.resources.types import AWS_ACCOUNT, AwsAccount
from service.signing.operations import NOTHING_BOUND, UPLOAD_FORM
from service.signing.url_request import Granted, UrlRequest, audit_url, limit_issues
from service.web.access import client_address, require_permission
from service.web.context import RequestContext
from service.web.target import NOTHING

_STATE_STYLE = (
    "AwsAccount.path-style is required for an account with a custom host;"
    " set it to true for MinIO, Garage or Ceph, or to false if the server reads the bucket from the host name"
)


@dataclass(slots=True)
class SignedUrl:
    """A signed URL, with what its user may ask about it."""

    url: str
    wanted: UrlRequest
    granted: Granted
    at: int

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers that its user must send."""
        return self.wanted.operation.bind(self.granted[-1]).headers

    def details(self) -> dict[str, Any]:
        """Return the answer to a request with ``details=true``."""
        account, _, expires_in, _ = self.granted
        wanted_end = self.at + expires_in
        # A URL ends with its keys.
        end = wanted_end if account.keys_end is None else min(wanted_end, account.keys_end)
        expires_at = f"{datetime.fromtimestamp(end, UTC):%Y-%m-%dT%H:%M:%SZ}"
        details: dict[str, Any] = {
            "url": self.url,
            "method": self.wanted.operation.method,
            "headers": dict(self.headers),
            "expiration": expires_in,
            "expires-at": expires_at,
        }
        if end < wanted_end:
            details["warnings"] = [
                f"the URL ends at {expires_at}, before its expiration, because the keys of the account end"
            ]
        return details


async def sign(
    request: web.Request, context: RequestContext, wanted: UrlRequest, *, instead: Mapping[str, Any] = NOTHING
) -> SignedUrl:
    """Authorize, sign, audit and count one URL: ``authorize`` and ``sign_url`` in one call."""
    granted = await authorize(request, context, wanted, instead=instead)
    now = int(time())
    return SignedUrl(sign_url(request, context, wanted, granted, at=now), wanted, granted, now)


# Each look-up of a context costs as much as a call, so functions get it as an argument.
async def authorize(
    request: web.Request, context: RequestContext, wanted: UrlRequest, *, instead: Mapping[str, Any] = NOTHING
) -> Granted:
    """Return what a URL is signed with, if the policies and the account allow it.

    Policies see the parts of ``instead`` in place of those of the request.

    Raises:
        Forbidden: no policy allows it.
        Invalid: the account does not allow it.
        KeysUnavailable: the account signs with keys that cannot be had at the moment.
        ResourceNotFound: there is no such account.
    """
    app, account_id = context.app, wanted.account_id
    try:
        # None if the account is missing or invalid.
        account: AwsAccount | None = app.repository.model_if_valid(
            AWS_ACCOUNT, await app.repository.find(AWS_ACCOUNT, account_id)
        )
    except StoreUnavailable as error:
        drop_tracebacks(error)
        account = None
    expires_in = wanted.expiration or (account.url_expiration if account else DEFAULT_EXPIRATION_SECONDS)
    if wanted.operation is UPLOAD_FORM and account and account.max_size:
        wanted = replace(wanted, values={"max-size": account.max_size, **wanted.values})
    # Policies are evaluated first, because a caller without permission must not learn whether an account exists.
    if not context.caller.unlimited:
        await require_permission(request, _params(wanted, expires_in), instead=instead)
    if account is None:
        # Raises the reason, unless the account has just been stored.
        account = app.repository.model(AWS_ACCOUNT, await app.repository.read(AWS_ACCOUNT, account_id))
    if not context.caller.unlimited and is_ambiguous(account):
        raise Invalid(Issue(_STATE_STYLE, "AwsAccount.path-style"))
    if (account.max_expiration or account.max_size) and (issues := [*limit_issues(account, wanted, expires_in)]):
        raise Invalid(*issues)
    endpoint = await app.presigner.endpoint(account, wanted.bucket)
    if account.borrows_keys:
        account = await app.borrowed_keys.lend(account, context.caller.name)
    return account, endpoint, expires_in, wanted.values


def _params(wanted: UrlRequest, expires_in: int) -> dict[str, Any]:
    """Return the ``params`` that policies see."""
    params = {
        "operation": wanted.operation.policy_name,
        "account": wanted.account_id,
        "bucket": wanted.bucket,
        "key": wanted.key,
        "expiration": expires_in,
    }
    return params | wanted.operation.bound_fields(wanted.values) if wanted.values else params


def sign_url(
    request: web.Request, context: RequestContext, wanted: UrlRequest, granted: Granted, *, at: int | None = None
) -> str:
    """Sign, audit and count a URL that ``authorize`` has granted. ``at`` is a Unix time, now if it is None.

    Raises:
        Invalid: the account has no keys.
        AuditUnavailable: the URL must not be returned.
    """
    account, endpoint, expires_in, values = granted
    operation = wanted.operation
    if at is None:
        at = int(time())
    bound = operation.bind(values) if values or operation.query else NOTHING_BOUND
    url = context.app.presigner.sign(
        account, operation, endpoint, key=wanted.key, at=at, expires_in=expires_in, bound=bound
    )
    audit_url(
        context.app.audit,
        wanted,
        granted,
        at=at,
        caller=context.caller.name,
        address=client_address(request),
        policy=context.policy,
        request_id=context.request_id,
    )
    return url
