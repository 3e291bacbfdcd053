"""One of several worker processes, and its messages to the parent over the control channel, a socket pair.

The event loop of a worker sends a ``HEARTBEAT`` each second. The first one says that the worker has taken over the
metrics of its predecessors; only after it the worker changes the store and listens. When it serves, it sends ``READY``
with the store's description. If it cannot serve, it sends ``FAILED`` with the reason, or ``REFUSED`` with a line for
each wrong setting.
"""

import asyncio
import logging
import shutil
import socket
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from service.serving.listening import BoundSockets
from service.settings import Settings
from service.telemetry import multiprocess

if TYPE_CHECKING:
    from service.stores.store import Store

logger = logging.getLogger(__name__)

READY, FAILED, REFUSED, HEARTBEAT = b"+", b"-", b"!", b"\n"
HEARTBEAT_SECONDS = 1.0


class Predecessor(NamedTuple):
    """A process that has ended."""

    pid: int
    reason: str
    """Why it ended, as a label of the metric of restarts."""


def run(
    settings: Settings,
    sockets: BoundSockets,
    directory: Path,
    channel: socket.socket,
    predecessors: Sequence[Predecessor] = (),
) -> None:
    """Serve on the addresses of ``sockets`` until a signal or the end of the parent. Raises as ``server.serve``.

    ``directory`` has the metrics of all workers; this one takes over those of its ``predecessors``.
    """
    for predecessor in predecessors:
        multiprocess.take_over(directory, predecessor.pid)
    # These imports declare metrics, which must find the files of the predecessors.
    from service.serving import server  # noqa: PLC0415
    from service.telemetry import metrics  # noqa: PLC0415

    for predecessor in predecessors:
        metrics.WORKER_RESTARTS[predecessor.reason,].inc()

    # The parent logs start and stop once for all workers.
    logging.getLogger(server.__name__).setLevel(logging.WARNING)

    def on_ready(store: "Store") -> None:
        # If the parent is gone, the server notices it and stops.
        with suppress(BrokenPipeError):
            channel.sendall(READY + store.description.encode())

    on_start = partial(_send_heartbeat, channel)
    server.serve(settings, sockets.siblings(), on_start=on_start, on_ready=on_ready, parent=channel)
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
