"""Events as lines to a descriptor that other processes share: in order, whole, without waiting for its reader."""

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
from service.telemetry.metrics import AUDIT_EVENTS

LOGGER = logging.getLogger(__name__)

# About 500 bytes each, at most 4096.
MAX_LINES: Final = 10_000
# A line that waits longer stops signing. The rest of the second is for a busy event loop.
MAX_WAIT_SECONDS: Final = 0.9
# More than a pipe holds.
BATCH_LINES: Final = 200
# A write for each line would cost as much as signing.
GATHER_SECONDS: Final = 0.005
RETRY_SECONDS: Final = 1.0
CLOSE_SECONDS: Final = 2.0
_name = itemgetter(0)


class LineWriter:
    """Writes events to ``descriptor``, which stays open. All calls come from one event loop, and none waits.

    At most ``limit`` events wait to be written, the oldest for MAX_WAIT_SECONDS. Beyond either, and while writing
    fails, no event is accepted.
    """

    def __init__(self, descriptor: int, line: Callable[[Event], str], *, limit: int) -> None:
        """``line`` formats an event. It is called when a batch is written: many in a row take half the time."""
        self._descriptor = descriptor
        self._line = line
        self._limit = limit
        self._locks = False
        self._poll = select.poll()
        self._waiting: list[Event] = []
        self._batch = b""
        """The lines of the first events that wait, without what is written of them."""

        self._written = 0
        self._arrivals: deque[tuple[int, float]] = deque()
        """Instants, each with the number of the first line that was added after it; the oldest instant first."""

        self._timer: asyncio.TimerHandle | None = None
        self._failing = self._stopped = self._reported = False

    def open(self) -> None:
        """Begin to write. Raises OSError if the descriptor is closed."""
        self._locks = stat.S_ISFIFO(os.fstat(self._descriptor).st_mode)
        self._poll.register(self._descriptor, select.POLLOUT)

    async def close(self) -> None:
        """Write the waiting lines, for at most CLOSE_SECONDS. The log says how many could not be written."""
        self._limit = 0
        end = time.monotonic() + CLOSE_SECONDS
        self._flush()
        while self._waiting and not self._failing and time.monotonic() < end:  # noqa: ASYNC110 - bounded
            await asyncio.sleep(GATHER_SECONDS)
        self._cancel()
        if self._waiting:
            LOGGER.error("The audit log ends without its last lines: %d could not be written", len(self._waiting))

    def check(self, *, share: float = 1) -> None:
        """Raise AuditUnavailable if no line is accepted while ``share`` of the limit waits."""
        if self._stopped or len(self._waiting) >= self._limit * share:
            raise self._refusal()

    def add(self, event: Event) -> None:
        """Accept an event. Raises AuditUnavailable."""
        if self._stopped or len(self._waiting) >= self._limit:
            raise self._refusal()
        self._waiting.append(event)
        if self._timer is None:
            self._begin()

    def add_always(self, event: Event) -> None:
        """Accept an event about something that is already done."""
        self._waiting.append(event)
        if self._timer is None:
            self._begin()

    def _refusal(self) -> AuditUnavailable:
        self._report("it is not read or written fast enough")
        return AuditUnavailable()

    def _begin(self) -> None:
        self._arrivals = deque([(self._written, time.monotonic())])
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
            # Another process has the lock, or has made the descriptor non-blocking.
            self._flush_in(GATHER_SECONDS)
        except OSError as error:
            self._failing = True
            self._report(str(error.strerror))
            self._flush_in(RETRY_SECONDS)
        except Exception as error:  # noqa: BLE001 - whatever it is, nothing may be signed that no line tells of
            self._failing = True
            self._report(f"no line can be made of an event: {type(error).__name__}")
            self._flush_in(RETRY_SECONDS)
        else:
            if self._waiting:
                self._flush_in(GATHER_SECONDS)
            elif self._reported:
                self._reported = False
                LOGGER.warning("The audit log is written again")
        self._stopped = self._failing or self._oldest_wait() > MAX_WAIT_SECONDS

    def _oldest_wait(self) -> float:
        """How long the oldest line has waited, in seconds. It may be less by the time between two flushes."""
        if not self._waiting:
            return 0
        now = time.monotonic()
        added = self._written + len(self._waiting)
        if self._arrivals[-1][0] < added:
            self._arrivals.append((added, now))
        while len(self._arrivals) > 1 and self._arrivals[1][0] <= self._written:
            self._arrivals.popleft()
        return now - self._arrivals[0][1]

    def _write(self) -> None:
        with self._lock():
            while self._waiting and self._write_batch():
                pass

    @contextmanager
    def _lock(self) -> Iterator[None]:
        # A pipe that has room must keep it until it is filled, so one worker at a time looks and fills.
        # Other files are never full, and anyone may lock /dev/null.
        if self._locks:
            self._acquire()
        try:
            yield
        finally:
            if self._locks:
                fcntl.lockf(self._descriptor, fcntl.LOCK_UN)

    def _acquire(self) -> None:
        try:
            fcntl.lockf(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise
        except OSError:
            # Linux has locks on pipes, other systems may not.
            self._locks = False

    def _write_batch(self) -> bool:
        """Write whole lines while there is room, in pieces that a pipe takes at once; return whether all went out."""
        data = self._batch or "".join(map(self._line, self._waiting[:BATCH_LINES])).encode("ascii")
        position = 0
        try:
            while position < len(data) and self._poll.poll(0):
                end = data.rfind(b"\n", position, position + PIPE_BYTES) + 1
                position += os.write(self._descriptor, data[position:end])
        finally:
            self._batch = data[position:]
            self._drop(data.count(b"\n", 0, position))
        return not self._batch

    def _drop(self, written: int) -> None:
        if not written:
            return
        self._failing = False
        self._written += written
        for name, times in Counter(map(_name, self._waiting[:written])).items():
            AUDIT_EVENTS[name,].inc(times)
        del self._waiting[:written]

    def _report(self, why: str) -> None:
        if not self._reported:
            self._reported = True
            LOGGER.error("The audit log accepts no lines, so signing and changes are refused: %s", why)
