"""The benchmarks measure what they say, and a missed bar is a failure."""

import re
import subprocess
import sys
from contextlib import contextmanager

import pytest
from documents import ROOT
from support.tools import tool

from benchmarks import __main__ as benchmarks
from benchmarks import report
from benchmarks.bars import at_most, at_most_itself
from benchmarks.contest import Rounds, Row, hold


def side(figure):
    @contextmanager
    def entered():
        yield Rounds(lambda: figure)

    return entered


def row(ours, beside, bar):
    return Row("row", "ours", "another", side(ours), side(beside), "ms", bar)


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
    ids=["at the bar", "beyond it", "at its own bar", "beyond its own bar", "without a figure"],
)
def test_a_missed_bar_or_a_broken_row_ends_with_exit_status_1(measured, status, verdict, monkeypatch, capsys):
    monkeypatch.setattr(benchmarks, "ROWS", [measured])
    monkeypatch.setattr(benchmarks, "prepare", lambda: None)

    assert benchmarks.main(["row"]) == status
    assert capsys.readouterr().out.rstrip().endswith(verdict)
    assert report.verdict(hold(measured)) == verdict


# One row for each way of loading a server.
@pytest.mark.heavy
@pytest.mark.parametrize("name", ["get-unix", "get-fresh", "get-idle", "hold-policies"])
def test_a_row_is_measured(name):
    tool("wrk", package="wrk")
    tool("hey", package="hey")
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", name], cwd=ROOT, capture_output=True, text=True, check=False
    )

    assert re.search(rf"^{name} .* (ok|MISSED)$", done.stdout, re.MULTILINE), done.stdout + done.stderr
