"""The parent of several worker processes: starts them, replaces those that die or hang, ends after the last one."""

import logging
import os
import select
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from math import inf
from pathlib import Path
from time import monotonic
from typing import NoReturn

from service.serving import listening, systemd, worker_process
from service.serving.binding import StartError
from service.serving.listening import BoundSockets
from service.serving.worker import Worker
from service.serving.worker_process import FAILED, READY, REFUSED
from service.settings import Settings, SettingsError
from service.telemetry import multiprocess

logger = logging.getLogger(__name__)

SIGNALS = (signal.SIGTERM, signal.SIGINT)
# After draining, a worker ends within twice server.SHUTDOWN_SECONDS.
KILL_SECONDS = 15.0


def run(settings: Settings, sockets: BoundSockets) -> None:
    """Supervise ``settings.workers`` processes until SIGTERM or SIGINT.

    Raises:
        SettingsError: if a worker refuses the settings before all of them have been ready once.
        StartError: if a worker fails before that, or if all of them hang.
    """
    with listening.claimed(sockets):
        directory = _metrics_directory()
        try:
            multiprocess.enable(directory)
            Supervisor(settings, sockets, directory).run()
        finally:
            shutil.rmtree(directory, ignore_errors=True)


class Supervisor:
    """Forks and watches the workers.

    It imports none of the server and has no event loop and no thread, so that it can fork at any time. A forked worker
    inherits settings, secrets, sockets and logging, which a spawned one would need passed to it.
    """

    def __init__(self, settings: Settings, sockets: BoundSockets, directory: Path) -> None:
        self._settings = settings
        self._sockets = sockets
        self._directory = directory
        self._workers = [Worker() for _ in range(settings.workers)]
        self._is_ready = False
        self._kill_at: float | None = None
        self._close_at = inf
        """When the workers close their sockets after draining."""

        self._check_at = monotonic()
        self._signal_reader, self._signal_writer = socket.socketpair()

    def run(self) -> None:
        with self._handle_signals():
            try:
                for worker in self._workers:
                    self._start(worker)
                while self._kill_at is None or any(worker.channel for worker in self._workers):
                    self._wait_for_event()
            finally:
                # Workers are left only if the start failed.
                self._kill_all()
        logger.info("Stopped")

    def _wait_for_event(self) -> None:
        channels = {worker.channel: worker for worker in self._workers if worker.channel}
        starts = (worker.start_at for worker in self._workers)
        deadline = min(self._kill_at or inf, self._close_at, self._check_at, *starts)
        readable, _, _ = select.select([self._signal_reader, *channels], [], [], max(0.0, deadline - monotonic()))
        for reader in readable:
            if reader is self._signal_reader:
                number = signal.Signals(self._signal_reader.recv(1)[0])
                if number in SIGNALS:
                    self._stop(number)
            else:
                self._on_message(channels[reader])
        if monotonic() >= self._close_at:
            self._close_at = inf
            self._sockets.remove_file()
        if self._kill_at is not None and monotonic() >= self._kill_at:
            logger.error("Killing the workers that have not ended in time")
            self._kill_at = inf
            self._kill_all()
        if monotonic() >= self._check_at:
            self._kill_unresponsive()
        for worker in self._workers:
            if monotonic() >= worker.start_at:
                self._start(worker)

    def _kill_unresponsive(self) -> None:
        self._check_at = monotonic() + worker_process.HEARTBEAT_SECONDS
        if self._is_ready:
            systemd.notify(systemd.WATCHDOG)
        for worker in self._workers:
            if seconds := worker.miss_heartbeat():
                logger.error("Worker process %d has not answered for %.0f seconds and is killed", worker.pid, seconds)
                worker.send_signal(signal.SIGKILL)

    @contextmanager
    def _handle_signals(self) -> Iterator[None]:
        # Python writes the number of each signal to this socket, which wakes select().
        self._signal_writer.setblocking(False)  # noqa: FBT003 - the standard library's
        signal.set_wakeup_fd(self._signal_writer.fileno(), warn_on_full_buffer=False)
        previous = {number: signal.signal(number, lambda *_: None) for number in SIGNALS}
        try:
            yield
        finally:
            signal.set_wakeup_fd(-1)
            for number, handler in previous.items():
                signal.signal(number, handler)
            self._signal_reader.close()
            self._signal_writer.close()

    def _stop(self, number: signal.Signals) -> None:
        if self._kill_at is None:
            logger.info("Stopping on %s", number.name)
            systemd.notify(systemd.STOPPING)
        else:
            # Ends the drain of the workers early.
            number = signal.SIGINT
        self._close_at = monotonic() + (self._settings.drain_seconds if number == signal.SIGTERM else 0)
        self._kill_at = min(self._kill_at or inf, self._close_at + KILL_SECONDS)
        for worker in self._workers:
            worker.start_at = inf
            # Before it begins, it has nothing to finish, and if it hangs, other signals have no effect.
            worker.send_signal(number if worker.may_have_begun() else signal.SIGKILL)

    def _kill_all(self) -> None:
        for worker in self._workers:
            worker.send_signal(signal.SIGKILL)

    def _on_message(self, worker: Worker) -> None:
        if not worker.receive():
            self._reap(worker)
            return
        # After a signal, the file of a unix socket is removed, which would count as replaced by another process.
        is_first_start = not self._is_ready and self._kill_at is None
        if is_first_start and all(each.is_ready for each in self._workers):
            self._is_ready = True
            store = worker.message.removeprefix(READY).decode()
            listening.announce(self._settings, self._sockets, store=store, networked=True)

    def _reap(self, worker: Worker) -> None:
        """Collect a process that has ended, and schedule its replacement."""
        status = worker.reap()
        if self._kill_at is not None:
            return
        multiprocess.mark_dead(self._directory, worker.pid)
        reason = worker.reported or status
        if not self._is_ready and worker.is_refused:
            raise SettingsError(reason.splitlines())
        if not self._is_ready and not self._is_replaceable(worker):
            raise StartError(worker.reported or f"A worker process {status} before it served")
        delay = worker.schedule_successor()
        logger.warning("Worker process %d %s; another starts in %.1f seconds", worker.pid, reason, delay)

    def _is_replaceable(self, worker: Worker) -> bool:
        """Return whether only this process is at fault, because it hung while another one with its settings serves."""
        return worker.is_unresponsive and any(each.is_ready for each in self._workers if each is not worker)

    def _start(self, worker: Worker) -> None:
        """Start a process, or try again later if the system refuses it. At the first start, raises ``StartError``."""
        try:
            worker.begin(*self._fork(worker))
        except OSError as error:
            if not self._is_ready:
                raise StartError(
                    f"Cannot start a worker process: {error.strerror}. "
                    "Raise the limits of processes and memory, or lower SIGNER_WORKERS"
                ) from None
            delay = worker.schedule_start()
            logger.warning("Cannot start a worker process: %s; retrying in %.1f s", error.strerror, delay)

    def _fork(self, worker: Worker) -> tuple[int, socket.socket]:
        """Return the id of a new process, and our end of its channel. Raises OSError."""
        ours, theirs = socket.socketpair()
        # The child must not handle a signal with the handlers that it inherits.
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        try:
            pid = os.fork()
            if pid == 0:
                ours.close()
                self._run_worker(worker, theirs)
        except OSError:
            ours.close()
            raise
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
            theirs.close()
        return pid, ours

    def _run_worker(self, worker: Worker, channel: socket.socket) -> NoReturn:
        """Serve in the child process and exit; the child never returns into the parent's loop."""
        status = 1
        try:
            self._release_inherited()
            worker_process.run(self._settings, self._sockets, self._directory, channel, worker.predecessors)
            status = 0
        except StartError as error:
            channel.sendall(FAILED + str(error).encode())
        except SettingsError as error:
            channel.sendall(REFUSED + "\n".join(error.problems).encode())
        except BaseException:
            logger.exception("A worker process failed")
        finally:
            try:
                # It is None if the descriptor was closed at the start.
                if sys.stderr:
                    sys.stderr.flush()
            finally:
                os._exit(status)

    def _release_inherited(self) -> None:
        systemd.disown()
        signal.set_wakeup_fd(-1)
        for number in SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        self._signal_reader.close()
        self._signal_writer.close()
        # An open copy of another worker's channel would hide the end of the parent from that worker.
        for other in self._workers:
            if other.channel:
                other.channel.close()


def _metrics_directory() -> Path:
    # Memory is always writable, unlike the root of many containers, and writes do not wait for a disk.
    memory = "/dev/shm"  # noqa: S108 - mkdtemp makes a private directory in it
    try:
        return Path(tempfile.mkdtemp(prefix="s3-signer-", dir=memory if os.access(memory, os.W_OK) else None))
    except OSError as error:
        raise StartError(f"SIGNER_WORKERS above 1 needs a temporary directory: {error.strerror}; set TMPDIR") from None
