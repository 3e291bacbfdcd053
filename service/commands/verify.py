"""``s3-signer verify``: say whether a server would refuse a presigned URL, and why."""

import argparse
import asyncio
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from time import time
from typing import Any
from urllib.parse import unquote

from service.commands import output, standard_input
from service.commands.local import Local, opened
from service.errors import DecryptionFailed, Invalid, InvalidRequest, MalformedBody
from service.resources.types import AWS_ACCOUNT, AwsAccount
from service.settings import Settings, SettingsError
from service.signing import verification
from service.signing.endpoint import Endpoint
from service.signing.presigned_url import NotPresigned, PresignedUrl, parse
from service.signing.verification import FAIL, PASS, WARN, Finding
from service.web.formats import codec

EXIT_REFUSED = 3
MAX_URL_BYTES = 64 * 1024
# More would take minutes. Those with the access key of the URL are found among all.
MAX_OTHERS = 10_000
# The endpoints of one account can take tens of milliseconds.
MAX_SHARED = 20
# The labels of a host that may be a bucket with dots.
MAX_LABELS = 8
_IF_VALID = (
    "The URL is right for the stored secret. If S3 still refuses it, the stored secret may be wrong:"
    " s3-signer check --live BUCKET; or the request differs: give --method and --header."
)
_OTHER_SETTINGS = "use the settings of the service that signed the URL; temporary keys of a role are not stored"
_OWN_MEMORY = (
    "accounts in memory belong to the process that serves; name a Redis in SIGNER_STORE_URL, or put the account into"
    " SIGNER_INIT_BUNDLE"
)


def run(settings: Settings, arguments: argparse.Namespace) -> int:
    """Print what a server checks, and return 0 if it would accept the URL, else 3."""
    text, signed_headers = _parts(_text(arguments.url))
    given = [*map(_header, arguments.header)]
    if len(dict(given)) < len(given):
        raise InvalidRequest("--header gives a header twice")
    headers = {**signed_headers, **dict(given)}
    try:
        url = parse(text)
    except NotPresigned as problem:
        finding = Finding("form", FAIL, f"the URL cannot be read: {problem}", "copy the whole URL, as it was signed")
        report = _report(None, None, [finding])
    else:
        report = asyncio.run(_verify(settings, url, arguments.method and arguments.method.upper(), headers))
    status = output.print_data(report, arguments.format)
    return status or (0 if report["status"] == "valid" else EXIT_REFUSED)


def _text(argument: str | None) -> str:
    if argument is None:
        if not sys.stdin or sys.stdin.isatty():
            raise SettingsError(["Give a URL, or - to read it from standard input"])
        argument = standard_input.STANDARD_INPUT
    if argument != standard_input.STANDARD_INPUT:
        return argument
    # As text, the result for other bytes would depend on the locale.
    return standard_input.read(MAX_URL_BYTES).decode(errors="surrogateescape")


def _parts(text: str) -> tuple[str, Mapping[str, str]]:
    """Return the URL and its headers in an answer of the service, in YAML or JSON. Another text is a URL alone."""
    content = text.encode(errors="surrogateescape")
    load = codec.load_json if codec.detect_format(content) == "json" else codec.load_yaml
    try:
        answer = load(content)
    except MalformedBody:
        return text, {}
    items = answer.get("items", [answer])
    signed = [it for it in items if isinstance(it, dict) and "url" in it] if isinstance(items, list) else []
    if len(signed) > 1:
        raise InvalidRequest(f"The answer has {len(signed)} URLs; give one of them")
    url, headers = (signed[0]["url"], signed[0].get("headers", {})) if signed else (None, None)
    if not isinstance(url, str) or not isinstance(headers, dict):
        return text, {}
    return url, {name.lower(): str(value) for name, value in headers.items()}


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon or not name.strip():
        raise InvalidRequest("--header must be 'NAME: VALUE'")
    return name.strip().lower(), value.strip()


def _report(url: PresignedUrl | None, account: str | None, findings: Sequence[Finding]) -> Mapping[str, Any]:
    statuses = {it.status for it in findings}
    status = "refused" if FAIL in statuses else "unknown" if "unknown" in statuses else "valid"
    signed = {}
    if url:
        signed = {
            "host": url.host,
            "path": unquote(url.path),
            "region": url.region,
            "access-key-id": url.access_key_id,
            "signed-at": verification.instant(url.at),
            "expires-at": verification.instant(url.at + url.expires_in),
            "headers": list(url.signed_headers),
            "parameters": url.parameters,
        }
    return {
        "status": status,
        **({"advice": _IF_VALID} if status == "valid" else {}),
        **({"account": account} if account else {}),
        **({"url": signed} if signed else {}),
        "findings": [output.without_empty(it._asdict()) for it in findings],
    }


