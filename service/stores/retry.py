"""Calls to Redis: routing to a primary, retries within a deadline, and a circuit breaker that fails fast."""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from contextlib import nullcontext
from math import inf
from time import monotonic, perf_counter
from typing import Any, TypeVar

from redis.asyncio import Redis
from redis.asyncio.client import Pipeline
from redis.backoff import ExponentialWithJitterBackoff
from redis.exceptions import AskError, MovedError, NoPermissionError, RedisError, ResponseError

from service.errors import StoreUnavailable
from service.stores.connection import offer_open_ones
from service.stores.failures import (
    LOST,
    Refused,
    WrongType,
    is_demotion,
    reason,
    refusal,
    takes_no_more_clients,
    unreachable,
)
from service.stores.time_limit import TimeLimit
from service.stores.topology import Shard, Topology
from service.stores.url import Address
from service.telemetry import tracing
from service.telemetry.metrics import STORE_CALLS, STORE_ERRORS

LOGGER = logging.getLogger(__name__)

T = TypeVar("T")

DEADLINE_SECONDS = 1.0
ATTEMPT_SECONDS = 0.5
# Long enough for a restart of Redis.
OPEN_AFTER_SECONDS = 0.75
WARNING_INTERVAL_SECONDS = 60.0
# The command of a refusal may not be called again for long, although Redis would accept it.
REFUSAL_SECONDS = 60.0
BACKOFF = ExponentialWithJitterBackoff(base=0.02, cap=0.2)


