"""Content of audit lines, and writing them to pipes and files that several processes share."""

import asyncio
import errno
import json
import logging
import os
import re
import select
import subprocess
import sys
import threading
import time
from base64 import b64decode
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import pytest
from documents import blocks
from hypothesis import given, settings
from hypothesis import strategies as st
from support.metrics import value_of
from support.pipes import fill_pipe
from support.waiting import PerTurn, until

from service.errors import AuditUnavailable
from service.telemetry import audit, denials, events, line_writer
from service.telemetry.audit import AuditLog
from service.telemetry.lines import PIPE_BYTES
from service.telemetry.metrics import AUDIT_EVENTS, AUDIT_PENDING

ROOT = Path(__file__).parent.parent.parent

SIGNED = {
    "caller": "Client/reports",
    "address": "203.0.113.9",
    "policy": "read-reports",
    "operation": "get_object",
    "method": "GET",
    "account": "my-account",
    "access_key_id": "AKIAIOSFODNN7EXAMPLE",
    "role": None,
    "host": "aidboxtestbucket.s3.amazonaws.com",
    "style": "virtual-hosted",
    "path_prefix": "",
    "bucket": "aidboxtestbucket",
    "key": "example.txt",
    "bound": None,
    "signed_at": "20130524T000000Z",
    "expiration": 86400,
    "request_id": "5f1b0c9a00000001",
}
DENIED = {
    "caller": "Client/reports",
    "address": "203.0.113.9",
    "operation": "delete_object",
    "method": "DELETE",
    "route": "/aws/storage/{account}/{bucket}/{key}",
    "account": "my-account",
    "bucket": "aidboxtestbucket",
    "key": "example.txt",
    "expiration": 86400,
    "outcome": "forbidden",
    "request_id": "5f1b0c9a00000002",
}
CHANGED = {
    "caller": "root",
    "address": "203.0.113.10",
    "policy": None,
    "operation": "update",
    "method": "PUT",
    "resource": "AwsAccount/my-account",
    "fields": ["host", "region"],
    "host": "minio.example:9000",
    "request_id": "5f1b0c9a00000003",
}
FORGED = '"}\n{"event":"signed"}\r\n\x1b[2K\x00\x85\u2028\u2029\u202e\\'


def opened(*arguments, **options):
    log = AuditLog(*arguments, **options)
    log.open()
    return log


class Reader:
    """Reads a pipe to its end, in a thread, after ``start``."""

    def __init__(self):
        self.end, self.descriptor = os.pipe()
        self._read = b""
        self._thread = threading.Thread(target=self._work)

    def start(self, *, pause=0.0):
        self.pause = pause
        self._thread.start()

    def _work(self):
        # Tests may close the reading end.
        with suppress(OSError):
            while received := os.read(self.end, 65536):
                self._read += received
                time.sleep(self.pause)

    def lines(self):
        """Close the writing end, and return all lines."""
        os.close(self.descriptor)
        # close() must not close another file with the same number.
        self.descriptor = -1
        if not self._thread.ident:
            self.start()
        self._thread.join()
        return [json.loads(line) for line in self._read.decode("ascii").splitlines()]

    def has_data(self):
        return bool(select.select([self.end], [], [], 0)[0])

    def close(self):
        for descriptor in (self.descriptor, self.end):
            with suppress(OSError):
                os.close(descriptor)


MAX_AGE_SECONDS = line_writer.MAX_AGE_SECONDS


@pytest.fixture(autouse=True)
def patience(monkeypatch):
    """Long time limits, for slow machines; tests of the limits set their own."""
    monkeypatch.setattr(line_writer, "MAX_AGE_SECONDS", 60)
    monkeypatch.setattr(line_writer, "CLOSE_SECONDS", 60)


@pytest.fixture
def reader():
    reader = Reader()
    yield reader
    reader.close()


