"""The parent's side of one worker: its process, the messages from it, and the time at which the next process starts."""

import os
import select
import signal
import socket
from dataclasses import dataclass, field
from math import inf
from time import monotonic

from service.serving import worker_process
from service.serving.worker_process import FAILED, HEARTBEAT, READY, REFUSED, Predecessor

# The delay before a restart doubles with each failure, so that a crash loop does not use up a core.
MIN_BACKOFF_SECONDS, MAX_BACKOFF_SECONDS = 0.1, 5.0
# A worker that has served for this long restarts with the shortest delay.
BACKOFF_RESET_SECONDS = 30.0

# Ten seconds: longer than a request may block the event loop, even on an overloaded machine.
MAX_MISSED_HEARTBEATS = 10
# Before its first heartbeat a worker imports the server, which may have to be read from a slow disk.
MAX_MISSED_AT_START = 60

EXITED, UNRESPONSIVE = "exited", "unresponsive"


@dataclass(slots=True)
class Worker:
    """A worker process, or the time at which the next one starts in its place."""

    pid: int = 0
    channel: socket.socket | None = None
    """Our end of the control channel; None while no process runs. If a process ends, its end closes."""

    message: bytes = b""
    """Bytes received from the process, without heartbeats."""

    start_at: float = inf
    """When the next process starts; infinity while one runs or if none may start."""

    predecessors: list[Predecessor] = field(default_factory=list)
    """The processes that ended in this place, until one that runs has taken over their metrics."""

    is_unresponsive: bool = False
    _has_begun: bool = False
    _missed_heartbeats: int = 0
    _started_at: float = 0.0
    _backoff: float = 0.0

    def begin(self, pid: int, channel: socket.socket) -> None:
        """Watch a new process, with our end of its control channel."""
        self.pid, self.channel, self.message = pid, channel, b""
        self._started_at, self.start_at = monotonic(), inf
        self._missed_heartbeats, self.is_unresponsive, self._has_begun = 0, False, False

    @property
    def is_ready(self) -> bool:
        """Whether the process has served."""
        return self.message.startswith(READY)

    @property
    def is_refused(self) -> bool:
        """Whether the process has refused the settings."""
        return self.message.startswith(REFUSED)

    @property
    def reported(self) -> str | None:
        """The reason why the process cannot serve, if it has sent one."""
        return self.message[1:].decode() if self.message.startswith((FAILED, REFUSED)) else None

    def receive(self) -> bool:
        """Read messages, and return whether there was one. If there was none, the process has closed its end."""
        received = self.channel.recv(4096) if self.channel else b""
        self.message = (self.message + received).strip(HEARTBEAT)
        self._missed_heartbeats = 0
        if received:
            self._has_begun = True
            self.predecessors.clear()
        return bool(received)

    def may_have_begun(self) -> bool:
        """Return whether the process may have begun to change the store and to listen."""
        return self._has_begun or (self.channel is not None and bool(select.select([self.channel], [], [], 0)[0]))

    def miss_heartbeat(self) -> float | None:
        """Count a missed heartbeat. Return the seconds of silence if the process has become unresponsive by this one.

        Heartbeats are counted instead of seconds because all processes may be suspended together, as in a container.
        """
        if not self.channel:
            return None
        self._missed_heartbeats += 1
        limit = MAX_MISSED_HEARTBEATS if self._has_begun else MAX_MISSED_AT_START
        if self._missed_heartbeats != limit:
            return None
        self.is_unresponsive = True
        return limit * worker_process.HEARTBEAT_SECONDS

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal to the process, if one runs."""
        if self.channel:
            os.kill(self.pid, number)

    def reap(self) -> str:
        """Collect the process, which has closed its end. Return how it ended."""
        _, status = os.waitpid(self.pid, 0)
        if self.channel:
            self.channel.close()
        self.channel = None
        code = os.waitstatus_to_exitcode(status)
        return f"ended by {signal.Signals(-code).name}" if code < 0 else f"ended with status {code}"

    def schedule_successor(self) -> float:
        """Let another process take over from the one that has ended. Return the seconds until it starts."""
        self.predecessors.append(Predecessor(self.pid, UNRESPONSIVE if self.is_unresponsive else EXITED))
        if monotonic() - self._started_at > BACKOFF_RESET_SECONDS:
            self._backoff = 0.0
        return self.schedule_start()

    def schedule_start(self) -> float:
        """Start a process later, with twice the last delay. Return the seconds until then."""
        self._backoff = min(max(2 * self._backoff, MIN_BACKOFF_SECONDS), MAX_BACKOFF_SECONDS)
        self.start_at = monotonic() + self._backoff
        return self._backoff
