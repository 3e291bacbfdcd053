"""One of several worker processes, and its messages to the parent over the control channel, a socket pair.

The first message is ``READY`` with the store's description, ``FAILED`` with the reason, or ``REFUSED`` with a line for
each wrong setting. Then the event loop sends a
``HEARTBEAT`` each second.
"""

import asyncio
import logging
import shutil
import socket
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from service.serving.listening import BoundSockets
from service.settings import Settings
from service.telemetry import multiprocess

if TYPE_CHECKING:
    from service.stores.store import Store

logger = logging.getLogger(__name__)

READY, FAILED, REFUSED, HEARTBEAT = b"+", b"-", b"!", b"\n"
HEARTBEAT_SECONDS = 1.0


def run(
    settings: Settings,
    sockets: BoundSockets,
    directory: Path,
    channel: socket.socket,
    *,
    predecessor: int,
    restart_reason: str,
) -> None:
    """Serve on the addresses of ``sockets`` until a signal or the end of the parent. Raises as ``server.serve``.

    ``directory`` has the metrics of all workers. ``predecessor`` is the id of the process that this one replaces, or 0,
    and ``restart_reason`` is why that process ended, or empty.
    """
    multiprocess.take_over(directory, predecessor)
    # These imports declare metrics, which must find the predecessor's files.
    from service.serving import server  # noqa: PLC0415
    from service.telemetry import metrics  # noqa: PLC0415

    if restart_reason:
        metrics.WORKER_RESTARTS[restart_reason,].inc()

    # The parent logs start and stop once for all workers.
    logging.getLogger(server.__name__).setLevel(logging.WARNING)

    def on_ready(store: "Store") -> None:
        channel.sendall(READY + store.description.encode())
        _send_heartbeat(channel)

    server.serve(settings, sockets.siblings(), on_ready=on_ready, parent=channel)
    if _is_closed(channel):
        logger.warning("Stopped, as the parent process is gone")
        shutil.rmtree(directory, ignore_errors=True)


def _send_heartbeat(channel: socket.socket) -> None:
    try:
        channel.send(HEARTBEAT, socket.MSG_DONTWAIT)
    except BlockingIOError:
        # The parent is suspended and has unread heartbeats.
        pass
    except OSError:
        # The parent is gone, and the server stops.
        return
    asyncio.get_running_loop().call_later(HEARTBEAT_SECONDS, _send_heartbeat, channel)


def _is_closed(channel: socket.socket) -> bool:
    channel.setblocking(False)  # noqa: FBT003 - the standard library's
    with suppress(BlockingIOError):
        return not channel.recv(1)
    return False
