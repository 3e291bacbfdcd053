"""Several worker processes on one address, as an operator sees them."""

import asyncio
import json
import os
import re
import select
import signal
import socket
import stat
import subprocess
import sys
import time
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path

import pytest
from plugins.redis_server import RedisServer
from processes import clean_environment, read_to_end, run_to_end
from redis import Redis
from support.accounts import KEYS
from support.logins import basic
from support.service import running
from support.waiting import eventually

from service.serving import supervisor, worker_process
from service.serving.worker import MAX_MISSED_AT_START, MAX_MISSED_HEARTBEATS
from service.settings import load

CLOSE = b"Host: localhost\r\nConnection: close\r\n\r\n"
LIVE = b"GET /live HTTP/1.1\r\n" + CLOSE
SIGN = b"GET /aws/storage/shared/bucket/k HTTP/1.1\r\n" + CLOSE

two_workers = partial(running, SIGNER_WORKERS="2")

pytestmark = [
    pytest.mark.heavy,  # it starts many processes
    pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="children are read from Linux' /proc"),
]


@pytest.fixture
def store(own_redis):
    """The URL of a server with one account."""
    return with_account(own_redis.url)


def with_account(url):
    with Redis.from_url(url) as client:
        client.hset("AwsAccount:shared", mapping=KEYS)
    return url


@pytest.fixture(scope="module")
def both(redis_binary, tmp_path_factory):
    """Two workers and their port for operations, for all tests that leave them as they are."""
    server = RedisServer(redis_binary, tmp_path_factory.mktemp("redis"))
    server.start()
    with two_workers(measured=False, SIGNER_STORE_URL=with_account(server.url), SIGNER_OPS_PORT="0") as process:
        yield process
    server.kill()


def parent_of(pid):
    """The parent and the state of a process; None if it is gone."""
    with suppress(OSError):
        state, parent = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[:2]
        return None if state == "Z" else int(parent)
    return None


def workers(process):
    pids = [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]
    return {pid for pid in pids if parent_of(pid) == process.pid}


def status_of(answer):
    return int(answer.split(b" ", 2)[1]) if answer else None


def operations_at(process):
    port = re.search(r"operations: http://127\.0\.0\.1:(\d+)", process.wait_for("operations: "))[1]

    def ask(path):
        with socket.create_connection(("127.0.0.1", int(port)), timeout=5) as connection:
            connection.sendall(b"GET %s HTTP/1.1\r\n" % path.encode() + CLOSE)
            return read_to_end(connection).decode()

    return ask


def metric(text, name):
    return sum(float(value) for value in re.findall(rf"^s3_signer_{name}(?:{{.*}})? (\S+)$", text, re.MULTILINE))


def test_the_metrics_of_each_process_have_its_id(both):
    shown = operations_at(both)("/metrics")

    assert {int(pid) for pid in re.findall(r'^process_resident_memory_bytes\{pid="(\d+)"\}', shown, re.MULTILINE)} == (
        workers(both)
    )


def test_requests_in_flight_are_the_sum_of_all_workers(both):
    body = json.dumps(KEYS).encode()
    head = b"PUT /AwsAccount/slow HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(body)
    ask = operations_at(both)
    with ExitStack() as stack:
        uploads = [stack.enter_context(both.connect()) for _ in range(8)]
        for upload in uploads:
            upload.sendall(head)

        # One more is the request for the metrics.
        assert eventually(lambda: metric(ask("/metrics"), "requests_in_flight") == len(uploads) + 1)


def test_the_start_is_logged_once_for_all_workers(store):
    with two_workers(SIGNER_STORE_URL=store) as process:
        assert len(workers(process)) == 2
        assert re.search(r"listens on \S+; store: redis://\S+; authentication: none; workers: 2$", process.messages[0])
        assert eventually(lambda: len(process.messages) >= 2)
        assert process.stop() == 0

    assert [
        bool(re.match(start, message))
        for start, message in zip(
            ["s3-signer ", "Secrets are stored unencrypted", "No authentication", "Stopping on SIGTERM", "Stopped"],
            process.messages,
            strict=True,
        )
    ] == [True] * 5


