"""The Compose file is valid, and names settings that exist."""

import json
import os
import subprocess

import pytest
from documents import ROOT

from service.settings import load
from service.settings.environment import unknown_variables

pytestmark = pytest.mark.heavy

FILE = ROOT / "deploy" / "compose.yaml"


def config(programs, **variables):
    """The exit status, and the project as Compose understands it."""
    command = [programs / "docker-compose", "--file", FILE, "config", "--format", "json"]
    environment = {"PATH": os.defpath, "HOME": str(ROOT / ".cache"), **variables}
    done = subprocess.run(command, env=environment, capture_output=True, check=False, timeout=60)
    return done.returncode, done.stdout or done.stderr


def test_the_service_starts_with_its_settings(programs):
    status, text = config(programs, ROOT_CLIENT_SECRET="0123456789abcdef")
    environment = json.loads(text)["services"]["signer"]["environment"]

    assert status == 0
    assert unknown_variables(environment) == []
    assert load(environment).root_client_secret == "0123456789abcdef"


def test_the_root_clients_secret_is_required(programs):
    status, text = config(programs)

    assert status != 0
    assert b"ROOT_CLIENT_SECRET" in text


def test_ports_are_published_on_loopback_alone(programs):
    _, text = config(programs, ROOT_CLIENT_SECRET="0123456789abcdef")
    ports = [port for each in json.loads(text)["services"].values() for port in each.get("ports", [])]

    assert len(ports) == 2
    assert {port["host_ip"] for port in ports} == {"127.0.0.1"}
