"""Whether Redis can be used: carries calls to it, retries lost ones within a deadline, and watches it come and go."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from math import inf
from time import monotonic, perf_counter
from typing import ParamSpec, TypeVar

from redis.asyncio import ConnectionPool, Redis
from redis.backoff import ExponentialWithJitterBackoff
from redis.exceptions import (
    ConnectionError,  # noqa: A004 - it is no OSError, and both mean a lost connection
    RedisError,
    ResponseError,
)
from redis.exceptions import TimeoutError as RedisTimeoutError

from service.errors import StoreUnavailable
from service.stores.time_limit import TimeLimit
from service.stores.topology import Server, ServerIdentity, inspect, is_demotion, reconnect
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
RECONNECT_SECONDS = 1.0
COMPLAINT_SECONDS = 60.0

# uvloop raises a bare RuntimeError for a write to a transport that has just closed (MagicStack/uvloop#506).
LOST = (ConnectionError, RedisTimeoutError, OSError, RuntimeError)
BACKOFF = ExponentialWithJitterBackoff(base=0.02, cap=0.2)


class Refused(StoreUnavailable):
    """Redis answers, but will not do it: it is full, a replica, or does not let this user."""


class WrongType(Refused):
    """The key holds something other than what the command is for: somebody else has written there."""


class CircuitBreaker:
    """Carries every call to Redis, and knows from its own probes alone whether Redis can be used.

    Calls never decide that: one that finds its connection dead only asks for a probe. So the state has one writer, and
    the log one line a change. ``probe`` has a connection of its own, because a pool that is merely busy is no outage.
    It reads keys that begin with ``key``.

    ``identity`` notes where the connections of ``pool`` and ``probe`` end. When a new one ends at another server than
    those before, all of them are made anew. ``server_changed`` is called with "" before that, and
    after it with the run id, or None where the user may not ask.
    """

    def __init__(self, pool: ConnectionPool, probe: Redis, name: str, key: str, identity: ServerIdentity) -> None:
        self._pool = pool
        self._probe_client = probe
        self._name = name
        self._key = key
        self._identity = identity
        identity.on_change = self._on_arrival
        self.server_changed: Callable[[str | None], None] = lambda _: None
        self._run_id: str | None = None
        """The server at which all connections are known to end."""

        self._server: Server | None = None
        # redis-py's blocking pool lets newcomers overtake: under load a call waited there for seconds.
        self._places = asyncio.Semaphore(CONNECTIONS)
        self._down_since = inf
        self._probed_at = self._reached_at = self._reconnected_at = -inf
        self._probing = asyncio.Lock()
        self._suspicion = asyncio.Event()
        self._is_anew = False
        self._watcher: asyncio.Task[None] | None = None
        self._complained_at: dict[str, float] = {}
        self._refusals: dict[str, str] = {}
        """Why Redis refused the last call, by the call's name."""

    async def call(self, command: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs) -> T:
        """What ``command`` answers; it may be run more than once. Metrics show it under its name.

        Raises ``StoreUnavailable`` for all that can go wrong, within ``DEADLINE_SECONDS`` (more only while the loop is
        held up); at once when Redis has been away for ``PATIENCE_SECONDS``: so callers ride out a restart, and do not
        queue up in an outage.
        """
        if monotonic() - self._down_since > PATIENCE_SECONDS:
            STORE_ERRORS[command.__name__, "unreachable"].inc()
            raise self._away()
        began = perf_counter()
        try:
            answer = await self._persist(command, *args, **kwargs)
        except LOST:
            STORE_ERRORS[command.__name__, "unreachable"].inc()
            raise self._away() from None
        except RedisError as error:
            raise self.refused(command.__name__, error) from None
        else:
            self._refusals.pop(command.__name__, None)
            return answer
        finally:
            STORE_CALLS[command.__name__,].observe(perf_counter() - began)

    async def check(self) -> None:
        """Raise ``StoreUnavailable`` unless a probe has succeeded within the last second, or does now.

        At once while Redis is known to be away: the watcher asks it twice a second.
        """
        if not self._is_down and monotonic() - self._probed_at > FRESH_SECONDS:
            await self._probe()
        if self._is_down:
            raise self._away()

    async def reached_within(self, seconds: float) -> bool:
        """Whether ``check`` succeeds, or has a probe succeeded in the last ``seconds``."""
        with suppress(StoreUnavailable):
            await self.check()
            return True
        return monotonic() - self._reached_at <= seconds

    def warnings(self) -> Sequence[str]:
        """What an operator should change on the server, in sentences."""
        refusals = [f"Redis refuses {call}: {problem}" for call, problem in self._refusals.items()]
        return [*(self._server.warnings if self._server else ()), *refusals]

    def recheck_server(self) -> None:
        """Find out on a new connection which server the address leads to."""
        self._is_anew = True
        self._suspicion.set()

    async def reconnect(self) -> None:
        """Make every connection anew, as the address may lead to another server by now; at most once a second."""
        if monotonic() - self._reconnected_at > RECONNECT_SECONDS:
            self._reconnected_at = monotonic()
            self.recheck_server()
            await reconnect(self._pool)

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
        failures, demoted = 0, False
        while True:
            try:
                async with TimeLimit(min(TRY_SECONDS, ends - monotonic())), self._places:
                    return await command(*args, **kwargs)
            except LOST:
                self._suspicion.set()
                failures += 1
                pause = BACKOFF.compute(failures)
                if monotonic() + pause > ends:
                    raise
                await asyncio.sleep(pause)
            except RedisError as error:
                if demoted or not is_demotion(error):
                    raise
                demoted = True
                await self.reconnect()

    def _away(self) -> StoreUnavailable:
        return StoreUnavailable("The account store cannot be reached")

    def refused(self, call: str, error: RedisError) -> Refused:
        """What to tell of an error that Redis has answered a call with; it is counted, and warned of in the log."""
        STORE_ERRORS[call, "refused"].inc()
        # Redis 7 puts WRONGTYPE first, older ones behind "Error running script".
        if isinstance(error, ResponseError) and "WRONGTYPE" in str(error):
            return WrongType("The account store holds something else under this key")
        self._refusals[call] = reason(error)
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
            if self._server and not self._server.is_primary:
                # Nor must writes that a replica refuses.
                await asyncio.sleep(WATCH_SECONDS["down"])

    async def _probe(self) -> None:
        async with self._probing:
            began = monotonic()
            try:
                async with TimeLimit(PROBE_SECONDS):
                    self._note(await self._look())
            except Exception as error:  # noqa: BLE001 - whatever it is, a watcher that dies would leave the state as it is
                self._turn(why_down=reason(error), since=began)
            else:
                self._reached_at = monotonic()
                self._turn(why_down=None, since=inf)
            self._probed_at = monotonic()

    async def _look(self) -> Server:
        """The server that the address leads to; every connection ends there when this returns."""
        is_anew, self._is_anew = self._is_anew, False
        server = None if is_anew else await self._look_as_before()
        if server is None:
            await reconnect(self._probe_client.connection_pool)
            server = await inspect(self._probe_client, self._key)
        elif server.run_id == self._run_id:
            return server
        if server.run_id is None or server.run_id != self._run_id:
            await reconnect(self._pool)
            self._run_id = server.run_id
            self.server_changed(server.run_id)
        return server

    async def _look_as_before(self) -> Server | None:
        """The server at the end of the probe's connection; None if the address may lead to a better one."""
        with suppress(RedisError, OSError, RuntimeError):
            server = await inspect(self._probe_client, self._key)
            if server.is_primary and server.run_id == self._identity.run_id:
                return server
        return None

    def _on_arrival(self) -> None:
        self._suspicion.set()
        if self._run_id is not None:
            # Other connections end at another server: nothing that was read is known to be true.
            self.server_changed("")

    def _note(self, server: Server) -> None:
        known = self.warnings()
        self._server = server
        for warning in server.warnings:
            if warning not in known:
                LOGGER.warning("The account store %s: %s", self._name, warning)

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