async def _verify(
    settings: Settings, url: PresignedUrl, method: str | None, headers: Mapping[str, str]
) -> Mapping[str, Any]:
    findings = [
        *verification.time_findings(url, int(time())),
        *verification.header_findings(url, headers),
    ]
    async with opened(settings) as local:
        incomplete = await local.find_accounts()
        owners, others, unusable = await _accounts(local, url)
        if not owners:
            findings += unusable or [_unknown_account(settings, url, incomplete)]
            return _report(url, None, findings)
        signer, signed_for = _signer(url, owners, headers)
        account, own, others_own = await _best_fit(local, url, [it for it in owners if _share_keys(it, signer)])
        findings.append(Finding("account", PASS, f"the access key is that of AwsAccount/{account.id}"))
        if verification.missing_headers(url, headers):
            findings.append(Finding("signature", "unknown", "it cannot be verified without the signed headers"))
        elif signed_for:
            findings += _fitting(url, account, own, signed_for, method)
        else:
            endpoints = [*own, *others_own]
            credentials = {it.id: verification.account_credentials(it) for it in others}
            findings.append(verification.find_change(url, account, headers, endpoints=endpoints, others=credentials))
    return _report(url, account.id, findings)


def _unknown_account(settings: Settings, url: PresignedUrl, incomplete: str) -> Finding:
    if incomplete:
        reason = f"no listed account has the access key {url.access_key_id}, so the signature cannot be verified"
        return Finding("account", "unknown", f"{reason}: {incomplete}", "s3-signer check")
    is_own_memory = settings.store_url == "memory://" and not settings.init_bundle
    return Finding(
        "account",
        "unknown",
        f"no stored account has the access key {url.access_key_id}, so the signature cannot be verified",
        _OWN_MEMORY if is_own_memory else _OTHER_SETTINGS,
    )


def _signer(
    url: PresignedUrl, owners: Sequence[AwsAccount], headers: Mapping[str, str]
) -> tuple[AwsAccount, str | None]:
    """Return the account that signed a URL, of those with its access key, and the method that it is signed for."""
    for account in owners:
        if found := verification.signed_method(url, verification.account_credentials(account), headers):
            return account, found
    return owners[0], None


def _share_keys(one: AwsAccount, other: AwsAccount) -> bool:
    return (one.secret_access_key, one.session_token) == (other.secret_access_key, other.session_token)


async def _best_fit(
    local: Local, url: PresignedUrl, sharing: Sequence[AwsAccount]
) -> tuple[AwsAccount, list[Endpoint], list[Endpoint]]:
    """Return the account, of those that share keys, whose endpoints fit a URL best; its endpoints, and the others'."""
    candidates = sorted(sharing, key=lambda it: it.region != url.region)[:MAX_SHARED]
    endpoints = {account.id: [it async for it in _endpoints(local, url, account)] for account in candidates}

    def fit(account: AwsAccount) -> tuple[bool, bool]:
        own = endpoints[account.id]
        return url.host in {it.host for it in own}, url.region in {it.region for it in own}

    best = max(candidates, key=fit)
    own = endpoints.pop(best.id)
    return best, own, [*chain.from_iterable(endpoints.values())]


def _fitting(
    url: PresignedUrl, account: AwsAccount, endpoints: Sequence[Endpoint], signed_for: str, method: str | None
) -> list[Finding]:
    """Return the findings about a URL whose signature fits its account."""
    findings = [Finding("signature", PASS, f"it is that of the secret of AwsAccount/{account.id}, for {signed_for}")]
    if method and method != signed_for:
        advice = f"send {signed_for}, or sign a URL for {method}"
        findings.append(Finding("method", FAIL, f"the request is {method}, and the URL is for {signed_for}", advice))
    if url.region not in {it.region for it in endpoints}:
        findings.append(
            Finding("region", WARN, f"the account has the region {account.region} now, and the URL {url.region}")
        )
    if url.host not in {it.host for it in endpoints}:
        findings.append(Finding("host", WARN, f"the account has no URLs for the host {url.host} now"))
    return findings


async def _accounts(local: Local, url: PresignedUrl) -> tuple[list[AwsAccount], list[AwsAccount], list[Finding]]:
    """Return the accounts with the access key of a URL, others that have keys, and why those with it are unusable."""
    owners: list[AwsAccount] = []
    others: list[AwsAccount] = []
    unusable: list[Finding] = []
    async for resource in local.accounts():
        is_owner = resource.fields.get("access-key-id") == url.access_key_id
        if not is_owner and len(others) >= MAX_OTHERS:
            continue
        try:
            account = local.repository.model(AWS_ACCOUNT, resource)
        except (Invalid, DecryptionFailed) as problem:
            if is_owner:
                reason = f"the access key is that of AwsAccount/{resource.id}, which is unusable: {problem}"
                unusable.append(Finding("account", "unknown", reason, f"s3-signer check {resource.id}"))
            continue
        if account.access_key_id and account.secret_access_key:
            (owners if is_owner else others).append(account)
    return owners, others, unusable


async def _endpoints(local: Local, url: PresignedUrl, account: AwsAccount) -> AsyncIterator[Endpoint]:
    """Yield the endpoints that an account may sign for, with the bucket that the host or the path may name."""
    labels = url.host.split(".")[:MAX_LABELS]
    in_host = (".".join(labels[:number]) for number in range(1, len(labels) + 1))
    buckets = dict.fromkeys((*in_host, *unquote(url.path).strip("/").split("/")[:2]))
    hosts = (account, replace(account, public_host=None, public_use_ssl=None))
    for bucket in filter(None, buckets):
        for sender in hosts:
            for path_style in (account.path_style, True, False):
                try:
                    yield await local.presigner.endpoint(replace(sender, path_style=path_style), bucket)
                except Invalid:
                    # The text is no name of a bucket.
                    continue
