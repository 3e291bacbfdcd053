"""The sockets that the service listens on, bound before anything else starts, and their errors and log lines."""

import errno
import ipaddress
import logging
import os
import socket
import stat
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import service
from service.serving import systemd
from service.settings import Settings, SettingsError
from service.settings.consistency import contradictions

Address = tuple[Any, ...]
"""An address as the socket module represents it; its shape depends on the family."""

logger = logging.getLogger(__name__)

# A machine without IPv6 reports one of these.
_NO_SUCH_FAMILY = frozenset({errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT})
_DEFAULT_ADVICE = "Choose another place with {variable}"
_IN_USE_ADVICE = "Stop what is there, or choose another place with {variable}"
_FILES_ADVICE = "Raise the limit of open files (ulimit -n)"
_NAME_ADVICE = "Set {host_variable} to a name that resolves here, or to an address without brackets and port"
_ADVICE = {
    errno.EADDRINUSE: _IN_USE_ADVICE,
    errno.EACCES: (
        "A port below 1024 takes CAP_NET_BIND_SERVICE, or net.ipv4.ip_unprivileged_port_start; "
        "give this user the right, or choose another port with {variable}"
    ),
    errno.EADDRNOTAVAIL: "Set {host_variable} to an address of this machine; 0.0.0.0 and :: are all of them",
    errno.EAFNOSUPPORT: "This machine has no such addresses; set {host_variable} to an IPv4 address",
    errno.EINVAL: "Set {host_variable} to an address with its interface, such as fe80::1%eth0",
    errno.EMFILE: _FILES_ADVICE,
    errno.ENFILE: _FILES_ADVICE,
}
_PATH_ADVICE = {
    errno.EADDRINUSE: _IN_USE_ADVICE,
    errno.ENOENT: "Create its directory, or choose another path with {variable}",
    errno.ENOTDIR: "A part of the path is a file; choose another path with {variable}",
    errno.EACCES: "Give this user the right to write to its directory, or choose another path with {variable}",
    errno.EPERM: "This user may not make or remove a socket there; choose another path with {variable}",
    errno.EROFS: "Mount a writable directory there, or choose another path with {variable}",
    errno.EEXIST: "A file that is no socket is there; remove it, or choose another path with {variable}",
    errno.EISDIR: "A directory is there; choose a path in it with {variable}",
    errno.ENAMETOOLONG: "A socket's path has at most 107 bytes; choose a shorter one with {variable}",
    errno.EMFILE: _FILES_ADVICE,
    errno.ENFILE: _FILES_ADVICE,
}


class InvalidHostName(OSError):
    """A text that no resolver accepts as a host name."""


class StartError(Exception):
    """The service cannot start. The message has the reason, and advice for the operator."""


@dataclass(frozen=True, slots=True)
class SocketFile:
    """The file of a unix socket that this process has created."""

    path: Path
    device_and_inode: tuple[int, int]

    @classmethod
    def at(cls, path: Path) -> "SocketFile":
        return cls(path.absolute(), _device_and_inode(path))

    def remove(self) -> None:
        """Remove the file, so that nobody can connect any more, unless another file has replaced it."""
        with suppress(OSError):
            if _device_and_inode(self.path) == self.device_and_inode:
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
        main = self.main if self.inherited else [_sibling(bound) for bound in self.main]
        return BoundSockets(main, [_sibling(bound) for bound in self.ops], inherited=self.inherited)

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
        main = [_bind_path(Path(settings.socket), settings.socket_mode)]
        file = SocketFile.at(Path(settings.socket))
    else:
        main = _bind_host(settings.host, settings.port, "SIGNER_PORT", shared=shared)
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
        for bound in (*sockets.main, *sockets.ops):
            if sys.platform == "linux" and bound.family != socket.AF_UNIX:
                # A name that belongs to one process of this network namespace, until that process ends.
                claim = stack.enter_context(socket.socket(socket.AF_UNIX))
                try:
                    claim.bind(f"\0s3-signer {place_of(bound)}")
                except OSError as error:
                    raise bind_error(place_of(bound), error, "SIGNER_PORT") from None
        yield


def announce(settings: Settings, sockets: BoundSockets, *, store: str, networked: bool) -> None:
    """Notify systemd, and log the addresses and a warning for each risky setting; ``store`` describes the store."""
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


def bind_error(address: str, error: OSError, variable: str, *, host_variable: str = "SIGNER_HOST") -> StartError:
    """Return an error that explains why ``address``, the value of ``variable``, cannot be bound, with advice."""
    known = error.errno and not isinstance(error, socket.gaierror)
    reason = os.strerror(error.errno) if known and error.errno else error.strerror or str(error)
    advice = _NAME_ADVICE if isinstance(error, socket.gaierror | InvalidHostName) else _ADVICE.get(error.errno or 0)
    advice = (advice or _DEFAULT_ADVICE).format(variable=variable, host_variable=host_variable)
    return StartError(f"Cannot listen on {address}: {reason}. {advice}")


