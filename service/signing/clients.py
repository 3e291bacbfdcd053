"""aiobotocore's S3 clients, isolated from the AWS environment of the process."""

from typing import Any, NamedTuple

from aiobotocore.config import AioConfig
from aiobotocore.session import AioSession
from botocore.configprovider import BOTOCORE_DEFAUT_SESSION_VARIABLES, ConfigValueStore, ConstantProvider
from botocore.loaders import Loader
from botocore.regions import EndpointResolverBuiltins
from botocore.utils import is_s3_accelerate_url

# The region of all clients. The endpoint of a URL is a parameter of the call.
ANY_REGION = "us-east-1"
_ANY_URL = "https://host.invalid"


class EndpointOptions(NamedTuple):
    """The options of an endpoint. ``url`` is None for AWS' own endpoint of the region, ``style`` virtual or path."""

    region: str
    url: str | None
    use_ssl: bool
    style: str


class Clients:
    """A few clients that presign for every endpoint. Calls must not overlap.

    A client takes 5 ms to make and 330 KB to keep, and is garbage in cycles when it is closed. So accounts share those
    of the same scheme and style, and each call sets the region or the URL, as botocore allows for each operation.
    """

    def __init__(self) -> None:
        self._session = _isolated_session()
        self._clients: dict[EndpointOptions, Any] = {}
        self._endpoint: dict[str, Any] = {}

    async def presigned_url(self, options: EndpointOptions, bucket: str, key: str) -> str:
        """Return a URL to get an object, signed with unused credentials for ``ANY_REGION``.

        Raises:
            BotoCoreError: aiobotocore refuses the bucket.
            ValueError: likewise.
        """
        shared, self._endpoint = _divided(options)
        if shared not in self._clients:
            self._clients[shared] = await self._open(shared)
        url: str = await self._clients[shared].generate_presigned_url(
            "get_object", Params={"Bucket": bucket, "Key": key}
        )
        return url

    async def close(self) -> None:
        while self._clients:
            _, client = self._clients.popitem()
            await client.close()

    async def _open(self, options: EndpointOptions) -> Any:
        # botocore looks up in the environment each option that is not given.
        config = AioConfig(
            signature_version="s3v4",
            s3={"addressing_style": options.style},
            ignore_configured_endpoint_urls=True,
        )
        context = self._session.create_client(
            "s3",
            region_name=options.region,
            endpoint_url=options.url,
            use_ssl=options.use_ssl,
            verify=True,
            # Endpoints do not depend on credentials. Without any, botocore searches for some, on the network too.
            aws_access_key_id="unused",
            aws_secret_access_key="unused",  # noqa: S106  not a secret
            config=config,
        )
        client = await context.__aenter__()
        client.meta.events.register("before-endpoint-resolution.s3", self._set_endpoint)
        return client

    def _set_endpoint(self, builtins: dict[str, Any], **_: Any) -> None:
        builtins.update(self._endpoint)


def _divided(options: EndpointOptions) -> tuple[EndpointOptions, dict[str, Any]]:
    """Return the options of a client, and what differs for one call."""
    if options.url is None:
        return options._replace(region=ANY_REGION), {EndpointResolverBuiltins.AWS_REGION: options.region}
    if is_s3_accelerate_url(options.url):
        return options, {}
    return options._replace(url=_ANY_URL), {EndpointResolverBuiltins.SDK_ENDPOINT: options.url}


def _isolated_session() -> AioSession:
    """Return a session with botocore's own defaults and data, without the process' variables, files and profiles."""
    # Each variable is documented as (name in the config file, environment variables, default, conversion).
    defaults = {
        name: ConstantProvider(default) for name, (_, _, default, _) in BOTOCORE_DEFAUT_SESSION_VARIABLES.items()
    }
    no_file = ConstantProvider(None)
    session = AioSession()
    session.register_component(
        "config_store", ConfigValueStore({**defaults, "config_file": no_file, "credentials_file": no_file})
    )
    # By default, data under ~/.aws/models takes precedence over botocore's.
    loader = Loader(extra_search_paths=[Loader.BUILTIN_DATA_PATH], include_default_search_paths=False)
    session.register_component("data_loader", loader)
    return session
