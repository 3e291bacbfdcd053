"""``s3-signer serve``: serve requests, in this process or in several workers."""

import argparse
import signal
import sys
from contextlib import closing

from service.serving import listening
from service.serving.binding import StartError
from service.settings import Settings


def run(settings: Settings, _: argparse.Namespace | None = None) -> int:
    """Serve until SIGTERM, SIGHUP or SIGINT.

    Raises:
        SettingsError: if sockets that systemd has passed contradict the settings.
        StartError: if the service cannot serve.
    """
    # The parent process may block or ignore them. SIGTERM would have no effect, and the end of a worker no status.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGTERM, signal.SIGINT))
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    # Until the process serves. The kernel ignores SIGTERM for process 1 of a container if it has no handler.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(0))
    # Of a terminal that is closed. With nohup it stays ignored.
    if signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:
        signal.signal(signal.SIGHUP, lambda *_: signal.raise_signal(signal.SIGTERM))
    if sys.stdout is None:
        # The next socket would get its number, and so the lines of the audit log.
        raise StartError("Cannot write the audit log to standard output: it is closed")
    settings, sockets = listening.open_sockets(settings)
    with closing(sockets):
        # The supervisor never imports the server: each of its workers does.
        if settings.workers > 1:
            from service.serving import supervisor  # noqa: PLC0415

            supervisor.run(settings, sockets)
        else:
            from service.serving import server  # noqa: PLC0415

            server.run(settings, sockets)
    return 0
