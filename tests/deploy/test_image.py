"""The image, built for real: on a base of our own, because no registry of images is needed for it.

Like the base in the Dockerfile, it is Debian 13 with Python 3.13.
"""

import json
import os
import shutil
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
from documents import ROOT
from live.raw_http import send
from plugins.redis_server import free_port
from processes import START_SECONDS
from support.accounts import ACCOUNT
from support.tools import missing, tool

import service

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(600)]

CACHE = ROOT / ".cache" / "image"
BASE, IMAGE = "localhost/s3-signer-base", "localhost/s3-signer-test"
PROGRAM = "/opt/s3-signer/bin/s3-signer"
# How this machine reaches a package index: mounted for the build, and not in the image.
MOUNTED = ["/etc/ssl/certs/ca-certificates.crt", "/etc/pip.conf"]
# A read-only root and the image's user, without a container engine.
RUN = """
mount --bind "$1" "$1" && mount -o remount,bind,ro "$1" && exec chroot --userspec="$2" "$1" /usr/bin/env -i "${@:3}"
"""


class Buildah:
    """buildah with storage of its own."""

    def __init__(self, storage, driver):
        self._program = tool("buildah", package="buildah")
        self._options = ["--root", storage / "root", "--runroot", storage / "run", "--storage-driver", driver]

    def __call__(self, *arguments):
        done = subprocess.run(
            [*map(str, (self._program, *self._options, *arguments))],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout.strip()

    def build(self, context):
        """Build the image, and return what buildah prints."""
        mounts = [f"--volume={path}:{path}:ro" for path in MOUNTED if Path(path).exists()]
        options = ["--layers", "--format=docker", "--isolation=chroot", "--network=host", "--pull-never"]
        arguments = [f"--build-arg=BASE={BASE}", "--build-arg=COMMIT=0123abc", "--file=deploy/Dockerfile"]
        return self("bud", *options, *mounts, *arguments, f"--tag={IMAGE}", context)


@pytest.fixture(scope="module")
def base():
    """The root of a Debian with Python, kept between runs."""
    if os.geteuid():
        missing("debootstrap needs root")
    root = CACHE / "trixie"
    if not root.exists():
        part = CACHE / f"trixie.{os.getpid()}"
        part.parent.mkdir(parents=True, exist_ok=True)
        packages = "--include=python3,python3-venv,ca-certificates"
        command = [tool("debootstrap", package="debootstrap"), "--variant=minbase", packages, "trixie", part]
        subprocess.run(command, check=True, capture_output=True, timeout=300)
        part.rename(root)
    return root


@pytest.fixture(scope="module")
def buildah(base, tmp_path_factory):
    storage = tmp_path_factory.mktemp("storage")
    # Overlay is three times as fast, but not every file system carries it.
    for driver in ("overlay", "vfs"):
        program = Buildah(storage, driver)
        try:
            container = program("from", "scratch")
        except AssertionError:
            continue
        program("copy", "--quiet", container, base, "/")
        program("commit", "--quiet", container, BASE)
        break
    yield program
    program("rm", "--all")
    shutil.rmtree(storage, ignore_errors=True)


@pytest.fixture(scope="module")
def context(tmp_path_factory):
    """What the build may read, so that a test can change it."""
    directory = tmp_path_factory.mktemp("context")
    for name in ("deploy", "service"):
        shutil.copytree(ROOT / name, directory / name)
    for name in (".dockerignore", "pyproject.toml", "setup.cfg", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, directory)
    return directory


@pytest.fixture(scope="module")
def image(buildah, context):
    """The configuration of the image, and its root."""
    buildah.build(context)
    config = json.loads(buildah("inspect", "--type=image", IMAGE))["Docker"]["config"]
    return config, buildah("mount", buildah("from", "--pull-never", IMAGE))


@contextmanager
def started(image, *command, **environment):
    """A process in the image, as the image's user, with a root that is read-only."""
    config, root = image
    variables = dict(pair.split("=", 1) for pair in config["Env"]) | environment
    process = subprocess.Popen(
        [
            *("unshare", "--mount", "bash", "-c", RUN, "run", root, config["User"]),
            *(f"{name}={text}" for name, text in variables.items()),
            *command,
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            yield process
        finally:
            process.terminate()


def run(image, *command, **environment):
    """Exit status and output."""
    with started(image, *command, **environment) as process:
        output, errors = process.communicate(timeout=START_SECONDS)
        return process.returncode, output + errors


@pytest.fixture(scope="module")
def container(image):
    """The service in the image: the process, and its settings for commands beside it."""
    config, _ = image
    ports = {name: str(free_port()) for name in ("SIGNER_PORT", "SIGNER_OPS_PORT")}
    ports |= {"SIGNER_HOST": "127.0.0.1", "SIGNER_OPS_HOST": "127.0.0.1"}
    with started(image, *config["Entrypoint"], **ports) as process:
        end = time.monotonic() + START_SECONDS
        while run(image, PROGRAM, "healthcheck", **ports)[0]:
            assert time.monotonic() < end
        yield process, ports


def test_the_service_signs_as_a_user_without_rights(container):
    process, ports = container
    url = f"http://127.0.0.1:{ports['SIGNER_PORT']}"
    stored = send(f"{url}/AwsAccount", "PUT", json.dumps(ACCOUNT).encode(), {"Content-Type": "application/json"})
    signed = send(f"{url}/aws/storage/{ACCOUNT['id']}/bucket/k", "GET")

    assert (stored.status, signed.status) == (201, 200)
    assert "X-Amz-Signature=" in json.loads(signed.body)["url"]
    assert Path(f"/proc/{process.pid}").stat().st_uid == 65532


def test_the_health_check_of_the_image_is_healthy(container, image):
    _, ports = container
    config, _ = image
    kind, *command = config["Healthcheck"]["Test"]

    assert kind == "CMD"
    assert run(image, *command, **ports) == (0, "ready\n")


def test_a_health_check_without_a_service_is_unhealthy(image):
    status, _ = run(image, PROGRAM, "healthcheck", SIGNER_OPS_PORT="1", SIGNER_AUTH="none")

    assert status == 1


def test_the_service_in_the_image_refuses_to_start_without_authentication(image):
    status, output = run(image, PROGRAM)

    assert status == 2
    assert output.startswith("s3-signer: SIGNER_HOST is 0.0.0.0, which others can reach, and no authentication is set")


def test_the_image_has_the_version_of_python_that_the_dockerfile_names(image):
    status, output = run(image, "/opt/s3-signer/bin/python", "--version")
    version = ".".join(output.removeprefix("Python ").split(".")[:2])

    assert status == 0
    assert f"ARG BASE=python:{version}-slim\n" in (ROOT / "deploy/Dockerfile").read_text(encoding="utf-8")


def test_the_image_has_no_pip_and_no_cache(image):
    _, root = image
    status, output = run(image, "/opt/s3-signer/bin/python", "-m", "pip")

    assert (status, output) == (1, "/opt/s3-signer/bin/python: No module named pip\n")
    assert sorted(path.name for path in (Path(root) / "opt").iterdir()) == ["s3-signer"]
    assert not (Path(root) / "root/.cache").exists()


def test_the_image_has_byte_code(image):
    _, root = image
    package = next(Path(root).glob("opt/s3-signer/lib/python3*/site-packages/service"))

    assert {path.name.split(".")[0] for path in (package / "__pycache__").iterdir()} >= {"__main__", "app"}


def test_the_image_ignores_modules_of_the_working_directory(image):
    _, root = image
    planted = Path(root) / "planted"
    (planted / "service").mkdir(parents=True)
    (planted / "service/__init__.py").write_text("raise SystemExit('planted')")

    status, output = run(image, "/bin/sh", "-c", f"cd /planted && {PROGRAM} --version")

    assert (status, output) == (0, f"{service.__version__}\n")


def test_the_root_of_the_container_is_read_only_here(image):
    status, output = run(image, "/usr/bin/touch", "/tmp/x")  # noqa: S108 - that it fails is the point

    assert (status, "Read-only file system" in output) == (1, True)


def test_the_image_says_what_it_is(image):
    config, _ = image
    labels = config["Labels"]

    assert labels["org.opencontainers.image.title"] == "s3-signer"
    assert labels["org.opencontainers.image.version"] == service.__version__
    assert labels["org.opencontainers.image.revision"] == "0123abc"
    assert config["ExposedPorts"].keys() == {"8080/tcp", "8081/tcp"}


def test_a_change_of_the_source_installs_no_dependency_again(buildah, context, image):
    with (context / "service/app.py").open("a") as file:
        file.write("# changed\n")
    output = buildah.build(context)
    steps = output.split("STEP ")
    (install,) = [step for step in steps if "--requirement deploy/requirements.txt" in step]

    assert "Using cache" in install
    assert "Successfully installed s3-signer" in output


def test_the_dockerfile_has_no_fault(programs):
    command = [programs / "hadolint", ROOT / "deploy/Dockerfile"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)

    assert (done.returncode, done.stdout) == (0, "")
