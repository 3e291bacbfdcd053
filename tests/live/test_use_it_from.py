"""The examples of docs/how-to/use-it-from.md upload and download against S3 servers, also with other odd keys."""

import json
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
DOCUMENTED = "année/100% a+b?.txt"
KEYS = {"as documented": DOCUMENTED, "odder": "e\u0301//.x #&=;:@,'()*!~$[]{}|^<>%2F%20`\"\\ 🎉.txt"}


@pytest.fixture
def storage(service, s3_server):
    """The bucket of the examples: it holds an object for each key."""
    account = {**s3_server.account("my-account"), "id": "my-account"}
    requests.put(f"{service.url}/AwsAccount", json=account, timeout=5).raise_for_status()
    return s3_server.make_bucket("my-bucket")


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


def literal(key, language):
    """Return a key between the quotation marks of a language."""
    escaped = json.dumps(key, ensure_ascii=False)[1:-1]
    return escaped.replace("'", r"'\''") if language == "sh" else escaped


@pytest.mark.parametrize("key", KEYS.values(), ids=KEYS.keys())
@pytest.mark.parametrize("title", TITLES)
def test_an_example_uploads_and_downloads(title, key, service, storage, tmp_path):
    ((language, code),) = blocks(PAGE, title)
    assert DOCUMENTED in code
    code = code.replace(DOCUMENTED, literal(key, language))
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
