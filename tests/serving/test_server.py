import contextlib
import http.client
import json
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from processes import ServiceProcess, clean_environment, read_to_end, run_to_end
from support.accounts import KEYS
from support.pipes import fill_pipe
from support.service import running
from support.waiting import eventually

import service

pytestmark = pytest.mark.heavy  # it starts many processes

CLOSE = b"Host: localhost\r\nConnection: close\r\n"


def parsed(answer):
    """Status, headers in lower case, and body of a raw answer."""
    head, _, body = answer.partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines)
    return int(status.split()[1]), headers, body


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_service_whose_log_nobody_reads_serves_and_stops(workers):
    reader, writer = os.pipe()
    fill_pipe(writer)
    port = free_port()
    settings = {"SIGNER_PORT": str(port), "SIGNER_WORKERS": workers, "SIGNER_STORE_URL": "redis://127.0.0.1:1"}
    process = subprocess.Popen([sys.executable, "-m", "service"], env=clean_environment() | settings, stderr=writer)
    try:
        assert eventually(lambda: is_live(port), seconds=60)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 0
    finally:
        process.kill()
        process.wait()
        os.close(reader)
        os.close(writer)


def is_live(port):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    with contextlib.closing(connection), contextlib.suppress(OSError):
        connection.request("GET", "/live")
        return connection.getresponse().status == 200
    return False


def test_the_start_is_one_log_line_and_a_warning_for_each_risk(service):
    warnings = [entry["message"] for entry in service.log if entry.get("level") == "WARNING"]

    assert re.fullmatch(
        r"s3-signer \S+ listens on http://127\.0\.0\.1:\d+; store: memory; authentication: none",
        service.wait_for("listens on"),
    )
    assert service.wait_for("No authentication: everybody on this machine can sign with every account")
    assert eventually(lambda: len([entry for entry in service.log if entry.get("level") == "WARNING"]) >= 2), warnings
    assert service.wait_for("Accounts are kept only in memory")


def test_an_open_address_without_authentication_is_a_warning():
    with running(SIGNER_HOST="0.0.0.0", SIGNER_AUTH="none", SIGNER_PROT="1") as process:  # noqa: S104
        assert process.wait_for("No authentication: everybody who reaches it can sign with every account")
        assert process.wait_for("SIGNER_PROT is no setting of this version and does nothing")


@pytest.mark.parametrize(("url", "warned"), [("http://127.0.0.1:9/jwks", True), ("https://127.0.0.1:9/jwks", False)])
def test_a_key_set_over_http_is_a_warning(url, warned):
    jwt = {"SIGNER_JWT_ISSUER": "i", "SIGNER_JWT_AUDIENCE": "a", "SIGNER_JWT_JWKS": url}
    with running(SIGNER_ROOT_CLIENT_ID="root", SIGNER_ROOT_CLIENT_SECRET="a root secret, long", **jwt) as process:
        process.wait_for("Accounts are kept only in memory")
        process.stop()

        assert any("SIGNER_JWT_JWKS is an http URL" in message for message in process.messages) is warned


