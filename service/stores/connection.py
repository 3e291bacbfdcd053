"""Connections to one Redis server: their options, their TLS, and the server that they lead to."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from types import MappingProxyType
from typing import Any
from urllib.parse import urlsplit

from redis.asyncio import ConnectionPool, Redis
from redis.asyncio.connection import (
    AbstractConnection,
    Connection,
    RedisSSLContext,
    SSLConnection,
    UnixDomainSocketConnection,
)
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.credentials import CredentialProvider
from redis.exceptions import ConnectionError, NoPermissionError, ResponseError  # noqa: A004 - as in failures
from redis.exceptions import TimeoutError as RedisTimeoutError

from service.stores.url import StoreUrl

HEALTH_CHECK_SECONDS = 15
# Longer than the limits of callers, which do not count time in which the event loop was blocked; redis-py's limit does.
CONNECT_SECONDS = 2.0

# One for each set of options. Loading the system's certificates takes about 40 ms, in which no request is served.
_TLS_CONTEXTS: dict[str, RedisSSLContext] = {}

PRIMARY = "master"
"""The role of a primary in an answer to HELLO or INFO."""

_RUN_ID = re.compile(r"^run_id:(\S+)", re.MULTILINE)
_LINK_IS_UP = re.compile(r"^master_link_status:up\b", re.MULTILINE)


class NotPrimary(ConnectionError):
    """The server is a replica, although a Sentinel or a Cluster has named it as a primary."""


class _RedisConnection(AbstractConnection):
    """A connection that is lost if the server has too many clients, which is its first answer.

    It stays usable while the server refuses PING, as one with a full disk does (``MISCONF``).
    """

    async def read_response(self, *args: Any, **options: Any) -> Any:
        try:
            return await super().read_response(*args, **options)
        except ResponseError as error:
            # redis-py knows the words of a single server, but not those of a node of a Cluster.
            if str(error).startswith("max number of clients"):
                await self.disconnect(nowait=True)
                raise ConnectionError(str(error)) from None
            raise

    async def check_health(self) -> None:
        try:
            await super().check_health()  # type: ignore[no-untyped-call]
        except NoPermissionError:
            # The documented rights include PING, and an operator should learn that it is missing.
            raise
        except ResponseError:
            # The server has answered, and it may still serve reads.
            pass


class TcpConnection(_RedisConnection, Connection):
    pass


class SocketConnection(_RedisConnection, UnixDomainSocketConnection):
    pass


class TlsConnection(_RedisConnection, SSLConnection):
    """A connection with the TLS context ``shared``, instead of one of its own."""

    def __init__(self, *, shared: RedisSSLContext, **options: Any) -> None:
        super().__init__(**options)
        self.ssl_context = shared


_CLASSES: Mapping[type[AbstractConnection], type[AbstractConnection]] = MappingProxyType(
    {Connection: TcpConnection, UnixDomainSocketConnection: SocketConnection, SSLConnection: TlsConnection}
)


class ServerIdentity:
    """The ``run_id`` of the server that the newest connection reached. ``on_change`` is called when it changes.

    With ``primary``, a connection to a replica fails with ``NotPrimary``.
    """

    def __init__(self, *, primary: bool = False) -> None:
        self.run_id: str | None = None
        self.on_change: Callable[[], None] = lambda: None
        self._primary = primary

    async def on_connect(self, connection: AbstractConnection) -> None:
        """Log in and read the server's run id. For ``redis_connect_func`` of a pool."""
        await connection.on_connect()
        role = await read_role(connection) if self._primary else PRIMARY
        if role != PRIMARY:
            raise NotPrimary("a server that was named as a primary is a replica")
        run_id = await read_run_id(connection)
        if run_id and run_id != self.run_id:
            self.run_id = run_id
            self.on_change()


