"""Bind one address, and explain to the operator why it cannot be bound."""

import errno
import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

Address = tuple[Any, ...]
"""An address as the socket module represents it; its shape depends on the family."""

# A machine without IPv6 reports one of these.
_NO_SUCH_FAMILY = frozenset({errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT})
_DEFAULT_ADVICE = "Choose another place with {variable}"
_IN_USE_ADVICE = "Stop what is there, or choose another place with {variable}"
_FILES_ADVICE = "Raise the limit of open files (ulimit -n)"
_FOREIGN_ADVICE = (
    "This user may not connect to the socket there, to see whether a process listens on it; "
    "if none does, remove it, or choose another path with {variable}"
)
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


class ForeignSocket(PermissionError):
    """A socket that this user may not connect to."""


class StartError(Exception):
    """The service cannot start. The message has the reason, and advice for the operator."""


def bind_error(address: str, error: OSError, variable: str, *, host_variable: str = "SIGNER_HOST") -> StartError:
    """Return an error that explains why ``address``, the value of ``variable``, cannot be bound, with advice."""
    known = error.errno and not isinstance(error, socket.gaierror)
    reason = os.strerror(error.errno) if known and error.errno else error.strerror or str(error)
    advice = _NAME_ADVICE if isinstance(error, socket.gaierror | InvalidHostName) else _ADVICE.get(error.errno or 0)
    advice = (advice or _DEFAULT_ADVICE).format(variable=variable, host_variable=host_variable)
    return StartError(f"Cannot listen on {address}: {reason}. {advice}")


def bind_host(host: str, port: int, variable: str, *, shared: bool) -> list[socket.socket]:
    """Return a socket for each address of a host. Raises ``StartError``; ``variable`` names the setting of the port."""
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


def sibling(bound: socket.socket) -> socket.socket:
    """Return a socket on the same address for another process; ``bound`` must have been bound as ``shared``."""
    # Unix sockets have no SO_REUSEPORT, so all processes accept from one socket.
    return bound if bound.family == socket.AF_UNIX else _bind(bound.family, bound.getsockname(), socket.SO_REUSEPORT)


def bind_path(path: Path, mode: int) -> socket.socket:
    """Return a unix socket whose file has this mode, in place of one that nobody listens on. Raises ``StartError``."""
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


def replaced_error(path: Path) -> StartError:
    """Return an error that explains why nobody can connect to the unix socket that was bound at ``path``."""
    return StartError(
        f"Cannot listen on {path}: another process has removed or replaced the socket. "
        + _IN_USE_ADVICE.format(variable="SIGNER_SOCKET")
    )


def _path_error(path: Path, error: OSError) -> StartError:
    number = error.errno
    if number is None:
        # Python raises an error without a number for a path that is too long.
        number = errno.ENAMETOOLONG
    elif number == errno.EADDRINUSE and not path.is_socket():
        number = errno.EISDIR if path.is_dir() else errno.EEXIST
    advice = _FOREIGN_ADVICE if isinstance(error, ForeignSocket) else _PATH_ADVICE.get(number, _DEFAULT_ADVICE)
    reason = os.strerror(number)
    return StartError(f"Cannot listen on {path}: {reason}. {advice.format(variable='SIGNER_SOCKET')}")


def _remove_stale_socket(path: Path) -> None:
    """Remove a socket that no process listens on. Raises OSError if a process may."""
    if not path.exists() or not stat.S_ISSOCK(path.stat().st_mode):
        return
    with socket.socket(socket.AF_UNIX) as probe:
        probe.setblocking(False)  # noqa: FBT003 - the standard library's
        result = probe.connect_ex(str(path))
        if result == errno.EACCES:
            raise ForeignSocket(result, "")
        # Any other result means that the socket may be in use.
        if result != errno.ECONNREFUSED:
            raise OSError(errno.EADDRINUSE, "")
    # Another process may start at the same time.
    path.unlink(missing_ok=True)


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


def place_of(bound: socket.socket) -> str:
    """Return the address of a socket as the log shows it: a host and a port, or ``unix:`` and a path."""
    if bound.family == socket.AF_UNIX:
        return f"unix:{bound.getsockname()}"
    return _host_and_port(*bound.getsockname()[:2])


def _host_and_port(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
