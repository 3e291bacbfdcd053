import asyncio
import gc
import json
import logging
import os
import re
import select
import sys
import time

import pytest
from support.pipes import fill_pipe

from service.telemetry import logs


@pytest.fixture
def written(capsys):
    """Return a function that configures the log and returns a function for the lines written since."""
    root = logging.getLogger()
    before = root.handlers[:], root.level, {name: logging.getLogger(name).filters for name in logs.ONE_LINE_LOGGERS}
    named = (*logs.ONE_LINE_LOGGERS, *logs.RESERVED_LOGGERS, logs.ACCESS_LOGGER)
    levels = {name: logging.getLogger(name).level for name in named}

    def configure(form, level="info"):
        logs.configure(level=level, form=form)
        return lambda: capsys.readouterr().err.split("\n")[:-1]

    yield configure
    root.handlers[:], root.level, filters = before
    for name, those in filters.items():
        logging.getLogger(name).filters = those
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)


HOSTILE = "GET /a\n2026-01-01 00:00:00,000 INFO    root: forged\r\x1b[31m\x00\x85\u2028\u202e b\u00e9"
SECRET = "s3cr3t"
RFC_3339 = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"


def test_a_json_line_has_its_parts(written):
    lines = written("json")
    logging.getLogger("service.x").warning("Hello %s", "world")

    (entry,) = map(json.loads, lines())
    assert re.fullmatch(RFC_3339, entry.pop("time"))
    assert entry == {"level": "WARNING", "pid": os.getpid(), "logger": "service.x", "message": "Hello world"}


def test_a_text_line_has_its_parts(written):
    lines = written("text")
    logging.getLogger("service.x").warning("Hello %s", "world")

    (line,) = lines()
    assert re.fullmatch(rf"{RFC_3339} WARNING {os.getpid()} service\.x: Hello world", line)


@pytest.mark.parametrize("form", ["json", "text"])
def test_a_time_is_utc_in_every_time_zone(written, form, monkeypatch):
    monkeypatch.setenv("TZ", "Asia/Kathmandu")
    time.tzset()
    lines = written(form)
    try:
        logging.getLogger("service.x").handle(logging.makeLogRecord({"created": 1369353600.123, "levelno": 40}))
    finally:
        monkeypatch.undo()
        time.tzset()

    assert "2013-05-24T00:00:00.123Z" in lines()[0]


def test_extra_fields_are_members_in_json_and_follow_the_text(written):
    shown = {}
    for form in ("json", "text"):
        lines = written(form)
        logging.getLogger("service.x").warning("GET %s", "/live", extra={"status": 200, "caller": "jwt:\n"})
        (shown[form],) = lines()

    entry = json.loads(shown["json"])
    assert (entry["status"], entry["caller"]) == (200, "jwt:\n")
    assert shown["text"].endswith(r"service.x: GET /live status=200 caller=jwt:\n")


@pytest.mark.parametrize("form", ["json", "text"])
def test_the_access_log_does_not_depend_on_the_level(written, form):
    lines = written(form, level="error")
    logging.getLogger(logs.ACCESS_LOGGER).info("GET /live 200")

    assert len(lines()) == 1


@pytest.mark.parametrize("form", ["json", "text"])
def test_control_characters_cannot_forge_a_line(written, form):
    lines = written(form)
    logging.getLogger("x").info("Route %s not found", HOSTILE)

    (line,) = lines()
    assert line.isprintable() or form == "json"
    assert not set("\n\r\x1b\x00") & set(line)
    assert form == "text" or json.loads(line)["message"] == f"Route {HOSTILE} not found"


@pytest.mark.parametrize("form", ["json", "text"])
def test_records_below_the_level_are_not_logged(written, form):
    lines = written(form, level="warning")
    logging.getLogger("x").info("quiet")
    logging.getLogger("x").error("loud")

    assert len(lines()) == 1


@pytest.mark.parametrize("form", ["json", "text"])
@pytest.mark.parametrize("name", logs.ONE_LINE_LOGGERS)
def test_tracebacks_of_libraries_become_one_line(written, form, name):
    lines = written(form)
    logging.getLogger(name).error("Error handling request from %s", "127.0.0.1", exc_info=ValueError("bad\nrequest"))

    (line,) = lines()
    assert "Error handling request from 127.0.0.1: ValueError" in line
    assert "Traceback" not in line