def connect(
    url: str,
    *,
    connections: int,
    identity: ServerIdentity | None = None,
    credentials: CredentialProvider | None = None,
    seconds: float | None = None,
) -> Redis:
    """Return a client for ``redis://``, ``rediss://`` or ``unix://``.

    The client does not retry, because a writer must know whether an earlier attempt may have been executed.
    ``credentials`` replace those of the URL. Without ``seconds``, callers must limit the time of each call themselves.

    Raises:
        ValueError: any other URL; the message does not contain it.
    """
    if credentials:
        url = StoreUrl(url).without_credentials.text
    try:
        pool = ConnectionPool.from_url(
            url,
            max_connections=connections,
            # Calls have limits of their own, for which redis-py would create a task for each command.
            socket_timeout=seconds,
            socket_connect_timeout=seconds or CONNECT_SECONDS,
            health_check_interval=HEALTH_CHECK_SECONDS,
            retry=Retry(NoBackoff(), 0),
            # RESP3 would subscribe to maintenance pushes, which the service does not use.
            protocol=2,
            # CLIENT SETINFO needs a right that the service does not, and Redis logs each refusal (ACL LOG).
            driver_info=None,
            decode_responses=True,
            # An operator can write bytes that are not UTF-8. They must be read, compared and written back unchanged.
            encoding_errors="surrogateescape",
            redis_connect_func=identity.on_connect if identity else None,
            credential_provider=credentials,
        )
        # redis-py checks the options of the URL when it makes a connection. Fail now, not at the first request.
        connection = pool.make_connection()  # type: ignore[no-untyped-call]
    except (ValueError, TypeError, AttributeError):
        raise ValueError("not a Redis URL (redis://, rediss:// or unix://)") from None
    pool.connection_class = _CLASSES[type(connection)]
    if isinstance(connection, SSLConnection):
        pool.connection_kwargs["shared"] = _TLS_CONTEXTS.setdefault(urlsplit(url).query, connection.ssl_context)
    return Redis.from_pool(pool)


async def close(*clients: Redis) -> None:
    """Close all connections of clients. A cancellation does not stop this."""
    # redis-py closes each connection in a task, which a cancellation would end before it begins.
    await asyncio.shield(_close(clients))


async def _close(clients: Iterable[Redis]) -> None:
    for client in clients:
        # redis-py drops a connection even if its graceful close times out.
        with suppress(RedisTimeoutError):
            await client.aclose()


@asynccontextmanager
async def on_one_connection(client: Redis) -> AsyncIterator[Redis]:
    """Return a client that sends everything over one connection of the pool of ``client``."""
    single = client.client()
    try:
        yield await single.initialize()
    finally:
        # The context manager of redis-py pauses before this. If it is cancelled there, the pool loses the connection.
        await close(single)


async def reconnect(pool: ConnectionPool) -> None:
    """Close idle connections now, and connections in use after their command. A cancellation does not stop this."""
    # A time-out in between would leave connections that the pool takes for used.
    await asyncio.shield(_reconnect(pool))


async def _reconnect(pool: ConnectionPool) -> None:
    await pool.update_active_connections_for_reconnect()  # type: ignore[no-untyped-call]
    await _close_idle(pool)


async def close_idle(pool: ConnectionPool) -> None:
    """Close idle connections. A cancellation does not stop this."""
    await asyncio.shield(_close_idle(pool))


async def _close_idle(pool: ConnectionPool) -> None:
    idle, _ = (count for count, _ in pool.get_connection_count())
    # A connection taken from the pool cannot be in use while it is closed.
    for connection in [pool.get_available_connection() for _ in range(idle)]:  # type: ignore[no-untyped-call]
        await connection.disconnect(nowait=True)
        await pool.release(connection)


async def offer_open_ones(pool: ConnectionPool) -> None:
    """Let the next calls take open connections before those that failed to open. A cancellation does not stop this."""
    await asyncio.shield(_offer_open_ones(pool))


async def _offer_open_ones(pool: ConnectionPool) -> None:
    idle, _ = (count for count, _ in pool.get_connection_count())
    connections = [pool.get_available_connection() for _ in range(idle)]  # type: ignore[no-untyped-call]
    # The pool hands out first what it has got last.
    for connection in sorted(connections, key=lambda connection: connection.is_connected):
        await pool.release(connection)


async def read_run_id(connection: AbstractConnection) -> str | None:
    """Return the run id of the server process; None if the user may not call INFO."""
    await connection.send_command("INFO", "server")
    try:
        text = await connection.read_response()
    except ResponseError:
        return None
    found = _RUN_ID.search(text) if isinstance(text, str) else None
    return found[1] if found else None


async def read_in_sync(connection: AbstractConnection) -> bool:
    """Return whether the server is a replica in sync with its primary; False if the user may not call INFO."""
    await connection.send_command("INFO", "replication")
    try:
        return is_in_sync(await connection.read_response())
    except ResponseError:
        return False


def is_in_sync(replication: Any) -> bool:
    """Return whether this section of INFO is that of a replica in sync with its primary."""
    return isinstance(replication, str) and bool(_LINK_IS_UP.search(replication))


async def read_role(connection: AbstractConnection) -> str | None:
    """Return ``master`` or ``slave``; every user may call HELLO."""
    await connection.send_command("HELLO")
    return hello_fields(await connection.read_response()).get("role")


def hello_fields(answer: Any) -> dict[str, Any]:
    """Return an answer to HELLO as a dict; an empty one if it was refused."""
    if isinstance(answer, list):
        # RESP2 sends a list of alternating names and values.
        return dict(zip(answer[::2], answer[1::2], strict=False))
    return answer if isinstance(answer, dict) else {}
