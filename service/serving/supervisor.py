"""The parent of several processes that serve: starts them, replaces one that dies or hangs, and ends after the last."""

import logging
import os
import select
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from math import inf
from pathlib import Path
from time import monotonic
from typing import NoReturn

from service.serving import listening, worker_process
from service.serving.listening import BoundSockets, StartError
from service.serving.worker_process import BEAT, FAILED, SERVES
from service.settings import Settings

logger = logging.getLogger(__name__)

SIGNALS = (signal.SIGTERM, signal.SIGINT)
# A worker that dies again and again must not take a core to do it.
SHORTEST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.1, 5.0
# One that has served for so long starts anew with the shortest pause.
STEADY_SECONDS = 30.0
# A worker takes twice server.SHUTDOWN_SECONDS to end, after draining.
KILL_SECONDS = 15.0

# A worker that is silent for so many beats is killed. Ten seconds are more than any request may hold the event loop, on
# a machine with too much to do.
MISSED_BEATS = 10
# Before the first beat it imports what serves, reads the key set and looks for Redis.
STARTING_BEATS = 60

EXITED, UNRESPONSIVE = "exited", "unresponsive"


@dataclass(slots=True)
class Worker:
    """One place among the workers, and the process in it.

    ``line`` leads to that process: what it says of its start and its beats come here, and if one end is gone the other
    sees it. ``missed`` counts the beats that did not come; ``replaces`` is why the process before it had to go.
    """

    number: int
    pid: int = 0
    line: socket.socket | None = None
    said: bytes = b""
    began: float = 0.0
    pause: float = 0.0
    due: float = inf
    missed: int = 0
    replaces: str = ""


def run(settings: Settings) -> None:
    """Supervise ``settings.workers`` processes until SIGTERM or SIGINT.

    Raises:
        StartError: if one of them cannot begin to serve.
    """
    with closing(listening.bind(settings, shared=True)) as places:
        directory = _directory()
        try:
            Supervisor(settings, places, directory).run()
        finally:
            shutil.rmtree(directory, ignore_errors=True)