def test_the_service_serves(service):
    status, headers, body = parsed(service.exchange(b"GET /live HTTP/1.1\r\nX-Request-Id: mine\r\n" + CLOSE + b"\r\n"))

    assert (status, body) == (200, b'{"status":"pass"}')
    assert headers["x-request-id"] == "mine"
    assert float(headers["x-duration"]) >= 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_on_a_signal_the_service_finishes_requests_and_ends(number):
    body = json.dumps({"id": "a", **KEYS}).encode()
    with running() as process, process.connect() as upload, process.connect() as idle:
        upload.sendall(b"PUT /AwsAccount HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(body))
        upload.sendall(body[:10])
        time.sleep(0.1)
        os.kill(process.pid, number)
        process.wait_for(f"Stopping on {number.name}")
        time.sleep(0.1)
        with pytest.raises(ConnectionRefusedError):
            process.connect()
        upload.sendall(body[10:])
        status, headers, _ = parsed(read_to_end(upload))

        assert (status, headers["connection"]) == (201, "close")
        assert read_to_end(idle) == b""
        assert process.ended() == 0
        assert process.messages[-1] == "Stopped"


def test_a_closed_terminal_ends_the_service_as_a_sigterm_does(tmp_path):
    with running(SIGNER_SOCKET=str(tmp_path / "s")) as process, process.connect() as connection:
        connection.sendall(b"PUT /AwsAccount/a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{")
        time.sleep(0.1)
        os.kill(process.pid, signal.SIGHUP)
        process.wait_for("Stopping on SIGHUP")
        connection.sendall(b"}")
        status, _, _ = parsed(read_to_end(connection))

        assert status == 201
        assert process.ended() == 0
        assert not (tmp_path / "s").exists()


def test_nohup_keeps_the_service_running():
    ignored = "import signal, sys; signal.signal(signal.SIGHUP, signal.SIG_IGN)"
    code = f"{ignored}; from service.__main__ import main; sys.exit(main([]))"
    with running(code=code) as process:
        os.kill(process.pid, signal.SIGHUP)
        status, _, _ = parsed(process.exchange(b"GET /live HTTP/1.1\r\n" + CLOSE + b"\r\n"))

        assert status == 200
        assert process.stop() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_a_signal_that_the_parent_has_blocked_ends_the_service(number):
    blocked = f"import signal, sys; signal.pthread_sigmask(signal.SIG_BLOCK, [{int(number)}])"
    code = f"{blocked}; from service.__main__ import main; sys.exit(main([]))"
    with running(code=code) as process:
        os.kill(process.pid, number)

        assert process.ended() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
def test_while_draining_the_service_serves_but_is_not_ready(number):
    process = ServiceProcess(SIGNER_DRAIN_SECONDS="1")
    os.kill(process.pid, number)
    process.wait_for("Stopping on SIG")
    time.sleep(0.2)
    ready, _, _ = parsed(process.exchange(b"GET /ready HTTP/1.1\r\nHost: localhost\r\n\r\n"))
    live, headers, _ = parsed(process.exchange(b"GET /live HTTP/1.1\r\nHost: localhost\r\n\r\n"))

    assert (ready, live, headers["connection"]) == (503, 200, "close")
    assert process.stop() == 0


@pytest.mark.parametrize(
    "signals", [[signal.SIGTERM, signal.SIGTERM], [signal.SIGTERM, signal.SIGINT], [signal.SIGINT]], ids=str
)
def test_a_second_signal_and_a_sigint_end_the_drain_early(signals):
    process = ServiceProcess(SIGNER_DRAIN_SECONDS="300")
    for number in signals:
        os.kill(process.pid, number)
        process.wait_for(f"Stopping on {signals[0].name}")

    assert process.ended() == 0
    assert process.messages[-1] == "Stopped"


def test_the_file_of_a_unix_socket_is_removed_at_the_end_unless_another_has_replaced_it(tmp_path):
    path, moved = tmp_path / "s", tmp_path / "moved"
    with running(SIGNER_SOCKET=str(path)):
        assert path.is_socket()
    assert not path.exists()
    with running(SIGNER_SOCKET=str(path)):
        path.rename(moved)
        path.touch()
    assert (path.exists(), moved.is_socket()) == (True, True)


def test_a_taken_port_ends_the_start_with_one_line(service):
    port = service.url.rsplit(":", 1)[1]
    status, (line,) = run_to_end(SIGNER_PORT=port)

    assert (status, line.startswith("s3-signer: ")) == (1, True)
    assert f"Cannot listen on 127.0.0.1:{port}: Address already in use" in line
    assert "SIGNER_PORT" in line


@pytest.mark.parametrize(
    ("variable", "other"), [("SIGNER_PORT", {}), ("SIGNER_OPS_PORT", {"SIGNER_PORT": "0"})], ids=["port", "ops port"]
)
def test_a_port_that_is_taken_after_it_is_bound_ends_the_start_with_one_line(variable, other):
    """The kernel lets several processes bind a port before one of them listens."""
    with socket.socket() as first:
        first.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        first.bind(("127.0.0.1", 0))
        port = first.getsockname()[1]
        code = (
            "import socket, sys; from service.__main__ import main; from service.serving import listening;"
            "bind = listening.bind;"
            f"listening.bind = lambda *a, **o: (bind(*a, **o), socket.socket(fileno={first.fileno()}).listen())[0];"
            "sys.exit(main([]))"
        )
        ended = subprocess.run(
            [sys.executable, "-c", code],
            env={**clean_environment(), **other, variable: str(port)},
            pass_fds=[first.fileno()],
            cwd=Path(__file__).parents[2],
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )

    assert ended.stderr.splitlines()[-1] == (
        f"s3-signer: Cannot listen on 127.0.0.1:{port}: Address already in use. "
        f"Stop what is there, or choose another place with {variable}"
    )
    assert ended.returncode == 1
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"SIGNER_PORT": "tcp://10.0.0.1:8080"}, "s3-signer: SIGNER_PORT looks like a Kubernetes service link"),
        ({"SIGNER_HOST": "0.0.0.0"}, "s3-signer: SIGNER_HOST is 0.0.0.0, which others can reach"),  # noqa: S104
    ],
    ids=["wrong", "contradiction"],
)
def test_a_wrong_setting_ends_the_start_with_one_line(settings, message):
    status, (line,) = run_to_end(**settings)

    assert (status, line.startswith(message)) == (2, True)