@pytest.fixture
def written(tmp_path):
    """Return a function that calls methods of a log on a file and returns the lines, with newlines."""

    def write(*calls):
        with (tmp_path / "audit.log").open("ab") as file:
            before = file.tell()

            async def run():
                log = opened(file.fileno())
                for name, event in calls:
                    getattr(log, name)(**event)
                await log.close()

            asyncio.run(run())
        text = (tmp_path / "audit.log").read_bytes()[before:].decode("ascii")
        return text.splitlines(keepends=True)

    return write


def line_of(name, event):
    """Return the line of an event."""
    end, descriptor = os.pipe()

    async def run():
        log = opened(descriptor)
        getattr(log, name)(**event)
        await log.close()

    try:
        asyncio.run(run())
        return os.read(end, 2 * PIPE_BYTES).decode("ascii")
    finally:
        os.close(end)
        os.close(descriptor)


def fill(record, event):
    """Record events of different accounts until the log refuses one; return the number of accepted ones."""
    for accepted in range(100_000):
        try:
            record(**{**event, "account": f"a{accepted}"})
        except AuditUnavailable:
            return accepted
    raise AssertionError("the log accepts any number of lines")


def counted(event):
    return AUDIT_EVENTS[event,]._value.get()


@pytest.mark.parametrize(
    ("name", "event", "more"),
    [("signed", SIGNED, {"outcome": "success"}), ("denied", DENIED, {}), ("changed", CHANGED, {"outcome": "success"})],
)
def test_an_event_is_a_line_with_all_its_fields(written, name, event, more):
    (line,) = written((name, event))

    entry = json.loads(line)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", entry.pop("time"))
    assert re.fullmatch("[0-9a-f]{16}-1", entry.pop("event_id"))
    shown = {name: value for name, value in event.items() if name not in {"bound", "role"}}
    assert entry == {"event": name, "pid": os.getpid(), **shown, **more}


def test_a_line_names_the_role_whose_keys_sign(written):
    role = "arn:aws:iam::123456789012:role/uploads"
    (line,) = written(("signed", SIGNED | {"role": (role, "Client-reports")}))

    entry = json.loads(line)
    assert (entry["role_arn"], entry["role_session"]) == (role, "Client-reports")


def test_event_ids_are_unique_and_consecutive(written):
    lines = [json.loads(line) for _ in range(2) for line in written(*[("signed", SIGNED), ("changed", CHANGED)] * 2)]

    logs, numbers = zip(*(line["event_id"].split("-") for line in lines), strict=True)
    assert numbers == ("1", "2", "3", "4") * 2
    assert [logs.count(log) for log in dict.fromkeys(logs)] == [4, 4]


def test_a_change_lists_its_fields_and_the_host_only_if_it_changed(written):
    lines = written(
        ("changed", {**CHANGED, "fields": ["host"], "host": None}),
        ("changed", {**CHANGED, "fields": ["region"]}),
        ("changed", {**CHANGED, "fields": []}),
        ("changed", {**CHANGED, "fields": None}),
    )

    assert [
        {name: entry[name] for name in ("fields", "host") if name in entry} for entry in map(json.loads, lines)
    ] == [
        {"fields": ["host"], "host": None},
        {"fields": ["region"]},
        {"fields": []},
        {},
    ]


def test_a_line_names_what_a_url_carries_and_shows_few_values(written):
    carried = {
        "content-type": FORGED,
        "metadata": {"patient": "hidden"},
        "sse-kms-key-id": "hidden",
        "content-length": 5,
        "version-id": "3/L4",
        "response-content-disposition": "hidden",
    }
    (line,) = written(("signed", {**SIGNED, "bound": carried}))

    more = {"bound": [*carried], "version_id": "3/L4", "content_type": FORGED, "content_length": 5}
    assert "hidden" not in line
    assert json.loads(line).items() >= more.items()


def test_a_line_with_much_that_a_url_carries_keeps_its_key():
    bound = {"version-id": "v" * 1024, "content-type": "\u65e5" * 1024}
    line = line_of("signed", {**SIGNED, "key": "\x01" * 1024, "bound": bound})

    assert len(line) <= PIPE_BYTES
    assert b64decode(json.loads(line)["key_base64"]) == b"\x01" * 1024
    assert json.loads(line)["cut"] == ["content_type"]


