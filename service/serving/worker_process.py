"""One of several processes that serve: what it says to its parent, over the line between them.

It says ``SERVES`` and where accounts are kept once requests can come, or ``FAILED`` and why they cannot; and then a
``BEAT`` again and again, from its event loop.
"""

import logging
import shutil
import socket
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from service.serving.listening import BoundSockets
from service.settings import Settings

if TYPE_CHECKING:
    from service.stores.store import Store

logger = logging.getLogger(__name__)

SERVES, FAILED, BEAT = b"+", b"-", b"\n"
BEAT_SECONDS = 1.0


def work(
    settings: Settings, places: BoundSockets, directory: Path, line: socket.socket, *, number: int, replaces: str
) -> None:
    """Serve at ``places`` until a signal or the end of the parent.

    ``directory`` keeps the metrics of all workers, of which this is the one of that ``number``; ``replaces`` says why
    its predecessor had to go, if there was one. Raises ``StartError`` if it cannot begin to serve.
    """
    from service.telemetry import multiprocess  # noqa: PLC0415

    multiprocess.share(directory, number)
    # They declare metrics, and so come after these have been given their place.
    from service.serving import server  # noqa: PLC0415
    from service.telemetry import metrics  # noqa: PLC0415

    if replaces:
        metrics.WORKER_RESTARTS[replaces,].inc()

    # The parent tells of start and end, once for all.
    logging.getLogger(server.__name__).setLevel(logging.WARNING)

    def began(store: "Store") -> None:
        line.sendall(SERVES + store.description.encode())
        _beat(line)

    try:
        server.serve(settings, places.siblings(), began=began, parent=line)
    finally:
        multiprocess.flush()
    if _is_gone(line):
        logger.warning("Stopped, as the parent process is gone")
        shutil.rmtree(directory, ignore_errors=True)


def _beat(line: socket.socket) -> None:
    """Tell the parent again and again that the event loop, which calls this, runs."""
    import asyncio  # noqa: PLC0415 - the parent has no loop

    try:
        line.send(BEAT, socket.MSG_DONTWAIT)
    except BlockingIOError:
        # The parent is stopped, and has enough to read.
        pass
    except OSError:
        # The parent is gone, and the server ends.
        return
    asyncio.get_running_loop().call_later(BEAT_SECONDS, _beat, line)


def _is_gone(line: socket.socket) -> bool:
    line.setblocking(False)  # noqa: FBT003 - the standard library's
    with suppress(BlockingIOError):
        return not line.recv(1)
    return False
