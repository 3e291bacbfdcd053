"""The benchmarks measure what they say, and a missed target is a failure."""

import re
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from documents import ROOT
from support.tools import tool

from benchmarks import __main__ as benchmarks
from benchmarks import hostile, load, report
from benchmarks.contest import Rounds, Row, hold
from benchmarks.targets import at_most, at_most_itself


def side(figure):
    @contextmanager
    def entered():
        yield Rounds(lambda: figure)

    return entered


def row(ours, beside, target):
    return Row("row", "ours", "another", side(ours), side(beside), "ms", target)


@contextmanager
def broken():
    yield Rounds(lambda: 1 / 0)


@pytest.mark.parametrize(
    ("measured", "status", "verdict"),
    [
        (row(2.0, 1.0, at_most(2)), 0, "ok"),
        (row(2.1, 1.0, at_most(2)), 1, "MISSED"),
        (row(20.0, 0.1, at_most_itself(20, "ms")), 0, "ok"),
        (row(20.1, 30.0, at_most_itself(20, "ms")), 1, "MISSED"),
        (Row("row", "ours", "another", broken, side(1.0), "ms", at_most(2)), 1, "FAILED"),
    ],
    ids=["at the target", "beyond it", "at its own target", "beyond its own target", "without a figure"],
)
def test_a_missed_bar_or_a_broken_row_ends_with_exit_status_1(measured, status, verdict, monkeypatch, capsys):
    monkeypatch.setattr(benchmarks, "ROWS", [measured])
    monkeypatch.setattr(benchmarks, "prepare", lambda: None)

    assert benchmarks.main(["row"]) == status
    assert capsys.readouterr().out.rstrip().endswith(verdict)
    assert report.verdict(hold(measured)) == verdict


class Peer(BaseHTTPRequestHandler):
    """Answers a POST when its body has arrived, and a DELETE at once."""

    protocol_version = "HTTP/1.1"

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.do_DELETE()

    def do_DELETE(self):
        self.send_response(400)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request, client_address):
        """Say nothing of clients that are gone."""


@pytest.fixture
def port():
    with Server(("127.0.0.1", 0), Peer) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


WAITED_FOR, ANSWERED = (load.Request("/", method, body="body") for method in ("POST", "DELETE"))


def test_unfinished_bodies_that_the_server_waits_for_are_no_fault(port):
    with hostile.unfinished(port, WAITED_FOR, 3):
        pass


def test_an_unfinished_body_that_the_server_answers_is_a_fault(port):
    with pytest.raises(load.LoadError, match="3 of 3 bodies"), hostile.unfinished(port, ANSWERED, 3):
        time.sleep(0.2)


def test_hostile_requests_are_refused(port):
    with hostile.insisting(port, [WAITED_FOR], 4, 2):
        time.sleep(0.1)


@pytest.mark.parametrize(("method", "told"), [("POST", r"answered \[400\],.* 0 conn"), ("GET", r"\[501\],.* 2 conn")])
def test_hostile_requests_that_are_answered_otherwise_are_a_fault(port, method, told):
    requests = [load.Request("/", method, body="body")]

    with pytest.raises(load.LoadError, match=told), hostile.insisting(port, requests, 2, 2):
        time.sleep(0.1)


# One row for each way of loading a server.
@pytest.mark.heavy
@pytest.mark.parametrize("name", ["get-unix", "get-fresh", "get-idle", "hold-policies", "delay-hostile"])
def test_a_row_is_measured(name):
    tool("wrk", package="wrk")
    tool("hey", package="hey")
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", name], cwd=ROOT, capture_output=True, text=True, check=False
    )

    assert re.search(rf"^{name} .* (ok|MISSED)$", done.stdout, re.MULTILINE), done.stdout + done.stderr
