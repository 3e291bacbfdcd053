"""Calls that Redis refuses or does not complete, as warnings for the log and for ``/health``."""

import logging
from collections.abc import Sequence
from math import inf
from time import monotonic

from redis.exceptions import RedisError, ResponseError

from service.stores.failures import Refused, WrongType, reason, refusal
from service.stores.topology import Topology
from service.telemetry.metrics import STORE_ERRORS

LOGGER = logging.getLogger(__name__)

LOG_INTERVAL_SECONDS = 60.0
# The same command may not be called again for long, although Redis would accept it.
SHOWN_SECONDS = 60.0


class CallFailures:
    """The last failure of each command on the keys of one kind, until the command succeeds on the same key.

    Each kind has a failure of its own, because a user may have rights for some kinds alone. Other keys of the kind may
    be on a primary with other rights.
    """

    def __init__(self, topology: Topology) -> None:
        self._topology = topology
        self._logged_at: dict[str, float] = {}
        self._failures: dict[str, tuple[str, str, float]] = {}
        """Key, warning and time of each failure, by the command and the pattern of the keys."""

    def refused(self, command: str, error: RedisError, key: str = "") -> Refused:
        """Return the exception to raise for an error reply of Redis, after counting and logging it."""
        STORE_ERRORS[command, "refused"].inc()
        # Redis 7 begins the message with WRONGTYPE; in errors of scripts, older servers put it later.
        if isinstance(error, ResponseError) and "WRONGTYPE" in str(error):
            return WrongType("The account store holds something else under this key")
        call, primary = _call_on(command, key), self._name_of_primary(key)
        self._failures[call] = key, f"{primary or 'Redis'} refuses {call}: {reason(error)}", monotonic()
        # The monitor of an unavailable shard has logged why no command can work there.
        is_available = any(shard.monitor.is_available for shard in self._topology.shards.values())
        if is_available and self._is_log_due(type(error).__name__):
            LOGGER.warning("The account store %s refuses commands: %s", primary or self._topology.name, reason(error))
        return refusal(error)

    def incomplete(self, command: str, why: str, key: str) -> None:
        """Add and log a command that fails although Redis answers probes."""
        call, primary = _call_on(command, key), self._name_of_primary(key)
        text = f"answers probes, but does not complete {call}: {why}"
        self._failures[call] = key, f"{primary or 'Redis'} {text}", monotonic()
        if self._is_log_due(command):
            LOGGER.warning("The account store %s %s", primary or self._topology.name, text)

    def end(self, command: str, key: str) -> None:
        """Forget the failure of a command that has succeeded on the key."""
        call = _call_on(command, key)
        if call in self._failures and self._failures[call][0] == key:
            del self._failures[call]

    def warnings(self) -> Sequence[str]:
        """Return a warning for each failure of the last ``SHOWN_SECONDS``."""
        now = monotonic()
        return [warning for _, warning, failed_at in self._failures.values() if now - failed_at < SHOWN_SECONDS]

    def _name_of_primary(self, key: str) -> str:
        """Return the URL of the primary that has the key; "" if the URL of the store is its URL, or for no key."""
        owner = self._topology.owner(key) if key else None
        return owner.monitor.name if owner and owner.monitor.name != self._topology.name else ""

    def _is_log_due(self, subject: str) -> bool:
        is_due = monotonic() - self._logged_at.get(subject, -inf) >= LOG_INTERVAL_SECONDS
        if is_due:
            self._logged_at[subject] = monotonic()
        return is_due


def _call_on(command: str, key: str) -> str:
    """Return a command with the pattern of the keys that have the same rights, as ``hset of AwsAccount:*``."""
    return f"{command} of {key.rpartition(':')[0]}:*" if key else command
