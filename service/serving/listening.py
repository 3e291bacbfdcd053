"""Where the service listens: its sockets, bound before anything else is started, and how they are told."""

import errno
import logging
import os
import socket
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import service
from service.settings import Settings

# What the system takes for the address of a family.
Address = tuple[Any, ...]

logger = logging.getLogger(__name__)

# A machine without IPv6 says one or the other.
_ABSENT = frozenset({errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT})
_OTHER_ADVICE = "Choose another place with {variable}"
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


class UnresolvableHost(OSError):
    """A text that cannot be a host's name, so that no resolver is asked."""


class StartError(Exception):
    """Why the service cannot start, in one sentence that says what to do."""


@dataclass(frozen=True, slots=True)
class BoundSockets:
    """Sockets that are bound and do not listen yet: where requests come in, and where operators ask (often nowhere)."""

    main: list[socket.socket]
    ops: list[socket.socket]

    def siblings(self) -> "BoundSockets":
        """Sockets on the same addresses for another process; all of them must have been bound as ``shared``."""
        return BoundSockets([_sibling(bound) for bound in self.main], [_sibling(bound) for bound in self.ops])

    def close(self) -> None:
        for bound in (*self.main, *self.ops):
            bound.close()


def bind(settings: Settings, *, shared: bool = False) -> BoundSockets:
    """Bind what the settings name; ``shared`` by several processes of this service, and by nobody else.

    Raises:
        StartError: where that cannot be.
    """
    if settings.socket:
        main = [_bind_path(Path(settings.socket), settings.socket_mode)]
    else:
        main = _bind_host(settings.host, settings.port, "SIGNER_PORT", shared=shared)
    if settings.ops_port is None:
        return BoundSockets(main, [])
    try:
        return BoundSockets(main, _bind_host(settings.ops_host, settings.ops_port, "SIGNER_OPS_PORT", shared=shared))
    except StartError:
        BoundSockets(main, []).close()
        raise


def announce(settings: Settings, listening: BoundSockets, *, store: str, networked: bool) -> None:
    """Tell in one line where the service listens, and its risks in warnings; ``store`` is where accounts are kept."""
    logger.info(
        "s3-signer %s listens on %s; store: %s; authentication: %s%s%s",
        service.__version__,
        _address(listening.main[0], "https" if settings.tls_cert else "http"),
        store,
        "none" if settings.is_open else "clients and tokens",
        f"; operations: {_address(listening.ops[0])}" if listening.ops else "",
        f"; workers: {settings.workers}" if settings.workers > 1 else "",
    )
    if not networked:
        logger.warning("Accounts are kept in memory alone and forgotten at the end; set SIGNER_STORE_URL to keep them")
    if networked and not settings.encryption_keys_file:
        logger.warning("Secrets are stored as they are; set SIGNER_ENCRYPTION_KEYS_FILE to seal them")
    if settings.jwt_jwks.lower().startswith("http:"):
        logger.warning("SIGNER_JWT_JWKS is an http URL, and whoever can change its answer can be anybody; use https")
    if not settings.is_open:
        return
    who = "everybody who reaches it" if settings.auth == "none" else "everybody on this machine"
    logger.warning("No authentication: %s can sign with every account", who)


def refusal(place: str, error: OSError, variable: str, *, host_variable: str = "SIGNER_HOST") -> StartError:
    """Why the service cannot listen at ``place``, with advice that fits; ``variable`` is what names the place."""
    known = error.errno and not isinstance(error, socket.gaierror)
    reason = os.strerror(error.errno) if known and error.errno else error.strerror or str(error)
    advice = _NAME_ADVICE if isinstance(error, socket.gaierror | UnresolvableHost) else _ADVICE.get(error.errno or 0)
    advice = (advice or _OTHER_ADVICE).format(variable=variable, host_variable=host_variable)
    return StartError(f"Cannot listen on {place}: {reason}. {advice}")


def _bind_host(host: str, port: int, variable: str, *, shared: bool) -> list[socket.socket]:
    bound: list[socket.socket] = []
    absent: OSError | None = None
    try:
        for family, address in _resolved(host, port):
            try:
                bound.append(_bind_shared(family, address) if shared else _bind(family, address))
            except OSError as error:
                # localhost is often two addresses, of which a container has one.
                if error.errno not in _ABSENT:
                    raise
                absent = error
        if absent and not bound:
            raise absent
    except OSError as error:
        for one in bound:
            one.close()
        host_variable = variable.replace("PORT", "HOST")
        raise refusal(_place(host, port), error, variable, host_variable=host_variable) from None
    return bound


def _resolved(host: str, port: int) -> Iterator[tuple[int, Address]]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except UnicodeError:
        # Of an empty part, such as in `a..b`, or one of more than 63 characters.
        raise UnresolvableHost("This cannot be a host's name") from None
    # A hosts file may name an address twice.
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
        # With SO_REUSEPORT another s3-signer of this user could share the port, and take half of the requests.
        _bind(family, address).close()
    return _bind(family, address, socket.SO_REUSEPORT)


def _sibling(bound: socket.socket) -> socket.socket:
    # There is no SO_REUSEPORT for paths: all processes accept from one socket.
    return bound if bound.family == socket.AF_UNIX else _bind(bound.family, bound.getsockname(), socket.SO_REUSEPORT)


def _bind_path(path: Path, mode: int) -> socket.socket:
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    # Nobody may connect between the socket's making and its mode, so it is made with that mode.
    umask = os.umask(0o777 & ~mode)
    try:
        _clear(path)
        made.bind(str(path))
    except OSError as error:
        made.close()
        raise _path_refusal(path, error) from None
    finally:
        os.umask(umask)
    return made


def _path_refusal(path: Path, error: OSError) -> StartError:
    number = error.errno
    if number is None:
        # Python's own error for a path that does not fit, with no number of the system.
        number = errno.ENAMETOOLONG
    elif number == errno.EADDRINUSE and not path.is_socket():
        number = errno.EISDIR if path.is_dir() else errno.EEXIST
    reason, advice = os.strerror(number), _PATH_ADVICE.get(number, _OTHER_ADVICE)
    return StartError(f"Cannot listen on {path}: {reason}. {advice.format(variable='SIGNER_SOCKET')}")


def _clear(path: Path) -> None:
    """Remove a stale socket. One that somebody serves on is taken."""
    if not path.exists() or not stat.S_ISSOCK(path.stat().st_mode):
        return
    with socket.socket(socket.AF_UNIX) as probe:
        probe.setblocking(False)  # noqa: FBT003 - the standard library's
        # Any other answer, such as a refusal of the right to ask, says that the socket may be in use.
        if probe.connect_ex(str(path)) != errno.ECONNREFUSED:
            raise OSError(errno.EADDRINUSE, "")
    path.unlink()


def _address(bound: socket.socket, scheme: str = "http") -> str:
    if bound.family == socket.AF_UNIX:
        return f"unix:{bound.getsockname()}"
    return f"{scheme}://{_place(*bound.getsockname()[:2])}"


def _place(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
