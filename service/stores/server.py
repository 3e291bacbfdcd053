"""One Redis server: connect, identify and inspect it, and reconnect after its address has moved."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from redis.asyncio import ConnectionPool, Redis
from redis.asyncio.connection import AbstractConnection, RedisSSLContext, SSLConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.credentials import CredentialProvider
from redis.exceptions import (
    AskError,
    AuthenticationError,
    ConnectionError,  # noqa: A004 - as in failures
    NoPermissionError,
    RedisError,
    ResponseError,
)
from redis.exceptions import TimeoutError as RedisTimeoutError

from service.stores.failures import LOST, reason
from service.stores.url import REDIS_PORT, Address, StoreUrl

HEALTH_CHECK_SECONDS = 15
# Longer than the limits of callers, which do not count time in which the event loop was blocked; redis-py's limit does.
CONNECT_SECONDS = 2.0

# Many keys, so that no single node of a Cluster owns the slots of all of them.
PROBE_KEYS = 16

# One for each set of options. Loading the system's certificates takes about 40 ms, in which no request is served.
_TLS_CONTEXTS: dict[str, RedisSSLContext] = {}

# What redis-py says when the server closes a connection.
_CLOSED = re.compile("while reading|closed by server")

_RUN_ID = re.compile(r"^run_id:(\S+)", re.MULTILINE)


class UnusableServer(RedisError):
    """The server answers, but the service cannot work with it."""


class NotPrimary(ConnectionError):
    """The server is a replica, although a Sentinel or a Cluster has named it as a primary."""


@dataclass(frozen=True, slots=True)
class Server:
    """A server with readable accounts. ``run_id``, ``eviction`` and ``replicas`` are None if INFO is refused."""

    run_id: str | None
    is_primary: bool
    eviction: str | None
    replicas: int | None

    @property
    def warnings(self) -> list[str]:
        """Sentences about what an operator should change."""
        found = []
        if not self.is_primary:
            found.append("Redis is a replica, so every change is refused; give the address of its primary")
        if self.run_id is None:
            found.append(
                "Redis refuses INFO, so its eviction policy and a failover to another server go unnoticed; "
                "allow it with ACL SETUSER … +info"
            )
        if self.eviction and self.eviction.startswith("allkeys"):
            found.append(
                f"Redis may evict accounts when its memory is full (maxmemory-policy {self.eviction}); "
                "set maxmemory-policy noeviction"
            )
        return found


class TlsConnection(SSLConnection):
    """A connection with the TLS context ``shared``, instead of one of its own."""

    def __init__(self, *, shared: RedisSSLContext, **options: Any) -> None:
        super().__init__(**options)
        self.ssl_context = shared


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
        if self._primary and await read_role(connection) != "master":
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
    if isinstance(connection, SSLConnection):
        pool.connection_class = TlsConnection
        pool.connection_kwargs["shared"] = _TLS_CONTEXTS.setdefault(urlsplit(url).query, connection.ssl_context)
    return Redis.from_pool(pool)


@asynccontextmanager
async def on_one_connection(client: Redis) -> AsyncIterator[Redis]:
    """Return a client that sends everything over one connection of the pool of ``client``."""
    single = client.client()
    try:
        yield await single.initialize()
    finally:
        # The context manager of redis-py pauses before this. If it is cancelled there, the pool loses the connection.
        await asyncio.shield(single.aclose())


async def reconnect(pool: ConnectionPool) -> None:
    """Close idle connections now, and connections in use after their command. A cancellation does not stop this."""
    # A time-out in between would leave connections that the pool takes for used.
    await asyncio.shield(_reconnect(pool))


async def _reconnect(pool: ConnectionPool) -> None:
    await pool.update_active_connections_for_reconnect()  # type: ignore[no-untyped-call]
    idle, _ = (count for count, _ in pool.get_connection_count())
    # A connection taken from the pool cannot be in use while it is closed.
    for connection in [pool.get_available_connection() for _ in range(idle)]:  # type: ignore[no-untyped-call]
        await connection.disconnect(nowait=True)
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


async def read_role(connection: AbstractConnection) -> str | None:
    """Return ``master`` or ``slave``; every user may call HELLO."""
    await connection.send_command("HELLO")
    return _hello_fields(await connection.read_response()).get("role")


def _hello_fields(answer: Any) -> dict[str, Any]:
    """Return an answer to HELLO as a dict; an empty one if it was refused."""
    if isinstance(answer, list):
        # RESP2 sends a list of alternating names and values.
        return dict(zip(answer[::2], answer[1::2], strict=False))
    return answer if isinstance(answer, dict) else {}


async def read_mode(client: Redis) -> str | None:
    """Return ``standalone``, ``cluster`` or ``sentinel``, also if the server refuses the login or the database.

    None if it does not say so.
    """
    pool = client.connection_pool
    login = ("username", "password", "credential_provider")
    for without in ((), login):
        options = {n: v for n, v in pool.connection_kwargs.items() if n not in (*without, "db", "redis_connect_func")}
        plain = Redis.from_pool(ConnectionPool(pool.connection_class, max_connections=1, **options))
        async with plain:
            with suppress(*LOST, ResponseError):
                return _hello_fields(await plain.execute_command("HELLO")).get("mode")  # type: ignore[no-untyped-call]
    return None


def advice(client: Redis, mode: str) -> str:
    """Return which URL an operator should write for a server of this mode."""
    scheme, address = _location(client)
    if mode == "sentinel":
        return f"write {scheme}+sentinel://{address}/service, with the name of the service that it monitors"
    return f"write {scheme}+cluster://{address}" if mode == "cluster" else f"write {scheme}://{address}"


def why_silent(client: Redis, error: Exception, *, answered: bool) -> str:
    """Return the error in one line, with a question if TLS may be the reason.

    A server without TLS waits for more. One with TLS closes the connection; this counts only if no server has
    ``answered`` before.
    """
    scheme, _ = _location(client)
    question = ""
    if scheme == "rediss" and isinstance(error, TimeoutError | RedisTimeoutError):
        question = "; does the port use TLS?"
    elif scheme == "redis" and not answered and _CLOSED.search(str(error)):
        question = "; does the port need TLS? Then the URL begins with rediss"
    return f"{reason(error)}{question}"


async def inspect(client: Redis, key: str, *, cluster: bool = False) -> Server:
    """Read some keys that begin with ``key``, which need not exist, and the role of the server.

    With ``cluster``, the server is a node of a Cluster, which answers for a part of the keys only.

    Raises:
        UnusableServer: accounts cannot be read here; the message is a sentence.
        RedisError: any other failure.
    """
    try:
        async with client.pipeline(transaction=False) as pipe:
            pipe.execute_command("HELLO", "2")
            for section in ("server", "replication", "memory"):
                pipe.info(section)
            for number in range(PROBE_KEYS):
                pipe.hgetall(f"{key}-{number}")
            hello, server, replication, memory, *reads = await pipe.execute(raise_on_error=False)
    except (ResponseError, AuthenticationError):
        # Sentinels and nodes of a Cluster refuse a database, and a Sentinel does not know the users of Redis.
        _check_mode(client, await read_mode(client), cluster=cluster)
        raise
    fields = _hello_fields(hello)
    _check_mode(client, fields.get("mode"), cluster=cluster)
    _check_reads(key, reads)
    role = fields.get("role") or _info_value(replication, "role")
    if role is None:
        raise UnusableServer(f"the server hides its role, because it refuses HELLO and INFO: {hello}")
    if role != "master":
        _check_sync(replication)
    return Server(
        run_id=_info_value(server, "run_id"),
        is_primary=role == "master",
        eviction=_info_value(memory, "maxmemory_policy"),
        replicas=int(count) if (count := _info_value(replication, "connected_slaves")) else None,
    )


def _check_mode(client: Redis, mode: str | None, *, cluster: bool) -> None:
    if mode == "sentinel":
        raise UnusableServer(f"this is a Sentinel, which keeps no accounts; {advice(client, mode)}")
    if mode == "cluster" and not cluster:
        raise UnusableServer(f"this is one node of a Cluster and has only a part of the keys; {advice(client, mode)}")


def _check_reads(key: str, reads: list[Any]) -> None:
    for answer in reads:
        if isinstance(answer, AskError):
            # The key belongs to another node of the Cluster. MovedError is a subclass.
            continue
        if isinstance(answer, NoPermissionError):
            raise UnusableServer(f"this user may not read the keys {key}* with HGETALL: {answer}")
        if isinstance(answer, ResponseError) and "WRONGTYPE" not in str(answer):
            raise answer


def _check_sync(replication: Any) -> None:
    link = _info_value(replication, "master_link_status")
    if link is None:
        raise UnusableServer("this is a replica, and only INFO shows whether it is in sync; allow it with +info")
    if link != "up":
        raise UnusableServer(f"this is a replica that is not in sync with its primary (link {link})")


def _location(client: Redis) -> tuple[str, str]:
    """Return the scheme, and the host with the port."""
    pool = client.connection_pool
    options = pool.connection_kwargs
    scheme = "rediss" if issubclass(pool.connection_class, SSLConnection) else "redis"
    return scheme, str(Address(options.get("host", "localhost"), options.get("port", REDIS_PORT)))


def _info_value(facts: Any, name: str) -> str | None:
    """Return a value of INFO; None if INFO was refused or lacks it."""
    return str(facts[name]) if isinstance(facts, dict) and name in facts else None
