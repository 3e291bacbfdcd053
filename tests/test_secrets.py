"""The search for secrets in all that a test run logs and answers (plugins/secret_watch.py) finds what it should."""

import os
import subprocess
import sys

import pytest
from documents import ROOT
from watching import Watch

SECRET = "a secret that nobody may see"
LEAKS = f"""
import logging
from watching import WATCH

def test_it():
    WATCH.keep({SECRET!r})
    logging.getLogger("service").error("line one\\n%s", {SECRET!r})
"""


def run(directory, *options):
    """Run the tests in a directory under the plugin alone: exit status and output."""
    (directory / "pytest.ini").write_text("[pytest]\naddopts = --import-mode=importlib\n")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "plugins.secret_watch", "-p", "xdist", *options],
        cwd=directory,
        env={**os.environ, "PYTHONPATH": f"{ROOT / 'tests'}", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout


@pytest.mark.parametrize("workers", ["0", pytest.param("2", marks=pytest.mark.heavy)])
def test_a_secret_in_the_log_fails_the_run(tmp_path, workers):
    (tmp_path / "test_leak.py").write_text(LEAKS)
    (tmp_path / "test_other.py").write_text("def test_other():\n    pass\n")
    status, output = run(tmp_path, "-n", workers)

    assert "2 passed" in output
    assert (status, output.count(f"FAILED a secret in the log: {SECRET!r}")) == (pytest.ExitCode.TESTS_FAILED, 1)


@pytest.mark.parametrize("workers", ["0", pytest.param("2", marks=pytest.mark.heavy)])
def test_a_run_without_a_secret_passes(tmp_path, workers):
    (tmp_path / "test_other.py").write_text("def test_other():\n    pass\n")

    assert run(tmp_path, "-n", workers)[0] == pytest.ExitCode.OK


def test_a_whole_run_in_which_nothing_was_searched_fails(tmp_path):
    for number in range(50):
        (tmp_path / f"test_{number}.py").write_text("def test_it():\n    pass\n")
    status, output = run(tmp_path)

    assert (status, "has seen too little" in output) == (pytest.ExitCode.TESTS_FAILED, True)


@pytest.mark.parametrize(
    "request_",
    [
        f'{{"secret-access-key":"{SECRET}"}}',
        f'{{"session-token": "{SECRET}"}}',
        f"grant_type=client_credentials&client_secret={SECRET}",
        f"secret: {SECRET}\n",
    ],
)
def test_a_secret_that_is_sent_is_looked_for(request_):
    secret = SECRET.replace(" ", "-")
    watch = Watch()
    watch.sent(request_.replace(SECRET, secret).encode())
    watch.look("answer", f"x {secret}")

    assert [found[:2] for found in watch.found] == [("answer", secret)]


@pytest.mark.parametrize(
    "answer",
    [f'{{"secret":"{SECRET}","previous-expires":"x"}}', '{"id":"a","secret":"SECRET"}'.replace("SECRET", "s" * 43)],
)
def test_a_secret_is_found_wherever_it_is_not_shown_for_the_first_time(answer):
    watch = Watch()
    watch.look("answer", answer)
    watch.look("log", f"a request with {SECRET} or {'s' * 43}")

    assert [found[0] for found in watch.found] == ["log"]


def test_a_token_is_found_wherever_it_is_not_issued():
    token = "t" * 43
    watch = Watch()
    watch.look("answer", f'{{"access_token":"{token}","token_type":"Bearer"}}')
    watch.look("log", f"a request with {token}")

    assert [found[:2] for found in watch.found] == [("log", token)]
