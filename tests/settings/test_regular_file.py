"""Settings that name a pipe, a device, a directory or a large file end the start at once, with one line."""

import os
from pathlib import Path

import pytest
from processes import run_to_end

from service.settings import SettingsError, load
from service.settings.regular_file import MAX_BYTES, read_regular


def pipe(path):
    os.mkfifo(path)


def endless_device(path):
    path.symlink_to("/dev/zero")


def large_file(path):
    with path.open("wb") as file:
        file.truncate(MAX_BYTES + 1)


REASONS = {
    pipe: "it is not a regular file",
    endless_device: "it is not a regular file",
    Path.mkdir: "it is not a regular file",
    large_file: f"it is larger than {MAX_BYTES} bytes",
}
KINDS = pytest.mark.parametrize(("make", "reason"), REASONS.items(), ids=["pipe", "device", "directory", "large"])
ROOT = {"SIGNER_ROOT_CLIENT_ID": "root", "SIGNER_ROOT_CLIENT_SECRET": "a root secret, long"}


@KINDS
def test_what_is_no_regular_file_is_not_read(tmp_path, make, reason):
    make(tmp_path / "x")

    with pytest.raises(OSError) as refusal:  # noqa: PT011 - its text is in strerror
        read_regular(tmp_path / "x")
    assert refusal.value.strerror == reason


def test_a_file_behind_symlinks_is_read(tmp_path):
    (tmp_path / "x").write_bytes(b"content")
    (tmp_path / "y").symlink_to(tmp_path / "x")

    assert read_regular(tmp_path / "y") == b"content"


@KINDS
@pytest.mark.parametrize(
    ("setting", "value", "named"),
    [
        ("SIGNER_STORE_URL_FILE", "{}", "SIGNER_STORE_URL_FILE"),
        ("SIGNER_ROOT_CLIENT_SECRET_FILE", "{}", "SIGNER_ROOT_CLIENT_SECRET_FILE"),
        ("SIGNER_STORE_URL", "rediss://h?ssl_ca_certs={}", "SIGNER_STORE_URL has ssl_ca_certs"),
        ("SIGNER_STORE_URL", "rediss://h?ssl_certfile={}", "SIGNER_STORE_URL has ssl_certfile"),
        ("SIGNER_STORE_URL", "rediss://h?ssl_certfile=setup.cfg&ssl_keyfile={}", "SIGNER_STORE_URL has ssl_keyfile"),
    ],
)
def test_a_setting_refuses_what_is_no_regular_file(tmp_path, make, reason, setting, value, named):
    make(tmp_path / "x")

    with pytest.raises(SettingsError) as refusal:
        load({setting: value.format(tmp_path / "x")})
    assert [problem for problem in refusal.value.problems if named in problem and reason in problem]


@pytest.mark.parametrize(
    ("variable", "others"),
    [("SIGNER_ENCRYPTION_KEYS_FILE", {}), ("SIGNER_TLS_CERT", {"SIGNER_TLS_KEY": "setup.cfg"})],
    ids=["encryption keys", "certificate"],
)
def test_a_pipe_ends_the_start_with_one_line(tmp_path, variable, others):
    pipe(tmp_path / "x")
    status, lines = run_to_end(**{**ROOT, **others, variable: str(tmp_path / "x"), "SIGNER_PORT": "0"})

    assert status == 2
    assert lines[-1].startswith(f"s3-signer: {variable} ")
    assert lines[-1].endswith("cannot be read: it is not a regular file")
