"""Clients of FHIR and Aidbox that need environments of their own work with both bases."""

import os
import shutil
import subprocess
import uuid
from pathlib import Path

import pytest
from live.installation import NotInstalled, python_with
from support.logins import basic
from support.npm import bundled, installed
from support.service import running
from support.tools import missing, tool

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(600)]  # the first test may install the clients

HERE = Path(__file__).parent
SCRIPTS = HERE / "fhir_clients"
SECRET = "correct-horse-battery-staple"
SECONDS = 60
URL = "https://uploads.s3.eu-west-1.amazonaws.com/some/key"


@pytest.fixture(scope="module")
def asked_who_calls():
    with running(SIGNER_ROOT_CLIENT_ID="root", SIGNER_ROOT_CLIENT_SECRET=SECRET) as process:
        yield process


def printed(*command, base):
    """Return what a client of the root client prints."""
    settings = {"BASE": base, "ID": uuid.uuid4().hex, "AUTHORIZATION": basic("root", SECRET)}
    done = subprocess.run(
        command,
        env={"PATH": os.defpath, "NO_PROXY": "*", **settings, "USER_ID": "root", "SECRET": SECRET},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.strip()


@pytest.mark.parametrize("base", ["", "/fhir"])
@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("use_fhirclient.py", f"4.0.1 eu-west-1 {URL}"),
        ("use_aidbox_python_sdk.py", f"True [1, 1, 1] eu-west-1 {URL}"),
    ],
)
def test_a_client_for_python_does_all_that_it_can(asked_who_calls, base, script, expected):
    try:
        python = python_with("generators")
    except NotInstalled as reason:
        missing(str(reason))

    assert printed(python, SCRIPTS / script, base=asked_who_calls.url + base) == expected


@pytest.mark.parametrize("base", ["", "/fhir"])
def test_the_client_of_health_samurai_does_all_that_it_can(asked_who_calls, base, tmp_path):
    node = tool("node", package="nodejs")
    source = Path(shutil.copy(SCRIPTS / "use-aidbox-client.ts", tmp_path))
    client = bundled(source, installed(HERE / "openapi-typescript"), tmp_path)
    said = printed(node, client, base=asked_who_calls.url + base)

    assert said == f"200 201 200 200 200 200 200 200 200 eu-west-1 600 {URL}"
