"""Sockets and notifications of systemd, with parent processes that act as systemd does."""

import fcntl
import os
import select
import shutil
import socket
import ssl
import subprocess
import sys
from contextlib import ExitStack, contextmanager, suppress

import pytest
from live.certificates import make_certificates
from processes import START_SECONDS, ServiceProcess, clean_environment, read_to_end, run_to_end
from support.service import running
from support.waiting import eventually

pytestmark = pytest.mark.heavy  # it starts many processes

REQUEST = b"GET /live HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
# As systemd does: the first socket is descriptor 3, and the variables name the process that may use it.
ACTIVATED = """
import os, sys
for number, passed in enumerate({passed}, 3):
    os.dup2(passed, number)
os.environ |= {{"LISTEN_PID": str(os.getpid() + {offset}), "LISTEN_FDS": str(len({passed}))}}
os.execv(sys.executable, [sys.executable, "-m", "service"])
"""


@contextmanager
def passed_on(*files):
    """Duplicates of descriptors, with numbers above those that systemd would give them."""
    numbers = [fcntl.fcntl(file, fcntl.F_DUPFD_CLOEXEC, 50) for file in files]
    try:
        yield numbers
    finally:
        for number in numbers:
            os.close(number)


@contextmanager
def activated(*sockets, offset=0, **settings):
    """The service with the sockets of a unit."""
    with (
        passed_on(*sockets) as passed,
        running(code=ACTIVATED.format(passed=passed, offset=offset), pass_fds=passed, **settings) as process,
    ):
        yield process


def refused(file):
    """Exit status and standard error of the service with a descriptor that it refuses."""
    with passed_on(file) as passed:
        done = subprocess.run(
            [sys.executable, "-c", ACTIVATED.format(passed=passed, offset=0)],
            env=clean_environment(),
            pass_fds=passed,
            capture_output=True,
            text=True,
            timeout=START_SECONDS,
            check=False,
        )
    return done.returncode, done.stderr


@pytest.fixture
def port():
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening


