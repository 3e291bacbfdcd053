"""A release: what `make release` builds, and that its wheel works where nothing else is installed."""

import json
import os
import shutil
import subprocess
import sys
import venv
import zipfile

import pytest
from documents import ROOT
from processes import clean_environment
from support.make import made

import service

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(600)]

VERSION = service.__version__
WHEEL, SOURCE = f"s3_signer-{VERSION}-py3-none-any.whl", f"s3_signer-{VERSION}.tar.gz"


@pytest.fixture(scope="module")
def release():
    return made("release")


def test_a_release_has_its_files_and_their_checksums(release):
    files = {path.name for path in release.iterdir()}
    subprocess.run(["sha256sum", "--check", "--quiet", "SHA256SUMS"], cwd=release, check=True)

    assert files == {WHEEL, SOURCE, "sbom.json", "SHA256SUMS"}
    assert len((release / "SHA256SUMS").read_text().splitlines()) == 3
    assert json.loads((release / "sbom.json").read_text())["bomFormat"] == "CycloneDX"


def check(directory):
    """The exit status and the lines of the check of distributions."""
    script = ROOT / ".ci" / "check_release.py"
    done = subprocess.run([sys.executable, script, directory], capture_output=True, text=True, check=False)
    return done.returncode, done.stderr.splitlines()


def test_a_wheel_with_another_file_or_without_one_is_refused(release, tmp_path):
    for name in (WHEEL, SOURCE):
        shutil.copy(release / name, tmp_path)
    right = check(tmp_path)
    with zipfile.ZipFile(tmp_path / WHEEL, "a") as file:
        file.writestr("tests/secret.py", "")
    more = check(tmp_path)
    with zipfile.ZipFile(tmp_path / WHEEL, "w") as file:
        file.writestr("service/__init__.py", "")
    less = check(tmp_path)
    (tmp_path / WHEEL).unlink()
    missing = check(tmp_path)

    assert right == (0, [])
    assert more == (1, ["the wheel has tests/secret.py, which is not in the repository"])
    assert "the wheel lacks service/py.typed" in less[1]
    assert missing[0] == 1


def test_the_wheel_runs_in_an_empty_environment(release, tmp_path):
    venv.create(tmp_path / "signer", with_pip=False)
    python = tmp_path / "signer" / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--disable-pip-version-check"]
    pinned = [
        "--require-hashes",
        "--only-binary",
        ":all:",
        "--no-deps",
        "--requirement",
        ROOT / "deploy/requirements.txt",
    ]
    subprocess.run([*pip, *pinned], check=True)
    subprocess.run([*pip, "--no-deps", release / WHEEL], check=True)

    def run(*arguments):
        environment = {name: value for name, value in clean_environment().items() if name != "PYTHONPATH"}
        command = [tmp_path / "signer" / "bin" / "s3-signer", *arguments]
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True).stdout

    subprocess.run(
        [sys.executable, "-m", "pip", "--python", str(python), "check"],
        check=True,
        env={**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1"},
    )
    assert run("--version") == f"{VERSION}\n"
    assert json.loads(run("openapi"))["info"]["version"] == VERSION
    assert "status: warn" in run("check")
