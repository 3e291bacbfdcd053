"""What a test does without a program that it needs."""

import pytest
from support.tools import tool


@pytest.fixture
def ci(request, monkeypatch):
    monkeypatch.setenv("CI", request.param)


@pytest.mark.parametrize("ci", ["true"], indirect=True)
def test_a_missing_program_is_a_failure_in_ci(ci):
    with pytest.raises(pytest.fail.Exception, match="nope is not installed; on Debian: apt-get install nope-bin"):
        tool("nope", package="nope-bin")


@pytest.mark.parametrize("ci", ["", "false"], indirect=True)
def test_a_missing_program_is_a_reason_to_skip_elsewhere(ci):
    with pytest.raises(pytest.skip.Exception, match="apt-get install nope-bin"):
        tool("nope", package="nope-bin")


def test_the_first_program_that_is_installed_is_taken():
    assert tool("nope", "sh", package="dash").endswith("/sh")