def test_every_worker_serves_and_metrics_are_the_sum_of_all(both):
    ask = operations_at(both)
    before = metric(ask("/metrics"), "urls_signed_total")
    assert {status_of(both.exchange(SIGN)) for _ in range(50)} == {200}
    assert eventually(lambda: metric_of(ask, "urls_signed_total") == before + 50)
    counts = {metric(ask("/metrics"), "urls_signed_total") for _ in range(10)}

    assert counts == {before + 50}
    assert metric(ask("/metrics"), "processes") == 2


def test_no_worker_writes_a_core_dump(both):
    limits = [Path(f"/proc/{pid}/limits").read_text() for pid in [both.pid, *workers(both)]]

    assert len(limits) == 3
    assert all(re.search(r"^Max core file size +([01]) +\1 ", text, re.MULTILINE) for text in limits)


def test_each_worker_gets_its_share_of_the_connections(both):
    for stopped in workers(both):
        os.kill(stopped, signal.SIGSTOP)
        connections = [both.connect() for _ in range(30)]
        for connection in connections:
            connection.sendall(SIGN)
        assert eventually(lambda connections=connections: answered(connections))
        early = answered(connections)
        os.kill(stopped, signal.SIGCONT)
        answers = [status_of(read_to_end(connection)) for connection in connections]
        for connection in connections:
            connection.close()

        # The connections of the suspended worker wait for it.
        assert 0 < len(early) < 30
        assert answers == [200] * 30


def answered(connections):
    readable, _, _ = select.select(connections, [], [], 0.2)
    return readable


def test_a_replaced_worker_does_not_accept_a_root_secret_that_was_replaced(store, tmp_path):
    first, second, path = "the first root secret", "the second root secret", tmp_path / "root"
    path.write_text(first)

    used, refused = "new contents, which are in use now", "contents that cannot be used: it "

    def statuses(secret):
        login = b"GET /Client HTTP/1.1\r\nAuthorization: %s\r\n" % basic("root", secret).encode()
        return {status_of(process.exchange(login + CLOSE)) for _ in range(6)}

    def told(times, text):
        return eventually(lambda: sum(text in message for message in process.messages) == times)

    with two_workers(
        SIGNER_STORE_URL=store, SIGNER_ROOT_CLIENT_ID="root", SIGNER_ROOT_CLIENT_SECRET_FILE=str(path)
    ) as process:
        path.write_text(second)
        assert told(2, used)
        path.write_text("short")
        for victim in workers(process):
            os.kill(victim, signal.SIGKILL)
        assert told(2, refused)
        assert eventually(lambda: serves(process))
        while_invalid = statuses(first)
        path.write_text(second)

        assert 200 not in while_invalid
        assert told(4, used)
        assert statuses(second) == {200}


def serves(process):
    with suppress(OSError):
        return status_of(process.exchange(LIVE)) == 200
    return False


def test_a_killed_worker_is_replaced_and_its_counts_stay(store):
    with two_workers(SIGNER_STORE_URL=store, SIGNER_OPS_PORT="0") as process:
        ask = operations_at(process)
        assert {status_of(process.exchange(SIGN)) for _ in range(30)} == {200}
        assert eventually(lambda: metric_of(ask, "urls_signed_total") == 30)
        before = workers(process)
        for victim in before:
            os.kill(victim, signal.SIGKILL)
        assert eventually(lambda: len(workers(process)) == 2 and metric_of(ask, "processes") == 2)
        after = workers(process)
        assert eventually(lambda: status_of(process.exchange(SIGN)) == 200)

        assert not before & after
        assert eventually(lambda: metric_of(ask, "urls_signed_total") >= 31)
        lines = [message for message in process.messages if "Worker process" in message]
        assert sorted(lines) == [
            f"Worker process {pid} ended by SIGKILL; another starts in 0.1 seconds" for pid in sorted(before)
        ]


def test_a_killed_worker_is_replaced_although_the_parent_has_ignored_the_ends_of_children(store):
    ignored = "import signal, sys; signal.signal(signal.SIGCHLD, signal.SIG_IGN)"
    code = f"{ignored}; from service.__main__ import main; sys.exit(main([]))"
    with two_workers(code=code, SIGNER_STORE_URL=store) as process:
        before = workers(process)
        os.kill(min(before), signal.SIGKILL)
        assert eventually(lambda: len(workers(process) - before) == 1)

        assert process.stop() == 0


