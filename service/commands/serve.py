"""``python -m service serve``: serve requests, in this process or in several workers."""

import signal
import sys

from service.settings import Settings


def run(settings: Settings) -> int:
    """Serve until SIGTERM or SIGINT. Raises ``StartError`` if the service cannot."""
    # Until the process serves. The kernel ignores SIGTERM for process 1 of a container if it has no handler.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(0))
    # The supervisor never imports the server: each of its workers does.
    if settings.workers > 1:
        from service.serving import supervisor  # noqa: PLC0415

        supervisor.run(settings)
    else:
        from service.serving import server  # noqa: PLC0415

        server.run(settings)
    return 0
