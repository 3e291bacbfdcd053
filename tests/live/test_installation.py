import hashlib
import zipfile

import pytest
from live import installation
from live.installation import NotInstalled, python_with

pytestmark = pytest.mark.heavy

METADATA = "Metadata-Version: 2.1\nName: thing\nVersion: 1\n"


@pytest.fixture
def wheel(tmp_path, monkeypatch):
    """A package, and no index but the directory in which it is."""
    path = tmp_path / "thing-1-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("thing-1.dist-info/METADATA", METADATA)
        file.writestr("thing-1.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        file.writestr("thing-1.dist-info/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    monkeypatch.setattr(installation, "HERE", tmp_path)
    monkeypatch.setattr(installation, "CACHE", tmp_path / "cache")
    return path


def pin(wheel, text):
    (wheel.parent / "thing-constraints.txt").write_text(text)


def test_what_has_the_hash_that_is_pinned_is_installed(wheel):
    pin(wheel, f"thing==1 --hash=sha256:{hashlib.sha256(wheel.read_bytes()).hexdigest()}\n")

    assert python_with("thing").exists()


@pytest.mark.parametrize("hash_", ["", f"--hash=sha256:{'0' * 64}"], ids=["no hash", "another hash"])
def test_what_has_no_hash_or_another_one_is_not_installed(wheel, hash_):
    pin(wheel, f"thing==1 {hash_}\n")

    with pytest.raises(NotInstalled):
        python_with("thing")
