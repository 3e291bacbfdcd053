"""What a test does without a program that it needs."""

import pytest
from support.tools import library, tool


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


@pytest.mark.parametrize("ci", ["true"], indirect=True)
def test_a_missing_library_is_a_failure_in_ci(ci):
    with pytest.raises(pytest.fail.Exception, match="nope_library is not installed; run: pip install nope_library"):
        library("nope_library")


@pytest.mark.parametrize("ci", ["", "false"], indirect=True)
def test_a_missing_library_is_a_reason_to_skip_elsewhere(ci):
    with pytest.raises(pytest.skip.Exception, match="pip install nope_library"):
        library("nope_library")


def test_a_library_that_lacks_another_one_is_an_error(tmp_path, monkeypatch):
    (tmp_path / "half_a_library.py").write_text("import nope_library\n")
    monkeypatch.syspath_prepend(tmp_path)

    with pytest.raises(ModuleNotFoundError, match="nope_library"):
        library("half_a_library")


def test_a_library_that_is_installed_is_imported():
    assert library("json").loads("1") == 1