def test_a_worker_that_ends_loses_no_counts(store):
    with two_workers(SIGNER_STORE_URL=store, SIGNER_OPS_PORT="0") as process:
        before = workers(process)
        assert {status_of(process.exchange(SIGN)) for _ in range(30)} == {200}
        for pid in before:
            os.kill(pid, signal.SIGTERM)
        assert eventually(lambda: len(workers(process) - before) == 2)

        assert eventually(lambda: metric_of(operations_at(process), "urls_signed_total") == 30)


def test_the_files_of_dead_workers_are_removed_or_taken_over(store):
    with two_workers(measured=False, SIGNER_STORE_URL=store) as process:
        (directory,) = metrics_directories(workers(process))
        for pid in (dead := workers(process)):
            # Workers have no gauge of this mode, so only the parent can remove the file.
            (directory / f"gauge_liveall_{pid}.db").touch()
            os.kill(pid, signal.SIGKILL)

        assert eventually(lambda: not any((directory / f"gauge_liveall_{pid}.db").exists() for pid in dead))
        assert eventually(lambda: len(workers(process) - dead) == 2)
        assert eventually(lambda: pids_of_files(directory) == {str(pid) for pid in workers(process)})


def pids_of_files(directory):
    return {path.stem.rpartition("_")[2] for path in directory.iterdir()}


def metric_of(ask, name):
    with suppress(OSError):
        return metric(ask("/metrics"), name)
    return None


# In the workers, standard error is closed, as with `2>&-`, or its disk is full.
NO_STANDARD_ERROR = """
import os, sys
from service.__main__ import main
fork = os.fork
def fork_without():
    pid = fork()
    if pid == 0:
        sys.stderr = open(os.environ["STDERR"], "w") if os.environ["STDERR"] else None
        print("not flushed", file=sys.stderr)
    return pid
os.fork = fork_without
raise SystemExit(main(["serve"]))
"""


@pytest.mark.parametrize("stderr", ["", "/dev/full"])
def test_a_worker_that_ends_ends_no_other_one_if_standard_error_cannot_be_written(store, stderr):
    with two_workers(measured=False, code=NO_STANDARD_ERROR, SIGNER_STORE_URL=store, STDERR=stderr) as process:
        before = workers(process)
        os.kill(max(before), signal.SIGTERM)

        assert eventually(lambda: len(workers(process) - before) == 1)
        assert workers(process) & before == {min(before)}
        assert all(directory.exists() for directory in metrics_directories(workers(process)))
        assert process.messages[-1].endswith("ended with status 0; another starts in 0.1 seconds")


def test_the_service_keeps_serving_while_a_worker_is_replaced(store):
    with two_workers(measured=False, SIGNER_STORE_URL=store) as process:
        os.kill(min(workers(process)), signal.SIGKILL)
        process.wait_for("another starts")

        # The kernel sends no connection to the dead worker.
        assert {status_of(process.exchange(SIGN)) for _ in range(20)} == {200}


def test_the_restart_delay_doubles_with_each_failure(store):
    with two_workers(measured=False, SIGNER_STORE_URL=store) as process:
        for number in range(1, 4):
            assert eventually(lambda: len(workers(process)) == 2)
            os.kill(max(workers(process)), signal.SIGKILL)
            assert eventually(lambda number=number: len(pauses(process)) == number)

        assert pauses(process) == [0.1, 0.2, 0.4]


def pauses(process):
    return [float(found[1]) for message in process.messages if (found := re.search(r"starts in (\S+) sec", message))]


@pytest.mark.parametrize(
    "number",
    [signal.SIGTERM, signal.SIGINT],
    ids=lambda number: number.name,
)
def test_on_a_signal_all_workers_finish_their_requests_and_end(store, own_redis, number):
    with two_workers(SIGNER_STORE_URL=store, SIGNER_CACHE_SIZE="0") as process:
        pids = workers(process)
        own_redis.hang()
        connections = [process.connect() for _ in range(8)]
        for connection in connections:
            connection.sendall(SIGN)
        time.sleep(0.1)
        os.kill(process.pid, number)
        process.wait_for(f"Stopping on {number.name}")
        own_redis.resume()
        answers = [read_to_end(connection) for connection in connections]
        for connection in connections:
            connection.close()

        assert {status_of(answer) for answer in answers} == {200}
        assert process.stop() == 0
        assert not any(parent_of(pid) for pid in pids)
        assert process.messages[-1] == "Stopped"


