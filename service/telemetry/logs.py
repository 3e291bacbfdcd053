"""The log: one line an event, on standard error, as JSON or text."""

import logging
import sys
from datetime import UTC, datetime
from typing import Any

from pythonjsonlogger.core import RESERVED_ATTRS
from pythonjsonlogger.json import JsonFormatter

ACCESS_LOGGER = "service.access"

# aiohttp logs what its parser refused with a traceback, and so does asyncio for connections that break.
ONE_LINE_LOGGERS = ("aiohttp.server", "asyncio")
# At debug level they log the requests to AWS and its answers whole, those among them that hold credentials.
RESERVED_LOGGERS = ("botocore", "aiobotocore")

_RESERVED = {*RESERVED_ATTRS, "message", "asctime"}


def configure(*, level: str, form: str) -> None:
    """Send all logging to standard error, in ``form`` ``json`` or ``text``, from ``level`` upwards."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_formatter(form))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    for name in ONE_LINE_LOGGERS:
        logging.getLogger(name).filters = [_without_traceback]
    for name in RESERVED_LOGGERS:
        logging.getLogger(name).setLevel(max(logging.INFO, logging.getLogger().level))
    # It was asked for by a setting of its own, whatever the level of the others.
    logging.getLogger(ACCESS_LOGGER).setLevel(logging.INFO)
    # aiohttp tells a malformed method at debug level, and all else that its parser refuses as an error.
    logging.getLogger("aiohttp.server").setLevel(logging.DEBUG)


def _formatter(form: str) -> logging.Formatter:
    if form == "json":
        return _JsonFormatter(
            "{asctime}{levelname}{process}{name}{message}",
            style="{",
            rename_fields={"asctime": "time", "levelname": "level", "process": "pid", "name": "logger"},
        )
    return _TextFormatter("{asctime} {levelname:<7} {process} {name}: {message}", style="{")


class _Rfc3339Formatter(logging.Formatter):
    """Times in UTC, such as ``2013-05-24T00:00:00.123Z``. Source: https://www.rfc-editor.org/rfc/rfc3339."""

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802 - logging's name
        del datefmt
        return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class _JsonFormatter(_Rfc3339Formatter, JsonFormatter):
    """An event is an object on a line, with the fields that the record was given beside the message."""


class _TextFormatter(_Rfc3339Formatter):
    """An event is a line, and a traceback its indented lines: neither can be forged by what a message quotes.

    The fields that the record was given follow the message.
    """

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        given = record.__dict__.keys() - _RESERVED
        fields = "".join(f" {name}={value}" for name, value in record.__dict__.items() if name in given)
        return _printable(super().formatMessage(record) + fields)

    def formatException(self, ei: Any) -> str:  # noqa: N802 - logging's name
        return "\n".join(f"    {_printable(line)}" for line in super().formatException(ei).split("\n"))


def _printable(text: str) -> str:
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


def _without_traceback(record: logging.LogRecord) -> bool:
    if record.exc_info and record.exc_info[1] is not None:
        # The error's own text quotes what was refused, which may be a header with a password; so do asyncio's further
        # lines, which show the task that has failed.
        what, *_ = record.getMessage().split("\n", 1)
        record.msg = f"{what}: {type(record.exc_info[1]).__name__}"
        record.args = None
        record.exc_info = None
        if record.levelno == logging.DEBUG:
            record.levelno, record.levelname = logging.ERROR, "ERROR"
    return record.levelno >= logging.getLogger().level
