"""aiobotocore's S3 clients, isolated from the AWS environment of the process."""

import gc
from typing import Any, NamedTuple

from aiobotocore.config import AioConfig
from aiobotocore.session import AioSession
from botocore.configprovider import BOTOCORE_DEFAUT_SESSION_VARIABLES, ConfigValueStore, ConstantProvider
from botocore.loaders import Loader
from cachetools import LRUCache

# A client takes 5 ms to make and 330 KB to keep. AWS has 40 regions, in two styles, with and without TLS.
MAX_CLIENTS = 160
# A closed client is garbage in cycles.
CLOSED_PER_COLLECTION = 16


class ClientOptions(NamedTuple):
    """The options of a client. ``url`` is None for AWS' own endpoint of the region, ``style`` virtual or path."""

    region: str
    url: str | None
    use_ssl: bool
    style: str


class Clients:
    """At most ``MAX_CLIENTS`` clients; the least recently used one is closed first. Calls must not overlap."""

    def __init__(self) -> None:
        self._session = _isolated_session()
        self._clients: LRUCache[ClientOptions, Any] = LRUCache(MAX_CLIENTS)
        self._closed = 0

    async def get(self, options: ClientOptions) -> Any:
        """Return a client that can presign, of a class that aiobotocore makes at run time.

        Raises:
            BotoCoreError: aiobotocore refuses the options.
            ValueError: likewise.
        """
        if options not in self._clients:
            client = await self._open(options)
            is_full = len(self._clients) == self._clients.maxsize
            evicted = self._clients.popitem()[1] if is_full else None
            self._clients[options] = client
            if evicted:
                await evicted.close()
                self._closed += 1
                if self._closed % CLOSED_PER_COLLECTION == 0:
                    gc.collect()
        return self._clients[options]

    async def close(self) -> None:
        while self._clients:
            _, client = self._clients.popitem()
            await client.close()

    async def _open(self, options: ClientOptions) -> Any:
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
        return await context.__aenter__()


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