def test_the_time_is_utc_to_the_microsecond(written, monkeypatch):
    instants = iter([1369353600_000001_999, 1369353600_999999_000, 1369353601_000000_000])
    monkeypatch.setattr(audit.time, "time_ns", lambda: next(instants))
    lines = written(*[("signed", SIGNED)] * 3)

    assert [json.loads(line)["time"] for line in lines] == [
        "2013-05-24T00:00:00.000001Z",
        "2013-05-24T00:00:00.999999Z",
        "2013-05-24T00:00:01.000000Z",
    ]


def test_absent_fields_are_left_out(written):
    denied = {
        "caller": "anonymous",
        "address": "unix",
        "method": "GET",
        "route": "unmatched",
        "outcome": "login",
        "request_id": "r",
    }
    lines = written(("signed", {**SIGNED, "key": None, "policy": None}), ("denied", denied))

    signed, denial = map(json.loads, lines)
    assert "key" not in signed
    assert signed["policy"] is None
    assert list(denial) == ["time", "event", "event_id", "pid", *denied]


@pytest.mark.parametrize("field", [name for name, value in SIGNED.items() if isinstance(value, str)])
def test_no_text_of_a_signed_url_can_forge_a_line(written, field):
    (line,) = written(("signed", {**SIGNED, field: FORGED}))

    assert line.isascii()
    assert line[:-1].isprintable()
    assert json.loads(line)[field] == FORGED


@pytest.mark.parametrize(("name", "event"), [("denied", {**DENIED, "resource": "x"}), ("changed", CHANGED)])
def test_no_text_of_another_event_can_forge_a_line(written, name, event):
    texts = {field: FORGED for field, value in event.items() if isinstance(value, str)}
    (line,) = written((name, {**event, **texts}))

    assert line.isascii()
    assert line[:-1].isprintable()
    assert json.loads(line).items() >= texts.items()


@settings(max_examples=200, deadline=None)
@given(key=st.text(st.characters(codec="utf-8"), max_size=250), denied=st.booleans())
def test_any_key_is_restored_from_one_line(key, denied):
    line = line_of("denied", {**DENIED, "key": key}) if denied else line_of("signed", {**SIGNED, "key": key})

    assert line.isascii()
    assert line[:-1].isprintable()
    assert line.endswith("}\n")
    assert json.loads(line)["key"] == key


def test_a_surrogate_in_a_signed_url_is_escaped():
    line = line_of("signed", {**SIGNED, "caller": "jwt:\ud83d", "key": "\ude00"})

    assert json.loads(line)["caller"] == r"jwt:\ud83d"
    assert json.loads(line)["key"] == r"\ude00"


def test_a_signed_url_with_a_long_line_keeps_its_key():
    line = line_of("signed", {**SIGNED, "key": "\x01" * 1024})

    assert len(line) <= PIPE_BYTES
    assert b64decode(json.loads(line)["key_base64"]) == b"\x01" * 1024


WRITER = """
import asyncio, sys
from service.telemetry import line_writer
from service.telemetry.audit import AuditLog
line_writer.MAX_AGE_SECONDS = line_writer.CLOSE_SECONDS = 60
async def main():
    log = AuditLog(1)
    log.open()
    for number in range(2000):
        key = f"{sys.argv[1]}/{number}/" + "\\x01" * (number * 7 % 1000)
        log.signed(**eval(sys.argv[2]), key=key)
        if number % 20 == 0:
            await asyncio.sleep(0.001)
    await log.close()
asyncio.run(main())
"""


