"""The units for systemd are valid, hardened, and name settings that exist."""

import re
import shutil
import subprocess

import pytest
from documents import ROOT
from support.tools import tool

from service.settings.environment import unknown_variables

pytestmark = pytest.mark.heavy

UNITS = ROOT / "deploy" / "systemd"
SERVICE = UNITS / "s3-signer.service"
MOST_EXPOSURE = 1.5


@pytest.fixture
def analyze():
    program = tool("systemd-analyze", package="systemd")

    def analyze(*arguments):
        done = subprocess.run([program, *arguments], capture_output=True, text=True, check=False, timeout=60)
        return done.returncode, done.stdout + done.stderr

    return analyze


def verify(analyze, directory, change=lambda text: text):
    """What systemd says about the units. An unknown key is no error to it, only a line."""
    for path in UNITS.iterdir():
        # The program is not installed here.
        text = path.read_text().replace("/opt/s3-signer/bin/s3-signer", shutil.which("true"))
        (directory / path.name).write_text(change(text))
    return analyze("verify", *directory.iterdir())


def test_the_units_are_valid(analyze, tmp_path):
    assert verify(analyze, tmp_path) == (0, "")


def test_the_example_of_a_unix_socket_is_valid_and_not_for_everybody(analyze, tmp_path):
    def uncomment(text):
        return re.sub(r"^#(\w+=)", r"\1", text, flags=re.MULTILINE).replace("ListenStream=127.0.0.1:8080\n", "")

    # With the group of root, because the example's may not exist here.
    assert verify(analyze, tmp_path, lambda text: uncomment(text).replace("www-data", "root")) == (0, "")
    assert "SocketMode=0660" in (tmp_path / "s3-signer.socket").read_text().splitlines()


def test_an_unknown_key_would_be_found(analyze, tmp_path):
    _, output = verify(analyze, tmp_path, lambda text: text.replace("ProtectHome", "ProtectHouse"))

    assert "ProtectHouse" in output


def test_the_service_is_hardened(analyze):
    _, output = analyze("security", "--offline=true", "--no-pager", str(SERVICE))
    (exposure,) = re.findall(r"Overall exposure level for \S+: ([\d.]+)", output)

    assert float(exposure) <= MOST_EXPOSURE, output


def test_each_setting_of_the_unit_exists():
    named = re.findall(r"^Environment=(SIGNER_\w+)=", SERVICE.read_text(), re.MULTILINE)

    assert len(named) >= 4
    assert unknown_variables(dict.fromkeys(named, "x")) == []


def test_the_service_has_time_to_drain():
    text = SERVICE.read_text()
    (stop,) = re.findall(r"^TimeoutStopSec=(\d+)$", text, re.MULTILINE)
    drain = sum(map(int, re.findall(r"SIGNER_DRAIN_SECONDS=(\d+)", text)))

    assert int(stop) >= drain + 15


def test_each_credential_that_a_setting_names_is_loaded():
    text = SERVICE.read_text()

    assert set(re.findall(r"=%d/(\S+)$", text, re.MULTILINE)) == set(
        re.findall(r"^LoadCredential=([\w-]+):", text, re.MULTILINE)
    )
