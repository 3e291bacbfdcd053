"""The audit log: one line of JSON for each URL signed, denial and change, written some milliseconds later."""

import asyncio
import fcntl
import json
import logging
import os
import select
import stat
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from json.encoder import encode_basestring_ascii as quoted
from operator import itemgetter
from typing import Any, Final

from service.errors import AuditUnavailable
from service.telemetry.lines import PIPE_BYTES, encoded, fitted
from service.telemetry.metrics import AUDIT_EVENTS

LOGGER = logging.getLogger(__name__)

# Some 400 bytes each, at most 4096.
LINES: Final = 10_000
# More than a pipe holds.
BATCH_LINES: Final = 200
# A write for each line would cost as much as signing.
GATHER_SECONDS: Final = 0.005
RETRY_SECONDS: Final = 1.0
CLOSE_SECONDS: Final = 2.0
# A line tells its event by one letter, at the same place in each.
_initial = itemgetter(len('{"time":"2013-05-24T00:00:00.000000Z","event":"'))
_EVENTS = {event[0]: event for event in ("signed", "denied", "changed")}
_LASTING = ("caller", "policy", "operation", "method")


class AuditLog:
    """Writes events to ``descriptor``, which stays open. All calls come from one event loop, and none waits.

    At most ``limit`` lines wait to be written; beyond that, and while writing fails, calls raise AuditUnavailable.
    Texts may hold anything: an event is one line of ASCII.
    """

    def __init__(self, descriptor: int, *, limit: int = LINES) -> None:
        self._descriptor = descriptor
        self._limit = limit
        self._takes_turns = False
        self._room = select.poll()
        self._waiting: list[str] = []
        self._begun = 0
        self._timer: asyncio.TimerHandle | None = None
        self._failing = self._told = False
        self._second = self._date = ""

    def open(self) -> None:
        """Begin to write. Raises OSError if the descriptor is closed."""
        self._takes_turns = stat.S_ISFIFO(os.fstat(self._descriptor).st_mode)
        self._room.register(self._descriptor, select.POLLOUT)

    async def close(self) -> None:
        """Write what waits, for at most CLOSE_SECONDS; the log tells how much was not written by then."""
        self._limit = 0
        end = time.monotonic() + CLOSE_SECONDS
        self._flush()
        while self._waiting and not self._failing and time.monotonic() < end:  # noqa: ASYNC110 - bounded
            await asyncio.sleep(GATHER_SECONDS)
        self._cancel()
        if self._waiting:
            LOGGER.error("The audit log ends without its last lines: %d could not be written", len(self._waiting))

    def check(self) -> None:
        """Raise AuditUnavailable if a change could not be told of: before it is made."""
        if self._failing or len(self._waiting) >= self._limit:
            raise self._refusal()

    def signed(
        self,
        *,
        caller: str,
        policy: str | None,
        operation: str,
        method: str,
        account: str,
        access_key_id: str,
        host: str,
        bucket: str,
        key: str | None,
        signed_at: str,
        expiration: int,
        request_id: str,
    ) -> None:
        """Tell of a URL before it is handed out; if this raises AuditUnavailable, it must not be.

        Args:
            caller: Who asked, such as ``Client/reports``.
            policy: The id of the policy that allowed it; None where it took none.
            operation: Such as ``get_object``.
            method: What the URL is for.
            account: The account's id.
            access_key_id: The account's, as it stands in the URL.
            host: As it is signed.
            bucket: Its name.
            key: None where the operation has none.
            signed_at: X-Amz-Date.
            expiration: Seconds.
            request_id: X-Request-Id.
        """
        if self._failing or len(self._waiting) >= self._limit:
            raise self._refusal()
        object_ = "" if key is None else f'"key":{quoted(key)},'
        line = (
            f'{{"time":"{self._now()}","event":"signed",{_lasting(caller, policy, operation, method)},'
            f'"account":{quoted(account)},"access_key_id":{quoted(access_key_id)},'
            f'"host":{quoted(host)},"bucket":{quoted(bucket)},{object_}"signed_at":{quoted(signed_at)},'
            f'"expiration":{expiration},"outcome":"success","request_id":{quoted(request_id)}}}\n'
        )
        # Looking for one character is ten times as fast, and most lines have no backslash.
        if len(line) > PIPE_BYTES or ("\\" in line and "\\ud" in line):
            line = fitted(json.loads(line))
        self._take(line)

    def denied(
        self,
        *,
        caller: str,
        operation: str | None = None,
        method: str,
        account: str | None = None,
        resource: str | None = None,
        bucket: str | None = None,
        key: str | None = None,
        expiration: int | None = None,
        outcome: str,
        request_id: str,
    ) -> None:
        """Tell of a refusal: ``outcome`` is its code, such as ``forbidden``, and ``method`` the request's.

        May raise AuditUnavailable, which is then the answer.
        """
        # Whoever is denied must not fill the log, and so keep others from signing.
        if self._failing or len(self._waiting) >= self._limit // 2:
            raise self._refusal()
        fields = {
            "caller": caller,
            "operation": operation,
            "method": method,
            "account": account,
            "resource": resource,
            "bucket": bucket,
            "key": key,
            "expiration": expiration,
            "outcome": outcome,
            "request_id": request_id,
        }
        self._tell("denied", {name: value for name, value in fields.items() if value is not None})

    def changed(
        self, *, caller: str, policy: str | None, operation: str, method: str, resource: str, request_id: str
    ) -> None:
        """Tell of a change that was made, such as an ``update`` of ``AwsAccount/x``.

        It is too late to refuse it, and so this never raises: ``check`` does, before it.
        """
        fields = {
            "caller": caller,
            "policy": policy,
            "operation": operation,
            "method": method,
            "resource": resource,
            "outcome": "success",
            "request_id": request_id,
        }
        self._tell("changed", fields)

    def _refusal(self) -> AuditUnavailable:
        self._complain("it is not read or written fast enough")
        return AuditUnavailable()

    def _now(self) -> str:
        # Formatting microseconds as a number would take longer than all else here.
        nanoseconds = str(time.time_ns())
        second = nanoseconds[:-9]
        if second != self._second:
            self._second, self._date = second, time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(int(second)))
        return f"{self._date}.{nanoseconds[-9:-3]}Z"

    def _tell(self, event: str, fields: Mapping[str, Any]) -> None:
        self._take(fitted({"time": self._now(), "event": event, **fields}))

    def _take(self, line: str) -> None:
        self._waiting.append(line)
        if self._timer is None:
            self._flush_in(GATHER_SECONDS)

    def _flush_in(self, seconds: float) -> None:
        self._timer = asyncio.get_running_loop().call_later(seconds, self._flush)

    def _cancel(self) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer = None

    def _flush(self) -> None:
        """Write what can be written without waiting, and come back for the rest."""
        self._cancel()
        try:
            self._write()
        except BlockingIOError:
            # Another process has its turn, or has made the descriptor non-blocking.
            self._flush_in(GATHER_SECONDS)
        except OSError as error:
            self._failing = True
            self._complain(str(error.strerror))
            self._flush_in(RETRY_SECONDS)
        else:
            if self._waiting:
                self._flush_in(GATHER_SECONDS)
            elif self._told:
                self._told = False
                LOGGER.warning("The audit log is written again")

    def _write(self) -> None:
        with self._turn():
            while self._waiting and self._write_batch():
                pass

    @contextmanager
    def _turn(self) -> Iterator[None]:
        # That a pipe has room must stay true until it is filled, and so one worker at a time looks and fills.
        # Other files are never full; and anybody may lock /dev/null.
        if self._takes_turns:
            self._lock()
        try:
            yield
        finally:
            if self._takes_turns:
                fcntl.lockf(self._descriptor, fcntl.LOCK_UN)

    def _lock(self) -> None:
        try:
            fcntl.lockf(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise
        except OSError:
            # Linux has locks on pipes, other systems need not.
            self._takes_turns = False

    def _write_batch(self) -> bool:
        """Write whole lines, in pieces that go into a pipe at once, while there is room; whether there was enough."""
        lines = self._waiting[:BATCH_LINES]
        data = "".join(lines).encode("ascii")
        position = self._begun
        try:
            while position < len(data) and self._room.poll(0):
                end = data.rfind(b"\n", position, position + PIPE_BYTES) + 1
                position += os.write(self._descriptor, data[position:end])
        finally:
            whole = data.rfind(b"\n", 0, position) + 1
            self._begun = position - whole
            # Most often all of it goes out, and need not be counted.
            self._forget(lines if whole == len(data) else lines[: data.count(b"\n", 0, whole)])
        return position == len(data)

    def _forget(self, written: list[str]) -> None:
        if written:
            self._failing = False
        del self._waiting[: len(written)]
        for initial, times in Counter(map(_initial, written)).items():
            AUDIT_EVENTS[_EVENTS[initial],].inc(times)

    def _complain(self, why: str) -> None:
        if not self._told:
            self._told = True
            LOGGER.error("The audit log takes nothing more, and what it should tell of is refused: %s", why)


# What these say recurs from request to request, however many accounts and buckets there are.
@lru_cache(maxsize=1024)
def _lasting(*values: str | None) -> str:
    return encoded(dict(zip(_LASTING, values, strict=True)))[1:-1]