@pytest.mark.parametrize("target", ["pipe", "file", "appended file"])
@pytest.mark.slow
def test_lines_of_several_processes_stay_whole_and_in_order(tmp_path, reader, target):
    path = tmp_path / "audit.log"
    event = repr({name: value for name, value in SIGNED.items() if name != "key"})
    with path.open("ab" if target == "appended file" else "wb") as file:
        processes = [
            subprocess.Popen(
                [sys.executable, "-W", "error", "-c", WRITER, name, event],
                stdout=reader.descriptor if target == "pipe" else file,
                cwd=ROOT,
            )
            for name in "ab"
        ]
    if target == "pipe":
        # The pipe is full most of the time.
        reader.start(pause=0.002)
    assert [process.wait(60) for process in processes] == [0, 0]
    entries = reader.lines() if target == "pipe" else [json.loads(line) for line in path.read_text().splitlines()]

    keys = [entry["key"] if "key" in entry else b64decode(entry["key_base64"]).decode() for entry in entries]
    for name in "ab":
        own = [int(key.split("/")[1]) for key in keys if key.startswith(name)]
        assert own == list(range(2000))


async def test_a_full_pipe_refuses_events_and_recovers(reader, caplog):
    log = opened(reader.descriptor, limit=500)
    before = counted("signed")
    # The reader starts after these calls, so none of them blocks.
    taken = fill(log.signed, SIGNED)
    await until(reader.has_data)
    taken += fill(log.signed, SIGNED)
    with pytest.raises(AuditUnavailable):
        log.check()
    with pytest.raises(AuditUnavailable):
        log.denied(**DENIED)
    await until(lambda: value_of(AUDIT_PENDING) == 500)
    reader.start()
    await until(lambda: not log._writer._pending and not log._writer._reported)
    assert value_of(AUDIT_PENDING) == 0
    log.check()
    log.signed(**SIGNED)
    await log.close()

    assert len(reader.lines()) == taken + 1 == counted("signed") - before
    assert [record.levelname for record in caplog.records] == ["ERROR", "WARNING"]


async def test_a_line_pending_for_a_second_stops_signing_until_it_is_written(reader, monkeypatch):
    monkeypatch.setattr(line_writer, "MAX_AGE_SECONDS", 0.1)
    log = opened(reader.descriptor)
    accepted = 0

    def is_refused():
        nonlocal accepted
        try:
            log.signed(**SIGNED)
        except AuditUnavailable:
            return True
        accepted += 1
        return False

    for _ in range(200):
        accepted += not is_refused()
    await until(is_refused)
    with pytest.raises(AuditUnavailable):
        log.check()
    with pytest.raises(AuditUnavailable):
        log.denied(**DENIED)
    reader.start()
    await until(lambda: not is_refused())
    await log.close()

    assert accepted < line_writer.MAX_PENDING
    assert {entry["event"] for entry in reader.lines()} == {"signed"}


async def test_no_event_is_accepted_while_a_line_is_older_than_a_second(reader, monkeypatch):
    clock = SimpleNamespace(now=0.0, monotonic=lambda: clock.now)
    monkeypatch.setattr(line_writer, "time", clock)
    monkeypatch.setattr(line_writer, "MAX_AGE_SECONDS", MAX_AGE_SECONDS)
    # Only the test calls _flush.
    monkeypatch.setattr(line_writer, "BATCH_SECONDS", 3600)
    log = opened(reader.descriptor)
    fill_pipe(reader.descriptor)
    log.signed(**SIGNED)
    clock.now = 0.89
    log._writer._flush()
    log.signed(**SIGNED)
    clock.now = 0.91
    log._writer._flush()

    with pytest.raises(AuditUnavailable):
        log.signed(**SIGNED)
    assert len(log._writer._pending) == 2
    log._writer._cancel_timer()


async def test_many_lines_are_written_without_holding_the_event_loop(reader, monkeypatch):
    monkeypatch.setattr(line_writer, "WRITE_SECONDS", -1)
    log = opened(reader.descriptor)
    reader.start()
    formatted = PerTurn()
    line = log._writer._line

    def counted(event):
        formatted.count()
        return line(event)

    monkeypatch.setattr(log._writer, "_line", counted)
    for _ in range(500):
        log.signed(**SIGNED)
    await formatted.during(log.close())

    assert formatted.most == line_writer.BATCH_LINES
    assert len(reader.lines()) == 500


