"""The sockets that the service listens on, opened before anything else starts, and their log lines."""

import ipaddress
import logging
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import service
from service.serving import systemd
from service.serving.binding import StartError, bind_error, bind_host, bind_path, place_of, replaced_error, sibling
from service.settings import Settings, SettingsError
from service.settings.consistency import contradictions

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SocketFile:
    """The file of a unix socket that this process has created."""

    path: Path
    device_and_inode: tuple[int, int]

    @classmethod
    def at(cls, path: Path) -> "SocketFile":
        return cls(path.absolute(), _device_and_inode(path))

    def is_there(self) -> bool:
        """Return whether the file is still the one that this process has created."""
        with suppress(OSError):
            return _device_and_inode(self.path) == self.device_and_inode
        return False

    def remove(self) -> None:
        """Remove the file, so that nobody can connect any more, unless another file has replaced it."""
        with suppress(OSError):
            if self.is_there():
                self.path.unlink()


@dataclass(frozen=True, slots=True)
class BoundSockets:
    """Sockets for requests, and for operators if they have their own port. They do not listen yet, or are systemd's."""

    main: list[socket.socket]
    ops: list[socket.socket]
    file: SocketFile | None = None
    """The file of the unix socket in ``main``; None for a port, for siblings, which share it, and for systemd's."""
    inherited: bool = False
    """Whether ``main`` is systemd's: it listens already, and stays open after this service."""

    def siblings(self) -> "BoundSockets":
        """Return sockets on the same addresses for another process; these must have been bound as ``shared``."""
        main = self.main if self.inherited else [sibling(bound) for bound in self.main]
        return BoundSockets(main, [sibling(bound) for bound in self.ops], inherited=self.inherited)

    def remove_file(self) -> None:
        """Let new connections to a unix socket fail, while those in its backlog can still be accepted."""
        if self.file:
            self.file.remove()

    def close(self) -> None:
        for bound in (*self.main, *self.ops):
            bound.close()


def open_sockets(settings: Settings) -> tuple[Settings, BoundSockets]:
    """Take the sockets of a systemd ``.socket`` unit for requests, or bind the addresses in the settings.

    Returns the settings with the address that is in use. The operations port is always bound here.

    Raises:
        SettingsError: if the unit's address contradicts the settings, such as a public one without authentication.
        StartError: if an address cannot be bound, or the unit's sockets do not listen.
    """
    shared = settings.workers > 1
    try:
        inherited = systemd.inherited_sockets()
        if not all(passed.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) for passed in inherited):
            raise StartError("systemd has passed a socket that does not listen; set Accept=no in the .socket unit")
    except OSError as error:
        raise StartError(f"systemd has passed a descriptor that is no socket: {error.strerror}") from None
    except ValueError:
        raise StartError("LISTEN_FDS must be a number, as systemd sets it; unset it to bind SIGNER_PORT") from None
    if not inherited:
        return settings, bind(settings, shared=shared)
    settings = _with_address(settings, inherited)
    if problems := contradictions(settings):
        raise SettingsError(problems)
    return settings, BoundSockets(inherited, _bind_ops(settings, shared=shared), inherited=True)


def bind(settings: Settings, *, shared: bool = False) -> BoundSockets:
    """Bind the addresses in the settings; ``shared`` lets several processes of this service bind them.

    Raises:
        StartError: if an address cannot be bound.
    """
    file = None
    if settings.socket:
        main = [bind_path(Path(settings.socket), settings.socket_mode)]
        file = SocketFile.at(Path(settings.socket))
    else:
        main = bind_host(settings.host, settings.port, "SIGNER_PORT", shared=shared)
    try:
        return BoundSockets(main, _bind_ops(settings, shared=shared), file=file)
    except StartError:
        BoundSockets(main, []).close()
        raise


@contextmanager
def claimed(sockets: BoundSockets) -> Iterator[None]:
    """Keep the addresses from other processes that bind them as ``shared``, also before anyone listens there.

    Raises:
        StartError: if another process has claimed an address.
    """
    with ExitStack() as stack:
        main = [(bound, "SIGNER_PORT") for bound in sockets.main]
        ops = [(bound, "SIGNER_OPS_PORT") for bound in sockets.ops]
        for bound, variable in (*main, *ops):
            if sys.platform == "linux" and bound.family != socket.AF_UNIX:
                # A name that belongs to one process of this network namespace, until that process ends.
                claim = stack.enter_context(socket.socket(socket.AF_UNIX))
                try:
                    claim.bind(f"\0s3-signer {place_of(bound)}")
                except OSError as error:
                    raise bind_error(place_of(bound), error, variable) from None
        yield


def announce(settings: Settings, sockets: BoundSockets, *, store: str, networked: bool) -> None:
    """Notify systemd, and log the addresses and a warning for each risky setting; ``store`` describes the store.

    Raises:
        StartError: if nobody can connect to the unix socket, because its file was replaced before it listened.
    """
    if sockets.file and not sockets.file.is_there():
        raise replaced_error(sockets.file.path)
    systemd.notify(systemd.READY)
    logger.info(
        "s3-signer %s listens on %s; store: %s; authentication: %s%s%s",
        service.__version__,
        _address(sockets.main[0], "https" if settings.tls_cert else "http"),
        store,
        "none" if settings.is_open else "clients and tokens",
        f"; operations: {_address(sockets.ops[0])}" if sockets.ops else "",
        f"; workers: {settings.workers}" if settings.workers > 1 else "",
    )
    if not networked:
        logger.warning("Accounts are kept only in memory, until the process ends; set SIGNER_STORE_URL to keep them")
    if networked and not settings.encryption_keys_file:
        logger.warning("Secrets are stored unencrypted; set SIGNER_ENCRYPTION_KEYS_FILE to encrypt them")
    if settings.jwt_jwks.lower().startswith("http:"):
        logger.warning(
            "SIGNER_JWT_JWKS is an http URL: anyone who can tamper with the response can forge tokens; use https"
        )
    if not settings.is_open:
        return
    people = (
        "everybody who reaches it" if settings.auth == "none" or settings.public_url else "everybody on this machine"
    )
    logger.warning("No authentication: %s can sign with every account", people)


def _bind_ops(settings: Settings, *, shared: bool) -> list[socket.socket]:
    if settings.ops_port is None:
        return []
    return bind_host(settings.ops_host, settings.ops_port, "SIGNER_OPS_PORT", shared=shared)


def _with_address(settings: Settings, inherited: list[socket.socket]) -> Settings:
    """Return the settings with the most exposed of the addresses, on which the rules for access depend."""
    addresses = [passed.getsockname()[:2] for passed in inherited if passed.family != socket.AF_UNIX]
    if not addresses:
        return replace(settings, socket=os.fsdecode(inherited[0].getsockname()))
    host, port = min(addresses, key=lambda address: ipaddress.ip_address(address[0]).is_loopback)
    return replace(settings, host=host, port=port, socket="")


def _device_and_inode(path: Path) -> tuple[int, int]:
    found = path.lstat()
    return found.st_dev, found.st_ino


def _address(bound: socket.socket, scheme: str = "http") -> str:
    return place_of(bound) if bound.family == socket.AF_UNIX else f"{scheme}://{place_of(bound)}"