def test_while_draining_all_workers_serve_and_none_is_ready(store):
    with two_workers(SIGNER_STORE_URL=store, SIGNER_OPS_PORT="0", SIGNER_DRAIN_SECONDS="2") as process:
        ask = operations_at(process)
        os.kill(process.pid, signal.SIGTERM)
        process.wait_for("Stopping on SIGTERM")
        assert eventually(lambda: ask("/ready").startswith("HTTP/1.1 503"))

        assert {ask("/ready")[:12] for _ in range(10)} == {"HTTP/1.1 503"}
        assert {status_of(process.exchange(SIGN)) for _ in range(10)} == {200}
        assert process.stop() == 0


def test_a_signal_for_every_process_drains_and_a_second_one_ends_the_drain(store):
    with two_workers(SIGNER_STORE_URL=store, SIGNER_OPS_PORT="0", SIGNER_DRAIN_SECONDS="300") as process:
        ask = operations_at(process)
        # As systemd does: the workers get the signal from it and from their parent.
        for pid in [process.pid, *workers(process)]:
            os.kill(pid, signal.SIGTERM)
        process.wait_for("Stopping on SIGTERM")
        assert eventually(lambda: {ask("/ready")[:12] for _ in range(10)} == {"HTTP/1.1 503"})
        assert {status_of(process.exchange(SIGN)) for _ in range(10)} == {200}

        assert process.stop() == 0


def test_a_closed_terminal_ends_all_workers(store):
    with two_workers(measured=False, SIGNER_STORE_URL=store) as process:
        pids = workers(process)
        (directory,) = metrics_directories(pids)
        for pid in [process.pid, *pids]:
            os.kill(pid, signal.SIGHUP)

        assert process.ended() == 0
        assert process.messages[-1] == "Stopped"
        assert not directory.exists()


def test_a_sigint_ends_all_workers_without_a_drain(store):
    with two_workers(SIGNER_STORE_URL=store, SIGNER_DRAIN_SECONDS="300") as process:
        # As a terminal does.
        for pid in [process.pid, *workers(process)]:
            os.kill(pid, signal.SIGINT)

        assert process.ended() == 0


def test_the_file_of_a_unix_socket_stays_while_one_worker_is_replaced(store, tmp_path):
    path = tmp_path / "s"
    with two_workers(SIGNER_STORE_URL=store, SIGNER_SOCKET=str(path)) as process:
        before = workers(process)
        os.kill(min(before), signal.SIGTERM)
        assert eventually(lambda: len(workers(process) - before) == 1)
        assert status_of(process.exchange(SIGN)) == 200
        process.stop()

        assert not path.exists()


def test_no_worker_outlives_its_parent(store):
    with two_workers(SIGNER_STORE_URL=store) as process:
        pids = workers(process)
        shared = metrics_directories(pids)
        os.kill(process.pid, signal.SIGKILL)
        ended = eventually(lambda: not any(parent_of(pid) for pid in pids))
        for pid in filter(parent_of, pids):
            os.kill(pid, signal.SIGKILL)

        assert (len(pids), ended) == (2, True)
        assert len(shared) == 1
        assert not any(map(Path.exists, shared))


def metrics_directories(pids):
    return {
        Path(line.split()[-1]).parent
        for pid in pids
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines()
        if line.endswith(".db")
    }


def test_the_metrics_directory_is_private_and_removed_at_the_end(store):
    with two_workers(measured=False, SIGNER_STORE_URL=store) as process:
        (directory,) = metrics_directories(workers(process))
        mode = stat.S_IMODE(directory.stat().st_mode)
        process.stop()

        assert (mode, directory.exists()) == (0o700, False)


def test_a_single_process_has_no_child_and_no_metrics_files(store, tmp_path):
    # Another program may have set this variable.
    with running(measured=False, SIGNER_STORE_URL=store, PROMETHEUS_MULTIPROC_DIR=str(tmp_path)) as process:
        assert (workers(process), metrics_directories({process.pid}), list(tmp_path.glob("*.db"))) == (
            set(),
            set(),
            [],
        )


