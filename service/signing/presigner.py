"""Account, operation, bucket, key and instant in, URL out."""

import re
from urllib.parse import quote

from service.errors import Invalid, Issue
from service.resources.types import AwsAccount
from service.signing.endpoint import Endpoint, Endpoints
from service.signing.exposure import ExposureLog
from service.signing.operations import Operation
from service.signing.sigv4 import sign_query

_EXPOSURE = ExposureLog()

# Most keys are, and quoting takes a tenth of what signing does.
_is_plain = re.compile("[A-Za-z0-9_.~/-]*").fullmatch


class Presigner:
    """Presigns URLs for any number of accounts. Nothing is sent anywhere.

    ``default_use_ssl`` is for accounts that do not say whether they want https.
    """

    def __init__(self, *, default_use_ssl: bool) -> None:
        self._endpoints = Endpoints(default_use_ssl=default_use_ssl)
        self.endpoint = self._endpoints.remembered
        self.resolve = self._endpoints.resolve

    async def presign(
        self, account: AwsAccount, operation: Operation, *, bucket: str, key: str, at: int, expires_in: int
    ) -> str:
        """The presigned URL. Raises Invalid if the account or bucket cannot be signed for.

        ``bucket`` and ``key`` have no ``name_issues``; for the others see ``presigned``.
        """
        endpoint = self.endpoint(account, bucket) or await self.resolve(account, bucket)
        return presigned(account, operation, endpoint, key=key, at=at, expires_in=expires_in)

    async def prepare(self) -> None:
        """Load what the first URL takes (a tenth of a second), so that no request waits for it."""
        await self._endpoints.resolve(AwsAccount(id="any"), "any-bucket")

    async def close(self) -> None:
        await self._endpoints.close()


def presigned(
    account: AwsAccount, operation: Operation, endpoint: Endpoint, *, key: str, at: int, expires_in: int
) -> str:
    """The presigned URL for a key of the bucket that is at ``endpoint``. Raises Invalid if the account has no keys.

    ``at`` is Unix time in seconds, ``expires_in`` 1 to 604800 seconds.
    """
    if account.scope is None:
        _check_keys(account)
        _EXPOSURE.report(account, endpoint.host, is_exposed=endpoint.is_exposed)
    path = f"{endpoint.prefix}/{key if _is_plain(key) else quote(key, safe='/~')}"
    query = sign_query(
        account,
        endpoint.region,
        method=operation.method,
        host=endpoint.host,
        path=path,
        at=at,
        expires_in=expires_in,
    )
    return f"{endpoint.origin}{path}?{query}"


def _check_keys(account: AwsAccount) -> None:
    keys = {"access-key-id": account.access_key_id, "secret-access-key": account.secret_access_key}
    missing = [
        Issue(f"AwsAccount/{account.id} has no {name}, without which nothing can be signed", f"AwsAccount.{name}")
        for name, value in keys.items()
        if not value
    ]
    if missing:
        raise Invalid(*missing)
