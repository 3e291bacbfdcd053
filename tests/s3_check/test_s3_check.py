"""The check of an S3 server reads its variables, tells faults from gaps, and writes its column."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from documents import ROOT
from live.raw_http import Answer
from processes import clean_environment
from s3_check import page
from s3_check.uses import Verdict, right, wrong

SERVER = {
    "S3_TEST_ENDPOINT": "http://127.0.0.1:1",
    "S3_TEST_ACCESS_KEY_ID": "anyone",
    "S3_TEST_SECRET_ACCESS_KEY": "the-secret-of-anyone",
    "S3_TEST_BUCKET": "any-bucket",
}


def s3_check(**environ):
    variables = {name: value for name, value in clean_environment().items() if not name.startswith("S3_TEST_")}
    return subprocess.run(
        [sys.executable, "-m", "s3_check"],
        env={**variables, "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}", **environ},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"S3_TEST_BUCKET": "", "S3_TEST_ENDPOINT": ""}, "set S3_TEST_ENDPOINT, S3_TEST_BUCKET;"),
        ({"S3_TEST_ENDPOINT": "127.0.0.1:9000"}, "S3_TEST_ENDPOINT must begin with http:// or https://"),
        ({"S3_TEST_STYLE": "host"}, "S3_TEST_STYLE must be one of path, virtual"),
        ({}, "http://127.0.0.1:1 cannot be reached"),
    ],
    ids=["missing", "endpoint", "style", "no server"],
)
def test_the_check_does_not_run_without_a_server(changes, message):
    done = s3_check(**{**SERVER, **changes})

    assert done.returncode == 2
    assert message in done.stderr
    assert SERVER["S3_TEST_SECRET_ACCESS_KEY"] not in done.stdout + done.stderr


def answer(status, code=""):
    return Answer(status, {}, f"<Error><Code>{code}</Code></Error>".encode())


@pytest.mark.parametrize(
    ("use", "verdict"),
    [
        (right("", answer(200), answer(204)), Verdict.ACCEPTED),
        (right("", answer(200), kept=False), Verdict.LACKS),
        (right("", answer(501, "NotImplemented")), Verdict.LACKS),
        (right("", answer(200), answer(403, "SignatureDoesNotMatch")), Verdict.WRONG),
        (right("", answer(301, "PermanentRedirect")), Verdict.WRONG),
        (right("", answer(400, "AuthorizationQueryParametersError")), Verdict.WRONG),
        (wrong("", answer(403), answer(400)), Verdict.REFUSED),
        (wrong("", answer(403), answer(200)), Verdict.WRONG),
        (wrong("", answer(404)), Verdict.WRONG),
        (wrong("", answer(404, "NoSuchUpload")), Verdict.REFUSED),
        (wrong("", answer(200), signed=False), Verdict.LACKS),
    ],
)
def test_only_a_fault_of_the_signature_is_wrong(use, verdict):
    assert use.verdict is verdict


def test_a_column_takes_the_place_of_an_earlier_one(tmp_path, monkeypatch):
    monkeypatch.setattr(page, "PAGE", Path(shutil.copy(page.PAGE, tmp_path)))
    before = page.read()
    first, second = {("new", "a"): "lacks"}, {("new", "a"): "accepted", ("new", "b"): "refused"}
    page.write("one", "1.0", first)
    page.write("one", "1.1", second)
    page.write("two", "2.0", first)
    after = page.read()

    assert {name: after[name] for name in before} == before
    assert {row: cell for row, cell in after["one"].items() if row[0] == "new"} == second
    assert after["one"][page.VERSION] == "1.1"
    assert after["two"]["new", "a"] == "lacks"