@pytest.mark.skipif(not Path("/proc/self/limits").exists(), reason="limits are read from Linux' /proc")
def test_core_dumps_are_disabled(service):
    limits = Path(f"/proc/{service.pid}/limits").read_text()

    # 0 if the hard limit is 0.
    assert re.search(r"^Max core file size +([01]) +\1 ", limits, re.MULTILINE)


def test_the_command_line_prints_version_and_help():
    made = [
        subprocess.run([sys.executable, "-m", "service", option], capture_output=True, text=True, check=True).stdout
        for option in ("--version", "--help")
    ]

    assert made[0] == f"{service.__version__}\n"
    assert "SIGNER_*" in made[1]


@pytest.mark.parametrize("mode", ["0600", "0666"])
def test_a_unix_socket_has_its_mode_and_replaces_a_stale_one(tmp_path, mode):
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(path))
    with running(SIGNER_SOCKET=str(path), SIGNER_SOCKET_MODE=mode, SIGNER_HOST="0.0.0.0") as process:  # noqa: S104
        status, _, _ = parsed(process.exchange(b"GET /live HTTP/1.1\r\nHost: anything\r\nConnection: close\r\n\r\n"))

        assert (process.url, status) == (f"unix:{path}", 200)
        assert stat.S_IMODE(path.stat().st_mode) == int(mode, 8)


def test_a_socket_in_use_is_not_replaced(tmp_path):
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as live:
        live.bind(str(path))
        live.listen()
        status, (line,) = run_to_end(SIGNER_SOCKET=str(path))

        assert status == 1
        assert f"Cannot listen on {path}: Address already in use" in line
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))


@pytest.mark.parametrize("workers", ["1", "2"])
def test_of_two_services_that_bind_a_unix_socket_at_once_the_first_ends(own_redis, tmp_path, workers):
    """Nobody listens on the first one's socket yet, so that it looks stale."""
    path = tmp_path / "s"
    code = (
        "import sys; from pathlib import Path;"
        "from service.__main__ import main; from service.serving import listening;"
        "bind, made = listening.bind, [];"
        "again = lambda path: made.append(listening.bind_path(path, 0o600));"
        f"listening.bind = lambda *a, **o: (bind(*a, **o), again(Path({str(path)!r})))[0];"
        "sys.exit(main([]))"
    )
    status, lines = run_to_end(
        code=code, SIGNER_SOCKET=str(path), SIGNER_STORE_URL=own_redis.url, SIGNER_WORKERS=workers
    )

    message = (
        f"s3-signer: Cannot listen on {path}: another process has removed or replaced the socket. "
        "Stop what is there, or choose another place with SIGNER_SOCKET"
    )
    assert (status, lines) == (1, [message])
    assert path.is_socket()


