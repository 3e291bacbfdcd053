"""The protocols of systemd: sockets from a ``.socket`` unit, and notifications of the state of the service.

Sources: sd_listen_fds(3) and sd_notify(3). Without systemd's environment variables, nothing here has an effect.
"""

import os
import socket
from contextlib import suppress

FIRST_SOCKET = 3
READY, STOPPING, WATCHDOG = "READY=1", "STOPPING=1", "WATCHDOG=1"
WATCHDOG_SECONDS = 1.0
"""Time between two ``WATCHDOG`` notifications. The ``WatchdogSec`` of a unit must be longer."""


def inherited_sockets() -> list[socket.socket]:
    """Return the sockets that systemd has passed to this process, and hide them from child processes.

    Raises:
        OSError: if a descriptor is no socket.
        ValueError: if ``LISTEN_FDS`` is no number.
    """
    pid, count, _ = (os.environ.pop(name, "") for name in ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"))
    if pid != str(os.getpid()) or not count:
        return []
    descriptors = range(FIRST_SOCKET, FIRST_SOCKET + int(count))
    for descriptor in descriptors:
        os.set_inheritable(descriptor, False)  # noqa: FBT003 - the standard library's
    return [socket.socket(fileno=descriptor) for descriptor in descriptors]


def notify(state: str) -> None:
    """Send a state to systemd. A state that cannot be sent is lost: systemd then acts on its own time limits."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if address:
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
            channel.setblocking(False)  # noqa: FBT003 - the standard library's
            # `@` stands for the zero byte of Linux' abstract addresses.
            channel.sendto(state.encode(), "\0" + address[1:] if address.startswith("@") else address)


def disown() -> None:
    """Stop notifications of this process, a child of the one that systemd watches."""
    os.environ.pop("NOTIFY_SOCKET", None)