async def test_a_late_line_is_not_as_old_as_the_lines_before_it(reader, monkeypatch):
    clock = SimpleNamespace(now=0.0, monotonic=lambda: clock.now)
    monkeypatch.setattr(line_writer, "time", clock)
    # Only the test calls _flush.
    monkeypatch.setattr(line_writer, "BATCH_SECONDS", 3600)
    log = opened(reader.descriptor)
    writer, written = log._writer, []
    monkeypatch.setattr(writer, "_write", lambda: writer._remove_written(written.pop() if written else 0))
    log.signed(**SIGNED)
    for clock.now in (0.1, 0.7):
        writer._flush()
    log.signed(**SIGNED)
    written.append(1)
    clock.now = 0.75
    writer._flush()

    assert writer._oldest_age() == pytest.approx(0.05)
    writer._cancel_timer()


async def test_a_first_denial_is_written_at_once_and_its_repeats_are_one_line(reader, monkeypatch):
    monkeypatch.setattr(denials, "WINDOW_SECONDS", 0.2)
    log = opened(reader.descriptor)
    for number in range(100):
        log.denied(**{**DENIED, "key": f"{number}", "request_id": f"{number}"})
    await until(reader.has_data)
    first = json.loads(os.read(reader.end, 65536))
    await until(reader.has_data)
    summary = json.loads(os.read(reader.end, 65536))
    log.denied(**DENIED)
    await log.close()
    reader.start()
    (last,) = reader.lines()

    assert (first["key"], first.get("repeats")) == ("0", None)
    assert summary["repeats"] == 99
    assert summary["keys"] == ["1", "2", "3", "4", "5"]
    assert "request_id" not in summary
    assert last["repeats"] == 1


async def test_a_full_log_delays_the_summary_of_repeats(reader, monkeypatch):
    monkeypatch.setattr(denials, "WINDOW_SECONDS", 0.05)
    monkeypatch.setattr(audit, "RETRY_SECONDS", 0.05)
    log = opened(reader.descriptor, limit=500)
    for _ in range(3):
        log.denied(**DENIED)
    accepted = fill(log.signed, SIGNED)
    await asyncio.sleep(0.2)
    reader.start()
    await until(lambda: not log._writer._pending)
    await log.close()

    entries = reader.lines()
    assert [entry["event"] for entry in entries] == ["denied", *["signed"] * accepted, "denied"]
    assert entries[-1]["repeats"] == 2


async def test_a_completed_change_is_recorded_even_by_a_full_log(reader):
    log = opened(reader.descriptor, limit=10)
    fill(log.signed, SIGNED)
    log.changed(**CHANGED)
    await log.close()

    assert [entry["event"] for entry in reader.lines()] == ["signed"] * 10 + ["changed"]


async def test_denials_leave_room_for_signed_urls(reader):
    log = opened(reader.descriptor, limit=10)
    denied = fill(log.denied, DENIED)

    assert (denied, fill(log.signed, SIGNED)) == (5, 5)


async def test_a_slow_reader_gets_all_lines_and_does_not_block_the_loop(reader):
    log = opened(reader.descriptor)
    # More than fits into a pipe without a reader: a blocking write would block the loop.
    for _ in range(100):
        for _ in range(20):
            log.signed(**SIGNED)
        await asyncio.sleep(0.001)
    reader.start(pause=0.02)
    async with asyncio.timeout(30):
        await log.close()

    assert len(reader.lines()) == 2000


async def test_a_closed_pipe_ends_signing_with_one_log_line(reader, caplog, monkeypatch):
    monkeypatch.setattr(line_writer, "RETRY_SECONDS", 0.01)
    log = opened(reader.descriptor)
    os.close(reader.end)
    log.signed(**SIGNED)
    await until(lambda: log._writer._failing)
    await asyncio.sleep(0.05)

    with pytest.raises(AuditUnavailable) as caught:
        log.signed(**SIGNED)
    assert caught.value.status == 503
    assert caught.value.headers == {"Retry-After": "1"}
    with pytest.raises(AuditUnavailable):
        log.check()
    with pytest.raises(AuditUnavailable):
        log.denied(**DENIED)
    # close() does not wait for a reader.
    async with asyncio.timeout(30):
        await log.close()
    assert [record.getMessage() for record in caplog.records] == [
        "The audit log accepts no lines, so signing and changes are refused: Broken pipe",
        "The audit log ends without its last lines: 1 could not be written",
    ]


