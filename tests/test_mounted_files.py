"""Files of settings are followed through every way in which they are replaced."""

import asyncio
import itertools
import logging
import os
from time import monotonic

import pytest
from support.metrics import value_of
from support.volumes import Volume
from support.waiting import until

from service import mounted_files
from service.errors import StoreUnavailable, Throttled
from service.mounted_files import MountedFiles, UnusableFile, read_file, read_settled
from service.telemetry.metrics import MOUNTED_FILE_CHANGES, MOUNTED_FILE_CURRENT

SETTING = "SIGNER_ROOT_CLIENT_SECRET_FILE"


class Follower:
    """Follows one file. ``used`` are the contents that it was given."""

    def __init__(self, path):
        self.files = MountedFiles()
        self.used = []
        self.error = None
        self.files.follow(SETTING, lambda: read_file(path, limit=100), self.use)

    async def use(self, contents):
        if self.error:
            raise self.error
        if contents == b"bad":
            raise UnusableFile("it is bad")
        self.used.append(contents)

    async def check(self, times=2):
        for _ in range(times):
            await self.files.check()


@pytest.fixture
def log(caplog):
    caplog.set_level(logging.INFO, logger=mounted_files.__name__)
    return caplog


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"first")
    return path


@pytest.fixture
async def follower(path):
    follower = Follower(path)
    await follower.files.check(again=False)
    return follower


def levels(log):
    return [record.levelname for record in log.records]


def current():
    return value_of(MOUNTED_FILE_CURRENT[SETTING,])


def changes(outcome):
    return value_of(MOUNTED_FILE_CHANGES[SETTING, outcome])


async def test_the_first_contents_are_used_at_once_and_are_no_change(follower, log):
    assert follower.used == [b"first"]
    assert levels(log) == []


async def test_first_contents_that_cannot_be_used_are_logged_without_mention_of_earlier_ones(path, log):
    path.write_bytes(b"bad")
    follower = Follower(path)
    await follower.files.check(again=False)

    assert log.messages == [f"{SETTING} has new contents that cannot be used: it is bad"]


async def test_new_contents_are_used_once_two_reads_return_them(follower, path, log):
    before = changes("used")
    path.write_bytes(b"second")
    await follower.check(times=1)
    after_one = list(follower.used)
    await follower.check(times=1)

    assert after_one == [b"first"]
    assert follower.used == [b"first", b"second"]
    assert log.messages == [f"{SETTING} has new contents, which are in use now"]
    assert changes("used") == before + 1


async def test_a_file_that_is_still_being_written_is_not_used(follower, path):
    for contents in (b"", b"sec", b"second"):
        path.write_bytes(contents)
        await follower.check(times=1)
    await follower.check(times=1)

    assert follower.used == [b"first", b"second"]


async def test_unchanged_contents_are_not_used_again(follower, path):
    for _ in range(3):
        path.write_bytes(b"first")
        os.utime(path, (0, 0))
        await follower.check()

    assert follower.used == [b"first"]


async def test_a_changed_symlink_of_a_volume_is_followed(tmp_path):
    volume = Volume(tmp_path, file="first")
    follower = Follower(volume / "file")
    await follower.files.check(again=False)
    for text in ("second", "third"):
        volume.update({"file": text})
        await follower.check()

    assert follower.used == [b"first", b"second", b"third"]


@pytest.mark.parametrize("breaks", ["bad", "missing", "too large", "a pipe", "a directory"])
async def test_contents_that_cannot_be_used_are_logged_once_and_the_earlier_ones_stay(follower, path, log, breaks):
    before = changes("refused")
    path.unlink()
    match breaks:
        case "bad":
            path.write_bytes(b"bad")
        case "too large":
            path.write_bytes(b"x" * 101)
        case "a pipe":
            os.mkfifo(path)
        case "a directory":
            path.mkdir()
    await follower.check(times=4)

    assert follower.used == [b"first"]
    assert levels(log) == ["WARNING"]
    assert log.messages[0].startswith(f"{SETTING} has new contents that cannot be used; what was in use stays: ")
    assert follower.files.warnings() == [f"The newest contents of {SETTING} are not in use; the log has the reason"]
    assert (current(), changes("refused")) == (0, before + 1)


