"""Keys for accounts that do not sign with their own: those of a role, or of the service's environment.

aiobotocore requests them. They are requested once for all waiters, and again before they end.
"""

import asyncio
import logging
import re
from bisect import bisect_left
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from hashlib import sha256
from math import inf
from time import time
from typing import Any, Self

from aiobotocore.config import AioConfig
from aiobotocore.credentials import create_credential_resolver
from aiobotocore.httpsession import AIOHTTPSession
from aiobotocore.session import AioSession
from botocore.credentials import RefreshableCredentials
from botocore.exceptions import ClientError
from cachetools import LRUCache

from service.errors import KeysUnavailable
from service.resources.types import AwsAccount
from service.stores import tasks

LOGGER = logging.getLogger(__name__)

# One for each account with a role and each of its callers, 3 KB with the keys.
MAX_ROLE_SESSIONS = 1000
# A request waits for new keys for at most so long.
TIMEOUT_SECONDS = 5
RETRY_SECONDS = 5
# After a failure, requests that wait longer would fill the limit of concurrent ones while a server hangs.
RETRY_WAIT_SECONDS = 1
# Keys are renewed so long before they end, or after half of their time if that is later. botocore does the same.
RENEW_SECONDS = 15 * 60
# Keys of which nobody knows the end, such as those of a file, are read again after this time.
RELOAD_SECONDS = 5 * 60
# More than any keys live.
_LONGEST_SECONDS = 2**20

# Source: https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html
MAX_SESSION_NAME = 64
_NOT_IN_SESSION_NAME = re.compile(r"[^A-Za-z0-9_+=,.@-]")
_HASH_DIGITS = 8
_NOT_IN_CODE = re.compile("[^A-Za-z0-9.]")
_MAX_CODE = 64
_ANONYMOUS = "anonymous"


@dataclass(frozen=True, slots=True)
class TemporaryKeys:
    """``end`` is a Unix time, infinite if it is unknown."""

    access_key_id: str
    secret_access_key: str = field(repr=False)
    session_token: str | None = field(repr=False)
    end: float = inf


class _NoKeysError(Exception):
    """There are no valid keys. Its text is for callers."""