@pytest.mark.parametrize("place", ["nope/s", "file", "x" * 200])
def test_a_socket_that_cannot_be_created_ends_the_start_with_one_line(tmp_path, place):
    (tmp_path / "file").write_text("precious")
    status, (line,) = run_to_end(SIGNER_SOCKET=str(tmp_path / place))

    assert (status, "SIGNER_SOCKET" in line) == (1, True)
    assert (tmp_path / "file").read_text() == "precious"


GARBAGE = {
    "NUL": b"\x00\x01\x02\r\n\r\n",
    "an unknown method": b"FOO / HTTP/1.1\r\n\r\n",
    "another version": b"GET / HTTP/7.7\r\n\r\n",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "raw bytes in a path": b"GET /\xff HTTP/1.1\r\n" + CLOSE + b"\r\n",
    "a target without a slash": b"GET live HTTP/1.1\r\n" + CLOSE + b"\r\n",
    "a target too long": b"GET /" + b"a" * 10_000 + b" HTTP/1.1\r\n" + CLOSE + b"\r\n",
    "a header too long": b"GET / HTTP/1.1\r\nX: " + b"a" * 100_000 + b"\r\n\r\n",
    "a header without a colon": b"GET / HTTP/1.1\r\nX\r\n\r\n",
    "a folded header": b"GET / HTTP/1.1\r\nX: a\r\n b\r\n\r\n",
    "a control character in a header": b"GET / HTTP/1.1\r\nX: \x00\r\n\r\n",
    "two hosts": b"GET /live HTTP/1.1\r\nHost: localhost\r\n" + CLOSE + b"\r\n",
    "no host": b"GET /live HTTP/1.1\r\nConnection: close\r\n\r\n",
    "two lengths": b"PUT /AwsAccount HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n" + CLOSE + b"\r\nab",
    "length and chunks": b"PUT /x HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n" + CLOSE + b"\r\n",
    "a negative length": b"PUT /AwsAccount HTTP/1.1\r\nContent-Length: -1\r\n" + CLOSE + b"\r\n",
    "a malformed chunk": b"PUT /AwsAccount HTTP/1.1\r\nTransfer-Encoding: chunked\r\n" + CLOSE + b"\r\nzz\r\n",
    "a malformed absolute target": b"GET http://[/live HTTP/1.1\r\n" + CLOSE + b"\r\n",
}


@pytest.mark.parametrize("garbage", GARBAGE.values(), ids=GARBAGE)
def test_malformed_requests_are_rejected_and_the_process_keeps_serving(service, garbage):
    before = len(service.log)
    status, _, _ = parsed(service.exchange(garbage))

    assert status == 400
    assert parsed(service.exchange(b"GET /live HTTP/1.1\r\n" + CLOSE + b"\r\n"))[0] == 200
    assert not [entry for entry in service.log[before:] if "exc_info" in entry or "logger" not in entry]


@pytest.mark.parametrize(
    ("target", "value", "fields", "status"),
    [
        (8190, 1, 0, 404),
        (8191, 1, 0, 400),
        (1, 8189, 0, 200),
        (1, 8190, 0, 400),
        # Each request has three more headers.
        (1, 1, 125, 200),
        (1, 1, 126, 400),
    ],
)
def test_heads_up_to_the_documented_limits_are_accepted(service, target, value, fields, status):
    lines = [b"GET /%s HTTP/1.1" % (b"a" * (target - 1)), b"X: %s" % (b"a" * value), *[b"Y: z"] * fields]

    assert parsed(service.exchange(b"\r\n".join([*lines, CLOSE]) + b"\r\n"))[0] == status


