"""Writes lines to a descriptor that several processes share: whole, in order, and without blocking."""

import asyncio
import fcntl
import logging
import os
import select
import stat
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from operator import itemgetter
from typing import Final

from service.errors import AuditUnavailable
from service.telemetry.events import Event
from service.telemetry.lines import PIPE_BYTES
from service.telemetry.metrics import AUDIT_EVENTS, AUDIT_PENDING

logger = logging.getLogger(__name__)

# About 500 bytes each, at most 4096.
MAX_PENDING: Final = 10_000
# An older pending line stops signing. The rest of the documented second allows for a busy event loop.
MAX_AGE_SECONDS: Final = 0.9
# A line takes 20 µs to format, and one with the longest texts 0.5 ms.
BATCH_LINES: Final = 10
# After this time, the rest is written in the next turn of the event loop.
WRITE_SECONDS: Final = 0.004
# A write for each line would take as long as signing.
BATCH_SECONDS: Final = 0.005
RETRY_SECONDS: Final = 1.0
CLOSE_SECONDS: Final = 2.0
_event_name = itemgetter(0)


class LineWriter:
    """Writes events to ``descriptor``, which stays open. All calls come from one event loop, and none blocks.

    At most ``limit`` events are pending, the oldest for MAX_AGE_SECONDS. Beyond either limit, and while writing fails,
    no event is accepted.
    """

    def __init__(self, descriptor: int, line: Callable[[Event], str], *, limit: int) -> None:
        """``line`` formats an event when its batch is written, which takes half the time of single calls."""
        self._descriptor = descriptor
        self._line = line
        self._limit = limit
        self._uses_lock = False
        self._poll = select.poll()
        self._pending: list[Event] = []
        self._batch = b""
        """The bytes of the first pending lines that are not written yet."""

        self._written = 0
        self._flushed_at = 0.0
        self._arrivals: deque[tuple[int, float]] = deque()
        """Pairs (n, t), oldest first: the lines after those of the previous pair, up to line n, arrived after t."""

        self._timer: asyncio.TimerHandle | None = None
        self._failing = self._stopped = self._reported = False

    def open(self) -> None:
        """Begin to write. Raises OSError if the descriptor is closed."""
        self._uses_lock = stat.S_ISFIFO(os.fstat(self._descriptor).st_mode)
        self._poll.register(self._descriptor, select.POLLOUT)

    async def close(self) -> int:
        """Write the pending lines, for at most CLOSE_SECONDS. Log and return how many could not be written."""
        self._limit = 0
        end = time.monotonic() + CLOSE_SECONDS
        self._flush()
        while self._pending and not self._failing and time.monotonic() < end:  # noqa: ASYNC110 - bounded
            await asyncio.sleep(BATCH_SECONDS)
        self._cancel_timer()
        if self._pending:
            logger.error("The audit log ends without its last lines: %d could not be written", len(self._pending))
        return len(self._pending)

    def accepts(self, *, share: float = 1) -> bool:
        """Return whether less than ``share`` of the limit is pending, and events are accepted."""
        return not self._stopped and len(self._pending) < self._limit * share

    def check(self, *, share: float = 1) -> None:
        """Raise AuditUnavailable if ``share`` of the limit is pending, or if no event is accepted."""
        if not self.accepts(share=share):
            raise self._refusal()

    def add(self, event: Event) -> None:
        """Accept an event, or raise AuditUnavailable."""
        if self._stopped or len(self._pending) >= self._limit:
            raise self._refusal()
        self._pending.append(event)
        if self._timer is None:
            self._start_timer()

    def add_always(self, event: Event) -> None:
        """Accept an event beyond the limits, for a change that is already made."""
        self._pending.append(event)
        if self._timer is None:
            self._start_timer()

    def _refusal(self) -> AuditUnavailable:
        self._report("it is not read or written fast enough")
        return AuditUnavailable()

    def _start_timer(self) -> None:
        self._arrivals.clear()
        self._flushed_at = time.monotonic()
        self._flush_in(BATCH_SECONDS)

    def _flush_in(self, seconds: float) -> None:
        self._timer = asyncio.get_running_loop().call_later(seconds, self._flush)

    def _cancel_timer(self) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer = None

    def _flush(self) -> None:
        """Write without blocking, and schedule the rest."""
        self._cancel_timer()
        try:
            is_interrupted = self._write()
        except BlockingIOError:
            # Another process has the lock, or has made the descriptor non-blocking.
            self._flush_in(BATCH_SECONDS)
        except OSError as error:
            self._failing = True
            self._report(str(error.strerror))
            self._flush_in(RETRY_SECONDS)
        except Exception as error:  # noqa: BLE001 - after any error, no URL may be signed without its line
            self._failing = True
            self._report(f"an event cannot be formatted: {type(error).__name__}")
            self._flush_in(RETRY_SECONDS)
        else:
            if self._pending:
                self._flush_in(0 if is_interrupted else BATCH_SECONDS)
            elif self._reported:
                self._reported = False
                logger.warning("The audit log is written again")
        self._stopped = self._failing or self._oldest_age() > MAX_AGE_SECONDS
        AUDIT_PENDING.set(len(self._pending))

    def _oldest_age(self) -> float:
        """Return the age of the oldest pending line in seconds, at most one flush interval too high."""
        if not self._pending:
            return 0
        added = self._written + len(self._pending)
        if not self._arrivals or self._arrivals[-1][0] < added:
            # These lines arrived after the previous flush.
            self._arrivals.append((added, self._flushed_at))
        self._flushed_at = time.monotonic()
        while self._arrivals[0][0] <= self._written:
            self._arrivals.popleft()
        return self._flushed_at - self._arrivals[0][1]

    def _write(self) -> bool:
        """Write what the descriptor takes. Return whether the time for that has ended before."""
        end = time.monotonic() + WRITE_SECONDS
        with self._lock():
            while self._pending and self._write_batch():
                if time.monotonic() > end:
                    return True
        return False

    @contextmanager
    def _lock(self) -> Iterator[None]:
        # Between the poll for space in a pipe and the write, no other worker may fill it.
        # Other files are never full, and any process can lock /dev/null.
        if self._uses_lock:
            self._acquire()
        try:
            yield
        finally:
            if self._uses_lock:
                fcntl.lockf(self._descriptor, fcntl.LOCK_UN)

    def _acquire(self) -> None:
        try:
            fcntl.lockf(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise
        except OSError:
            # Not every system has locks on pipes.
            self._uses_lock = False

    def _write_batch(self) -> bool:
        """Write whole lines, in pieces of at most PIPE_BYTES, while there is space. Return whether all are written."""
        data = self._batch or "".join(map(self._line, self._pending[:BATCH_LINES])).encode("ascii")
        position = 0
        try:
            while position < len(data) and self._poll.poll(0):
                end = data.rfind(b"\n", position, position + PIPE_BYTES) + 1
                position += os.write(self._descriptor, data[position:end])
        finally:
            self._batch = data[position:]
            self._remove_written(data.count(b"\n", 0, position))
        return not self._batch

    def _remove_written(self, written: int) -> None:
        if not written:
            return
        self._failing = False
        self._written += written
        for name, times in Counter(map(_event_name, self._pending[:written])).items():
            AUDIT_EVENTS[name,].inc(times)
        del self._pending[:written]

    def _report(self, reason: str) -> None:
        if not self._reported:
            self._reported = True
            logger.error("The audit log accepts no lines, so signing and changes are refused: %s", reason)