class BorrowedKeys:
    """Gives accounts the keys of their role, or of the service's environment if ``ambient`` allows that.

    ``clock`` returns the Unix time.
    """

    def __init__(self, *, ambient: bool, clock: Callable[[], float] = time) -> None:
        self._clock = clock
        self._environment = _Renewal("the service's own credentials", self._load_ambient, clock) if ambient else None
        self._roles: LRUCache[tuple[object, ...], _Renewal] = LRUCache(MAX_ROLE_SESSIONS)
        self._session: AioSession | None = None
        self._connections = _Connections()
        self._loading = asyncio.Lock()

    async def lend(self, account: AwsAccount, caller: str) -> AwsAccount:
        """Return a copy of an account that ``borrows_keys`` with valid keys, or the account if there are none for it.

        ``caller`` names the session of the role.

        Raises:
            KeysUnavailable: the keys cannot be had at the moment.
        """
        given = {bool(account.access_key_id), bool(account.secret_access_key)}
        if given != {True} and (given != {False} or self._environment is None):
            return account
        try:
            if account.role_arn:
                name = session_name(caller, account.id)
                return _with_keys(account, await self._role(account, account.role_arn, name).keys(), name)
            return _with_keys(account, await self._ambient_keys(), None)
        except _NoKeysError as error:
            raise KeysUnavailable(account.id, str(error), seconds=RETRY_SECONDS) from None

    async def close(self) -> None:
        renewals = [*self._roles.values(), *([self._environment] if self._environment else [])]
        await tasks.end([renewal.task for renewal in renewals if renewal.task])
        await self._connections.close()

    def _role(self, account: AwsAccount, role_arn: str, name: str) -> "_Renewal":
        # The keys of a changed account are others.
        key = (
            account.id,
            role_arn,
            account.external_id,
            account.region,
            account.access_key_id,
            account.secret_access_key,
            account.session_token,
            name,
        )
        renewal = self._roles.get(key)
        if renewal is None:
            what = f"the role {role_arn} of AwsAccount/{account.id} for the session {name}"
            renewal = self._roles[key] = _Renewal(what, lambda: self._assume(account, role_arn, name), self._clock)
        return renewal

    async def _assume(self, account: AwsAccount, role_arn: str, name: str) -> TemporaryKeys:
        own = account.access_key_id, account.secret_access_key, account.session_token
        if not account.access_key_id:
            ambient = await self._ambient_keys()
            own = ambient.access_key_id, ambient.secret_access_key, ambient.session_token
        key_id, secret, token = own
        session = await self._aws_session()
        external = {} if account.external_id is None else {"ExternalId": account.external_id}
        async with session.create_client(
            "sts",
            region_name=account.region,
            aws_access_key_id=key_id,
            aws_secret_access_key=secret,
            aws_session_token=token,
            config=AioConfig(
                connect_timeout=TIMEOUT_SECONDS,
                read_timeout=TIMEOUT_SECONDS,
                # One for each role session, so that a request that hangs delays no other.
                max_pool_connections=MAX_ROLE_SESSIONS,
                http_session_cls=self._connections,
            ),
        ) as sts:
            answer = await sts.assume_role(RoleArn=role_arn, RoleSessionName=name, **external)
        given = answer["Credentials"]
        return TemporaryKeys(
            given["AccessKeyId"], given["SecretAccessKey"], given["SessionToken"], given["Expiration"].timestamp()
        )

    async def _ambient_keys(self) -> TemporaryKeys:
        if self._environment is None:
            raise _NoKeysError("it has no keys")
        return await self._environment.keys()

    async def _load_ambient(self) -> TemporaryKeys:
        # Of a new resolver, so that it requests the keys now. Ours decides when to renew them.
        found = await create_credential_resolver(await self._aws_session()).load_credentials()
        if found is None:
            raise _NoKeysError("the environment of the service has no credentials")
        frozen = await found.get_frozen_credentials()
        return TemporaryKeys(frozen.access_key, frozen.secret_key, frozen.token, self._end(found))

    def _end(self, found: Any) -> float:
        if not isinstance(found, RefreshableCredentials):
            return inf
        # The time itself is private. `refresh_needed(n)` is whether fewer than n seconds remain.
        seconds = bisect_left(range(_LONGEST_SECONDS), True, key=found.refresh_needed)  # noqa: FBT003 - what is searched
        return inf if seconds == _LONGEST_SECONDS else self._clock() + seconds - 1

    async def _aws_session(self) -> AioSession:
        """Return a session with the process' ``AWS_*`` variables and files. S3's endpoints never depend on it."""
        async with self._loading:
            if self._session is None:
                session = AioSession()
                # Its models are megabytes of JSON.
                await asyncio.to_thread(session.warm_up_loader_caches, "sts")
                self._session = session
        return self._session


