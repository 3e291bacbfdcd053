"""Calls to Redis: retries within a deadline, and a circuit breaker that fails fast in an outage."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from math import inf
from time import monotonic, perf_counter
from typing import ParamSpec, TypeVar

from redis.backoff import ExponentialWithJitterBackoff
from redis.exceptions import NoPermissionError, RedisError, ResponseError

from service.stores.failures import LOST, Refused, WrongType, is_demotion, reason, unreachable
from service.stores.health import HealthMonitor
from service.stores.time_limit import TimeLimit
from service.telemetry import tracing
from service.telemetry.metrics import STORE_CALLS, STORE_ERRORS

LOGGER = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

DEADLINE_SECONDS = 1.0
ATTEMPT_SECONDS = 0.5
# Long enough for a restart of Redis.
OPEN_AFTER_SECONDS = 0.75
CONNECTIONS = 64
WARNING_INTERVAL_SECONDS = 60.0
BACKOFF = ExponentialWithJitterBackoff(base=0.02, cap=0.2)


class CircuitBreaker:
    """Runs commands against Redis, retries lost ones, and refuses new ones ``OPEN_AFTER_SECONDS`` into an outage.

    The monitor alone decides when an outage begins and ends. So callers wait for the end of a restart, and do not queue
    up in a longer outage.
    """

    def __init__(self, monitor: HealthMonitor, name: str) -> None:
        self._monitor = monitor
        self._name = name
        # redis-py's blocking pool does not serve callers in order: under load a call waited there for seconds.
        self._connections = asyncio.Semaphore(CONNECTIONS)
        self._warned_at: dict[str, float] = {}
        self._refusals: dict[str, str] = {}
        """Reason of the last refusal by command name, until the command succeeds."""

    async def call(self, command: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs) -> T:
        """Return the result of ``command``, which may run more than once. Metrics show it under its name.

        Raises:
            StoreUnavailable: within ``DEADLINE_SECONDS``, plus time in which the event loop was blocked; immediately
                while the circuit is open.
        """
        if self._monitor.unavailable_seconds > OPEN_AFTER_SECONDS:
            STORE_ERRORS[command.__name__, "unreachable"].inc()
            raise unreachable()
        started = perf_counter()
        try:
            with tracing.call(command.__name__):
                result = await self._retry(command, *args, **kwargs)
        except LOST:
            STORE_ERRORS[command.__name__, "unreachable"].inc()
            raise unreachable() from None
        except RedisError as error:
            raise self.refused(command.__name__, error) from None
        else:
            self._refusals.pop(command.__name__, None)
            return result
        finally:
            STORE_CALLS[command.__name__,].observe(perf_counter() - started)

    def refused(self, command: str, error: RedisError) -> Refused:
        """Return the exception to raise for an error reply of Redis, after counting and logging it."""
        STORE_ERRORS[command, "refused"].inc()
        # Redis 7 begins the message with WRONGTYPE; in errors of scripts, older servers put it later.
        if isinstance(error, ResponseError) and "WRONGTYPE" in str(error):
            return WrongType("The account store holds something else under this key")
        self._refusals[command] = reason(error)
        kind = type(error).__name__
        if monotonic() - self._warned_at.get(kind, -inf) >= WARNING_INTERVAL_SECONDS:
            self._warned_at[kind] = monotonic()
            LOGGER.warning("The account store %s refuses commands: %s", self._name, reason(error))
        return Refused("The account store refuses the command")

    def note(self, command: str, refusal: str) -> None:
        """Show a warning for a command that a script has called and Redis refuses; without ``refusal``, end it."""
        if refusal:
            self.refused(command, NoPermissionError(refusal))
        else:
            self._refusals.pop(command, None)

    def warnings(self) -> Sequence[str]:
        return [f"Redis refuses {command}: {why}" for command, why in self._refusals.items()]

    async def _retry(self, command: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs) -> T:
        deadline = monotonic() + DEADLINE_SECONDS
        failures, reconnected = 0, False
        while True:
            try:
                async with TimeLimit(min(ATTEMPT_SECONDS, deadline - monotonic())), self._connections:
                    return await command(*args, **kwargs)
            except LOST:
                self._monitor.request_probe()
                failures += 1
                pause = BACKOFF.compute(failures)
                if monotonic() + pause > deadline:
                    raise
                await asyncio.sleep(pause)
            except RedisError as error:
                if reconnected or not is_demotion(error):
                    raise
                reconnected = True
                await self._monitor.reconnect()