class Supervisor:
    """Keeps the workers. It loads none of what serves, and has no loop and no thread, so that it may fork at any time.

    Workers are forked, not spawned: settings with their secrets, sockets and log come along as they are, by no command
    line, environment or search path; and as nothing that serves is loaded yet, they share nothing else.
    """

    def __init__(self, settings: Settings, places: BoundSockets, directory: Path) -> None:
        self._settings = settings
        self._places = places
        self._directory = directory
        self._workers = [Worker(number) for number in range(settings.workers)]
        self._serving = False
        self._kill_at: float | None = None
        self._check_at = monotonic()
        self._wake, self._waker = socket.socketpair()

    def run(self) -> None:
        with self._signals():
            for worker in self._workers:
                self._start(worker)
            try:
                while self._kill_at is None or any(worker.line for worker in self._workers):
                    self._turn()
            finally:
                # Not one is left, but where the start has failed.
                self._end_all(signal.SIGKILL)
        logger.info("Stopped")

    def _turn(self) -> None:
        """Wait for something to happen, and see to it."""
        lines = {worker.line: worker for worker in self._workers if worker.line}
        next_due = min(self._kill_at or inf, self._check_at, *(worker.due for worker in self._workers))
        readable, _, _ = select.select([self._wake, *lines], [], [], max(0.0, next_due - monotonic()))
        for line in readable:
            if line is self._wake:
                self._forward(signal.Signals(self._wake.recv(1)[0]))
            else:
                self._hear(lines[line])
        if self._kill_at is not None and monotonic() >= self._kill_at:
            logger.error("Workers that do not end are killed")
            self._kill_at = inf
            self._end_all(signal.SIGKILL)
        if monotonic() >= self._check_at:
            self._kill_silent()
        for worker in self._workers:
            if monotonic() >= worker.due:
                self._start(worker)

    def _kill_silent(self) -> None:
        """Count a beat for each worker, and kill those that have missed too many.

        It is called after all beats were heard. Beats are counted rather than seconds: where all processes were stopped
        for a while, as a container may be, the parent was too, and nobody has missed anything.
        """
        self._check_at = monotonic() + worker_process.BEAT_SECONDS
        for worker in self._workers:
            if not worker.line:
                continue
            worker.missed += 1
            most = MISSED_BEATS if worker.said else STARTING_BEATS
            if worker.missed == most:
                worker.replaces = UNRESPONSIVE
                seconds = most * worker_process.BEAT_SECONDS
                logger.error("Worker process %d has not answered for %.0f seconds and is killed", worker.pid, seconds)
                os.kill(worker.pid, signal.SIGKILL)

    @contextmanager
    def _signals(self) -> Iterator[None]:
        # Python writes the number of each signal into this socket, and select() wakes up.
        self._waker.setblocking(False)  # noqa: FBT003 - the standard library's
        signal.set_wakeup_fd(self._waker.fileno(), warn_on_full_buffer=False)
        before = {number: signal.signal(number, lambda *_: None) for number in SIGNALS}
        try:
            yield
        finally:
            signal.set_wakeup_fd(-1)
            for number, handler in before.items():
                signal.signal(number, handler)
            self._wake.close()
            self._waker.close()

    def _forward(self, number: signal.Signals) -> None:
        if self._kill_at is None:
            logger.info("Stopping on %s", number.name)
            self._kill_at = monotonic() + self._settings.drain_seconds + KILL_SECONDS
        for worker in self._workers:
            worker.due = inf
        self._end_all(number)

    def _end_all(self, number: signal.Signals) -> None:
        for worker in self._workers:
            if worker.line:
                os.kill(worker.pid, number)

    def _hear(self, worker: Worker) -> None:
        said = worker.line.recv(4096) if worker.line else b""
        worker.said = (worker.said + said).rstrip(BEAT)
        worker.missed = 0
        if not said:
            self._bury(worker)
        elif not self._serving and all(each.said.startswith(SERVES) for each in self._workers):
            self._serving = True
            store = worker.said.removeprefix(SERVES).decode()
            listening.announce(self._settings, self._places, store=store, networked=True)

    def _bury(self, worker: Worker) -> None:
        _, status = os.waitpid(worker.pid, 0)
        if worker.line:
            worker.line.close()
        worker.line = None
        if self._kill_at is not None:
            return
        self._forget(worker)
        why = worker.said.removeprefix(FAILED).decode() if worker.said.startswith(FAILED) else _told(status)
        if not self._serving:
            raise StartError(why if worker.said.startswith(FAILED) else f"A worker process {why} before it served")
        worker.replaces = worker.replaces or EXITED
        steady = monotonic() - worker.began > STEADY_SECONDS
        worker.pause = SHORTEST_PAUSE_SECONDS if steady else _next(worker.pause)
        worker.due = monotonic() + worker.pause
        logger.warning("Worker process %d %s; another starts in %.1f seconds", worker.pid, why, worker.pause)

    def _forget(self, worker: Worker) -> None:
        # Loaded when the first one dies, if ever.
        from service.telemetry import multiprocess  # noqa: PLC0415

        multiprocess.forget(self._directory, worker.number)

    def _start(self, worker: Worker) -> None:
        ours, theirs = socket.socketpair()
        # A signal for the child must not be taken by what it has inherited of our handlers.
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        pid = os.fork()
        if pid == 0:
            ours.close()
            self._become(worker, theirs)
        worker.pid, worker.line, worker.said, worker.began, worker.due = pid, ours, b"", monotonic(), inf
        worker.missed, worker.replaces = 0, ""
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        theirs.close()

    def _become(self, worker: Worker, line: socket.socket) -> NoReturn:
        """Serve, in the child, and end it without a way back into what the parent was doing."""
        status = 1
        try:
            self._let_go()
            worker_process.work(
                self._settings, self._places, self._directory, line, number=worker.number, replaces=worker.replaces
            )
            status = 0
        except StartError as error:
            line.sendall(FAILED + str(error).encode())
        except BaseException:
            logger.exception("A worker process failed")
        finally:
            sys.stderr.flush()
            os._exit(status)

    def _let_go(self) -> None:
        signal.set_wakeup_fd(-1)
        for number in SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        self._wake.close()
        self._waker.close()
        # While a worker holds the line of another, that one does not see the parent end until this one has drained.
        for other in self._workers:
            if other.line:
                other.line.close()


def _directory() -> Path:
    # Memory is always writable, where a container's root may not be, and no write waits for a disk.
    memory = "/dev/shm"  # noqa: S108 - mkdtemp makes a directory of our own in it
    try:
        return Path(tempfile.mkdtemp(prefix="s3-signer-", dir=memory if os.access(memory, os.W_OK) else None))
    except OSError as error:
        raise StartError(f"SIGNER_WORKERS above 1 needs a temporary directory: {error.strerror}; set TMPDIR") from None


def _next(pause: float) -> float:
    return min(max(2 * pause, SHORTEST_PAUSE_SECONDS), LONGEST_PAUSE_SECONDS)


def _told(status: int) -> str:
    code = os.waitstatus_to_exitcode(status)
    return f"ended by {signal.Signals(-code).name}" if code < 0 else f"ended with status {code}"
