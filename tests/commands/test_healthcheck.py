"""``s3-signer healthcheck`` finds the service where the settings say that it listens."""

import os
import signal
import socket
import subprocess
import sys

import pytest
from live.certificates import make_certificates
from processes import START_SECONDS, ServiceProcess, clean_environment
from support.service import running

pytestmark = pytest.mark.heavy  # it starts many processes

READY = (0, "ready\n", "")


def healthcheck(**settings):
    """Exit status, standard output and standard error."""
    done = subprocess.run(
        [sys.executable, "-m", "service", "healthcheck"],
        env={**clean_environment(), **settings},
        capture_output=True,
        text=True,
        timeout=START_SECONDS,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


@pytest.fixture
def free_port():
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return str(probe.getsockname()[1])


@pytest.fixture
def tls(tmp_path):
    files = make_certificates(tmp_path, "signer.test")
    return {"SIGNER_TLS_CERT": str(files.certificate), "SIGNER_TLS_KEY": str(files.key)}


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost", "0.0.0.0", "::"])  # noqa: S104
def test_a_service_on_a_port_is_ready(free_port, host):
    settings = {"SIGNER_HOST": host, "SIGNER_PORT": free_port}
    if host in {"0.0.0.0", "::"}:  # noqa: S104
        settings["SIGNER_AUTH"] = "none"
    with running(**settings):
        assert healthcheck(**settings) == READY


def test_a_service_on_a_unix_socket_is_ready(tmp_path):
    settings = {"SIGNER_SOCKET": str(tmp_path / "s")}
    with running(**settings):
        assert healthcheck(**settings) == READY


def test_a_service_with_tls_is_ready(free_port, tls):
    settings = {"SIGNER_PORT": free_port, **tls}
    with running(**settings):
        assert healthcheck(**settings) == READY


def test_the_operations_port_is_asked_if_there_is_one(free_port, tls):
    settings = {"SIGNER_OPS_PORT": free_port, "SIGNER_OPS_HOST": "0.0.0.0", **tls}  # noqa: S104
    with running(**settings):
        assert healthcheck(**settings) == READY


def test_a_draining_service_is_not_ready(free_port):
    settings = {"SIGNER_PORT": free_port, "SIGNER_DRAIN_SECONDS": "300"}
    process = ServiceProcess(**settings)
    os.kill(process.pid, signal.SIGTERM)
    process.wait_for("Stopping on")
    outcome = healthcheck(**settings)
    process.stop(signal.SIGKILL)

    assert outcome == (1, "", "s3-signer: not ready: /ready answers 503\n")


def test_a_service_that_does_not_run_is_not_ready(free_port):
    status, _, errors = healthcheck(SIGNER_PORT=free_port)

    assert (status, errors) == (1, "s3-signer: not ready: [Errno 111] Connection refused\n")


@pytest.mark.parametrize("answer", [b"", b"SSH-2.0-x\r\n"])
def test_an_answer_other_than_http_is_not_ready(answer, tmp_path):
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(tmp_path / "s"))
        other.listen()
        command = [sys.executable, "-m", "service", "healthcheck"]
        environment = {**clean_environment(), "SIGNER_SOCKET": str(tmp_path / "s")}
        with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
            connection, _ = other.accept()
            connection.recv(4096)
            connection.sendall(answer)
            connection.close()
            _, errors = process.communicate(timeout=START_SECONDS)

    assert process.returncode == 1
    assert errors.startswith("s3-signer: not ready: ")
    assert errors.count("\n") == 1


def test_a_service_that_does_not_answer_is_not_ready(tmp_path):
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(tmp_path / "s"))
        silent.listen()

        assert healthcheck(SIGNER_SOCKET=str(tmp_path / "s")) == (1, "", "s3-signer: not ready: timed out\n")


def test_files_that_the_service_refuses_are_not_read(service, tmp_path):
    (tmp_path / "root").write_text("short")
    settings = {
        "SIGNER_PORT": service.url.rpartition(":")[2],
        "SIGNER_ROOT_CLIENT_ID": "root",
        "SIGNER_ROOT_CLIENT_SECRET_FILE": str(tmp_path / "root"),
        "SIGNER_STORE_URL_FILE": str(tmp_path / "missing"),
        "SIGNER_INIT_BUNDLE": str(tmp_path / "missing"),
        "SIGNER_WORKERS": "2",
    }

    assert healthcheck(**settings) == READY


def test_a_wrong_address_is_a_wrong_setting():
    assert healthcheck(SIGNER_PORT="http") == (2, "", "s3-signer: SIGNER_PORT must be a whole number\n")


def test_warnings_of_the_start_are_not_repeated(service):
    settings = {"SIGNER_PORT": service.url.rpartition(":")[2], "SIGNER_UNKNOWN": "1"}

    assert healthcheck(**settings) == READY
