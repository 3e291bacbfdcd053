"""POST /AwsAccount/{id}/$check: whether an account can sign, and what to change; on request, the server is asked."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from http import HTTPStatus
from time import time
from typing import NamedTuple

from aiohttp import hdrs, web

from service.endpoints import DEFAULT_PORTS, is_name_of_region
from service.errors import Invalid, Issue, KeysUnavailable, ResourceNotFound, StoreUnavailable
from service.resources.fields import Flag, Text
from service.resources.host_rules import is_ambiguous
from service.resources.schemas import Reader, WireSchema
from service.resources.types import AWS_ACCOUNT, AwsAccount
from service.signing.endpoint import PATH, VIRTUAL_HOSTED, Endpoint
from service.signing.exposure import https_advice
from service.signing.names import BUCKET_PATTERN, name_issues
from service.signing.operations import LIST_OBJECTS
from service.signing.presigner import Presigner
from service.web import target
from service.web.access import require_permission
from service.web.context import CONTEXT
from service.web.openapi.metadata import documented
from service.web.rendering import NO_STORE, render
from service.web.routing import Guard, Route
from service.web.s3_probe import Probe, probe

PASS, WARN, FAIL = "pass", "warn", "fail"
MAX_CLOCK_OFFSET_SECONDS = 60
PROBE_SECONDS = 60

# S3's codes for keys that it does not accept.
# Source: https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html
_WRONG_KEYS = {
    "InvalidAccessKeyId": "the access key does not exist at this server; check access-key-id and host",
    "SignatureDoesNotMatch": "the secret does not belong to the access key, or the region is wrong; check both",
    "InvalidToken": "the session token is wrong; send the one that came with the keys",
    "ExpiredToken": "the session token has expired; store new temporary credentials",
    "RequestTimeTooSkewed": "see the clock",
    "AuthorizationHeaderMalformed": "the region is wrong; see the region",
    "AuthorizationQueryParametersError": "the region is wrong; see the region",
}
_REDIRECTS = frozenset({HTTPStatus.MOVED_PERMANENTLY, HTTPStatus.TEMPORARY_REDIRECT})


class CheckRequest(WireSchema):
    """The body of a check. ``live`` asks the S3 server for a listing of the bucket."""

    bucket = Text(
        required=True,
        metadata={
            "pattern": f"^{BUCKET_PATTERN}$",
            "description": "The bucket to sign for.",
            "examples": ["my-bucket"],
        },
    )
    live = Flag(load_default=False, metadata={"description": "Whether the S3 server is asked, too."})


class Check(NamedTuple):
    """One result. ``advice`` is empty if there is nothing to change."""

    name: str
    status: str
    output: str
    advice: str = ""


Lend = Callable[[AwsAccount], Awaitable[AwsAccount]]

_CHECK = Reader(CheckRequest)


@documented(
    "checkAccount",
    "Check an account",
    description="Tells whether the account can sign for a bucket, and what to change. With `live: true`, if the"
    " operator allows it, the service also asks the S3 server. Policies see a PATCH of the account.",
    response="AccountCheck",
    request_body="CheckRequest",
    response_headers=(hdrs.CACHE_CONTROL,),
    errors=(ResourceNotFound, StoreUnavailable),
)
async def check(request: web.Request) -> web.Response:
    context = request[CONTEXT]
    target.reject_unknown_parameters(context.query, fields=_CHECK.typed.names)
    id_ = request.match_info["id"]
    values = _CHECK.read(context.body)
    faults = [*AWS_ACCOUNT.id_faults(id_), *name_issues(values["bucket"], None)]
    if values["live"] and not context.app.settings.live_check:
        faults.append(Issue("live must be false, unless SIGNER_LIVE_CHECK is set", "live"))
    if faults:
        raise Invalid(*faults)
    await require_permission(request, {"resource/type": AWS_ACCOUNT.kind, "resource/id": id_})
    app = context.app
    account: AwsAccount = app.repository.model(AWS_ACCOUNT, await app.repository.read(AWS_ACCOUNT, id_))
    lend = partial(app.borrowed_keys.lend, caller=context.caller.name)
    ambient = app.settings.ambient_credentials
    found = account_checks(app.presigner, account, values["bucket"], ambient=ambient, lend=lend, live=values["live"])
    checks = [it async for it in found]
    statuses = {it.status for it in checks}
    worst = next(status for status in (FAIL, WARN, PASS) if status in statuses)
    return render(request, {"status": worst, "checks": [*map(_shown, checks)]}, headers=NO_STORE)


def _shown(it: Check) -> Mapping[str, str]:
    return {"name": it.name, "status": it.status, "output": it.output, **({"advice": it.advice} if it.advice else {})}


async def account_checks(
    presigner: Presigner, account: AwsAccount, bucket: str, *, ambient: bool, lend: Lend, live: bool
) -> AsyncIterator[Check]:
    """Yield the checks of an account.

    Args:
        presigner: Signs the questions to the server.
        account: The account.
        bucket: The bucket whose host and style are checked.
        ambient: Whether accounts may sign with the keys of the service.
        lend: Returns an account with the keys that it borrows.
        live: Ask the S3 server of the account for a listing of the bucket.
    """
    try:
        endpoint = await presigner.endpoint(account, bucket)
    except Invalid as error:
        yield Check("host", FAIL, "no URL can be signed", "; ".join(issue.diagnostics for issue in error.issues))
        return
    yield _host(account, endpoint, bucket)
    stored = _stored_keys(account, ambient=ambient)
    if live and stored.status == PASS and account.borrows_keys:
        try:
            account = await lend(account)
        except KeysUnavailable as error:
            stored = Check("credentials", FAIL, str(error), "see the log of the service")
    if stored.status == FAIL or not live:
        for it in (
            _style(account, endpoint),
            _region(account, endpoint),
            Check("clock", PASS, f"the clock of the service shows {datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"),
            stored,
        ):
            yield it
        return
    # The server's own host, also for an account whose URLs are for another one.
    own = replace(account, public_host=None, public_use_ssl=None)
    answers = {style: await _ask(presigner, own, bucket, path_style=style == PATH) for style in (PATH, VIRTUAL_HOSTED)}
    style = (await presigner.endpoint(own, bucket)).style
    for it in _live(endpoint, answers, style):
        yield it


async def _ask(presigner: Presigner, account: AwsAccount, bucket: str, *, path_style: bool) -> Probe:
    url = await presigner.presign(
        replace(account, path_style=path_style),
        LIST_OBJECTS,
        bucket=bucket,
        key=None,
        at=int(time()),
        expires_in=PROBE_SECONDS,
        bound=LIST_OBJECTS.bind({"max-keys": 1}),
    )
    return await probe(url)


def _host(account: AwsAccount, endpoint: Endpoint, bucket: str) -> Check:
    output = f"URLs begin with {endpoint.origin}{endpoint.prefix}/"
    if _names_twice(endpoint, bucket):
        return Check("host", WARN, f"{output}, with the bucket twice", "leave the bucket out of host and public-host")
    if _has_port_of_other_scheme(endpoint):
        return Check("host", WARN, f"{output}, and the port is that of the other scheme", "change use-ssl or the port")
    if endpoint.is_exposed:
        reason = "anyone who reads an http URL in transit can use it"
        return Check("host", WARN, output, f"{reason}; {https_advice(account)}")
    return Check("host", PASS, output)


def _has_port_of_other_scheme(endpoint: Endpoint) -> bool:
    # The canonical host has no port that is the default of its own scheme.
    return any(endpoint.host.endswith(f":{port}") for port in DEFAULT_PORTS.values())


def _names_twice(endpoint: Endpoint, bucket: str) -> bool:
    """Return whether the host of the account seems to name the bucket already.

    Consoles of S3 servers show such URLs for a bucket. A server then reads the second name as a part of the key.
    """
    first, *others = endpoint.host.split(".")
    labels = [first, *others[:1]] if endpoint.style == VIRTUAL_HOSTED else [first] if others else []
    return [*labels, *endpoint.prefix.split("/")].count(bucket) > 1


def _style(account: AwsAccount, endpoint: Endpoint) -> Check:
    output = f"the bucket is in the {'path' if endpoint.style == PATH else 'host name'}"
    if is_ambiguous(account):
        return Check("style", WARN, output, "only the root client may sign; set path-style to true or false")
    return Check("style", PASS, output)


def _region(account: AwsAccount, endpoint: Endpoint) -> Check:
    output = f"URLs are signed for the region {endpoint.region}"
    if account.is_at_aws and not is_name_of_region(endpoint.region):
        advice = "set region" if account.url_host else "set region; for another S3 server, set host"
        return Check("region", WARN, f"{output}, and AWS names none so", advice)
    return Check("region", PASS, output)


def _stored_keys(account: AwsAccount, *, ambient: bool) -> Check:
    keys = {"access-key-id": account.access_key_id, "secret-access-key": account.secret_access_key}
    missing = [name for name, value in keys.items() if not value]
    owner = "the account"
    if ambient and len(missing) == len(keys):
        owner, missing = "the service", []
    if missing:
        return Check("credentials", FAIL, f"the account has no {' and no '.join(missing)}", "store the keys")
    if account.role_arn:
        return Check("credentials", PASS, f"the keys of {owner} assume the role {account.role_arn}")
    if account.borrows_keys:
        return Check("credentials", PASS, "the account has no keys, and signs with those of the service")
    token = " with a session token" if account.session_token else ""
    if account.session_token and (account.access_key_id or "").startswith("AKIA") and account.is_at_aws:
        output = "AWS gives an access key that begins with AKIA no session token"
        return Check("credentials", WARN, output, "remove session-token, or store the keys that belong to it")
    output = f"the account has an access key{token}; S3 was not asked whether it accepts the key"
    return Check("credentials", PASS, output)


def _live(endpoint: Endpoint, answers: Mapping[str, Probe], style: str) -> Iterator[Check]:
    answer = answers[style]
    yield _live_style(answers, style)
    if answer.problem:
        yield Check("credentials", FAIL, f"unknown: {answer.problem}", "check host, use-ssl and the network")
        return
    yield _live_region(endpoint, answer)
    yield _live_clock(answer)
    yield _live_keys(answer)


def _live_style(answers: Mapping[str, Probe], style: str) -> Check:
    working = [name for name, answer in answers.items() if answer.is_answered_by_s3]
    output = f"S3 answers in {' and '.join(working)} style" if working else "S3 answers in no style"
    if style in working:
        return Check("style", PASS, output)
    if working:
        wanted = str(working == [PATH]).lower()
        return Check("style", FAIL, output, f"the account signs in {style} style; set path-style to {wanted}")
    answer = answers[style]
    return Check(
        "style", FAIL, output, answer.problem or f"the server answers {answer.status}; is host that of an S3 server?"
    )


def _live_region(endpoint: Endpoint, answer: Probe) -> Check:
    if answer.region and answer.region != endpoint.region:
        return Check("region", FAIL, f"the bucket is in {answer.region}", f"set region to {answer.region}")
    if answer.status in _REDIRECTS:
        return Check("region", FAIL, "the server redirects", "set region or host to those of the bucket")
    return Check("region", PASS, f"URLs are signed for the region {endpoint.region}")


def _live_clock(answer: Probe) -> Check:
    if answer.clock_offset is None:
        return Check("clock", WARN, "the server does not show its time", "compare the clocks")
    output = f"the clock of the server is {answer.clock_offset:+.0f} s from ours"
    if abs(answer.clock_offset) > MAX_CLOCK_OFFSET_SECONDS:
        return Check("clock", FAIL, output, "synchronize the clocks by NTP")
    return Check("clock", PASS, output)


def _live_keys(answer: Probe) -> Check:
    if answer.is_listing:
        return Check("credentials", PASS, "S3 accepts the keys, and they may list the bucket")
    if answer.code in _WRONG_KEYS:
        return Check("credentials", FAIL, f"S3 answers {answer.code}", _WRONG_KEYS[answer.code])
    if answer.code == "NoSuchBucket":
        return Check("credentials", WARN, "S3 accepts the keys, but the bucket does not exist", "create the bucket")
    if answer.code == "AccessDenied":
        return Check(
            "credentials", WARN, "S3 answers AccessDenied", "the keys may not list the bucket; that may be meant"
        )
    if answer.status == HTTPStatus.OK:
        return Check("credentials", FAIL, "the server answers 200 without a listing", "check host and its port")
    return Check("credentials", WARN, f"S3 answers {answer.status} {answer.code}".rstrip(), "see the log of the server")


# Policies see a PATCH, because only callers who may write the account may check it.
ROUTES = (
    Route(
        hdrs.METH_POST,
        f"/{AWS_ACCOUNT.kind}/{{id:[^/]+}}/$check",
        check,
        guard=Guard.HANDLER,
        policy_method=hdrs.METH_PATCH,
        operation="check",
    ),
)