def test_a_taken_port_ends_the_start_with_one_line(store):
    with two_workers(SIGNER_STORE_URL=store, SIGNER_OPS_PORT="0") as process:
        port = process.url.rsplit(":", 1)[1]
        for variable, settings in [
            ("SIGNER_PORT", {"SIGNER_PORT": port, "SIGNER_WORKERS": "2"}),
            ("SIGNER_PORT", {"SIGNER_PORT": port}),
            ("SIGNER_OPS_PORT", {"SIGNER_PORT": "0", "SIGNER_OPS_PORT": port, "SIGNER_WORKERS": "2"}),
        ]:
            status, (line,) = run_to_end(SIGNER_STORE_URL=store, **settings)

            assert status == 1
            assert f"Cannot listen on 127.0.0.1:{port}: Address already in use" in line
            assert line.endswith(variable)


def test_a_failure_of_all_workers_ends_the_start_with_one_line(store):
    status, (line,) = run_to_end(SIGNER_STORE_URL=store, SIGNER_PORT="0", SIGNER_WORKERS="2", AIOHTTP_NO_EXTENSIONS="1")

    assert (status, "without its C parser" in line) == (1, True)


def test_several_workers_cannot_keep_accounts_in_memory():
    status, (line,) = run_to_end(SIGNER_WORKERS="2")

    assert status == 2
    assert line.startswith("s3-signer: SIGNER_WORKERS is 2, and memory:// would give each worker accounts of its own")


def test_workers_share_a_unix_socket(store, tmp_path):
    path = tmp_path / "s"
    with two_workers(
        measured=False, SIGNER_STORE_URL=store, SIGNER_SOCKET=str(path), SIGNER_SOCKET_MODE="0600"
    ) as process:
        assert process.url == f"unix:{path}"
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert status_of(process.exchange(SIGN)) == 200
        for pid in workers(process):
            os.kill(pid, signal.SIGSTOP)
            assert status_of(process.exchange(SIGN)) == 200
            os.kill(pid, signal.SIGCONT)
        os.kill(min(workers(process)), signal.SIGKILL)
        assert {status_of(process.exchange(SIGN)) for _ in range(20)} == {200}
        assert process.stop() == 0


# Heartbeats every 0.2 s, so that a worker is unresponsive after two seconds.
IMPATIENT = """
import signal, sys, time
from service.serving import worker, worker_process
from service.__main__ import main
worker_process.HEARTBEAT_SECONDS, worker.MAX_MISSED_HEARTBEATS = 0.2, 10
# Blocks the event loop of a worker.
signal.signal(signal.SIGUSR1, lambda *_: time.sleep(600))
sys.exit(main(["serve"]))
"""
SILENCE_SECONDS = 2
SILENT = "has not answered for 2 seconds and is killed"


def silent(process):
    return [message for message in process.messages if "has not answered" in message]


@pytest.mark.parametrize("number", [signal.SIGSTOP, signal.SIGUSR1], ids=["stopped", "hung"])
def test_an_unresponsive_worker_is_replaced(store, number):
    with two_workers(measured=False, code=IMPATIENT, SIGNER_STORE_URL=store, SIGNER_OPS_PORT="0") as process:
        before = workers(process)
        stopped = min(before)
        os.kill(stopped, number)
        process.wait_for("another starts")
        assert eventually(lambda: len(workers(process) - before) == 1)
        process_count = eventually(lambda: metric_of(operations_at(process), "processes") == 2)

        assert silent(process) == [f"Worker process {stopped} {SILENT}"]
        assert f"Worker process {stopped} ended by SIGKILL; another starts in 0.1 seconds" in process.messages
        assert before - workers(process) == {stopped}
        assert process_count
        assert {status_of(process.exchange(SIGN)) for _ in range(20)} == {200}
        assert restarts(process) == {"unresponsive": 1.0}


# Of the first processes, as many as OF_THEM hang before their first heartbeat.
HANG_AT_START = """
import os, time
from service.serving import worker, worker_process
from service.__main__ import main
worker_process.HEARTBEAT_SECONDS, worker.MAX_MISSED_AT_START = 0.2, 25
run = worker_process.run
def hang(*args, **options):
    for number in range(int(os.environ["OF_THEM"])):
        try:
            os.mkdir(f"{os.environ['DIRECTORY']}/{number}")
        except FileExistsError:
            continue
        time.sleep(600)
    run(*args, **options)
worker_process.run = hang
raise SystemExit(main(["serve"]))
"""


