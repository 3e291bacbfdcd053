"""aiobotocore's S3 clients, one for each endpoint setting, cut off from the process' AWS environment."""

import asyncio
from collections import OrderedDict
from typing import Any, NamedTuple

from aiobotocore.config import AioConfig
from aiobotocore.session import AioSession
from botocore.configprovider import BOTOCORE_DEFAUT_SESSION_VARIABLES, ConfigValueStore, ConstantProvider
from botocore.loaders import Loader

# A client takes 5 ms to make and 330 KB to keep.
MAX_CLIENTS = 32


class Settings(NamedTuple):
    """What a client is made for. ``url`` is None for AWS' own endpoint of the region, ``style`` virtual or path."""

    region: str
    url: str | None
    use_ssl: bool
    style: str


class Clients:
    """At most ``MAX_CLIENTS`` clients; the one that was not asked for the longest time makes room."""

    def __init__(self) -> None:
        self._session = _isolated_session()
        self._clients: OrderedDict[Settings, Any] = OrderedDict()
        self._lock = asyncio.Lock()

    async def get(self, settings: Settings) -> Any:
        """A client that can presign, of a class that aiobotocore makes at run time.

        It may be closed by others meanwhile, which matters to connections alone.

        Raises what aiobotocore raises for settings that it refuses: BotoCoreError or ValueError.
        """
        # Under the lock, those who miss the same client at the same time wait for one.
        async with self._lock:
            if settings not in self._clients:
                self._clients[settings] = await self._open(settings)
            self._clients.move_to_end(settings)
            if len(self._clients) > MAX_CLIENTS:
                _, oldest = self._clients.popitem(last=False)
                await oldest.close()
            return self._clients[settings]

    async def close(self) -> None:
        async with self._lock:
            while self._clients:
                _, client = self._clients.popitem()
                await client.close()

    async def _open(self, settings: Settings) -> Any:
        # Each option that is given is one that botocore does not look up in the environment.
        config = AioConfig(
            signature_version="s3v4",
            s3={"addressing_style": settings.style},
            ignore_configured_endpoint_urls=True,
        )
        context = self._session.create_client(
            "s3",
            region_name=settings.region,
            endpoint_url=settings.url,
            use_ssl=settings.use_ssl,
            verify=True,
            # Endpoints do not depend on credentials; without any, botocore would look for some, over the network too.
            aws_access_key_id="unused",
            aws_secret_access_key="unused",  # noqa: S106  not a secret
            config=config,
        )
        return await context.__aenter__()


def _isolated_session() -> AioSession:
    """A session that sees botocore's own defaults and data, no variable, file or profile of the process."""
    # Each variable is documented as (name in the config file, environment variables, default, conversion).
    defaults = {
        name: ConstantProvider(default) for name, (_, _, default, _) in BOTOCORE_DEFAUT_SESSION_VARIABLES.items()
    }
    no_file = ConstantProvider(None)
    session = AioSession()
    session.register_component(
        "config_store", ConfigValueStore({**defaults, "config_file": no_file, "credentials_file": no_file})
    )
    # Otherwise data under ~/.aws/models goes before botocore's.
    loader = Loader(extra_search_paths=[Loader.BUILTIN_DATA_PATH], include_default_search_paths=False)
    session.register_component("data_loader", loader)
    return session
