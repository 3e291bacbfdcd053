"""The command line: output, exit status, and closed or full streams."""

import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
from processes import clean_environment, run_to_end


def run(arguments, *, stdout, unbuffered=False, **settings):
    """Return the exit status and standard error of a command."""
    environment = {name: text for name, text in clean_environment().items() if name != "PYTHONUNBUFFERED"}
    done = subprocess.run(
        [sys.executable, *(["-u"] if unbuffered else []), "-m", "service", *arguments],
        env={**environment, **settings},
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    return done.returncode, done.stderr


@pytest.fixture
def closed_pipe():
    """A pipe whose reading end is closed."""
    reader, writer = os.pipe()
    os.close(reader)
    yield writer
    os.close(writer)


@pytest.mark.parametrize(
    ("arguments", "unbuffered"),
    [(["openapi"], False), (["openapi"], True), (["--help"], False), (["--version"], False), (["serve", "-h"], False)],
    ids=str,
)
def test_a_command_with_a_closed_pipe_prints_no_error(closed_pipe, arguments, unbuffered):
    _, errors = run(arguments, stdout=closed_pipe, unbuffered=unbuffered)

    assert errors == ""


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_output_that_does_not_fit_is_an_error(tmp_path, unbuffered):
    """The file may have 64 KiB, as on a disk that becomes full."""
    file = tmp_path / "openapi.json"
    done = subprocess.run(
        ["bash", "-c", f"ulimit -f 64; exec {sys.executable} -m service openapi >{file}"],
        env=clean_environment(measured=False) | {"PYTHONUNBUFFERED": unbuffered},
        capture_output=True,
        text=True,
        check=False,
    )

    assert file.stat().st_size == 65536
    assert (done.returncode, done.stderr) == (1, "s3-signer: Cannot write to standard output: File too large\n")


def ended_at_import_of(module, number, *arguments):
    """The exit status and standard error of a command that gets a signal while it imports ``module``."""
    code = f"""
import os, sys
from service.__main__ import main

class Finder:
    def find_spec(self, name, *_):
        if name == "{module}":
            os.kill(os.getpid(), {number})

sys.meta_path.insert(0, Finder())
sys.exit(main())
"""
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, env=clean_environment(), capture_output=True, text=True, check=False, timeout=60)
    return done.returncode, done.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_a_signal_while_the_server_is_imported_ends_the_process(number):
    assert ended_at_import_of("service.serving.server", number) == (0, "")


def test_an_interrupted_command_prints_no_traceback():
    assert ended_at_import_of("service.commands.account", signal.SIGINT, "account", "list") == (130, "")


@pytest.mark.parametrize("arguments", [["check", "\udcff"], ["account", "get", "a\udc80b"]])
def test_an_argument_that_is_not_utf8_is_refused(arguments):
    status, errors = run(arguments, stdout=subprocess.DEVNULL)

    assert status == 2
    assert errors.endswith("error: arguments must be UTF-8\n")


def test_output_can_be_piped_to_head(tmp_path):
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", f"{sys.executable} -m service openapi | head -c 10"],
        env=clean_environment(),
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.stdout, done.stderr) == ('{"openapi"', "")


@pytest.mark.parametrize(
    ("arguments", "locale"),
    [
        (["serve", "--help"], {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}),
        (["openapi"], {"PYTHONIOENCODING": "latin-1"}),
    ],
)
def test_the_output_is_utf8_in_every_locale(arguments, locale):
    command = [sys.executable, "-m", "service", *arguments]
    done = subprocess.run(command, env={**clean_environment(), **locale}, capture_output=True, check=False)

    assert (done.returncode, done.stderr) == (0, b"")
    assert not done.stdout.decode("utf-8").isascii()


def test_rekey_with_a_closed_pipe_prints_no_traceback(closed_pipe, redis_url, tmp_path):
    keys = tmp_path / "keys"
    keys.write_text("k1: " + "A" * 43 + "=\n")
    _, errors = run(["rekey"], stdout=closed_pipe, SIGNER_STORE_URL=redis_url, SIGNER_ENCRYPTION_KEYS_FILE=str(keys))

    assert "Traceback" not in errors
    assert "Broken pipe" not in errors