class _Connections:
    """The HTTP session of all clients for STS. aiobotocore calls it in place of a class, with the same options.

    With a session of its own, each client loads the certificates of the system, which takes 40 ms of CPU.
    """

    def __init__(self) -> None:
        self._http: Any = None
        self._is_open = False

    def __call__(self, **options: Any) -> Self:
        self._http = self._http or AIOHTTPSession(**options)
        return self

    async def __aenter__(self) -> Self:
        if not self._is_open:
            self._is_open = True
            await self._http.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stay open for other clients."""

    async def send(self, request: Any) -> Any:
        return await self._http.send(request)

    async def close(self) -> None:
        if self._is_open:
            await self._http.close()


class _Renewal:
    """Keys that end, of one role session or of the environment. ``what`` names them in the log."""

    def __init__(self, what: str, fetch: Callable[[], Awaitable[TemporaryKeys]], clock: Callable[[], float]) -> None:
        self._what = what
        self._fetch = fetch
        self._clock = clock
        self._keys: TemporaryKeys | None = None
        self._renew_at = 0.0
        self._problem = ""
        self.task: asyncio.Task[None] | None = None

    async def keys(self) -> TemporaryKeys:
        """Return valid keys. A renewal before their end delays nobody.

        Raises:
            _NoKeysError: there are none.
        """
        if self._clock() >= self._renew_at and self.task is None:
            self.task = asyncio.create_task(self._renew())
        if (keys := self._valid()) is None and self.task:
            # The task goes on for others if this caller leaves.
            await asyncio.wait({self.task}, timeout=RETRY_WAIT_SECONDS if self._problem else None)
            keys = self._valid()
        if keys is None:
            raise _NoKeysError(self._problem)
        return keys

    def _valid(self) -> TemporaryKeys | None:
        return self._keys if self._keys and self._clock() < self._keys.end else None

    async def _renew(self) -> None:
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                keys = await self._fetch()
            if keys.end <= self._clock():
                raise _NoKeysError("the keys that were received have ended; compare the clocks")  # noqa: TRY301
        except Exception as error:  # noqa: BLE001 - each provider of credentials has errors of its own
            self._renew_at = self._clock() + RETRY_SECONDS
            if isinstance(error, _NoKeysError) and self._keys and self._keys.end == inf:
                # Their source exists no more.
                self._keys = None
            self._report(error)
        else:
            now = self._clock()
            self._keys, self._problem = keys, ""
            remaining = keys.end - now
            self._renew_at = now + (
                RELOAD_SECONDS if remaining == inf else max(remaining / 2, remaining - RENEW_SECONDS)
            )
        finally:
            self.task = None

    def _report(self, error: Exception) -> None:
        problem, detail = _describe(error)
        # A problem that lasts is logged once.
        if problem != self._problem:
            self._problem = problem
            still = "; those that it has are still valid" if self._valid() else ""
            LOGGER.warning("No new keys for %s: %s%s", self._what, detail, still)


def session_name(caller: str, account_id: str) -> str:
    """Return the name of a role session: the caller, or the account if callers are anonymous.

    Characters that STS does not accept are hyphens. A longer name ends with a part of its hash.
    """
    text = account_id if caller == _ANONYMOUS else caller
    name = _NOT_IN_SESSION_NAME.sub("-", text)
    if len(name) < 2:  # noqa: PLR2004 - STS' minimum
        return f"s3-signer-{name}"
    if len(name) <= MAX_SESSION_NAME:
        return name
    digest = sha256(text.encode(errors="surrogatepass")).hexdigest()[:_HASH_DIGITS]
    return f"{name[: MAX_SESSION_NAME - _HASH_DIGITS - 1]}-{digest}"


def _with_keys(account: AwsAccount, keys: TemporaryKeys, role_session: str | None) -> AwsAccount:
    return replace(
        account,
        access_key_id=keys.access_key_id,
        secret_access_key=keys.secret_access_key,
        session_token=keys.session_token,
        role_session=role_session,
        keys_end=None if keys.end == inf else int(keys.end),
    )


def _describe(error: Exception) -> tuple[str, str]:
    """Return what a caller sees of an error, and what the log shows. Texts of other errors may quote an answer."""
    if isinstance(error, _NoKeysError):
        return str(error), str(error)
    if isinstance(error, ClientError):
        code = _NOT_IN_CODE.sub("", str(error.response.get("Error", {}).get("Code", "")))[:_MAX_CODE]
        return f"STS refuses the request for its keys ({code})", str(error)[:500]
    if isinstance(error, TimeoutError):
        problem = f"no keys were received within {TIMEOUT_SECONDS} seconds"
        return problem, problem
    return f"its keys cannot be requested ({type(error).__name__})", type(error).__name__
