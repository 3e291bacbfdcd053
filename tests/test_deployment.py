"""What is installed, for tests and in the image, is what was pinned; and the image runs without rights."""

import json
import re
import shlex
import shutil
import subprocess
import sys
from importlib.metadata import requires
from itertools import pairwise
from zipfile import ZipFile

import pytest
from documents import ROOT
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from support.tools import tool

import service

# How the last six are installed is in tests/live/test_installation.py.
PINNED = [
    *(".ci/pip-tools.txt", "constraints.txt", "deploy/build-requirements.txt", "deploy/requirements.txt"),
    *("deploy/sbom-requirements.txt", "docs/requirements.txt", "tests/fuzz/requirements.txt"),
    *("tests/live/deployment-constraints.txt", "tests/live/checkov-constraints.txt"),
    "tests/live/proxies-constraints.txt",
    *("tests/live/generators-constraints.txt", "tests/live/ministack-constraints.txt"),
    "tests/live/swift-constraints.txt",
]
OF_WHAT_IS_PINNED = {"--no-deps", "--require-hashes", "--only-binary", ":all:"}


def requirements(file):
    text = re.sub(r"#.*", "", (ROOT / file).read_text(encoding="utf-8")).replace("\\\n", " ")
    return [" ".join(line.split()) for line in text.splitlines() if line.strip()]


def versions(file):
    return {requirement.split(" ")[0] for requirement in requirements(file)}


def dockerfile():
    """Its instructions, each on one line."""
    text = re.sub(r"^#.*\n", "", (ROOT / "deploy/Dockerfile").read_text(encoding="utf-8"), flags=re.MULTILINE)
    return re.sub(r"\\\n\s*", "", text).splitlines()


def in_the_makefile():
    dry = [tool("make", package="make"), "--dry-run", "--always-make", "constraints", "fuzz", "sbom", "site", "release"]
    return subprocess.run(dry, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()


def in_the_dockerfile():
    runs = [line.removeprefix("RUN ") for line in dockerfile() if line.startswith("RUN ")]
    return [command for run in runs for command in run.split("&&")]


@pytest.mark.parametrize("file", PINNED)
def test_each_requirement_has_a_version_and_a_hash(file):
    pinned = r"[\w.-]+(\[[\w,-]+\])?==[\w.]+( ; [^\\]+?)?( --hash=sha256:[0-9a-f]{64})+"

    assert requirements(file)
    assert [line for line in requirements(file) if not re.fullmatch(pinned, line)] == []


@pytest.mark.parametrize(("commands", "times"), [(in_the_makefile, 8), (in_the_dockerfile, 4)])
def test_pip_installs_what_is_pinned_and_the_project_itself(commands, times):
    installs = [shlex.split(line) for line in commands() if re.search(r"\bpip (--python \S+ )?(install|wheel)\b", line)]

    assert len(installs) == times
    for words in installs:
        if "--requirement" in words:
            assert {file for option, file in pairwise(words) if option == "--requirement"} <= {*PINNED}
            assert set(words) >= OF_WHAT_IS_PINNED
        else:
            assert words[-1] in {".", "dist/*.whl"}
            assert "--no-deps" in words
            assert {"--no-build-isolation", "--no-index"} & set(words)


@pytest.mark.heavy
def test_the_wheel_has_every_file_of_the_package(tmp_path):
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "service", tmp_path / "service", ignore=ignored)
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tmp_path)
    files = {path.relative_to(tmp_path).as_posix() for path in (tmp_path / "service").rglob("*") if path.is_file()}
    options = ("--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check")
    command = [sys.executable, "-m", "pip", "wheel", *options, "--wheel-dir", "dist", "."]
    subprocess.run(command, cwd=tmp_path, check=True, timeout=100)
    (wheel,) = (tmp_path / "dist").iterdir()

    assert files - set(ZipFile(wheel).namelist()) == set()


def test_the_image_has_what_was_tested():
    assert versions("deploy/requirements.txt") <= versions("constraints.txt")
    assert versions("deploy/build-requirements.txt") <= versions("constraints.txt")


@pytest.mark.parametrize("python", ["3.11.0", "3.11.2", "3.11.3", "3.12.0", "3.13.0", "3.14.0"])
def test_what_is_pinned_is_complete_for_each_version_of_python(python):
    # pip-compile leaves out what its own Python does not need.
    there = {"python_full_version": python, "python_version": python.rpartition(".")[0], "extra": ""}
    pinned = {re.split(r"\W*\[|==", requirement)[0] for requirement in requirements("deploy/requirements.txt")}
    needed = {
        canonicalize_name(requirement.name)
        for requirement in (Requirement(each) for package in pinned for each in requires(package) or ())
        if requirement.marker is None or requirement.marker.evaluate(there)
    }

    assert needed <= {canonicalize_name(package) for package in pinned}


@pytest.mark.parametrize(
    ("file", "pattern"),
    [
        ("deploy/Dockerfile", "ARG VERSION=(.+)"),
        ("deploy/compose.yaml", "image: s3-signer:(.+)"),
        ("deploy/helm/s3-signer/Chart.yaml", "version: (.+)"),
        ("deploy/helm/s3-signer/Chart.yaml", "appVersion: (.+)"),
        ("deploy/kubernetes/base/deployment.yaml", "image: s3-signer:(.+)"),
        ("deploy/kubernetes/sidecar/sidecar.yaml", "image: s3-signer:(.+)"),
    ],
)
def test_each_deployment_names_the_version_of_the_service(file, pattern):
    found = re.findall(rf"^\s*{pattern}$", (ROOT / file).read_text(encoding="utf-8"), re.MULTILINE)

    assert found == [service.__version__]


@pytest.mark.heavy
@pytest.mark.timeout(400)
def test_the_list_of_packages_has_what_the_image_installs():
    # As if the environment of this run were the one of make, which is left as it is.
    stamp = f"{sys.prefix}/.installed"
    command = [tool("make", package="make"), f"--assume-old={stamp}", "sbom", f"VENV={sys.prefix}"]
    subprocess.run([*command, f"PYTHON={sys.executable}"], cwd=ROOT, check=True, timeout=300)
    components = json.loads((ROOT / "build/sbom.json").read_text())["components"]

    assert {f"{each['name']}=={each['version']}" for each in components} == versions("deploy/requirements.txt")
    assert all(reference["hashes"] for each in components for reference in each["externalReferences"])


def test_the_image_runs_as_a_user_without_rights():
    stages = "\n".join(dockerfile()).split("FROM ")
    (user,) = re.findall(r"^USER (.+)$", stages[-1], re.MULTILINE)

    # By number, as Kubernetes' runAsNonRoot knows no names.
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user)
    assert stages[-1].rstrip().splitlines()[-1].startswith("ENTRYPOINT [")
