"""What the whole test run has logged and answered, searched for every secret that it used."""

import pytest
from watching import Watch


@pytest.fixture
def whole_run(request, secret_watch):
    if len({item.path for item in request.session.items}) < 50:
        pytest.skip("only a part of the tests ran; run all of them: make test")
    return secret_watch


def test_no_secret_was_logged_or_answered(secret_watch):
    assert secret_watch.found == []


def test_there_was_something_to_search(whole_run):
    assert len(whole_run.secrets) >= 5
    assert all(looks > 100 for looks in whole_run.looks.values())


def test_a_secret_would_be_found():
    watch = Watch()
    watch.keep("a secret that is not told")
    watch.look("log", "line one\na secret that is not told")

    assert [found[:2] for found in watch.found] == [("log", "a secret that is not told")]