def test_a_worker_that_hangs_at_the_first_start_is_replaced_while_another_serves(store, tmp_path):
    settings = {"SIGNER_STORE_URL": store, "OF_THEM": "1", "DIRECTORY": str(tmp_path)}
    with two_workers(measured=False, code=HANG_AT_START, **settings) as process:
        assert len(silent(process)) == 1
        assert {status_of(process.exchange(SIGN)) for _ in range(20)} == {200}
        assert process.stop() == 0


def test_workers_that_all_hang_at_the_first_start_end_it(store, tmp_path):
    settings = {"SIGNER_STORE_URL": store, "SIGNER_WORKERS": "2", "OF_THEM": "2", "DIRECTORY": str(tmp_path)}
    status, lines = run_to_end(code=HANG_AT_START, SIGNER_PORT="0", **settings)

    assert status == 1
    assert lines[-1] == "s3-signer: A worker process ended by SIGKILL before it served"


# Heartbeats as in IMPATIENT. The start of a worker takes three seconds, and the event loop runs (wait) or not (hang).
SLOW_START = """
import asyncio, os, time
from service.serving import worker, worker_process
from service.__main__ import main
worker_process.HEARTBEAT_SECONDS, worker.MAX_MISSED_HEARTBEATS = 0.2, 10
run = worker_process.run
def run_slowly(*args):
    from service.signing.presigner import Presigner
    async def prepare(self):
        try:
            os.mkdir(os.environ["DIRECTORY"])
        except FileExistsError:
            return
        await asyncio.sleep(3) if os.environ["HOW"] == "wait" else time.sleep(600)
    Presigner.prepare = prepare
    run(*args)
worker_process.run = run_slowly
raise SystemExit(main(["serve"]))
"""


@pytest.mark.parametrize(("how", "killed"), [("wait", 0), ("hang", 1)])
def test_a_worker_that_starts_slowly_is_replaced_only_if_it_hangs(store, tmp_path, how, killed):
    settings = {"SIGNER_STORE_URL": store, "DIRECTORY": str(tmp_path / "first"), "HOW": how}
    with two_workers(measured=False, code=SLOW_START, **settings) as process:
        assert [message.endswith(SILENT) for message in silent(process)] == [True] * killed
        assert {status_of(process.exchange(SIGN)) for _ in range(20)} == {200}
        assert process.stop() == 0


def restarts(process):
    shown = operations_at(process)("/metrics")
    found = re.findall(r'^s3_signer_worker_restarts_total{reason="(\w+)"} (\S+)$', shown, re.MULTILINE)
    return {reason: float(value) for reason, value in found}


def test_restarts_are_counted_by_reason(store):
    with two_workers(measured=False, SIGNER_STORE_URL=store, SIGNER_OPS_PORT="0") as process:
        assert restarts(process) == {}
        before = workers(process)
        for pid in before:
            os.kill(pid, signal.SIGKILL)
        assert eventually(lambda: len(workers(process) - before) == 2)

        assert eventually(lambda: metric_of(operations_at(process), "worker_restarts_total") == 2)
        assert restarts(process) == {"exited": 2.0}


# The first process that replaces another one ends or hangs before it has taken over the metrics.
FAIL_AT_RESTART = """
import os, signal
from service.serving import worker_process
from service.__main__ import main
run = worker_process.run
def fail(*args):
    if len(args[-1]) == 1:
        os.kill(os.getpid(), signal.Signals[os.environ["BY"]])
    run(*args)
worker_process.run = fail
raise SystemExit(main(["serve"]))
"""


def test_a_worker_that_ends_while_it_starts_is_counted_and_leaves_no_files(store):
    settings = {"SIGNER_STORE_URL": store, "SIGNER_OPS_PORT": "0", "BY": "SIGKILL"}
    with two_workers(measured=False, code=FAIL_AT_RESTART, **settings) as process:
        before = workers(process)
        (directory,) = metrics_directories(before)
        os.kill(min(before), signal.SIGKILL)
        process.wait_for("another starts in 0.2 seconds")

        assert eventually(lambda: metric_of(operations_at(process), "worker_restarts_total") == 2)
        assert restarts(process) == {"exited": 2.0}
        assert pids_of_files(directory) == {str(pid) for pid in workers(process)}


