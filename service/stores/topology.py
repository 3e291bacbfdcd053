"""Which Redis server the connections end at, what it can do, and how to leave it for the one the address names now."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from redis.asyncio import ConnectionPool, Redis
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import (
    AskError,
    ClusterDownError,
    NoPermissionError,
    ReadOnlyError,
    RedisError,
    ResponseError,
)

HEALTH_CHECK_SECONDS = 15
# Longer than callers wait: their limits tell a slow server from a loop that was held up, redis-py's does not.
CONNECT_SECONDS = 2.0

# Enough that no node of a Cluster holds all of them by chance.
PROBE_KEYS = 16

_DEMOTED = re.compile(r"\b(READONLY|UNBLOCKED|NOREPLICAS)\b")
_RUN_ID = re.compile(r"^run_id:(\S+)", re.MULTILINE)


class UnusableServer(RedisError):
    """The server answers, but the service cannot work with it."""


@dataclass(frozen=True, slots=True)
class Server:
    """A server that can be read from. ``run_id`` and ``eviction`` are None where the user may not ask INFO."""

    run_id: str | None
    is_primary: bool
    eviction: str | None

    @property
    def warnings(self) -> list[str]:
        """What an operator should change, in sentences."""
        found = []
        if not self.is_primary:
            found.append("Redis is a replica, so every change is refused; give the address of its primary")
        if self.run_id is None:
            found.append(
                "Redis refuses INFO, so neither its eviction policy nor a failover to another server can be expected; "
                "allow it with ACL SETUSER … +info"
            )
        if self.eviction and self.eviction.startswith("allkeys"):
            found.append(
                f"Redis may evict accounts when its memory is full (maxmemory-policy {self.eviction}); "
                "set maxmemory-policy noeviction"
            )
        return found


class Arrivals:
    """Notes the server that each new connection ends at. ``on_change`` is called when it is another than before."""

    def __init__(self) -> None:
        self.run_id: str | None = None
        self.on_change: Callable[[], None] = lambda: None

    async def greet(self, connection: AbstractConnection) -> None:
        """Log in, and ask which server this is. For ``redis_connect_func`` of a pool."""
        await connection.on_connect()
        run_id = await run_id_of(connection)
        if run_id and run_id != self.run_id:
            self.run_id = run_id
            self.on_change()


def connect(url: str, *, connections: int, arrivals: Arrivals | None = None) -> Redis:
    """A client for ``redis://``, ``rediss://`` or ``unix://``. Raises ``ValueError``, without the URL, for any other.

    It does not try again by itself: a writer must know whether an earlier try may have landed.
    """
    try:
        pool = ConnectionPool.from_url(
            url,
            max_connections=connections,
            # A time for each try is kept outside: redis-py would make a task of every command that it sends.
            socket_timeout=None,
            socket_connect_timeout=CONNECT_SECONDS,
            health_check_interval=HEALTH_CHECK_SECONDS,
            retry=Retry(NoBackoff(), 0),
            # RESP3's handshake needs Redis 6 and asks for maintenance pushes; nothing here wants either.
            protocol=2,
            decode_responses=True,
            # Text that an operator writes need not be UTF-8: it must be read, compared and written back unchanged.
            encoding_errors="surrogateescape",
            redis_connect_func=arrivals.greet if arrivals else None,
        )
        # redis-py checks the options of the URL when it makes a connection, which would be at the first request.
        pool.make_connection()  # type: ignore[no-untyped-call]
    except (ValueError, TypeError, AttributeError):
        raise ValueError("not a Redis URL (redis://, rediss:// or unix://)") from None
    return Redis.from_pool(pool)


async def reconnect(pool: ConnectionPool) -> None:
    """Leave every connection: idle ones now, the others once their command is answered."""
    await pool.update_active_connections_for_reconnect()  # type: ignore[no-untyped-call]
    idle, _ = (count for count, _ in pool.get_connection_count())
    # Taken out of the pool one by one, none of them can be in use while it is closed.
    for connection in [pool.get_available_connection() for _ in range(idle)]:  # type: ignore[no-untyped-call]
        await connection.disconnect(nowait=True)
        await pool.release(connection)


async def run_id_of(connection: AbstractConnection) -> str | None:
    """The identity of the server process at the other end; None where the user may not ask."""
    await connection.send_command("INFO", "server")
    try:
        text = await connection.read_response()
    except ResponseError:
        return None
    found = _RUN_ID.search(text) if isinstance(text, str) else None
    return found[1] if found else None


def is_demotion(error: Exception) -> bool:
    """Whether a server refuses because it is, or has become, no primary that works: another may be."""
    # Older servers put the code of an error in a script behind "Error running script".
    return isinstance(error, ReadOnlyError | ClusterDownError) or (
        isinstance(error, ResponseError) and _DEMOTED.search(str(error)) is not None
    )


def is_passing(error: Exception) -> bool:
    """Whether a server refuses only for now: it is no primary that works, or a script holds it up."""
    return is_demotion(error) or (isinstance(error, ResponseError) and str(error).startswith("BUSY "))


async def inspect(client: Redis, key: str) -> Server:
    """Read keys that begin with ``key``, as the service does, and ask for the role. They need not exist.

    HELLO tells the role and is open to every user.

    Raises:
        UnusableServer: says in a sentence why accounts cannot be read here.
        RedisError: any other failure.
    """
    async with client.pipeline(transaction=False) as pipe:
        pipe.execute_command("HELLO", "2")
        for section in ("server", "replication", "memory"):
            pipe.info(section)
        for number in range(PROBE_KEYS):
            pipe.hgetall(f"{key}-{number}")
        hello, server, replication, memory, *reads = await pipe.execute(raise_on_error=False)
    _check_mode(hello)
    _check_reads(key, reads)
    return Server(
        run_id=_text(server, "run_id"),
        is_primary=_is_primary(hello, replication),
        eviction=_text(memory, "maxmemory_policy"),
    )


def _check_mode(hello: Any) -> None:
    if _facts(hello).get("mode") == "sentinel":
        raise UnusableServer("this is a Sentinel, which keeps no accounts; give the address of the Redis primary")


def _check_reads(key: str, reads: list[Any]) -> None:
    for answer in reads:
        if isinstance(answer, AskError):
            # MovedError is one of them.
            raise UnusableServer("this is one node of a Cluster and has only a part of the keys")
        if isinstance(answer, NoPermissionError):
            raise UnusableServer(f"this user may not read the keys {key}* with HGETALL: {answer}")
        if isinstance(answer, ResponseError) and "WRONGTYPE" not in str(answer):
            raise answer


def _is_primary(hello: Any, replication: Any) -> bool:
    role = _facts(hello).get("role") or _text(replication, "role")
    if role is None:
        raise UnusableServer(f"the server does not tell its role, as it refuses HELLO and INFO: {hello}")
    if role == "master":
        return True
    link = _text(replication, "master_link_status")
    if link is None:
        raise UnusableServer("this is a replica, and only INFO tells if it is in sync; allow it with +info")
    if link != "up":
        raise UnusableServer(f"this is a replica that is not in sync with its primary (link {link})")
    return False


def _facts(hello: Any) -> dict[str, Any]:
    """HELLO's answer, which RESP2 has as names and values in turn."""
    if isinstance(hello, list):
        return dict(zip(hello[::2], hello[1::2], strict=False))
    return hello if isinstance(hello, dict) else {}


def _text(facts: Any, name: str) -> str | None:
    """A value of INFO; None where INFO was refused or does not have it."""
    return str(facts[name]) if isinstance(facts, dict) and name in facts else None
