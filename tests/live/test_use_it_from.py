"""The examples of docs/how-to/use-it-from.md upload and download against an S3 server."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import requests
from documents import ROOT, blocks
from live.installation import NotInstalled, python_with
from support.npm import bundled, installed
from support.tools import missing, tool

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(600)]  # the first test may install the libraries

PAGE = "docs/how-to/use-it-from.md"
HERE = Path(__file__).parent
TITLES = re.findall(r"^## ((?:A shell|Python|JavaScript) .*)$", (ROOT / PAGE).read_text(), re.MULTILINE)
SECONDS = 60


@pytest.fixture(scope="module")
def storage(service, ministack):
    """The bucket of the examples: it holds one object for each of them."""
    account = {**ministack.account("my-account"), "id": "my-account"}
    requests.put(f"{service.url}/AwsAccount", json=account, timeout=5).raise_for_status()
    return ministack.make_bucket("my-bucket")


def python(code, _):
    try:
        return [python_with("generators"), "-c", code]
    except NotInstalled as reason:
        return missing(str(reason))


def shell(code, _):
    tool("curl", package="curl")
    return ["bash", "-euc", code]


def javascript(code, directory):
    node = tool("node", package="nodejs")
    source = directory / "example.js"
    source.write_text(code)
    return [node, bundled(source, installed(HERE / "openapi-typescript"), directory)]


RUN = {"python": python, "sh": shell, "js": javascript}


@pytest.mark.parametrize("title", TITLES)
def test_an_example_uploads_and_downloads(title, service, storage, tmp_path):
    ((language, code),) = blocks(PAGE, title)
    command = RUN[language](code.replace("http://127.0.0.1:8080", service.url), tmp_path)
    done = subprocess.run(
        command,
        cwd=tmp_path,
        env={"PATH": f"{Path(shutil.which('curl') or '/usr/bin/curl').parent}:/usr/bin:/bin", "NO_PROXY": "*"},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )

    assert (done.returncode, done.stdout.strip()) == (0, "hello"), done.stderr[-2000:]