def test_a_worker_that_hangs_while_it_starts_does_not_delay_the_end(store):
    settings = {"SIGNER_STORE_URL": store, "SIGNER_DRAIN_SECONDS": "0", "BY": "SIGSTOP"}
    with two_workers(measured=False, code=FAIL_AT_RESTART, **settings) as process:
        before = workers(process)
        os.kill(min(before), signal.SIGKILL)
        assert eventually(lambda: any(is_stopped(pid) for pid in workers(process) - before))

        assert process.stop() == 0
        assert "Killing the workers that have not ended in time" not in process.messages


# The system refuses one process: the one with this number.
REFUSE_A_PROCESS = """
import errno, itertools, os
from service.__main__ import main
fork, numbers = os.fork, itertools.count(1)
def refuse():
    if next(numbers) == int(os.environ["NUMBER"]):
        raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))
    return fork()
os.fork = refuse
raise SystemExit(main(["serve"]))
"""


def test_a_process_that_the_system_refuses_is_started_later(store):
    settings = {"SIGNER_STORE_URL": store, "SIGNER_OPS_PORT": "0", "NUMBER": "3"}
    with two_workers(measured=False, code=REFUSE_A_PROCESS, **settings) as process:
        before = workers(process)
        os.kill(min(before), signal.SIGKILL)
        process.wait_for("Cannot start a worker process: Resource temporarily unavailable; retrying in 0.2 s")

        assert eventually(lambda: len(workers(process) - before) == 1)
        assert eventually(lambda: restarts(process) == {"exited": 1.0})
        assert process.stop() == 0


def test_a_process_that_the_system_refuses_at_the_start_ends_it_with_one_line(store):
    status, lines = run_to_end(
        code=REFUSE_A_PROCESS, SIGNER_PORT="0", SIGNER_WORKERS="2", SIGNER_STORE_URL=store, NUMBER="2"
    )

    reason = "s3-signer: Cannot start a worker process: Resource temporarily unavailable."
    assert (status, lines) == (1, [f"{reason} Raise the limits of processes and memory, or lower SIGNER_WORKERS"])


def bundle_of(count):
    requests = [{"method": "PUT", "url": f"/AwsAccount/a{number}"} for number in range(count)]
    entries = [{"request": request, "resource": KEYS} for request in requests]
    return {"resourceType": "Bundle", "type": "batch", "entry": entries}


