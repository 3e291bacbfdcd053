"""Errors of addresses that cannot be bound have a reason and advice."""

import errno
import os
import re
import socket
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from service.serving import binding, listening
from service.serving.binding import StartError, bind_error
from service.settings import load

PROJECT = Path(__file__).parents[2]
UNPRIVILEGED = Path("/proc/sys/net/ipv4/ip_unprivileged_port_start")

# Root has every right, so it tries as another user.
AS_NOBODY = """
import encodings.idna, os, sys  # the first is loaded on demand, when the other user cannot read it
from service.serving import binding, listening
from service.settings import load
if os.geteuid() == 0:
    os.setgid(65534)
    os.setuid(65534)
try:
    listening.bind(load(dict([sys.argv[1].split("=", 1)])))
except binding.StartError as error:
    print(error)
"""


def bind_error_of(**settings):
    """Return the message of the error of an address that cannot be bound."""
    with pytest.raises(StartError) as error:
        listening.bind(load({"SIGNER_AUTH": "none", **settings})).close()
    return str(error.value)


def bind_error_as_nobody(setting):
    return subprocess.run(
        [sys.executable, "-c", AS_NOBODY, setting], cwd=PROJECT, capture_output=True, text=True, check=True
    ).stdout


def file(path):
    path.write_text("precious")


def dangling(path):
    path.symlink_to(path.parent / "nowhere")


@pytest.mark.parametrize(
    ("place", "make", "message"),
    [
        ("nope/s", None, "No such file or directory. Create its directory, or choose another path with SIGNER_SOCKET"),
        ("s/s", file, "Not a directory. A part of the path is a file; choose another path with SIGNER_SOCKET"),
        ("s", file, "File exists. A file that is no socket is there; remove it, or choose another path"),
        ("s", dangling, "File exists. A file that is no socket is there"),
        ("s", Path.mkdir, "Is a directory. A directory is there; choose a path in it with SIGNER_SOCKET"),
        ("x" * 100, None, "File name too long. A socket's path has at most 107 bytes; choose a shorter one"),
        ("é" * 50, None, "File name too long. A socket's path has at most 107 bytes; choose a shorter one"),
        ("x" * 300, None, "File name too long. A socket's path has at most 107 bytes; choose a shorter one"),
    ],
)
def test_a_path_that_cannot_be_bound_gets_fitting_advice(tmp_path, place, make, message):
    if make:
        make(tmp_path / "s")
    left = sorted(tmp_path.iterdir())

    assert bind_error_of(SIGNER_SOCKET=str(tmp_path / place)).startswith(
        f"Cannot listen on {tmp_path / place}: {message}"
    )
    assert sorted(tmp_path.iterdir()) == left


@pytest.mark.parametrize(
    "kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_SEQPACKET], ids=lambda kind: kind.name
)
def test_a_socket_in_use_of_any_kind_is_not_replaced(tmp_path, kind):
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX, kind) as used:
        used.bind(str(path))
        if kind != socket.SOCK_DGRAM:
            used.listen()
        message = bind_error_of(SIGNER_SOCKET=str(path))

    assert message == (
        f"Cannot listen on {path}: Address already in use. "
        "Stop what is there, or choose another place with SIGNER_SOCKET"
    )
    assert path.is_socket()


def test_a_directory_without_write_permission_gets_fitting_advice(tmp_path):
    # Only their user can write to the directories of pytest.
    message = bind_error_as_nobody(f"SIGNER_SOCKET={tmp_path}/s")

    assert message.startswith(
        f"Cannot listen on {tmp_path}/s: Permission denied. Give this user the right to write to its"
    )


@pytest.mark.skipif(os.geteuid() != 0, reason="only root leaves a socket that another user may not connect to")
def test_a_socket_of_another_user_gets_fitting_advice():
    """As one that is left behind when root has tried the service, and killed it."""
    with TemporaryDirectory() as directory:
        Path(directory).chmod(0o777)
        path = f"{directory}/s"
        with closing(listening.bind(load({"SIGNER_SOCKET": path}))):
            message = bind_error_as_nobody(f"SIGNER_SOCKET={path}")

    assert message == (
        f"Cannot listen on {path}: Permission denied. This user may not connect to the socket there, to see whether a "
        "process listens on it; if none does, remove it, or choose another path with SIGNER_SOCKET\n"
    )


