"""Linters accept the OpenAPI document without a warning, and a Postman collection made of it runs as it is."""

import json
import subprocess
from pathlib import Path

import pytest
import requests
from support.npm import installed
from support.service import running

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(600)]  # the first test may install the tools

LINTERS = Path(__file__).parent / "openapi-linters"
SECONDS = 300
ROOT = {"SIGNER_ROOT_CLIENT_ID": "root", "SIGNER_ROOT_CLIENT_SECRET": "correct-horse-battery-staple"}


@pytest.fixture(scope="module")
def document(service, tmp_path_factory):
    return saved(service, tmp_path_factory.mktemp("document"))


@pytest.fixture(scope="module")
def public_document(tmp_path_factory, unused_tcp_port_factory):
    """The document of a service that knows its address. Spectral and Postman want one, which OpenAPI does not."""
    port = unused_tcp_port_factory()
    with running(SIGNER_PORT=str(port), SIGNER_PUBLIC_URL=f"http://127.0.0.1:{port}", **ROOT) as process:
        yield saved(process, tmp_path_factory.mktemp("document"))


def saved(process, directory):
    path = directory / "openapi.json"
    path.write_bytes(requests.get(f"{process.url}/openapi.json", timeout=5).content)
    return path


def run(*command, directory):
    """Run a program from npm, and return its status and what it prints."""
    program = installed(LINTERS) / "node_modules" / ".bin" / command[0]
    done = subprocess.run(
        [program, *command[1:]],
        cwd=directory,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    return done.returncode, done.stdout


def test_redocly_has_no_warning(document):
    config = f"--config={LINTERS / 'redocly.yaml'}"
    status, printed = run("redocly", "lint", document, config, "--max-problems=50", directory=document.parent)

    assert (status, "You have" in printed) == (0, False), printed


def test_spectral_has_no_warning(public_document):
    rules = f"--ruleset={LINTERS / 'spectral.yaml'}"
    status, printed = run(
        "spectral", "lint", public_document, rules, "--fail-severity=warn", directory=public_document.parent
    )

    assert status == 0, printed


def test_a_postman_collection_runs_as_it_is(public_document):
    directory = public_document.parent
    options = "folderStrategy=Tags,parametersResolution=Example,enableOptionalParameters=false"
    converted = run(
        "openapi2postmanv2", "-s", public_document, "-o", "collection.json", "-O", options, directory=directory
    )
    report = directory / "report.json"
    caller = {"basicAuthUsername": "root", "basicAuthPassword": ROOT["SIGNER_ROOT_CLIENT_SECRET"]}
    values = [f"--env-var={name}={value}" for name, value in caller.items()]
    run(
        "newman",
        "run",
        "collection.json",
        *values,
        "--reporters=json",
        f"--reporter-json-export={report}",
        directory=directory,
    )
    answers = [
        (made["item"]["name"], made.get("response", {}).get("code"))
        for made in json.loads(report.read_text())["run"]["executions"]
    ]
    operations = [it for item in json.loads(public_document.read_text())["paths"].values() for it in item]

    assert converted[0] == 0, converted[1]
    assert len(answers) == len(operations)
    assert [(name, status) for name, status in answers if status is None or status >= 300] == []
