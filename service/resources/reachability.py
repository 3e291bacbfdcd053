"""Whether Redis answers: carries calls to it, tries lost ones again within a deadline, and watches it come and go."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from math import inf
from time import monotonic, perf_counter
from typing import ParamSpec, TypeVar

from redis.asyncio import Redis
from redis.backoff import ExponentialWithJitterBackoff
from redis.exceptions import (
    ConnectionError,  # noqa: A004 - it is no OSError, and both mean a lost connection
    RedisError,
    ResponseError,
)
from redis.exceptions import TimeoutError as RedisTimeoutError

from service.errors import StoreUnavailable
from service.telemetry.metrics import STORE_CALLS, STORE_ERRORS

LOGGER = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

DEADLINE_SECONDS = 1.0
TRY_SECONDS = 0.5
PATIENCE_SECONDS = 0.75
CONNECTIONS = 64
PROBE_SECONDS = 0.5
WATCH_SECONDS = {"up": 5.0, "down": 0.5}
FRESH_SECONDS = 1.0
COMPLAINT_SECONDS = 60.0

# uvloop raises a bare RuntimeError for a write to a transport that has just closed (MagicStack/uvloop#506).
LOST = (ConnectionError, RedisTimeoutError, OSError, RuntimeError)
BACKOFF = ExponentialWithJitterBackoff(base=0.02, cap=0.2)


class Refused(StoreUnavailable):
    """Redis answers, but will not do it: it is full, a replica, or does not let this user."""


class WrongType(Refused):
    """The key holds something other than what the command is for: somebody else has written there."""


class Reachability:
    """Carries every call to Redis, and knows from its own PINGs alone whether Redis is there.

    Calls never decide that: one that finds its connection dead only asks for a PING. So the state has one writer, and
    the log one line a change. ``probe`` has a connection of its own, or a pool that is merely busy would look away.
    """

    def __init__(self, probe: Redis, name: str) -> None:
        self._probe_client = probe
        self._name = name
        # redis-py's blocking pool lets newcomers overtake: under load a call waited there for seconds.
        self._places = asyncio.Semaphore(CONNECTIONS)
        self._down_since = inf
        self._probed_at = -inf
        self._probing = asyncio.Lock()
        self._suspicion = asyncio.Event()
        self._watcher: asyncio.Task[None] | None = None
        self._complained_at: dict[str, float] = {}

    async def call(self, command: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs) -> T:
        """What ``command`` answers; it may be run more than once. Metrics show it under its name.

        Raises ``StoreUnavailable`` for all that can go wrong, within ``DEADLINE_SECONDS``; at once when Redis has been
        away for ``PATIENCE_SECONDS``: so callers ride out a restart, and do not queue up in an outage.
        """
        if monotonic() - self._down_since > PATIENCE_SECONDS:
            STORE_ERRORS[command.__name__, "unreachable"].inc()
            raise self._away()
        began = perf_counter()
        try:
            return await self._persist(command, *args, **kwargs)
        except LOST:
            STORE_ERRORS[command.__name__, "unreachable"].inc()
            raise self._away() from None
        except RedisError as error:
            raise self.refused(command.__name__, error) from None
        finally:
            STORE_CALLS[command.__name__,].observe(perf_counter() - began)

    async def check(self) -> None:
        """Raise ``StoreUnavailable`` unless Redis has answered a PING within the last second, or does now.

        At once while it is known to be away: the watcher asks it twice a second.
        """
        if not self._is_down and monotonic() - self._probed_at > FRESH_SECONDS:
            await self._probe()
        if self._is_down:
            raise self._away()

    async def open(self) -> None:
        await self._probe()
        self._watcher = asyncio.create_task(self._watch())

    async def close(self) -> None:
        while self._watcher and not self._watcher.done():
            # Before Python 3.12, asyncio.wait_for may lose one.
            self._watcher.cancel()
            await asyncio.wait({self._watcher}, timeout=PROBE_SECONDS)
        with suppress(RedisTimeoutError):
            await self._probe_client.aclose()

    @property
    def _is_down(self) -> bool:
        return self._down_since < inf

    async def _persist(self, command: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs) -> T:
        ends = monotonic() + DEADLINE_SECONDS
        failures = 0
        while True:
            try:
                async with asyncio.timeout(min(TRY_SECONDS, ends - monotonic())), self._places:
                    return await command(*args, **kwargs)
            except LOST:
                self._suspicion.set()
                failures += 1
                pause = BACKOFF.compute(failures)
                if monotonic() + pause > ends:
                    raise
                await asyncio.sleep(pause)

    def _away(self) -> StoreUnavailable:
        return StoreUnavailable("The account store cannot be reached")

    def refused(self, call: str, error: RedisError) -> Refused:
        """What to tell of an error that Redis has answered a call with; it is counted, and warned of in the log."""
        STORE_ERRORS[call, "refused"].inc()
        # Redis 7 puts WRONGTYPE first, older ones behind "Error running script".
        if isinstance(error, ResponseError) and "WRONGTYPE" in str(error):
            return WrongType("The account store holds something else under this key")
        kind = type(error).__name__
        if monotonic() - self._complained_at.get(kind, -inf) >= COMPLAINT_SECONDS:
            self._complained_at[kind] = monotonic()
            LOGGER.warning("The account store %s refuses commands: %s", self._name, reason(error))
        return Refused("The account store refuses the command")

    async def _watch(self) -> None:
        while True:
            # While Redis is down a call in its last tries must not turn this into a busy loop.
            waiting = asyncio.sleep(WATCH_SECONDS["down"]) if self._is_down else self._suspicion.wait()
            with suppress(TimeoutError):
                async with asyncio.timeout(WATCH_SECONDS["up"]):
                    await waiting
            self._suspicion.clear()
            await self._probe()

    async def _probe(self) -> None:
        async with self._probing:
            began = monotonic()
            try:
                async with asyncio.timeout(PROBE_SECONDS):
                    await self._ping()
            except Exception as error:  # noqa: BLE001 - whatever it is, a watcher that dies would leave the state as it is
                self._turn(why_down=reason(error), since=began)
            else:
                self._turn(why_down=None, since=inf)
            self._probed_at = monotonic()

    async def _ping(self) -> None:
        # One connection may be lost (a proxy, a failed-over host) while Redis is there.
        with suppress(ConnectionError):
            await self._probe_client.ping()
            return
        await self._probe_client.ping()

    def _turn(self, *, why_down: str | None, since: float) -> None:
        if why_down and not self._is_down:
            LOGGER.warning("The account store %s is away: %s", self._name, why_down)
            self._down_since = since
        if self._is_down and not why_down:
            LOGGER.info("The account store %s is back", self._name)
            self._down_since = since


def reason(error: Exception) -> str:
    """The error in one line, without what Redis echoes of an unknown command: there may be a password in it."""
    told = str(error).partition(", with args")[0]
    return f"{type(error).__name__}: {told}" if told else type(error).__name__
