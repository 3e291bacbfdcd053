"""The table of metrics, how it is shown, and how several processes share it."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families as read_text

from service.telemetry import metrics

ROOT = Path(__file__).parent.parent.parent


def test_every_metric_is_named_as_prometheus_advises():
    names = [family.name for family in metrics.TABLE]

    assert len(set(names)) == len(names) >= 10
    for family in metrics.TABLE:
        assert re.fullmatch("s3_signer_[a-z_]+[a-z]", family.name)
        assert family.name.endswith("_total") == (family.kind == "counter")
        assert family.name.endswith("_seconds") == (family.kind == "histogram")
        assert family.meaning.endswith(".")
        assert all(family.labels.values())


def test_every_metric_that_is_shown_is_in_the_table():
    text, _ = metrics.exposition("")
    shown = {family.name for family in read_text(text.decode())}

    assert shown == {family.name.removesuffix("_total") for family in metrics.TABLE}


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
def test_a_scraper_gets_a_format_that_it_knows(accept, read, content_type):
    metrics.SIGNED["get_object",].inc()
    text, told = metrics.exposition(accept)

    assert told == content_type
    assert list(read(text.decode()))


def test_children_are_kept():
    assert metrics.REQUESTS["/live", "GET", 200] is metrics.REQUESTS["/live", "GET", 200]
    assert metrics.CACHE_LIVE is not None


WORKER = """
import sys
from pathlib import Path
from service.telemetry import multiprocess
multiprocess.share(Path(sys.argv[1]), int(sys.argv[2]))
from service.telemetry import metrics
metrics.describe("")
metrics.SIGNED["get_object",].inc()
metrics.REQUESTS["/live", "GET", 200].observe(0.1)
metrics.CACHE_LIVE.set(int(sys.argv[3]))
if sys.argv[4:] == ["forget"]:
    multiprocess.forget(Path(sys.argv[1]), 0)
sys.stdout.buffer.write(metrics.exposition("")[0])
"""


def run(code, *arguments, **environ):
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, *arguments],
        env={**os.environ, **environ},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return {
        (sample.name, sample.labels.get("le")): sample.value
        for family in read_text(done.stdout)
        for sample in family.samples
    }


def test_workers_are_summed_and_one_in_the_place_of_another_counts_on(tmp_path):
    run(WORKER, str(tmp_path), "0", "1")
    run(WORKER, str(tmp_path), "1", "0")
    files = len(list(tmp_path.iterdir()))
    summed = run(WORKER, str(tmp_path), "0", "1")

    assert summed["s3_signer_urls_signed_total", None] == 3
    assert summed["s3_signer_request_duration_seconds_count", None] == 3
    assert summed["s3_signer_request_duration_seconds_bucket", "0.05"] == 0
    assert summed["s3_signer_request_duration_seconds_bucket", "0.25"] == 3
    assert summed["s3_signer_processes", None] == 2
    assert summed["s3_signer_cache_live", None] == 0
    assert summed["s3_signer_build_info", None] == 1
    assert len(list(tmp_path.iterdir())) == files


def test_what_is_true_of_the_living_alone_ends_with_a_worker(tmp_path):
    run(WORKER, str(tmp_path), "0", "0")
    summed = run(WORKER, str(tmp_path), "1", "1", "forget")

    assert summed["s3_signer_processes", None] == 1
    assert summed["s3_signer_cache_live", None] == 1
    assert summed["s3_signer_urls_signed_total", None] == 2


def test_a_process_alone_writes_no_files_whatever_its_environment_says(tmp_path):
    alone = "import sys; from service.telemetry import metrics; metrics.describe(''); "
    shown = run(f"{alone} sys.stdout.buffer.write(metrics.exposition('')[0])", PROMETHEUS_MULTIPROC_DIR=str(tmp_path))

    assert shown["s3_signer_processes", None] == 1
    assert list(tmp_path.iterdir()) == []