@pytest.mark.parametrize("line", [b"GET / HTTP/1.1\r\nX", b"G@T / HTTP/1.1"], ids=["header", "method"])
def test_a_rejected_request_is_one_log_line(line):
    # A process of its own, because a line of an earlier test may come late.
    with running() as process:
        process.exchange(line + b"\r\n\r\n")

        assert eventually(lambda: _lines_of_aiohttp(process))
        (entry,) = _lines_of_aiohttp(process)
    assert entry["level"] == "ERROR"
    assert entry["message"].startswith("Error handling request from 127.0.0.1: ")
    assert "\n" not in entry["message"]


def _lines_of_aiohttp(process):
    return [entry for entry in process.log if entry["logger"] == "aiohttp.server"]


@pytest.mark.parametrize(
    ("request_line", "status"),
    [
        (b"GET http://localhost/live HTTP/1.1", 200),
        (b"GET http://elsewhere.example/live HTTP/1.1", 200),
        (b"GET http://localhost HTTP/1.1", 404),
        (b"GET http://localhost/AwsAccount/../live HTTP/1.1", 404),
        (b"CONNECT localhost:80 HTTP/1.1", 404),
        (b"GET /live?_pretty=%zz HTTP/1.1", 400),
        (b"GET /aws/storage/a/bb/k#f HTTP/1.1", 400),
        (b"GET /aws/storage/a/bb/k# HTTP/1.1", 400),
        (b"GET /AwsAccount/a#f HTTP/1.1", 400),
        (b"GET /aws/storage/a/bb/../../../../live HTTP/1.1", 422),
        (b"GET /aws/storage/a/bb/%2e%2e/k HTTP/1.1", 422),
        (b"GET //aws/storage/a/bb/k HTTP/1.1", 404),
        (b"GET /aws%2Fstorage/a/bb/k HTTP/1.1", 404),
        (b"GET http://localhost/aws/storage/a/bb/..%2fk HTTP/1.1", 422),
        (b"PROPFIND /AwsAccount HTTP/1.1", 405),
        (b"GET /live HTTP/1.0", 200),
    ],
)
def test_every_form_of_target_gets_a_response(service, request_line, status):
    actual, headers, body = parsed(service.exchange(request_line + b"\r\n" + CLOSE + b"\r\n"))

    assert actual == status
    assert "x-request-id" in headers
    assert json.loads(body).get("resourceType") == (None if status == 200 else "OperationOutcome")


def test_an_absolute_target_names_the_same_account(service):
    body = json.dumps({"id": "absolute", **KEYS}).encode()
    put = b"PUT http://localhost/AwsAccount HTTP/1.1\r\nContent-Length: %d\r\n" % len(body) + CLOSE + b"\r\n" + body
    get = b"GET http://localhost/aws/storage/absolute/bucket/%2525%2F/ HTTP/1.1\r\n" + CLOSE + b"\r\n"

    assert parsed(service.exchange(put))[0] == 201
    status, _, answer = parsed(service.exchange(get))
    assert (status, "/%2525//?" in json.loads(answer)["url"]) == (200, True)


def test_rejected_requests_are_not_quoted_in_logs_and_responses(service):
    before = len(service.log)
    heads = [b"Authorization Basic s3cr3t", b"Authorization: Basic s3cr3t\x00", b"X: " + b"s3cr3t" * 9000]
    answers = [service.exchange(b"GET / HTTP/1.1\r\n" + head + b"\r\n\r\n") for head in heads]
    answers.append(service.exchange(b"GET http://u:s3cr3t@h:99999/ HTTP/1.1\r\n" + CLOSE + b"\r\n"))

    assert [parsed(answer)[0] for answer in answers] == [400] * 4
    assert {parsed(answer)[1]["x-content-type-options"] for answer in answers} == {"nosniff"}
    assert eventually(lambda: len(service.log) >= before + 4)
    assert "s3cr3t" not in str(service.log[before:]) + str(answers)


