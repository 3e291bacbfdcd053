"""One Redis server: whether accounts can be read and written there, and what an operator should change."""

import re
from dataclasses import dataclass
from typing import Any

from redis.asyncio import ConnectionPool, Redis
from redis.asyncio.connection import SSLConnection
from redis.exceptions import (
    AskError,
    AuthenticationError,
    ClusterDownError,
    NoPermissionError,
    RedisError,
    ResponseError,
)
from redis.exceptions import TimeoutError as RedisTimeoutError

from service.stores.connection import PRIMARY, close, hello_fields
from service.stores.failures import LOST, reason
from service.stores.url import REDIS_PORT, Address

# Many keys, so that no single node of a Cluster owns the slots of all of them.
PROBE_KEYS = 16

# What redis-py says when the server closes a connection.
_CLOSED = re.compile("while reading|closed by server")


class UnusableServer(RedisError):
    """The server answers, but the service cannot work with it."""


class UnusableReplica(UnusableServer):
    """The same of a replica, which may be out of date."""


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


async def read_mode(client: Redis) -> str | None:
    """Return ``standalone``, ``cluster`` or ``sentinel``, also if the server refuses the login or the database.

    None if it does not say so.
    """
    pool = client.connection_pool
    login = ("username", "password", "credential_provider")
    for without in ((), login):
        options = {n: v for n, v in pool.connection_kwargs.items() if n not in (*without, "db", "redis_connect_func")}
        plain = Redis.from_pool(ConnectionPool(pool.connection_class, max_connections=1, **options))
        try:
            return hello_fields(await plain.execute_command("HELLO")).get("mode")  # type: ignore[no-untyped-call]
        except (*LOST, ResponseError):
            pass
        finally:
            await close(plain)
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
    fields = hello_fields(hello)
    _check_mode(client, fields.get("mode"), cluster=cluster)
    _check_reads(key, reads)
    if isinstance(memory, ResponseError) and str(memory).startswith("BUSY ") and _are_elsewhere(reads):
        # A node that runs a slow script redirects keys as ever.
        raise memory
    role = fields.get("role") or _info_value(replication, "role")
    if role is None:
        raise UnusableServer(f"the server hides its role, because it refuses HELLO and INFO: {hello}")
    if role != PRIMARY:
        _check_sync(replication)
    return Server(
        run_id=_info_value(server, "run_id"),
        is_primary=role == PRIMARY,
        eviction=_info_value(memory, "maxmemory_policy"),
        replicas=int(count) if (count := _info_value(replication, "connected_slaves")) else None,
    )


def _check_mode(client: Redis, mode: str | None, *, cluster: bool) -> None:
    if mode == "sentinel":
        raise UnusableServer(f"this is a Sentinel, which keeps no accounts; {advice(client, mode)}")
    if mode == "cluster" and not cluster:
        raise UnusableServer(f"this is one node of a Cluster and has only a part of the keys; {advice(client, mode)}")


def _check_reads(key: str, reads: list[Any]) -> None:
    # While the Cluster is down, a node refuses all keys. While it is up, only those of slots that nobody has.
    is_up = not all(isinstance(answer, ClusterDownError) for answer in reads)
    for answer in reads:
        if is_up and isinstance(answer, ClusterDownError):
            continue
        if isinstance(answer, AskError):
            # The key belongs to another node of the Cluster. MovedError is a subclass.
            continue
        if isinstance(answer, NoPermissionError):
            raise UnusableServer(f"this user may not read the keys {key}* with HGETALL: {answer}")
        if isinstance(answer, ResponseError) and "WRONGTYPE" not in str(answer):
            raise answer


def _are_elsewhere(reads: list[Any]) -> bool:
    """Return whether the node of a Cluster has none of the keys."""
    return all(isinstance(answer, AskError) for answer in reads)


def _check_sync(replication: Any) -> None:
    link = _info_value(replication, "master_link_status")
    if link is None:
        raise UnusableReplica("this is a replica, and only INFO shows whether it is in sync; allow it with +info")
    if link != "up":
        raise UnusableReplica(f"this is a replica that is not in sync with its primary (link {link})")


def _location(client: Redis) -> tuple[str, str]:
    """Return the scheme, and the host with the port."""
    pool = client.connection_pool
    options = pool.connection_kwargs
    scheme = "rediss" if issubclass(pool.connection_class, SSLConnection) else "redis"
    return scheme, str(Address(options.get("host", "localhost"), options.get("port", REDIS_PORT)))


def _info_value(facts: Any, name: str) -> str | None:
    """Return a value of INFO; None if INFO was refused or lacks it."""
    return str(facts[name]) if isinstance(facts, dict) and name in facts else None
