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
# The collection creates what exists already, and uses a Client that it has deleted. Its service has no authentication.
REFUSED = {
    "Create an account",
    "Create a Client",
    "Create or replace a policy by the id of the body",
    "Create a policy",
    "Read a policy",
    "Create or replace a policy",
    "Change a policy",
    "Get an access token",
    "Revoke an access token",
    "Rotate the secret of a Client",
}


@pytest.fixture(scope="module")
def document(service, tmp_path_factory):
    return saved(service, tmp_path_factory.mktemp("document"))


@pytest.fixture(scope="module")
def public_document(tmp_path_factory):
    """The document of a service that knows its address: Spectral refuses relative links, which OpenAPI allows."""
    with running(SIGNER_PUBLIC_URL="https://s3.example.com/signer") as process:
        return saved(process, tmp_path_factory.mktemp("document"))


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


def test_a_postman_collection_runs(document, service):
    options = "folderStrategy=Tags,parametersResolution=Example,enableOptionalParameters=false"
    converted = run(
        "openapi2postmanv2", "-s", document, "-o", "collection.json", "-O", options, directory=document.parent
    )
    account = json.loads(document.read_text())["components"]["examples"]["AwsAccountWithId"]["value"]
    requests.put(f"{service.url}/AwsAccount", json=account, timeout=5).raise_for_status()
    report = document.with_name("report.json")
    asked = ["--env-var", f"baseUrl={service.url}", "--reporters=json", f"--reporter-json-export={report}"]
    run("newman", "run", "collection.json", *asked, directory=document.parent)
    answers = [
        (made["item"]["name"], made.get("response", {}).get("code"))
        for made in json.loads(report.read_text())["run"]["executions"]
    ]

    assert converted[0] == 0, converted[1]
    assert answers
    assert [(name, status) for name, status in answers if status is None or status >= 500] == []
    assert {name for name, status in answers if status >= 300} <= REFUSED, answers