def test_pipelined_requests_are_answered_in_order(service):
    one = b"GET /live HTTP/1.1\r\nHost: localhost\r\nX-Request-Id: %d\r\n\r\n"
    answer = service.exchange(
        b"".join(one % number for number in range(20)) + b"GET /nope HTTP/1.1\r\n" + CLOSE + b"\r\n"
    )

    assert re.findall(rb"X-Request-Id: (\d{1,2})\r\n", answer) == [b"%d" % number for number in range(20)]
    assert answer.count(b"HTTP/1.1 200 OK") == 20
    assert b"HTTP/1.1 404 Not Found" in answer


def test_bytes_after_a_body_are_the_next_request(service):
    first = b"POST /AwsAccount HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}"
    unread = b"GET /live HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nGET /"
    answer = service.exchange(first + unread + b"GET /nope HTTP/1.1\r\n" + CLOSE + b"\r\n")

    assert re.findall(rb"HTTP/1.1 (\d+)", answer) == [b"201", b"200", b"404"]


def test_a_client_that_disconnects_during_its_body_logs_nothing(service):
    before = len(service.log)
    for _ in range(3):
        with service.connect() as connection:
            connection.sendall(b"PUT /AwsAccount HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nid: a")
            time.sleep(0.05)
    assert parsed(service.exchange(b"GET /live HTTP/1.1\r\n" + CLOSE + b"\r\n"))[0] == 200
    time.sleep(0.1)

    assert service.log[before:] == []


@pytest.mark.parametrize("length", [2 * 1024 * 1024, 10**15])
def test_a_body_that_is_announced_too_large_is_refused_at_once(service, length):
    with service.connect() as connection:
        connection.sendall(b"PUT /AwsAccount HTTP/1.1\r\nContent-Length: %d\r\n" % length + CLOSE + b"\r\nid: a")
        status = connection.recv(12)

    assert status == b"HTTP/1.1 413"


def test_what_a_client_goes_on_sending_is_drained_within_a_bound(service):
    stop = threading.Event()

    def send(connection):
        try:
            while not stop.is_set():
                connection.sendall(b"a" * 65536)
        except OSError:
            pass

    with service.connect(seconds=10) as connection:
        connection.sendall(b"PUT /AwsAccount HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000000000\r\n\r\n")
        sender = threading.Thread(target=send, args=[connection])
        sender.start()
        answer = read_to_end(connection)
        stop.set()
        sender.join()

    assert parsed(answer)[0] == 413


def test_chunks_over_the_limit_are_refused(service):
    chunk = b"10000\r\n" + b"a" * 0x10000 + b"\r\n"
    head = b"PUT /AwsAccount HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Type: text/yaml\r\n" + CLOSE + b"\r\n"
    status, _, body = parsed(service.exchange(head + chunk * 17 + b"0\r\n\r\n"))

    assert (status, json.loads(body)["id"] if body.startswith(b"{") else body[:36]) == (
        413,
        b"resourceType: OperationOutcome\nid: t",
    )


def test_expect_100_continue_gets_a_100(service):
    body = json.dumps({"id": "expecting", **KEYS}).encode()
    with service.connect() as connection:
        connection.sendall(
            b"PUT /AwsAccount HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: %d\r\n" % len(body) + CLOSE + b"\r\n"
        )
        assert connection.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(body)
        assert parsed(read_to_end(connection))[0] == 201


def test_a_body_that_is_too_large_gets_no_100(service):
    with service.connect() as connection:
        connection.sendall(
            b"PUT /AwsAccount HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 2000000\r\n" + CLOSE + b"\r\n"
        )

        assert connection.recv(12) == b"HTTP/1.1 413"


def test_an_unknown_expectation_is_ignored(service):
    status, _, _ = parsed(service.exchange(b"GET /live HTTP/1.1\r\nExpect: miracles\r\n" + CLOSE + b"\r\n"))

    assert status == 200


