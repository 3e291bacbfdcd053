"""Starts the service as its users do, in a process of its own."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from urllib.parse import urlsplit

from watching import WATCH

# A busy machine takes its time.
START_SECONDS = 60
STOP_SECONDS = 15


class ServiceProcess:
    """``python -m service`` with its log; ``url`` is where it listens. ``code`` takes the place of ``-m service``.

    The audit log goes to ``stdout``. The process inherits the descriptors ``pass_fds``.
    """

    def __init__(self, *, measured=True, code=None, stdout=subprocess.DEVNULL, pass_fds=(), **settings):
        self.log: list[dict] = []
        WATCH.keep_settings(settings)
        self._process = subprocess.Popen(
            [sys.executable, "-W", "error", *(["-c", code] if code else ["-m", "service"])],
            env={**clean_environment(measured=measured), "SIGNER_PORT": "0", **settings},
            cwd=Path(__file__).parent.parent,
            stdout=stdout,
            stderr=subprocess.PIPE,
            text=True,
            pass_fds=pass_fds,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.url = self.wait_for("listens on").split(" listens on ")[1].split(";")[0]

    @property
    def pid(self):
        return self._process.pid

    @property
    def messages(self):
        return [entry["message"] for entry in self.log]

    def wait_for(self, text, *, seconds=START_SECONDS):
        """The first log message with ``text`` in it."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for message in self.messages:
                if text in message:
                    return message
            if self._process.poll() is not None:
                break
            time.sleep(0.01)
        raise AssertionError(f"no log line with {text!r} in {self.messages}, exit status {self._process.poll()}")

    def connect(self, *, seconds=5):
        """A raw connection."""
        if self.url.startswith("unix:"):
            connection = socket.socket(socket.AF_UNIX)
            connection.settimeout(seconds)
            try:
                connection.connect(self.url.removeprefix("unix:"))
            except OSError:
                connection.close()
                raise
            return connection
        address = urlsplit(self.url)
        return socket.create_connection((address.hostname, address.port), timeout=seconds)

    def exchange(self, request, *, seconds=5):
        """All that comes back for raw bytes until the connection is closed, which the request should ask for."""
        with self.connect(seconds=seconds) as connection:
            WATCH.sent(request)
            connection.sendall(request)
            answer = read_to_end(connection)
            WATCH.look("answer", answer)
            return answer

    def stop(self, number=signal.SIGTERM):
        """The exit status after a signal."""
        if self._process.poll() is None:
            self._process.send_signal(number)
        return self.ended()

    def ended(self):
        """The exit status, once it has one."""
        try:
            status = self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            raise
        self._reader.join()
        self._process.stderr.close()
        return status

    def _read(self):
        for line in self._process.stderr:
            WATCH.look("log", line)
            try:
                self.log.append(json.loads(line))
            except ValueError:
                self.log.append({"message": line.rstrip("\n")})


def read_to_end(connection):
    answer = bytearray()
    with contextlib.suppress(ConnectionResetError):
        while received := connection.recv(65536):
            answer += received
    return bytes(answer)


def run_to_end(*arguments, code=None, **settings):
    """The service where it ends by itself: exit status and the lines on standard error. ``code`` as above."""
    done = subprocess.run(
        [sys.executable, *(["-c", code] if code else ["-m", "service"]), *arguments],
        env={**clean_environment(), **settings},
        cwd=Path(__file__).parent.parent,
        capture_output=True,
        text=True,
        timeout=START_SECONDS,
        check=False,
    )
    WATCH.look("log", done.stderr)
    return done.returncode, done.stderr.splitlines()


def clean_environment(*, measured=True):
    """The environment without what would set the service; coverage adds half to what a start takes."""
    others = ("SIGNER_", "AWS_", "OTEL_") if measured else ("SIGNER_", "AWS_", "OTEL_", "COVERAGE_")
    return {name: value for name, value in os.environ.items() if not name.startswith(others)}
