"""Keys for accounts that do not sign with their own: those of a role, or of the environment, from aiobotocore."""

import asyncio
import re
from bisect import bisect_left
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from hashlib import sha256
from math import inf
from time import time
from typing import Any, Self

from aiobotocore.config import AioConfig
from aiobotocore.credentials import create_credential_resolver
from aiobotocore.httpsession import AIOHTTPSession
from aiobotocore.session import AioSession
from botocore.credentials import RefreshableCredentials
from cachetools import LRUCache

from service.errors import KeysUnavailable
from service.invisible import invisible_hint, no_value_reason, pasted_hint
from service.resources.account_schema import (
    ACCESS_KEY_ID_PATTERN,
    ACCESS_KEY_ID_RULE,
    AWS_ACCESS_KEY_ID_PATTERN,
    is_aws_key,
    is_temporary,
)
from service.resources.types import AwsAccount
from service.settings.environment import empty_blank_proxies, unset_blank_variables
from service.signing.renewal import RETRY_SECONDS, TIMEOUT_SECONDS, NoKeysError, Renewal, TemporaryKeys
from service.stores import tasks
from service.stores.pacing import take_turn

# One for each account with a role and each of its callers, 3 KB with the keys.
MAX_ROLE_SESSIONS = 1000
# More than any keys live.
_LONGEST_SECONDS = 2**20

# Source: https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html
MAX_SESSION_NAME = 64
_NOT_IN_SESSION_NAME = re.compile(r"[^A-Za-z0-9_+=,.@-]")
_HASH_DIGITS = 8
_SURROGATE = re.compile(r"[\ud800-\udfff]")
_ANONYMOUS = "anonymous"


class BorrowedKeys:
    """Gives accounts the keys of their role, or of the service's environment if ``ambient`` allows that.

    ``clock`` returns the Unix time.
    """

    def __init__(self, *, ambient: bool, clock: Callable[[], float] = time) -> None:
        self._clock = clock
        self._environment = Renewal("the service's own credentials", self._load_ambient, clock) if ambient else None
        self._roles: LRUCache[tuple[object, ...], Renewal] = LRUCache(MAX_ROLE_SESSIONS)
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
        except NoKeysError as error:
            raise KeysUnavailable(account.id, str(error), seconds=RETRY_SECONDS) from None

    async def close(self) -> None:
        renewals = [*self._roles.values(), *([self._environment] if self._environment else [])]
        await tasks.end([renewal.task for renewal in renewals if renewal.task])
        await self._connections.close()

    def _role(self, account: AwsAccount, role_arn: str, name: str) -> Renewal:
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
            renewal = self._roles[key] = Renewal(what, lambda: self._assume(account, role_arn, name), self._clock)
        return renewal

    async def _assume(self, account: AwsAccount, role_arn: str, name: str) -> TemporaryKeys:
        own = account.access_key_id, account.secret_access_key, account.session_token
        if not account.access_key_id:
            ambient = await self._ambient_keys()
            own = ambient.access_key_id, ambient.secret_access_key, ambient.session_token
        key_id, secret, token = own
        session = await self._aws_session()
        external = {} if account.external_id is None else {"ExternalId": account.external_id}
        client = session.create_client(
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
        )
        async with AsyncExitStack() as stack:
            # A client takes 4 ms to make.
            await take_turn()
            sts = await stack.enter_async_context(client)
            answer = await sts.assume_role(RoleArn=role_arn, RoleSessionName=name, **external)
        given = answer["Credentials"]
        return TemporaryKeys(
            given["AccessKeyId"], given["SecretAccessKey"], given["SessionToken"], given["Expiration"].timestamp()
        )

    async def _ambient_keys(self) -> TemporaryKeys:
        if self._environment is None:
            raise NoKeysError("it has no keys")
        return await self._environment.keys()

    async def _load_ambient(self) -> TemporaryKeys:
        # Of a new resolver, so that it requests the keys now. Ours decides when to renew them.
        found = await create_credential_resolver(await self._aws_session()).load_credentials()
        if found is None:
            raise NoKeysError("the environment of the service has no credentials")
        frozen = await found.get_frozen_credentials()
        _refuse_pasted("access key id", frozen.access_key, invisible_hint)
        _refuse_pasted("secret access key", frozen.secret_key, pasted_hint)
        _refuse_pasted("session token", frozen.token or "", invisible_hint)
        _refuse_swapped(frozen.access_key, frozen.secret_key, frozen.token or "")
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
                # botocore fails on most of those that are set to nothing, as by `AWS_PROFILE: ${AWS_PROFILE}`.
                unset_blank_variables("AWS_")
                empty_blank_proxies()
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


def _refuse_pasted(name: str, text: str, hint_of: Callable[[str], str]) -> None:
    # S3 would refuse each URL, without the reason.
    if hint := hint_of(text):
        raise NoKeysError(f"the {name} in the environment of the service was pasted with an invisible character{hint}")
    if reason := no_value_reason(text):
        raise NoKeysError(f"the {name} in the environment of the service {reason}")
    # Python reads other bytes of a variable as surrogates, which nothing can sign.
    if _SURROGATE.search(text):
        raise NoKeysError(f"the {name} in the environment of the service is not UTF-8")


def _refuse_swapped(key_id: str, secret: str, token: str) -> None:
    # Each URL shows the access key id and the token, and each audit line the id.
    if not re.fullmatch(ACCESS_KEY_ID_PATTERN, key_id):
        raise NoKeysError(f"the access key id in the environment of the service {ACCESS_KEY_ID_RULE}")
    if re.fullmatch(AWS_ACCESS_KEY_ID_PATTERN, secret):
        raise NoKeysError("the secret access key in the environment of the service must be no access key id of AWS")
    if is_aws_key(key_id) and is_aws_key(token):
        raise NoKeysError("the session token in the environment of the service must be no other key of AWS")
    if is_temporary(key_id) and not token:
        raise NoKeysError(
            "the session token in the environment of the service must be set for an access key id that begins with ASIA"
        )


def _with_keys(account: AwsAccount, keys: TemporaryKeys, role_session: str | None) -> AwsAccount:
    return replace(
        account,
        access_key_id=keys.access_key_id,
        secret_access_key=keys.secret_access_key,
        session_token=keys.session_token,
        role_session=role_session,
        keys_end=None if keys.end == inf else int(keys.end),
    )