def test_a_secret_is_in_no_response_and_no_log_line(service):
    body = json.dumps({"id": "quiet", **KEYS}).encode()
    connection = http.client.HTTPConnection(service.url.removeprefix("http://"))
    responses = []
    for method, path, data in [
        ("PUT", "/AwsAccount", body),
        ("PUT", "/AwsAccount", body[:-1]),
        ("PUT", "/AwsAccount", body.replace(b"}", b', "region": "-"}')),
        ("PATCH", "/AwsAccount/quiet", body),
        ("GET", "/AwsAccount", None),
        ("GET", "/aws/storage/quiet/bucket/k", None),
        ("DELETE", "/AwsAccount/quiet", None),
    ]:
        connection.request(method, path, data, {"Content-Type": "application/json"})
        response = connection.getresponse()
        responses.append(f"{response.status} {response.headers} {response.read()}")
    connection.close()

    assert KEYS["secret-access-key"] not in f"{responses} {service.log}"
    assert [text[:3] for text in responses] == ["201", "400", "422", "200", "200", "200", "200"]


@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.parametrize("socket_name", ["", "s"], ids=["port", "unix socket"])
def test_no_accepted_connection_is_lost_when_the_port_closes(own_redis, workers, tmp_path, socket_name):
    """Each of many connections gets a response, or is refused."""
    path = str(tmp_path / socket_name) if socket_name else ""
    with running(SIGNER_STORE_URL=own_redis.url, SIGNER_WORKERS=workers, SIGNER_SOCKET=path) as process:
        lost, answered = [], []
        threads = [threading.Thread(target=ask_until_refused, args=(process, answered, lost)) for _ in range(16)]
        for thread in threads:
            thread.start()
        assert eventually(lambda: len(answered) > 200)
        process.stop()
        for thread in threads:
            thread.join(10)

    assert lost == []
    assert len(answered) > 200


def test_no_accepted_connection_is_lost_when_the_operations_port_closes():
    port = free_port()
    with running(SIGNER_OPS_PORT=str(port)) as process, contextlib.ExitStack() as stack:
        connections = []
        os.kill(process.pid, signal.SIGTERM)
        with contextlib.suppress(ConnectionRefusedError):
            while True:
                connections.append(stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=10)))
                connections[-1].sendall(b"GET /live HTTP/1.1\r\nHost: localhost\r\n\r\n")
                time.sleep(0.0005)
        answers = [connection.recv(65536) for connection in connections]

    assert answers
    assert {answer[:12] for answer in answers} == {b"HTTP/1.1 200"}


def ask_until_refused(process, answered, lost):
    while True:
        try:
            connection = process.connect()
        except (ConnectionRefusedError, FileNotFoundError):
            return
        with connection:
            try:
                connection.sendall(b"GET /live HTTP/1.1\r\nHost: localhost\r\n\r\n")
                answer = connection.recv(65536)
            except OSError as error:
                lost.append(repr(error))
                continue
        (answered if answer.startswith(b"HTTP/1.1 200") else lost).append(answer)


def test_a_connection_accepted_before_shutdown_may_send_its_first_request():
    with running() as process, process.connect() as connection:
        # A response on a later connection shows that this one is accepted.
        process.exchange(b"GET /live HTTP/1.1\r\n" + CLOSE + b"\r\n")
        os.kill(process.pid, signal.SIGTERM)
        process.wait_for("Stopping on SIGTERM")
        time.sleep(0.4)
        connection.sendall(b"GET /live HTTP/1.1\r\nHost: localhost\r\n\r\n")

        assert read_to_end(connection).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.parametrize("names", [["ENCRYPTION_KEYS_FILE"], ["TLS_CERT", "TLS_KEY"], ["INIT_BUNDLE"]])
def test_a_missing_file_of_a_setting_is_a_wrong_setting(names, workers, tmp_path):
    settings = {f"SIGNER_{name}": str(tmp_path / "missing") for name in names}
    status, (*_, line) = run_to_end(
        SIGNER_PORT="0",
        SIGNER_STORE_URL="redis://127.0.0.1:1",
        SIGNER_WORKERS=workers,
        **settings,
    )

    assert (status, line.startswith(f"s3-signer: SIGNER_{names[0]} ")) == (2, True)
    assert line.endswith("No such file or directory")
