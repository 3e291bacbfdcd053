"""Clients that generators make of the OpenAPI document compile, store an account, sign, upload and download."""

import json
import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest
import requests
from live.installation import NotInstalled, python_with
from support.npm import bundled, installed
from support.tools import missing, tool

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(600)]  # the first test may install the generators

HERE = Path(__file__).parent
SOURCES = HERE / "generated"
SECONDS = 240
# What a client that encodes it twice, or not at all, would change.
KEY = "année/100% %2F a+b&c=d#e?.txt"
# One class for all operations, whatever the tags of the document are.
ONE_CLASS = {"openapiNormalizer": {"SET_TAGS_FOR_ALL_OPERATIONS": "signer"}}
OPENAPI_GENERATOR = {
    "python": {"packageName": "s3_signer", **ONE_CLASS},
    "typescript-fetch": ONE_CLASS,
    "go": {},
}


@pytest.fixture(scope="session")
def python():
    """The interpreter of the environment that has the generators of Python packages."""
    try:
        return python_with("generators")
    except NotInstalled as reason:
        return missing(str(reason))


@pytest.fixture(scope="session")
def generated(python, service, tmp_path_factory):
    """A directory with a client of each generator, made at the same time."""
    home = tmp_path_factory.mktemp("generated")
    shutil.copytree(SOURCES, home, dirs_exist_ok=True)
    node = installed(HERE / "openapi-typescript") / "node_modules"
    (home / "node_modules").symlink_to(node)
    document = home / "openapi.json"
    document.write_bytes(requests.get(f"{service.url}/openapi.json", timeout=5).content)
    for name, options in OPENAPI_GENERATOR.items():
        config = {"generatorName": name, "inputSpec": str(document), "outputDir": str(home / name), **options}
        (home / f"{name}.json").write_text(json.dumps(config))
    tool("java", package="default-jre-headless")
    programs = python.parent
    run_all(
        home,
        [programs / "openapi-generator-cli", "batch", *(f"{name}.json" for name in OPENAPI_GENERATOR)],
        [
            programs / "openapi-python-client",
            "generate",
            "--meta=none",
            "--path",
            document,
            "--output-path=signer_client",
        ],
        [node / ".bin" / "openapi-typescript", document, "--output", "api.d.ts"],
    )
    return home


def run_all(directory, *commands, **settings):
    """Run commands at the same time, and return what they print. Each must succeed."""
    environment = {**os.environ, "NO_PROXY": "*", **settings}
    started = [
        subprocess.Popen(
            [*map(str, command)],
            cwd=directory,
            env=environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
        )
        for command in commands
    ]
    end = time.monotonic() + SECONDS
    try:
        printed = [process.communicate(timeout=max(1, end - time.monotonic()))[0] for process in started]
    finally:
        for process in started:
            process.kill()
    for process, text in zip(started, printed, strict=True):
        assert process.returncode == 0, f"{process.args}\n{text[-3000:]}"
    return printed


@pytest.fixture
def settings(service, s3_server):
    account = s3_server.account("generated")
    return {
        "SIGNER_URL": service.url,
        "ACCOUNT": json.dumps(account),
        "BUCKET": s3_server.make_bucket("generated-clients"),
        "KEY": KEY,
        "HOST": account["host"],
    }


def test_every_operation_is_generated(generated):
    document = json.loads((generated / "openapi.json").read_text())
    operations = {
        operation["operationId"]: operation["tags"][0]
        for path in document["paths"].values()
        for operation in path.values()
    }
    made = {file.stem for file in (generated / "signer_client" / "api").glob("*/*.py")} - {"__init__"}

    assert len(made) == len(operations)


def test_the_packages_for_python_work(generated, python, settings):
    home = {**settings, "PYTHONPATH": f"{generated}:{generated / 'python'}"}
    printed = run_all(
        generated,
        [python, "use_openapi_python_client.py"],
        [python, "use_openapi_generator.py"],
        **home,
    )

    assert printed == [f"{settings['HOST']} hello\n"] * 2


def test_the_modules_for_typescript_compile(generated):
    run_all(generated, [generated / "node_modules" / ".bin" / "tsc", "--project", generated])


def test_the_modules_for_typescript_work(generated, settings):
    node, home = tool("node", package="nodejs"), installed(HERE / "openapi-typescript")
    sources = [generated / "use-openapi-fetch.ts", generated / "use-typescript-fetch.ts"]
    printed = run_all(generated, *([node, bundled(source, home, generated)] for source in sources), **settings)

    assert printed == [f"{settings['HOST']} hello\n"] * 2


def test_the_module_for_go_compiles(generated):
    go = tool("go", package="golang-go")
    offline = {"GOFLAGS": "-mod=mod", "GOPROXY": "off"}
    run_all(generated / "go", [go, "build", "./..."], **offline)