async def test_lines_that_failed_are_written_after_recovery(reader, caplog, monkeypatch):
    monkeypatch.setattr(line_writer, "RETRY_SECONDS", 0.01)
    full = os.open("/dev/full", os.O_WRONLY)
    log = opened(full)
    log.signed(**SIGNED)
    await until(lambda: log._writer._failing)
    os.dup2(reader.descriptor, full)
    await until(lambda: not log._writer._reported)
    log.signed(**SIGNED)
    await log.close()
    os.close(full)

    assert len(reader.lines()) == 2
    assert "No space left on device" in caplog.records[0].getMessage()
    assert caplog.records[-1].getMessage() == "The audit log is written again"


async def test_a_partial_write_is_continued(reader, monkeypatch):
    write = os.write
    monkeypatch.setattr(line_writer.os, "write", lambda descriptor, data: write(descriptor, data[:100]))
    log = opened(reader.descriptor)
    for _ in range(10):
        log.signed(**SIGNED)
    await log.close()

    assert len(reader.lines()) == 10


async def test_a_partially_written_line_is_continued_after_an_error(reader, monkeypatch):
    write, pieces = os.write, []

    def write_a_part_and_then_none(descriptor, data):
        pieces.append(data)
        if len(pieces) % 2 == 0:
            raise BlockingIOError
        return write(descriptor, data[:100])

    monkeypatch.setattr(line_writer.os, "write", write_a_part_and_then_none)
    log = opened(reader.descriptor)
    for n in range(3):
        log.signed(**{**SIGNED, "key": f"key-{n}"})
    await log.close()

    assert [line["key"] for line in reader.lines()] == ["key-0", "key-1", "key-2"]


async def test_a_non_blocking_pipe_loses_no_lines(reader):
    os.set_blocking(reader.descriptor, False)
    log = opened(reader.descriptor)
    for _ in range(1000):
        log.signed(**SIGNED)
    await asyncio.sleep(0.05)
    reader.start()
    await log.close()

    assert len(reader.lines()) == 1000


async def test_closing_does_not_wait_for_a_reader_that_does_not_read(reader, caplog, monkeypatch):
    monkeypatch.setattr(line_writer, "CLOSE_SECONDS", 0.1)
    log = opened(reader.descriptor)
    for _ in range(1000):
        log.signed(**SIGNED)
    async with asyncio.timeout(30):
        await log.close()

    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert re.search(r"[1-9]\d* could not be written", record.getMessage())


async def test_no_event_is_accepted_after_closing(reader):
    log = opened(reader.descriptor)
    await log.close()

    with pytest.raises(AuditUnavailable):
        log.signed(**SIGNED)


async def test_lines_are_written_without_further_events(reader):
    log = opened(reader.descriptor)
    for number in range(3):
        log.signed(**SIGNED)
        log.denied(**{**DENIED, "account": str(number)})
        await until(lambda: not log._writer._pending)
    await log.close()

    assert [entry["event"] for entry in reader.lines()] == ["signed", "denied"] * 3


async def test_written_events_are_counted(reader):
    before = [counted(event) for event in ("signed", "denied", "changed")]
    log = opened(reader.descriptor)
    log.signed(**SIGNED)
    log.denied(**DENIED)
    log.denied(**{**DENIED, "account": FORGED})
    log.changed(**CHANGED)
    await log.close()

    after = [counted(event) for event in ("signed", "denied", "changed")]
    assert [more - was for more, was in zip(after, before, strict=True)] == [1, 2, 1]