@pytest.mark.parametrize("name", logs.ONE_LINE_LOGGERS)
def test_records_of_libraries_without_an_error_are_unchanged(written, name):
    lines = written("text")
    logging.getLogger(name).error("100%% of %s", "it")

    assert lines()[0].endswith(": 100% of it")


def test_an_error_of_the_service_is_logged_with_its_traceback(written):
    lines = written("json")
    logging.getLogger("service.x").error("Request %s failed", "id", exc_info=ValueError("inside"))

    (entry,) = map(json.loads, lines())
    assert entry["message"] == "Request id failed"
    assert "ValueError: inside" in entry["exc_info"]


@pytest.mark.parametrize("form", ["json", "text"])
def test_a_traceback_contains_no_values_of_variables(written, form):
    lines = written(form)
    try:
        fails(SECRET, password=SECRET)
    except ValueError:
        logging.getLogger("service.x").exception("Request %s failed", "id")

    shown = "\n".join(lines())
    assert "in fails" in shown
    assert "ZeroDivisionError" in shown
    assert SECRET not in shown


def fails(secret, **given):
    keys = [secret, *given.values()]
    try:
        len(keys) / 0
    except ZeroDivisionError as error:
        raise ValueError("inside") from error


@pytest.mark.parametrize("form", ["json", "text"])
def test_a_failed_task_is_logged_without_the_text_of_its_error(written, form):
    async def fail():
        raise ValueError(SECRET)

    async def forget():
        asyncio.create_task(fail())  # noqa: RUF006 - that it is lost is the point
        await asyncio.sleep(0)
        gc.collect()

    lines = written(form)
    asyncio.run(forget())

    (line,) = lines()
    assert "Task exception was never retrieved: ValueError" in line
    assert SECRET not in line


@pytest.mark.parametrize("name", ["botocore.parsers", "aiobotocore.endpoint"])
def test_requests_to_aws_are_not_logged_at_any_level(written, name):
    lines = written("text", level="debug")
    logging.getLogger(name).debug("Response body:\n%r", f"<SecretAccessKey>{SECRET}</SecretAccessKey>")
    logging.getLogger(name).info("Found credentials")
    logging.getLogger(name).warning("Refreshing failed")

    (line,) = lines()
    assert line.endswith("Refreshing failed")


@pytest.mark.parametrize("name", logs.RESERVED_LOGGERS)
def test_a_reserved_logger_respects_the_level(written, name):
    lines = written("text", level="error")
    logging.getLogger(name).warning("quiet")
    logging.getLogger(name).error("loud")

    assert len(lines()) == 1


def test_configuring_twice_does_not_log_twice(written):
    written("json")
    lines = written("text")
    logging.getLogger("x").info("once")
    logging.getLogger("asyncio").info("once")

    assert len(lines()) == 2


def test_lines_that_nobody_reads_are_dropped_and_counted(written, monkeypatch):
    reader, writer = os.pipe()
    fill_pipe(writer)
    monkeypatch.setattr(logs, "WAIT_SECONDS", 0.01)
    with os.fdopen(reader, "rb", buffering=0) as lines, os.fdopen(writer, "w") as stream:
        monkeypatch.setattr(sys, "stderr", stream)
        written("text")
        for _ in range(3):
            logging.getLogger("service").info("dropped")
        while select.select([lines], [], [], 0)[0]:
            lines.read(65536)
        logging.getLogger("service").info("read")
        logging.getLogger("service").info("read")
        texts = [line.partition(b": ")[2] for line in lines.read(4096).splitlines()]

    assert texts == [b"3 lines of the log were dropped, because nobody read standard error", b"read", b"read"]


def test_the_text_of_an_error_cannot_forge_a_line(written):
    lines = written("text")
    logging.getLogger("service.x").error("Request %s failed", "id", exc_info=ValueError(HOSTILE))

    shown = lines()
    assert all(line.isprintable() for line in shown)
    assert len([line for line in shown if re.match("[0-9]{4}-", line)]) == 1
