"""An oracle: URLs of a plain aiobotocore, with the contract's rules applied to its arguments.

The contract differs from aiobotocore in two arguments: a host is canonical, and a custom host takes any region.
"""

import asyncio
import functools
import os
from collections import OrderedDict
from datetime import UTC, datetime
from ipaddress import ip_address
from urllib.parse import quote, urlencode, urlsplit

import pytest
from aiobotocore.config import AioConfig
from aiobotocore.credentials import AioCredentials
from aiobotocore.session import AioSession
from botocore.loaders import JSONFileLoader

from service.resources.signing_schemas.uploads import CHECKSUM_BYTES
from service.resources.types import AwsAccount
from service.signing.operations import NOTHING
from service.signing.presigner import Presigner

CLIENTS = 100


class Oracle:
    def __init__(self, run):
        self._run = run
        self._session = AioSession()
        self._clients = OrderedDict()

    def presign(self, account, operation, request, **params):
        client = self._client(account)
        params |= {"Bucket": request["bucket"]} | ({} if request["key"] is None else {"Key": request["key"]})
        now = datetime.fromtimestamp(request["at"], UTC)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("botocore.auth.get_current_datetime", lambda: now)
            return self._run(
                client.generate_presigned_url(operation.name, Params=params, ExpiresIn=request["expires_in"])
            )

    def presign_form(self, account, *, bucket, key, fields, conditions, at, expires_in):
        now = datetime.fromtimestamp(at, UTC)
        with pytest.MonkeyPatch.context() as patch:
            for module in ("botocore.auth", "aiobotocore.signers"):
                patch.setattr(f"{module}.get_current_datetime", lambda: now)
            answer = self._run(
                self._client(account).generate_presigned_post(
                    bucket, key, Fields=fields, Conditions=conditions, ExpiresIn=expires_in
                )
            )
        return answer["url"], answer["fields"]

    def close(self):
        for client in self._clients.values():
            self._run(client.close())

    def _client(self, account):
        url, use_ssl, style = _arguments(account)
        setting = (account.region if account.host is None else "us-east-1", url, use_ssl, style)
        if setting not in self._clients:
            self._clients[setting] = self._run(self._open(*setting))
        if len(self._clients) > CLIENTS:
            self._run(self._clients.popitem(last=False)[1].close())
        client = self._clients[setting]
        # aiobotocore refuses many region names, and looks others up.
        client._request_signer._region_name = account.region
        client._request_signer._credentials = AioCredentials(
            account.access_key_id, account.secret_access_key, account.session_token or None
        )
        return client

    async def _open(self, region, url, use_ssl, style):
        config = AioConfig(signature_version="s3v4", s3={"addressing_style": style})
        context = self._session.create_client(
            "s3",
            region_name=region,
            endpoint_url=url,
            use_ssl=use_ssl,
            aws_access_key_id="x",
            aws_secret_access_key="x",
            config=config,
        )
        return await context.__aenter__()


def _arguments(account):
    style = "path" if account.path_style else "virtual"
    if account.host is None:
        return None, bool(account.use_ssl), style
    scheme = "https" if account.use_ssl else "http"
    url = account.host if "://" in account.host else f"{scheme}://{account.host}"
    parts = urlsplit(url)
    # urlsplit returns the host in lower case.
    name = parts.hostname
    try:
        address = ip_address(name)
        name = f"[{address}]" if address.version == 6 else str(address)
        style = "path"
    except ValueError:
        pass
    port = "" if parts.port in {None, {"http": 80, "https": 443}[parts.scheme]} else f":{parts.port}"
    return f"{parts.scheme}://{name}{port}{parts.path}", parts.scheme == "https", style


# Wire names that are not botocore's in another spelling.
_BOTOCORE_NAMES = {
    "acl": "ACL",
    "content-md5": "ContentMD5",
    "sse-kms-key-id": "SSEKMSKeyId",
    **{f"checksum-{name}": f"Checksum{name.upper()}" for name in CHECKSUM_BYTES},
}


def _botocore_params(operation, values):
    params = {}
    # botocore keeps the order of its arguments.
    for name in (*operation.headers, *operation.parameters):
        if name in values:
            spelled = _BOTOCORE_NAMES.get(name) or name.title().replace("-", "")
            params[spelled] = urlencode(values[name], quote_via=quote, safe="") if name == "tagging" else values[name]
    # botocore would sign an empty header.
    if not params.get("Tagging", True):
        del params["Tagging"]
    return params


@pytest.fixture(scope="session", autouse=True)
def models():
    """Read botocore's data, megabytes of JSON, once for all sessions. The cache is keyed by path."""
    read = functools.cache(JSONFileLoader().load_file)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(JSONFileLoader, "load_file", lambda _, path: read(path))
        yield


@pytest.fixture(scope="module")
def run():
    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        yield runner.run


@pytest.fixture(scope="module")
def oracle(run, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            patch.delenv(name)
        patch.setenv("AWS_CONFIG_FILE", str(tmp_path_factory.mktemp("aws") / "none"))
        patch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path_factory.mktemp("aws") / "none"))
        oracle = Oracle(run)
        yield oracle
        oracle.close()


@pytest.fixture(scope="module")
def shared_presigner(run):
    presigner = Presigner(default_use_ssl=False)
    yield presigner
    run(presigner.close())


@pytest.fixture(scope="module")
def presign_twice(run, shared_presigner, oracle):
    """Return a function that presigns one request twice: with our presigner and with the oracle.

    ``values`` are what the URL carries, by wire name.
    """

    def presign_twice(account, operation, request, values=NOTHING):
        bound = operation.bind(values)
        ours = run(shared_presigner.presign(account, operation, **request, bound=bound))
        return ours, oracle.presign(account, operation, request, **_botocore_params(operation, values))

    return presign_twice


@pytest.fixture
async def presigner():
    presigner = Presigner(default_use_ssl=False)
    yield presigner
    await presigner.close()


@pytest.fixture
def account():
    return AwsAccount(
        id="my-account",
        access_key_id="AKIAIOSFODNN7EXAMPLE",
        secret_access_key="wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
    )