@pytest.mark.skipif(
    not UNPRIVILEGED.exists() or int(UNPRIVILEGED.read_text()) <= 81, reason="any user may take port 81 here"
)
def test_a_privileged_port_gets_fitting_advice():
    message = bind_error_as_nobody("SIGNER_PORT=81")

    assert message.startswith(
        "Cannot listen on 127.0.0.1:81: Permission denied. A port below 1024 takes CAP_NET_BIND_SERV"
    )
    assert message.endswith("choose another port with SIGNER_PORT\n")


@pytest.mark.parametrize("variable", ["SIGNER_HOST", "SIGNER_OPS_HOST"])
@pytest.mark.parametrize(
    ("host", "place", "message"),
    [
        (
            "192.0.2.1",
            "192.0.2.1",
            r"Cannot assign requested address. Set {} to an address of this machine; 0.0.0.0 and",
        ),
        (
            "nope.invalid",
            "nope.invalid",
            r".+\. Set {} to a name that resolves here, or to an address without brackets",
        ),
        ("a..b", "a..b", r"This cannot be a host's name. Set {} to a name that resolves here"),
        ("a" * 64, "a" * 64, r"This cannot be a host's name. Set {} to a name that resolves here"),
    ],
)
def test_an_address_that_cannot_be_bound_gets_fitting_advice(variable, host, place, message):
    other = {"SIGNER_OPS_PORT": "0"} if "OPS" in variable else {}
    found = bind_error_of(SIGNER_PORT="0", **{variable: host}, **other)

    assert re.fullmatch(rf"Cannot listen on {re.escape(place)}:0: {message.format(variable)}.*", found)


def test_a_port_in_use_gets_fitting_advice():
    with closing(listening.bind(load({"SIGNER_PORT": "0"}))) as sockets:
        _, port = sockets.main[0].getsockname()
        sockets.main[0].listen()
        main = bind_error_of(SIGNER_PORT=str(port))
        ops = bind_error_of(SIGNER_PORT="0", SIGNER_OPS_PORT=str(port))

    for message, variable in ((main, "SIGNER_PORT"), (ops, "SIGNER_OPS_PORT")):
        assert message == (
            f"Cannot listen on 127.0.0.1:{port}: Address already in use. "
            f"Stop what is there, or choose another place with {variable}"
        )


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (errno.EAFNOSUPPORT, "This machine has no such addresses; set SIGNER_HOST to an IPv4 address"),
        (errno.EINVAL, "Set SIGNER_HOST to an address with its interface, such as fe80::1%eth0"),
        (errno.EMFILE, "Raise the limit of open files (ulimit -n)"),
        (errno.ENFILE, "Raise the limit of open files (ulimit -n)"),
        (errno.ENOBUFS, "Choose another place with SIGNER_PORT"),
    ],
)
def test_rare_errors_get_fitting_advice(number, message):
    error = bind_error("[::1]:80", OSError(number, os.strerror(number)), "SIGNER_PORT")

    assert str(error) == f"Cannot listen on [::1]:80: {os.strerror(number)}. {message}"


def test_without_ipv6_a_name_is_bound_on_ipv4(monkeypatch):
    made = socket.socket

    def without_ipv6(family=socket.AF_INET, *others):
        if family == socket.AF_INET6:
            raise OSError(errno.EAFNOSUPPORT, "Address family not supported by protocol")
        return made(family, *others)

    both = [
        (family, socket.SOCK_STREAM, 6, "", (host, 0))
        for family, host in (
            (socket.AF_INET6, "::1"),
            (socket.AF_INET, "127.0.0.1"),
        )
    ]
    monkeypatch.setattr(binding.socket, "getaddrinfo", lambda *_, **__: both)
    monkeypatch.setattr(binding.socket, "socket", without_ipv6)
    with closing(listening.bind(load({"SIGNER_HOST": "localhost", "SIGNER_PORT": "0"}))) as sockets:
        assert [bound.family for bound in sockets.main] == [socket.AF_INET]