def test_a_signal_while_a_worker_applies_a_bundle_leaves_no_change_without_its_audit_line(own_redis, tmp_path):
    bundle, audit, path = tmp_path / "bundle.json", tmp_path / "audit", tmp_path / "socket"
    bundle.write_text(json.dumps(bundle_of(300)))
    with audit.open("w") as stdout, Redis.from_url(own_redis.url) as client:
        parent = subprocess.Popen(
            [sys.executable, "-m", "service"],
            env={
                **clean_environment(measured=False),
                "SIGNER_WORKERS": "2",
                "SIGNER_SOCKET": str(path),
                "SIGNER_STORE_URL": own_redis.url,
                "SIGNER_INIT_BUNDLE": str(bundle),
            },
            stdout=stdout,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert eventually(lambda: client.exists("AwsAccount:a9"))
        parent.terminate()
        _, log = parent.communicate(timeout=30)
        stored = {key.decode().replace(":", "/") for key in client.scan_iter("AwsAccount:*")}

    assert (parent.returncode, "Cannot listen" in log) == (0, False)
    assert {json.loads(line)["resource"] for line in audit.read_text().splitlines()} == stored


def is_stopped(pid):
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


def test_a_worker_that_is_busy_for_a_short_time_is_not_killed(store):
    with two_workers(measured=False, code=IMPATIENT, SIGNER_STORE_URL=store) as process:
        before = workers(process)
        for _ in range(2):
            for pid in before:
                os.kill(pid, signal.SIGSTOP)
            time.sleep(SILENCE_SECONDS / 2)
            for pid in before:
                os.kill(pid, signal.SIGCONT)
            assert status_of(process.exchange(SIGN)) == 200
            time.sleep(SILENCE_SECONDS / 3)

        assert (workers(process), silent(process)) == (before, [])


def test_while_draining_a_busy_worker_finishes_its_requests(store):
    with two_workers(measured=False, code=IMPATIENT, SIGNER_STORE_URL=store, SIGNER_DRAIN_SECONDS="1") as process:
        pids = workers(process)
        connections = [process.connect(seconds=20) for _ in range(8)]
        for connection in connections:
            connection.sendall(b"POST /aws/storage/shared/bucket HTTP/1.1\r\nContent-Length: 11\r\n" + CLOSE)
        time.sleep(0.2)
        os.kill(process.pid, signal.SIGTERM)
        process.wait_for("Stopping on SIGTERM")
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        time.sleep(SILENCE_SECONDS / 2)
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
        for connection in connections:
            connection.sendall(b"filename: k")
        answers = [status_of(read_to_end(connection)) for connection in connections]
        for connection in connections:
            connection.close()

        assert set(answers) == {200}
        assert process.stop() == 0
        assert silent(process) == []


def test_unresponsive_workers_do_not_delay_the_end(store):
    settings = {"SIGNER_STORE_URL": store, "SIGNER_DRAIN_SECONDS": "300"}
    with two_workers(measured=False, code=IMPATIENT, **settings) as process:
        for pid in workers(process):
            os.kill(pid, signal.SIGSTOP)

        assert process.stop() == 0
        assert len(silent(process)) == 2
        assert process.messages[-1] == "Stopped"


def test_processes_that_were_all_suspended_continue(store):
    with two_workers(measured=False, code=IMPATIENT, SIGNER_STORE_URL=store) as process:
        pids = workers(process)
        for pid in (process.pid, *pids):
            os.kill(pid, signal.SIGSTOP)
        time.sleep(1.5 * SILENCE_SECONDS)
        os.kill(process.pid, signal.SIGCONT)
        time.sleep(0.5)
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
        time.sleep(0.5)

        assert (workers(process), silent(process)) == (pids, [])
        assert {status_of(process.exchange(SIGN)) for _ in range(20)} == {200}


def test_a_parent_that_was_suspended_reads_the_heartbeats_it_has_missed(store):
    with two_workers(measured=False, code=IMPATIENT, SIGNER_STORE_URL=store) as process:
        pids = workers(process)
        os.kill(process.pid, signal.SIGSTOP)
        time.sleep(1.5 * SILENCE_SECONDS)
        os.kill(process.pid, signal.SIGCONT)
        time.sleep(0.5)

        assert (workers(process), silent(process)) == (pids, [])


@pytest.mark.timeout(20)
async def test_a_worker_continues_while_its_parent_does_not_read(monkeypatch):
    monkeypatch.setattr(worker_process, "HEARTBEAT_SECONDS", 0.01)
    parent, channel = socket.socketpair()
    with parent, channel:
        with suppress(BlockingIOError):
            while True:
                channel.send(b"+" * 4096, socket.MSG_DONTWAIT)
        worker_process._send_heartbeat(channel)
        await asyncio.sleep(0.05)
        parent.settimeout(0)
        with suppress(BlockingIOError):
            while parent.recv(65536):
                pass
        beats = await asyncio.get_running_loop().sock_recv(parent, 65536)

        assert set(beats) == set(worker_process.HEARTBEAT)


async def test_heartbeats_stop_when_the_parent_is_gone(monkeypatch, caplog):
    monkeypatch.setattr(worker_process, "HEARTBEAT_SECONDS", 0.01)
    parent, channel = socket.socketpair()
    with channel:
        parent.close()
        worker_process._send_heartbeat(channel)
        await asyncio.sleep(0.05)

    assert caplog.text == ""


@pytest.mark.parametrize(("has_begun", "limit"), [(True, MAX_MISSED_HEARTBEATS), (False, MAX_MISSED_AT_START)])
def test_a_worker_that_is_starting_may_miss_more_heartbeats(tmp_path, caplog, has_begun, limit):
    parent = supervisor.Supervisor(load({}), None, tmp_path)
    ours, theirs = socket.socketpair()
    with ours, theirs, subprocess.Popen(["sleep", "600"]) as process:
        (worker,) = parent._workers
        worker.begin(process.pid, ours)
        if has_begun:
            theirs.send(worker_process.HEARTBEAT)
            assert worker.receive()
        for _ in range(limit - 1):
            parent._kill_unresponsive()
        assert (process.poll(), caplog.messages) == (None, [])
        for _ in range(5):
            parent._kill_unresponsive()

        assert process.wait() == -signal.SIGKILL
        assert caplog.messages == [f"Worker process {process.pid} has not answered for {limit} seconds and is killed"]
    parent._signal_reader.close()
    parent._signal_writer.close()