class CircuitBreaker:
    """Runs commands on the primary of a key, and repeats lost ones on the one that is primary by then.

    ``OPEN_AFTER_SECONDS`` into an outage of a primary, its commands fail at once. Its monitor alone decides when an
    outage begins and ends. So callers wait for the end of a restart, and do not queue up in a longer outage.
    """

    def __init__(self, topology: Topology) -> None:
        self._topology = topology
        self._warned_at: dict[str, float] = {}
        self._failures: dict[str, tuple[str, str, float]] = {}
        """Key, warning and time of the last failure of a command on the keys of one kind, until it succeeds on the key.

        Other keys may have other rights, or be on a primary with other rights.
        """

    async def call(self, name: str, key: str, command: Callable[[Redis], Awaitable[T]], *, is_write: bool = False) -> T:
        """Return the result of ``command`` with a client of the primary that has ``key``. It may run more than once.

        Commands with ``is_write`` take at most half of the connections.

        Raises:
            StoreUnavailable: within ``DEADLINE_SECONDS``, plus time in which the event loop was blocked; immediately
                while the circuit is open.
        """
        return await self._call(name, lambda: self._topology.owner(key), command, key=key, is_write=is_write)

    async def call_shard(self, name: str, shard: Shard, command: Callable[[Redis], Awaitable[T]]) -> T:
        """Return the result of ``command`` on one primary, as ``call`` does."""
        return await self._call(name, lambda: shard, command)

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
                    name, lambda: self._topology.owner(some[0]), lambda client: _pipeline(client, some, queue)
                )
            except StoreUnavailable as error:
                found = [error] * len(some)
            for number, reply in zip(numbers, found, strict=True):
                replies[number] = reply

        await asyncio.gather(*map(run, groups.values()))
        redirected = [number for number, reply in enumerate(replies) if isinstance(reply, AskError)]
        await asyncio.gather(*(run([number]) for number in redirected))
        return replies

    def refused(self, command: str, error: RedisError, key: str = "") -> Refused:
        """Return the exception to raise for an error reply of Redis, after counting and logging it.

        The keys of each kind have a warning of their own, because a user may have rights for some kinds alone.
        """
        STORE_ERRORS[command, "refused"].inc()
        # Redis 7 begins the message with WRONGTYPE; in errors of scripts, older servers put it later.
        if isinstance(error, ResponseError) and "WRONGTYPE" in str(error):
            return WrongType("The account store holds something else under this key")
        call, primary = _call_on(command, key), self._name_of_primary(key)
        self._failures[call] = key, f"{primary or 'Redis'} refuses {call}: {reason(error)}", monotonic()
        # The monitor of an unavailable shard has logged why no command can work there.
        is_available = any(shard.monitor.is_available for shard in self._topology.shards.values())
        if is_available and self._is_warning_due(type(error).__name__):
            LOGGER.warning("The account store %s refuses commands: %s", primary or self._topology.name, reason(error))
        return refusal(error)

    def incomplete(self, command: str, why: str, key: str) -> None:
        """Show and log a warning for a command that fails although Redis answers probes."""
        call, primary = _call_on(command, key), self._name_of_primary(key)
        text = f"answers probes, but does not complete {call}: {why}"
        self._failures[call] = key, f"{primary or 'Redis'} {text}", monotonic()
        if self._is_warning_due(command):
            LOGGER.warning("The account store %s %s", primary or self._topology.name, text)

    def note(self, command: str, refusal: str, key: str) -> None:
        """Show a warning for a command that a script has called and Redis refuses; without ``refusal``, end it."""
        if refusal:
            self.refused(command, NoPermissionError(refusal), key)
        else:
            self._succeeded(command, key)

    def warnings(self) -> Sequence[str]:
        """Return a warning for each failure of the last ``REFUSAL_SECONDS``."""
        now = monotonic()
        return [warning for _, warning, failed_at in self._failures.values() if now - failed_at < REFUSAL_SECONDS]

    def _name_of_primary(self, key: str) -> str:
        """Return the URL of the primary that has the key; "" if the URL of the store is its URL, or for no key."""
        owner = self._topology.owner(key) if key else None
        return owner.monitor.name if owner and owner.monitor.name != self._topology.name else ""

    def _succeeded(self, command: str, key: str) -> None:
        call = _call_on(command, key)
        if call in self._failures and self._failures[call][0] == key:
            del self._failures[call]

    def _is_warning_due(self, subject: str) -> bool:
        is_due = monotonic() - self._warned_at.get(subject, -inf) >= WARNING_INTERVAL_SECONDS
        if is_due:
            self._warned_at[subject] = monotonic()
        return is_due

    async def _call(
        self,
        name: str,
        find: Callable[[], Shard | None],
        command: Callable[[Redis], Awaitable[T]],
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
                self.incomplete(name, reason(error), key)
            raise unreachable() from None
        except RedisError as error:
            raise self.refused(name, error, key) from None
        else:
            self._succeeded(name, key)
            return result
        finally:
            STORE_CALLS[name,].observe(perf_counter() - started)

    async def _retry(
        self, find: Callable[[], Shard | None], command: Callable[[Redis], Awaitable[T]], *, is_write: bool
    ) -> T:
        deadline = monotonic() + DEADLINE_SECONDS
        failures, reconnected = 0, False
        importing: Address | None = None
        while True:
            shard = self._topology.adopt(importing) if importing else find()
            if shard is None:
                raise ConnectionError("no primary has this key")
            client, importing = shard.asking if importing else shard.client, None
            limit = shard.writes if is_write else nullcontext()
            try:
                async with TimeLimit(min(ATTEMPT_SECONDS, deadline - monotonic())), limit, shard.connections:
                    return await command(client)
            except (*LOST, AskError) as error:
                if not isinstance(error, AskError):
                    await self._on_loss(shard, error)
                failures += 1
                pause = BACKOFF.compute(failures)
                if monotonic() + pause > deadline:
                    raise
                await asyncio.sleep(pause)
                # MovedError is a subclass of AskError.
                if isinstance(error, MovedError):
                    await self._topology.check()
                elif isinstance(error, AskError):
                    importing = self._topology.redirection(error.host, error.port, asked=shard)
            except RedisError as error:
                if reconnected or not is_demotion(error):
                    raise
                reconnected = True
                await asyncio.gather(shard.monitor.reconnect(), self._topology.check())

    async def _on_loss(self, shard: Shard, error: Exception) -> None:
        shard.monitor.request_probe()
        self._topology.request_check()
        if takes_no_more_clients(error):
            await offer_open_ones(shard.client.connection_pool)


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


def _call_on(command: str, key: str) -> str:
    """Return a command with the pattern of the keys that have the same rights, as ``hset of AwsAccount:*``."""
    return f"{command} of {key.rpartition(':')[0]}:*" if key else command