def test_the_documented_examples_match_the_written_lines(written, monkeypatch):
    monkeypatch.setattr(audit.time, "time_ns", lambda: 1369353600_123456_000)
    monkeypatch.setattr(events.secrets, "token_hex", lambda _: "c1a7e05b93d24f68")
    monkeypatch.setattr(events.os, "getpid", lambda: 7)
    documented = [block.replace("\n", "") for kind, block in blocks("docs/security/audit.md") if kind == "json"]
    repeats = [{**DENIED, "key": f"{number}.txt", "request_id": str(number)} for number in range(1, 8)]
    upload = {
        **SIGNED,
        "policy": "write-reports",
        "operation": "put_object",
        "method": "PUT",
        "key": "report.pdf",
        "bound": {"content-type": "application/pdf", "metadata": {"a": "b"}, "content-length": 1048576},
        "request_id": "5f1b0c9a00000005",
    }

    lines = written(
        *(("signed", SIGNED), ("signed", upload), ("denied", DENIED), ("changed", CHANGED)),
        *(("denied", one) for one in repeats),
    )
    assert documented == [line.strip() for line in lines]


LOCKER = """
import fcntl, sys
fcntl.lockf(1, fcntl.LOCK_EX)
sys.stderr.write("has it")
sys.stderr.flush()
sys.stdin.read()
"""


async def lock(descriptor):
    """Return a process that holds the lock until its standard input is closed."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", LOCKER, stdout=descriptor, stdin=pipe, stderr=pipe
    )
    async with asyncio.timeout(10):
        await process.stderr.readexactly(len("has it"))
    return process


async def test_only_one_process_at_a_time_writes_to_a_pipe(reader):
    other = await lock(reader.descriptor)
    log = opened(reader.descriptor)
    log.signed(**SIGNED)
    await asyncio.sleep(0.05)
    waiting = len(log._writer._pending)
    await other.communicate(b"")
    await until(lambda: not log._writer._pending)
    next_one = await lock(reader.descriptor)
    await next_one.communicate(b"")
    await log.close()

    assert waiting == 1
    assert len(reader.lines()) == 1


async def test_lines_are_written_on_systems_without_locks_on_pipes(reader, monkeypatch):
    def lockf(*_):
        raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr(line_writer.fcntl, "lockf", lockf)
    log = opened(reader.descriptor)
    log.signed(**SIGNED)
    await log.close()

    assert len(reader.lines()) == 1


async def test_a_full_pipe_is_not_written_to(reader, monkeypatch):
    monkeypatch.setattr(line_writer, "CLOSE_SECONDS", 0.05)
    fill_pipe(reader.descriptor)
    log = opened(reader.descriptor)
    writes = []
    monkeypatch.setattr(line_writer.os, "write", lambda *arguments: writes.append(arguments) or 1)
    log.signed(**SIGNED)
    await log.close()

    assert writes == []
    assert len(log._writer._pending) == 1


async def test_lines_are_written_while_the_loop_is_busy(reader):
    log = opened(reader.descriptor, limit=10_000_000)
    reader.start()
    before, signed = counted("signed"), 0
    async with asyncio.timeout(30):
        # Several batches, because the first one may be written before the loop is busy.
        while counted("signed") - before < 5 * line_writer.BATCH_LINES:
            log.signed(**SIGNED)
            signed += 1
            await asyncio.sleep(0)
    await log.close()

    assert len(reader.lines()) == signed


async def test_an_event_that_cannot_be_formatted_stops_signing(reader, monkeypatch, caplog):
    monkeypatch.setattr(line_writer, "RETRY_SECONDS", 0.05)
    log = opened(reader.descriptor)

    def fail(*_):
        raise ValueError

    with monkeypatch.context() as broken:
        broken.setattr(events, "timestamp", fail)
        log.signed(**SIGNED)
        await asyncio.sleep(0.05)
        with pytest.raises(AuditUnavailable):
            log.signed(**SIGNED)
    await asyncio.sleep(0.1)
    log.signed(**SIGNED)
    await log.close()

    assert [line["event"] for line in reader.lines()] == ["signed", "signed"]
    assert "ValueError" in caplog.text
