"""Declarations of metrics, the exposition formats, and sums over several processes."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families as read_text

from service.telemetry import metrics, multiprocess

LINUX = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="they are read from Linux' /proc")
ROOT = Path(__file__).parent.parent.parent


def test_metric_names_follow_the_conventions_of_prometheus():
    names = [family.name for family in metrics.TABLE]

    assert len(set(names)) == len(names) >= 10
    for family in metrics.TABLE:
        assert re.fullmatch("s3_signer_[a-z_]+[a-z]", family.name)
        assert family.name.endswith("_total") == (family.kind == "counter")
        assert family.name.removesuffix("_timestamp_seconds").endswith("_seconds") == (family.kind == "histogram")
        assert family.meaning.endswith(".")
        assert all(family.labels.values())


def test_the_table_declares_every_metric_that_is_shown():
    text, _ = metrics.exposition("")
    shown = {family.name for family in read_text(text.decode()) if not family.name.startswith("process_")}

    assert shown == {family.name.removesuffix("_total") for family in metrics.TABLE}


@LINUX
def test_a_process_shows_its_memory_and_open_files():
    text, _ = metrics.exposition("")
    values = {sample.name: sample.value for family in read_text(text.decode()) for sample in family.samples}

    assert values["process_resident_memory_bytes"] > 1_000_000
    assert 0 < values["process_open_fds"] < values["process_max_fds"]


@pytest.mark.parametrize(
    ("accept", "read", "content_type"),
    [
        ("", read_text, "text/plain; version=0.0.4; charset=utf-8"),
        ("*/*", read_text, "text/plain; version=0.0.4; charset=utf-8"),
        ("text/plain;version=x", read_text, "text/plain; version=0.0.4; charset=utf-8"),
        (
            "application/openmetrics-text;version=x;escaping=y,*/*;q=0.1",
            read_openmetrics,
            "application/openmetrics-text; version=1.0.0; charset=utf-8",
        ),
    ],
)
def test_accept_chooses_the_exposition_format(accept, read, content_type):
    metrics.SIGNED["get_object",].inc()
    text, media_type = metrics.exposition(accept)

    assert media_type == content_type
    assert list(read(text.decode()))


def test_a_family_returns_the_same_child_for_the_same_labels():
    assert metrics.REQUESTS["/live", "GET", 200] is metrics.REQUESTS["/live", "GET", 200]
    assert metrics.CACHE_LIVE is not None


WORKER = """
import os, sys
from pathlib import Path
from service.telemetry import multiprocess
directory = Path(sys.argv[1])
multiprocess.enable(directory)
multiprocess.take_over(directory, int(sys.argv[2]))
from service.telemetry import metrics
metrics.describe("")
metrics.SIGNED["get_object",].inc()
metrics.REQUESTS["/live", "GET", 200].observe(0.1)
metrics.CACHE_LIVE.set(int(sys.argv[3]))
for pid in sys.argv[4:]:
    multiprocess.mark_dead(directory, int(pid))
print(os.getpid(), file=sys.stderr)
sys.stdout.buffer.write(metrics.exposition("")[0])
"""
NO_PREDECESSOR = "0"


def run(code, *arguments, **environ):
    """Return the samples that a process shows, and its process id."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, *arguments],
        env={**os.environ, **environ},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    samples = {
        (sample.name, sample.labels.get("le")): sample.value
        for family in read_text(done.stdout)
        for sample in family.samples
    }
    return samples, done.stderr.split()[0]


def test_workers_are_summed_and_a_replacement_continues_the_counts(tmp_path):
    _, first = run(WORKER, str(tmp_path), NO_PREDECESSOR, "1")
    run(WORKER, str(tmp_path), NO_PREDECESSOR, "0")
    files = len(list(tmp_path.iterdir()))
    summed, _ = run(WORKER, str(tmp_path), first, "1")

    assert summed["s3_signer_urls_signed_total", None] == 3
    assert summed["s3_signer_request_duration_seconds_count", None] == 3
    assert summed["s3_signer_request_duration_seconds_bucket", "0.05"] == 0
    assert summed["s3_signer_request_duration_seconds_bucket", "0.25"] == 3
    assert summed["s3_signer_processes", None] == 2
    assert summed["s3_signer_cache_live", None] == 0
    assert summed["s3_signer_build_info", None] == 1
    assert len(list(tmp_path.iterdir())) == files


def test_the_gauges_of_a_dead_worker_are_removed_and_its_counts_stay(tmp_path):
    _, dead = run(WORKER, str(tmp_path), NO_PREDECESSOR, "0")
    summed, _ = run(WORKER, str(tmp_path), NO_PREDECESSOR, "1", dead)

    assert summed["s3_signer_processes", None] == 1
    assert summed["s3_signer_cache_live", None] == 1
    assert summed["s3_signer_urls_signed_total", None] == 2


def test_a_scrape_survives_the_renaming_of_a_dead_workers_files(tmp_path, monkeypatch):
    monkeypatch.setenv(multiprocess.VARIABLE, str(tmp_path))
    listings = iter([[str(tmp_path / "counter_1.db")], []])
    monkeypatch.setattr("glob.glob", lambda _: next(listings))

    assert metrics.exposition("")[0] == b""


def test_a_scrape_survives_a_restart_of_all_workers_at_once(tmp_path, monkeypatch):
    monkeypatch.setenv(multiprocess.VARIABLE, str(tmp_path))
    listings = iter([*([str(tmp_path / f"counter_{pid}.db")] for pid in range(10)), []])
    monkeypatch.setattr("glob.glob", lambda _: next(listings))

    assert metrics.exposition("")[0] == b""


def test_an_empty_variable_is_ignored_under_another_server(tmp_path):
    code = (
        f"import os, sys; sys.path.insert(0, {str(ROOT)!r}); os.chdir({str(tmp_path)!r}); print(1, file=sys.stderr); "
        "from service.telemetry import metrics; metrics.describe(''); "
        "sys.stdout.buffer.write(metrics.exposition('')[0])"
    )
    shown, _ = run(code, PROMETHEUS_MULTIPROC_DIR="")

    assert shown["s3_signer_processes", None] == 1
    assert list(tmp_path.iterdir()) == []


def test_a_single_process_writes_no_files_even_if_its_environment_names_a_directory(tmp_path):
    single = (
        "import sys; print(1, file=sys.stderr); from service.telemetry import multiprocess; multiprocess.disable(); "
        "from service.telemetry import metrics; metrics.describe(''); "
        "sys.stdout.buffer.write(metrics.exposition('')[0])"
    )
    shown, _ = run(single, PROMETHEUS_MULTIPROC_DIR=str(tmp_path), prometheus_multiproc_dir=str(tmp_path))

    assert shown["s3_signer_processes", None] == 1
    assert list(tmp_path.iterdir()) == []
