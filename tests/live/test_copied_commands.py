"""What the console copies for other tools does there what the browser would do."""

import json
import subprocess
import sys
from urllib.parse import quote

import pytest
from documents import ROOT
from support.accounts import KEYS
from support.tools import tool

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(300)]  # the first test may install the servers

SNIPPETS = ROOT / "service/web/console/snippets.js"
WRITE = """
const [module, name, request] = process.argv.slice(1);
process.stdout.write((await import(module))[name](JSON.parse(request)));
"""
SECONDS = 60
ODD = {"a": 'it\'s "$HOME" `id` \\', "b": "@FILE", "c": ";", "d": "x: y;"}
LONG = {f"long-{number}": "x" * 250 for number in range(7)}
OBJECTS = ["copied.txt", "folder/", "a [1-2]{x}%20é'/"]


@pytest.fixture
def node():
    return tool("node", package="nodejs")


@pytest.fixture
def write(node):
    """Returns the text that the console copies for a request."""

    def write(name, **request):
        command = [node, "--input-type=module", "--eval", WRITE, SNIPPETS.as_uri(), name, json.dumps(request)]
        return subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=True).stdout

    return write


@pytest.fixture
def follow(tmp_path):
    """Returns what a command prints, in a directory with a ``FILE``."""
    (tmp_path / "FILE").write_text("content")

    def follow(*command):
        environment = {"PATH": "/usr/local/bin:/usr/bin:/bin", "NO_PROXY": "*"}
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=SECONDS, check=False
        )
        assert done.returncode == 0, done.stderr[-2000:]
        return done.stdout

    return follow


@pytest.fixture
def curl(write, follow):
    """Returns the body and the status of an answer to the curl command of a request."""
    tool("curl", package="curl")

    def curl(**request):
        command = write("asCurl", **request)
        body, _, status = follow("bash", "-euc", f"{command} --silent --write-out '\\n%{{http_code}}'").rpartition("\n")
        return body, int(status)

    return curl


@pytest.mark.parametrize("key", OBJECTS)
@pytest.mark.parametrize(
    ("fields", "stored"),
    [
        ({}, {}),
        ({"metadata": {"note": ""}, "tagging": {}}, {"note": ""}),
        ({"metadata": {**ODD, **LONG}, "content-length": 7}, {**ODD, **LONG}),
        ({"content-type": "text/csv", "content-disposition": 'inline; filename="a;b"'}, {}),
    ],
    ids=["plain", "empty metadata, no tags", "odd metadata", "content type"],
)
def test_s3_takes_an_upload_by_a_copied_command(signer, s3_server, bucket, curl, key, fields, stored):
    target = f"{signer.put_account(s3_server.account(f'{s3_server.name}-copied'))}/{bucket}"
    signed = signer.details("POST", target, {"filename": key, **fields})
    answer, status = curl(method="PUT", url=signed["url"], headers=signed["headers"], file="FILE")
    down = s3_server.send(signer.signed_url("GET", f"{target}/{quote(key)}"), "GET")

    assert (status, down.status, down.body) == (200, 200, b"content"), answer
    assert {name: down.headers.get(f"x-amz-meta-{name}", "") for name in stored} == stored
    assert down.headers.get("content-type") != "application/x-www-form-urlencoded"


STORAGE = "/aws/storage/copied/bucket"
REQUESTS = {
    "brackets and braces": ("GET", f"{STORAGE}?prefix=[1-2]{{x,y}}", None, "prefix=%5B1-2%5D%7Bx%2Cy%7D&"),
    "letters outside ASCII": ("GET", f"{STORAGE}?prefix=é日", None, "prefix=%C3%A9%E6%97%A5&"),
    "a body that begins with @": ("POST", STORAGE, "@FILE", "cannot start any token"),
}


@pytest.mark.parametrize(("method", "path", "body", "expected"), REQUESTS.values(), ids=REQUESTS.keys())
def test_a_copied_request_gets_the_same_answer_in_each_language(
    signer, node, write, follow, curl, method, path, body, expected
):
    signer.put_account({"id": "copied", **KEYS})
    headers = {"accept": "application/json", **({"content-type": "text/yaml"} if body else {})}
    request = {"method": method, "url": signer.url + path, "headers": headers, "body": body}
    programs = {
        "curl": curl(**request)[0],
        "Python": follow(sys.executable, "-c", write("asPython", **request)),
        "JavaScript": follow(node, "--input-type=module", "--eval", write("asJavaScript", **request)),
    }

    for name, printed in programs.items():
        assert expected in printed, (name, printed)
