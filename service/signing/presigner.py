"""Presign a URL: an account, an operation, a bucket, a key and a time in, a URL out."""

import re
from collections.abc import Mapping
from functools import cache
from typing import Any
from urllib.parse import quote
from weakref import WeakKeyDictionary

from service.errors import Invalid, Issue
from service.resources.schemas import MAX_EXPIRATION_SECONDS
from service.resources.types import AwsAccount
from service.signing.endpoint import Endpoint, Endpoints
from service.signing.exposure import ExposureLog
from service.signing.operations import NOTHING_BOUND, Bound, Operation
from service.signing.sigv4 import Credentials, sign_policy, sign_query
from service.signing.upload_form import make_form

# Most keys need no quoting, which takes a tenth of the time of signing.
_is_plain = re.compile("[A-Za-z0-9_.~/-]*").fullmatch
_LIFETIMES = range(1, MAX_EXPIRATION_SECONDS + 1)


class Presigner:
    """Presigns URLs for any number of accounts, without network access.

    ``default_use_ssl`` is the default for accounts without ``use-ssl``.
    """

    def __init__(self, *, default_use_ssl: bool) -> None:
        self._endpoints = Endpoints(default_use_ssl=default_use_ssl)
        self._exposure = ExposureLog()
        # The credentials live as long as the account, so a deleted account leaves no key here.
        self._credentials: WeakKeyDictionary[AwsAccount, Credentials] = WeakKeyDictionary()
        self.endpoint = self._endpoints.get

    async def presign(
        self,
        account: AwsAccount,
        operation: Operation,
        *,
        bucket: str,
        key: str | None,
        at: int,
        expires_in: int,
        bound: Bound | None = None,
    ) -> str:
        """Return a presigned URL: ``endpoint`` and ``sign`` in one call.

        ``name_issues`` must have accepted ``bucket`` and ``key``. Without ``bound``, the URL carries what every URL of
        the operation carries.

        Raises:
            Invalid: for an account without keys, a lifetime or a key that does not fit, and an operation that needs
                more in ``bound``, such as an upload-id.
        """
        if (key is not None) is not operation.has_key:
            raise Invalid(
                Issue(f"key must {'be a text' if operation.has_key else 'be None'} for {operation.name}", "key")
            )
        if type(expires_in) is not int or expires_in not in _LIFETIMES:
            raise Invalid(Issue(f"expires_in must be a whole number from 1 to {MAX_EXPIRATION_SECONDS}", "expires_in"))
        if bound is None:
            bound = _bound_always(operation)
        endpoint = await self.endpoint(account, bucket)
        return self.sign(account, operation, endpoint, key=key, at=at, expires_in=expires_in, bound=bound)

    def sign(
        self,
        account: AwsAccount,
        operation: Operation,
        endpoint: Endpoint,
        *,
        key: str | None,
        at: int,
        expires_in: int,
        bound: Bound = NOTHING_BOUND,
    ) -> str:
        """Return the presigned URL of a key in the bucket at ``endpoint``, or of the bucket if ``key`` is None.

        ``at`` is Unix time in seconds, ``expires_in`` 1 to 604800 seconds. ``bound`` is from ``operation.bind``.

        Raises:
            Invalid: for an account without keys.
        """
        credentials = self._credentials.get(account) or self._load_credentials(account, endpoint)
        if key is None:
            path = endpoint.bucket_path
        else:
            path = f"{endpoint.prefix}/{key if _is_plain(key) else quote(key, safe='/~')}"
        query = sign_query(
            credentials,
            endpoint.region,
            method=operation.method,
            host=endpoint.host,
            path=path,
            at=at,
            expires_in=expires_in,
            headers=bound.headers,
            query=bound.query,
        )
        return f"{endpoint.origin}{path}?{query}"

    def sign_form(
        self,
        account: AwsAccount,
        endpoint: Endpoint,
        *,
        bucket: str,
        key: str | None,
        values: Mapping[str, Any],
        at: int,
        expires_in: int,
    ) -> tuple[str, dict[str, str]]:
        """Return the URL and the fields of an upload form. See ``make_form``; errors and times are as in ``sign``."""
        credentials = self._credentials.get(account) or self._load_credentials(account, endpoint)
        form = make_form(bucket, key, values, expires_at=at + expires_in)
        signed = sign_policy(
            credentials,
            endpoint.region,
            form.policy,
            access_key_id=account.access_key_id or "",
            session_token=account.session_token,
            at=at,
        )
        return f"{endpoint.origin}{endpoint.bucket_path}", {**form.fields, **signed}

    async def prepare(self) -> None:
        """Load aiobotocore's models, which takes 0.1 s, before the first request."""
        await self.endpoint(AwsAccount(id="any"), "any-bucket")

    async def close(self) -> None:
        await self._endpoints.close()

    def _load_credentials(self, account: AwsAccount, endpoint: Endpoint) -> Credentials:
        """Return the credentials of an account that signs for the first time, and warn if its URLs are exposed."""
        key_id, secret = account.access_key_id, account.secret_access_key
        if not key_id or not secret:
            missing = [name for name, value in (("access-key-id", key_id), ("secret-access-key", secret)) if not value]
            raise Invalid(
                *(
                    Issue(f"AwsAccount/{account.id} has no {name}, which signing needs", f"AwsAccount.{name}")
                    for name in missing
                )
            )
        if account.borrows_keys:
            raise RuntimeError("an account with a role must have its keys, so that it does not sign with others")
        self._exposure.report(account, endpoint.host, is_exposed=endpoint.is_exposed)
        credentials = self._credentials[account] = Credentials(key_id, secret, account.session_token)
        return credentials


@cache
def _bound_always(operation: Operation) -> Bound:
    """Return what every URL of an operation carries. Raises Invalid if S3 needs more than that."""
    return operation.bind(operation.schema().read({}))