@pytest.fixture
def notifications(tmp_path):
    """A socket that receives what systemd would."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(str(tmp_path / "notify"))
        receiver.settimeout(START_SECONDS)
        yield receiver


def ask(family, address):
    with socket.socket(family) as connection:
        connection.settimeout(START_SECONDS)
        connection.connect(address)
        connection.sendall(REQUEST)
        return read_to_end(connection)


def received(receiver, count):
    return [receiver.recv(4096).decode() for _ in range(count)]


def test_the_service_serves_on_the_socket_of_a_unit(port):
    with activated(port, SIGNER_PORT="1") as process:
        answer = ask(socket.AF_INET, port.getsockname())

    assert process.url == f"http://127.0.0.1:{port.getsockname()[1]}"
    assert answer.startswith(b"HTTP/1.1 200")


def test_all_workers_serve_on_the_socket_of_a_unit(port, redis_url):
    with activated(port, SIGNER_WORKERS="2", SIGNER_STORE_URL=redis_url):
        answers = {ask(socket.AF_INET, port.getsockname())[:12] for _ in range(20)}

    assert answers == {b"HTTP/1.1 200"}


def test_tls_works_on_the_socket_of_a_unit(port, tmp_path):
    files = make_certificates(tmp_path, "signer.test")
    trust = ssl.create_default_context(cafile=files.ca)
    with (
        activated(port, SIGNER_TLS_CERT=str(files.certificate), SIGNER_TLS_KEY=str(files.key)),
        socket.create_connection(port.getsockname(), timeout=5) as plain,
        trust.wrap_socket(plain, server_hostname="localhost") as connection,
    ):
        connection.sendall(REQUEST)

        assert connection.recv(12) == b"HTTP/1.1 200"


def test_a_unix_socket_of_a_unit_is_kept_at_the_end(tmp_path):
    path = str(tmp_path / "s")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(path)
        listening.listen()
        with activated(listening) as process:
            answer = ask(socket.AF_UNIX, path)

        assert process.url == f"unix:{path}"
        assert answer.startswith(b"HTTP/1.1 200")
        assert os.path.exists(path)  # noqa: PTH110 - a socket, as the kernel names it


@pytest.mark.parametrize("workers", ["1", "2"])
def test_connections_during_a_restart_wait_for_the_next_process(port, redis_url, workers):
    settings = {"SIGNER_WORKERS": workers, "SIGNER_STORE_URL": redis_url}
    with activated(port, **settings):
        pass
    with socket.create_connection(port.getsockname(), timeout=START_SECONDS) as waiting:
        waiting.sendall(REQUEST)
        with activated(port, **settings):
            answer = read_to_end(waiting)

    assert answer.startswith(b"HTTP/1.1 200")


def test_a_public_socket_of_a_unit_is_refused_without_authentication():
    with socket.create_server(("0.0.0.0", 0)) as public:  # noqa: S104 - whether that is refused is the point
        status, errors = refused(public)

    assert status == 2
    assert errors.startswith("s3-signer: SIGNER_HOST is 0.0.0.0, which others can reach, and no authentication is set")


def test_a_loopback_socket_beside_a_unix_socket_is_protected_from_web_pages(port, tmp_path):
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(tmp_path / "s"))
        other.listen()
        with activated(other, port), socket.create_connection(port.getsockname(), timeout=5) as connection:
            connection.sendall(REQUEST.replace(b"localhost", b"rebound.example"))

            assert connection.recv(12) == b"HTTP/1.1 403"


def test_a_socket_that_does_not_listen_is_refused():
    with socket.socket() as idle:
        outcome = refused(idle)

    advice = "set Accept=no in the .socket unit"
    assert outcome == (1, f"s3-signer: systemd has passed a socket that does not listen; {advice}\n")


def test_a_descriptor_that_is_no_socket_is_refused(tmp_path):
    with (tmp_path / "file").open("w") as file:
        status, errors = refused(file)

    assert (status, errors.count("\n")) == (1, 1)
    assert errors.startswith("s3-signer: systemd has passed a descriptor that is no socket: ")


def test_sockets_for_another_process_are_ignored(port):
    with activated(port, offset=1) as process:
        assert process.url != f"http://127.0.0.1:{port.getsockname()[1]}"


def test_systemd_starts_the_service_at_the_first_connection(tmp_path):
    activate = shutil.which("systemd-socket-activate")
    if not activate:
        pytest.skip("systemd-socket-activate is not installed; on Debian: apt-get install systemd")
    path = tmp_path / "s"
    process = subprocess.Popen(
        [activate, "--listen", path, sys.executable, "-m", "service"],
        env=clean_environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        assert eventually(path.exists)
        assert ask(socket.AF_UNIX, str(path)).startswith(b"HTTP/1.1 200")
    finally:
        process.terminate()
        process.wait(START_SECONDS)


@pytest.mark.parametrize("workers", ["1", "2"])
def test_systemd_is_notified_of_start_life_and_stop(notifications, redis_url, workers):
    address = notifications.getsockname()
    with running(NOTIFY_SOCKET=address, SIGNER_WORKERS=workers, SIGNER_STORE_URL=redis_url):
        states = received(notifications, 4)
    notifications.setblocking(False)  # noqa: FBT003 - the standard library's
    with suppress(BlockingIOError):
        while True:
            states += received(notifications, 1)

    # Nothing comes before the first, so that it finds space in the queue.
    assert states[:4] == ["READY=1", "WATCHDOG=1", "WATCHDOG=1", "WATCHDOG=1"]
    assert [state for state in states[4:] if state != "WATCHDOG=1"] == ["STOPPING=1"]


def test_systemd_is_notified_at_an_abstract_address():
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind("")
        receiver.settimeout(START_SECONDS)
        address = "@" + os.fsdecode(receiver.getsockname()[1:])
        with running(NOTIFY_SOCKET=address):
            assert received(receiver, 1) == ["READY=1"]


def test_a_missing_notification_socket_does_not_stop_the_service(tmp_path):
    process = ServiceProcess(NOTIFY_SOCKET=str(tmp_path / "nothing"))

    assert process.stop() == 0


def test_a_failed_start_is_not_notified(notifications):
    status, _ = run_to_end(NOTIFY_SOCKET=notifications.getsockname(), SIGNER_SOCKET="/proc/nowhere/s")
    notifications.setblocking(False)  # noqa: FBT003 - the standard library's

    assert status == 1
    with pytest.raises(BlockingIOError):
        notifications.recv(1)


def test_the_sockets_of_a_unit_share_the_limit_for_tls_handshakes(tmp_path):
    pair = make_certificates(tmp_path, "signer.test")
    named = {"SIGNER_TLS_CERT": str(pair.certificate), "SIGNER_TLS_KEY": str(pair.key)}
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(2)]
        stack.enter_context(activated(*sockets, SIGNER_MAX_CONNECTIONS="10", **named))
        silent = [
            stack.enter_context(socket.create_connection(bound.getsockname(), timeout=5))
            for bound in sockets
            for _ in range(10)
        ]

        # Only closed connections are readable.
        assert eventually(lambda: len(select.select(silent, [], [], 0)[0]) == 10)