@pytest.mark.parametrize("arguments", [["openapi"], ["--help"], ["--version"], ["rekey", "--help"]], ids=" ".join)
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_full_disk_is_reported_in_one_line(arguments, unbuffered):
    with open("/dev/full", "wb") as full:  # noqa: PTH123 - a device, no path to keep
        status, errors = run(arguments, stdout=full, unbuffered=unbuffered)

    assert (status, errors) == (1, "s3-signer: Cannot write to standard output: No space left on device\n")


def test_a_full_disk_is_reported_by_rekey(redis_url, tmp_path):
    keys = tmp_path / "keys"
    keys.write_text("k1: " + "A" * 43 + "=\n")
    keys.chmod(0o600)
    settings = {"SIGNER_STORE_URL": redis_url, "SIGNER_ENCRYPTION_KEYS_FILE": str(keys)}
    with open("/dev/full", "wb") as full:  # noqa: PTH123 - a device, no path to keep
        status, errors = run(["rekey"], stdout=full, **settings)

    assert (status, errors.splitlines()[-1]) == (
        1,
        "s3-signer: Cannot write to standard output: No space left on device",
    )


@pytest.mark.parametrize("argument", ["openapi", "--help"])
def test_a_closed_standard_output_is_reported_in_one_line(argument):
    done = subprocess.run(
        ["bash", "-c", f"{sys.executable} -m service {argument} >&-"],
        env=clean_environment(),
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.returncode, done.stderr) == (1, "s3-signer: Cannot write to standard output: it is closed\n")


def test_the_service_does_not_start_with_a_closed_standard_output():
    done = subprocess.run(
        ["bash", "-c", f"exec timeout 10 {sys.executable} -m service serve >&-"],
        env=clean_environment() | {"SIGNER_PORT": "0"},
        capture_output=True,
        text=True,
        check=False,
    )

    problem = "s3-signer: Cannot write the audit log to standard output: it is closed\n"
    assert (done.returncode, done.stderr) == (1, problem)


@pytest.mark.parametrize("closed", ["<&-", "<&- 2>&-"])
def test_no_connection_gets_the_number_of_a_closed_stream(closed, tmp_path):
    """When libuv closes such a connection, it aborts the process."""
    path = tmp_path / "s"
    with subprocess.Popen(
        ["bash", "-c", f"exec {sys.executable} -m service {closed}"],
        env=clean_environment() | {"SIGNER_SOCKET": str(path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as process:
        wait_for_socket(path)
        numbers = [Path(f"/proc/{process.pid}/fd/{number}").readlink() for number in (0, 2)]
        process.terminate()

        assert process.wait(30) == 0
    assert str(numbers[0]) == "/dev/null"
    assert str(numbers[1]) == "/dev/null"


def wait_for_socket(path):
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        with socket.socket(socket.AF_UNIX) as client, suppress(OSError):
            client.connect(str(path))
            return
        time.sleep(0.1)
    raise TimeoutError


@pytest.mark.parametrize(("arguments", "settings"), [([], {"SIGNER_PORT": "x"}), (["nonsense"], {})])
@pytest.mark.parametrize("closed", ["2>&-", "2>/dev/full"])
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_the_exit_status_does_not_depend_on_standard_error(arguments, settings, closed, unbuffered):
    done = subprocess.run(
        ["bash", "-c", f"{sys.executable} -m service {' '.join(arguments)} {closed}"],
        env={**clean_environment(), **settings, "PYTHONUNBUFFERED": unbuffered},
        capture_output=True,
        check=False,
    )

    assert done.returncode == 2


def test_an_unknown_command_is_reported_with_the_known_ones():
    status, lines = run_to_end("nonsense")

    assert status == 2
    assert lines[-1].startswith("s3-signer: error: argument COMMAND: invalid choice: 'nonsense'")
    assert all(command in lines[-1] for command in ("serve", "openapi", "rekey"))