@pytest.mark.parametrize(("contents", "used"), [(b"first", 1), (b"second", 2)])
async def test_a_corrected_file_ends_the_warning(follower, path, log, contents, used):
    path.write_bytes(b"bad")
    await follower.check()
    path.write_bytes(contents)
    await follower.check()

    assert len(follower.used) == used
    assert levels(log) == ["WARNING", "INFO"]
    assert (follower.files.warnings(), current()) == ([], 1)


async def test_contents_are_used_again_after_an_outage_with_one_warning(follower, path, log):
    follower.error = StoreUnavailable("the store is unavailable")
    path.write_bytes(b"second")
    await follower.check(times=5)
    warnings = follower.files.warnings()
    follower.error = None
    await follower.check(times=1)

    assert len(warnings) == 1
    assert follower.used == [b"first", b"second"]
    assert levels(log) == ["WARNING", "INFO"]
    assert log.messages[0] == f"{SETTING} is not in use yet: the store is unavailable; trying again"


class RefusedByStore(UnusableFile):
    depends_on_store = True


@pytest.mark.parametrize(
    "error", [StoreUnavailable("lost"), Throttled("busy"), RefusedByStore("it changed"), RuntimeError("unexpected")]
)
async def test_earlier_contents_are_used_again_after_a_failure_that_may_have_changed_the_store(follower, path, error):
    follower.error = error
    path.write_bytes(b"second")
    await follower.check()
    follower.error = None
    path.write_bytes(b"first")
    await follower.check()

    assert follower.used == [b"first", b"first"]
    assert (follower.files.warnings(), current()) == ([], 1)


async def test_contents_that_the_store_refuses_are_tried_again_from_time_to_time(follower, path, log, monkeypatch):
    before = changes("refused")
    follower.error = RefusedByStore("a Client is missing")
    path.write_bytes(b"second")
    await follower.check(times=3)
    follower.error = None
    await follower.check()
    too_early = list(follower.used)
    monkeypatch.setattr(mounted_files, "monotonic", lambda: monotonic() + mounted_files.RETRY_SECONDS)
    follower.error = RefusedByStore("a Client is missing")
    await follower.check(times=3)
    follower.error = None
    later = monotonic() + 3 * mounted_files.RETRY_SECONDS
    monkeypatch.setattr(mounted_files, "monotonic", lambda: later)
    await follower.check()

    assert too_early == [b"first"]
    assert follower.used == [b"first", b"second"]
    assert levels(log) == ["WARNING", "INFO"]
    assert log.messages[0] == f"{SETTING} has new contents that cannot be used; trying again: a Client is missing"
    assert changes("refused") == before + 1


async def test_an_unexpected_error_does_not_end_the_polling(follower, path, log):
    follower.error = RuntimeError("unexpected")
    path.write_bytes(b"second")
    await follower.check()
    follower.error = None
    path.write_bytes(b"third")
    await follower.check()

    assert follower.used == [b"first", b"third"]
    assert levels(log) == ["ERROR", "INFO"]


async def test_the_files_are_polled_while_they_are_open(path, monkeypatch):
    monkeypatch.setattr(mounted_files, "POLL_SECONDS", 0.01)
    follower = Follower(path)
    await follower.files.open()
    path.write_bytes(b"second")
    await until(lambda: len(follower.used) == 2)
    await follower.files.close()
    path.write_bytes(b"third")
    await asyncio.sleep(0.05)

    assert follower.used == [b"first", b"second"]


def test_a_settled_read_is_one_that_two_reads_in_a_row_return():
    contents = iter(["old", "half old, half new", "new", "new", "newer"])

    assert read_settled(lambda: next(contents)) == "new"


def test_contents_that_never_settle_cannot_be_used(monkeypatch):
    monkeypatch.setattr(mounted_files, "SETTLE_SECONDS", 0.1)
    contents = itertools.count()

    with pytest.raises(UnusableFile, match="it changes all the time"):
        read_settled(lambda: next(contents))


@pytest.mark.parametrize("path", ["a\0b", "/nowhere/at/all", "/dev/zero"])
def test_the_reason_quotes_no_path(tmp_path, path):
    with pytest.raises(UnusableFile) as refusal:
        read_file(tmp_path / path)

    assert path not in str(refusal.value)
