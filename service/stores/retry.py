"""Calls to Redis: routing to a primary, retries within a deadline, and a circuit breaker that fails fast."""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from contextlib import nullcontext
from time import monotonic, perf_counter
from typing import Any, TypeVar

from redis.asyncio import Redis
from redis.asyncio.client import Pipeline
from redis.backoff import ExponentialWithJitterBackoff
from redis.exceptions import AskError, MovedError, RedisError

from service.errors import StoreUnavailable
from service.stores.call_failures import CallFailures
from service.stores.failures import LOST, is_demotion, reason, unreachable
from service.stores.shard import Shard
from service.stores.time_limit import TimeLimit
from service.stores.topology import Topology
from service.stores.url import Address
from service.telemetry import tracing
from service.telemetry.metrics import STORE_CALLS, STORE_ERRORS

T = TypeVar("T")

DEADLINE_SECONDS = 1.0
ATTEMPT_SECONDS = 0.5
# Long enough for a restart of Redis.
OPEN_AFTER_SECONDS = 0.75
BACKOFF = ExponentialWithJitterBackoff(base=0.02, cap=0.2)


class CircuitBreaker:
    """Runs commands on the primary of a key, and repeats lost ones on the one that is primary by then.

    ``OPEN_AFTER_SECONDS`` into an outage of a primary, its commands fail at once. Its monitor alone decides when an
    outage begins and ends. So callers wait for the end of a restart, and do not queue up in a longer outage.
    """

    def __init__(self, topology: Topology) -> None:
        self._topology = topology
        self.failures = CallFailures(topology)

    async def call(self, name: str, key: str, command: Callable[[Redis], Awaitable[T]]) -> T:
        """Return the result of ``command`` with a client of the primary that has ``key``. It may run more than once.

        Raises:
            StoreUnavailable: within ``DEADLINE_SECONDS``, plus time in which the event loop was blocked; immediately
                while the circuit is open.
        """
        return await self._call(name, lambda: self._topology.owner(key), lambda client, _: command(client), key=key)

    async def write(self, name: str, key: str, command: Callable[[Redis, TimeLimit], Awaitable[T]]) -> T:
        """Return the result of ``command``, as ``call`` does. It also gets the limit of the attempt.

        Writes take at most half of the connections.
        """
        return await self._call(name, lambda: self._topology.owner(key), command, key=key, is_write=True)

    async def call_shard(self, name: str, shard: Shard, command: Callable[[Redis], Awaitable[T]]) -> T:
        """Return the result of ``command`` on one primary, as ``call`` does."""
        return await self._call(name, lambda: shard, lambda client, _: command(client))

    async def call_each(self, name: str, keys: Sequence[str], queue: Callable[[Pipeline, str], object]) -> list[Any]:
        """Return the reply to one command for each key, which ``queue`` adds to a pipeline.

        Each primary gets one pipeline. Instead of a reply there may be a RedisError, or the StoreUnavailable of a
        primary.
        """
        replies: list[Any] = [None] * len(keys)
        groups: dict[Shard | None, list[int]] = defaultdict(list)
        for number, key in enumerate(keys):
            groups[self._topology.owner(key)].append(number)

        async def run(numbers: Sequence[int]) -> None:
            some = [keys[number] for number in numbers]
            found: Sequence[Any]
            try:
                # Without a key, because each reply can be a refusal.
                found = await self._call(
                    name, lambda: self._topology.owner(some[0]), lambda client, _: _pipeline(client, some, queue)
                )
            except StoreUnavailable as error:
                found = [error] * len(some)
            for number, reply in zip(numbers, found, strict=True):
                replies[number] = reply

        await asyncio.gather(*map(run, groups.values()))
        redirected = [number for number, reply in enumerate(replies) if isinstance(reply, AskError)]
        await asyncio.gather(*(run([number]) for number in redirected))
        return replies

    async def _call(
        self,
        name: str,
        find: Callable[[], Shard | None],
        command: Callable[[Redis, TimeLimit], Awaitable[T]],
        *,
        key: str = "",
        is_write: bool = False,
    ) -> T:
        shard = find()
        if shard is None or shard.monitor.unavailable_seconds > OPEN_AFTER_SECONDS:
            STORE_ERRORS[name, "unreachable"].inc()
            raise unreachable()
        started, called_at = perf_counter(), monotonic()
        try:
            with tracing.call(name):
                result = await self._retry(find, command, is_write=is_write)
        except LOST as error:
            STORE_ERRORS[name, "unreachable"].inc()
            shard = find()
            # Only a probe of this time shows that it is no outage, which the monitor logs.
            if shard and shard.monitor.is_available and shard.monitor.available_at > called_at:
                self.failures.incomplete(name, reason(error), key)
            raise unreachable() from None
        except RedisError as error:
            raise self.failures.refused(name, error, key) from None
        else:
            self.failures.end(name, key)
            return result
        finally:
            STORE_CALLS[name,].observe(perf_counter() - started)

    async def _retry(
        self,
        find: Callable[[], Shard | None],
        command: Callable[[Redis, TimeLimit], Awaitable[T]],
        *,
        is_write: bool,
    ) -> T:
        left = DEADLINE_SECONDS
        failures, reconnected = 0, False
        importing: Address | None = None
        while True:
            shard = self._topology.adopt(importing) if importing else find()
            if shard is None:
                raise ConnectionError("no primary has this key")
            client, importing = shard.asking if importing else shard.client, None
            limit = TimeLimit(min(ATTEMPT_SECONDS, left))
            writes = shard.writes if is_write else nullcontext()
            try:
                async with limit, writes, shard.connections:
                    return await command(client, limit)
            except (*LOST, AskError) as error:
                if not isinstance(error, AskError):
                    shard.monitor.request_probe()
                    self._topology.request_check()
                    await shard.repair_pool(error)
                failures += 1
                pause = BACKOFF.compute(failures)
                left -= limit.used
                if pause > left:
                    raise
                async with TimeLimit(left) as recovery:
                    await asyncio.sleep(pause)
                    # MovedError is a subclass of AskError.
                    if isinstance(error, MovedError):
                        await self._topology.check()
                    elif isinstance(error, AskError):
                        importing = self._topology.redirection(error.host, error.port, asked=shard)
                left -= recovery.used
            except RedisError as error:
                if reconnected or not is_demotion(error):
                    raise
                reconnected = True
                left -= limit.used
                async with TimeLimit(left) as recovery:
                    await asyncio.gather(shard.monitor.reconnect(), self._topology.check())
                left -= recovery.used


async def _pipeline(client: Redis, keys: Sequence[str], queue: Callable[[Pipeline, str], object]) -> list[Any]:
    async with client.pipeline(transaction=False) as pipe:
        for key in keys:
            queue(pipe, key)
        replies = await pipe.execute(raise_on_error=False)
    for reply in replies:
        # Only the redirection of a single key can be followed for all.
        if isinstance(reply, Exception) and (is_demotion(reply) or (isinstance(reply, AskError) and len(keys) == 1)):
            raise reply
    return replies