def _bind_host(host: str, port: int, variable: str, *, shared: bool) -> list[socket.socket]:
    bound: list[socket.socket] = []
    unsupported: OSError | None = None
    try:
        for family, address in _resolve(host, port):
            try:
                bound.append(_bind_shared(family, address) if shared else _bind(family, address))
            except OSError as error:
                # localhost often resolves to two addresses, and many containers have only one of them.
                if error.errno not in _NO_SUCH_FAMILY:
                    raise
                unsupported = error
        if unsupported and not bound:
            raise unsupported
    except OSError as error:
        for one in bound:
            one.close()
        host_variable = variable.replace("PORT", "HOST")
        raise bind_error(_host_and_port(host, port), error, variable, host_variable=host_variable) from None
    return bound


def _bind_ops(settings: Settings, *, shared: bool) -> list[socket.socket]:
    if settings.ops_port is None:
        return []
    return _bind_host(settings.ops_host, settings.ops_port, "SIGNER_OPS_PORT", shared=shared)


def _with_address(settings: Settings, inherited: list[socket.socket]) -> Settings:
    """Return the settings with the most exposed of the addresses, on which the rules for access depend."""
    addresses = [passed.getsockname()[:2] for passed in inherited if passed.family != socket.AF_UNIX]
    if not addresses:
        return replace(settings, socket=os.fsdecode(inherited[0].getsockname()))
    host, port = min(addresses, key=lambda address: ipaddress.ip_address(address[0]).is_loopback)
    return replace(settings, host=host, port=port, socket="")


def _resolve(host: str, port: int) -> Iterator[tuple[int, Address]]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except UnicodeError:
        # A label is empty, as in `a..b`, or has more than 63 characters.
        raise InvalidHostName("This cannot be a host's name") from None
    # A hosts file may contain an address twice.
    yield from dict.fromkeys((family, address) for family, _, _, _, address in found)


def _bind(family: int, address: Address, *options: int) -> socket.socket:
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        for option in (socket.SO_REUSEADDR, *options):
            made.setsockopt(socket.SOL_SOCKET, option, 1)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        made.bind(address)
    except OSError:
        made.close()
        raise
    return made


def _bind_shared(family: int, address: Address) -> socket.socket:
    if address[1]:
        # With SO_REUSEPORT alone, a second s3-signer of this user would share the port and take half of the requests.
        _bind(family, address).close()
    return _bind(family, address, socket.SO_REUSEPORT)


def _sibling(bound: socket.socket) -> socket.socket:
    # Unix sockets have no SO_REUSEPORT, so all processes accept from one socket.
    return bound if bound.family == socket.AF_UNIX else _bind(bound.family, bound.getsockname(), socket.SO_REUSEPORT)


def _bind_path(path: Path, mode: int) -> socket.socket:
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    # The umask sets the mode at creation, so other users cannot connect before a chmod.
    umask = os.umask(0o777 & ~mode)
    try:
        _remove_stale_socket(path)
        made.bind(str(path))
    except OSError as error:
        made.close()
        raise _path_error(path, error) from None
    finally:
        os.umask(umask)
    return made


def _path_error(path: Path, error: OSError) -> StartError:
    number = error.errno
    if number is None:
        # Python raises an error without a number for a path that is too long.
        number = errno.ENAMETOOLONG
    elif number == errno.EADDRINUSE and not path.is_socket():
        number = errno.EISDIR if path.is_dir() else errno.EEXIST
    reason, advice = os.strerror(number), _PATH_ADVICE.get(number, _DEFAULT_ADVICE)
    return StartError(f"Cannot listen on {path}: {reason}. {advice.format(variable='SIGNER_SOCKET')}")


def _remove_stale_socket(path: Path) -> None:
    """Remove a socket that no process listens on. Raises OSError if a process may."""
    if not path.exists() or not stat.S_ISSOCK(path.stat().st_mode):
        return
    with socket.socket(socket.AF_UNIX) as probe:
        probe.setblocking(False)  # noqa: FBT003 - the standard library's
        # Any other result, such as a missing permission, means that the socket may be in use.
        if probe.connect_ex(str(path)) != errno.ECONNREFUSED:
            raise OSError(errno.EADDRINUSE, "")
    path.unlink()


def _device_and_inode(path: Path) -> tuple[int, int]:
    found = path.lstat()
    return found.st_dev, found.st_ino


def place_of(bound: socket.socket) -> str:
    """Return the address of a socket as the log shows it: a host and a port, or ``unix:`` and a path."""
    if bound.family == socket.AF_UNIX:
        return f"unix:{bound.getsockname()}"
    return _host_and_port(*bound.getsockname()[:2])


def _address(bound: socket.socket, scheme: str = "http") -> str:
    return place_of(bound) if bound.family == socket.AF_UNIX else f"{scheme}://{place_of(bound)}"


def _host_and_port(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
