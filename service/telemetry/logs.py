"""The log on standard error: one line for each record, as JSON or text."""

import io
import logging
import select
import sys
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, TextIO

from pythonjsonlogger.core import RESERVED_ATTRS
from pythonjsonlogger.json import JsonFormatter

from service.telemetry import tracing

ACCESS_LOGGER = "service.access"

# aiohttp logs rejected requests with a traceback, asyncio broken connections, aiobotocore keys that it cannot renew.
ONE_LINE_LOGGERS = ("aiohttp.server", "asyncio", "aiobotocore.credentials")
# At debug level, these log complete requests and responses of AWS, with credentials; at info level, a line or two for
# each request for keys.
RESERVED_LOGGERS = ("botocore", "aiobotocore")

# A line waits this long for a slow reader of standard error.
WAIT_SECONDS = 1.0

_RESERVED = {*RESERVED_ATTRS, "message", "asctime"}


def configure(*, level: str, form: str) -> None:
    """Send all logging to standard error, as ``json`` or ``text``, from ``level`` upwards."""
    handler = _Handler(sys.stderr)
    handler.setFormatter(_formatter(form))
    handler.addFilter(tracing.add_ids)
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    for name in ONE_LINE_LOGGERS:
        logging.getLogger(name).filters = [_remove_traceback]
    for name in RESERVED_LOGGERS:
        logging.getLogger(name).setLevel(max(logging.WARNING, logging.getLogger().level))
    # The access log has its own setting, which does not depend on the level.
    logging.getLogger(ACCESS_LOGGER).setLevel(logging.INFO)
    # aiohttp logs a malformed method at debug level, and other rejected requests as errors.
    logging.getLogger("aiohttp.server").setLevel(logging.DEBUG)


class _Handler(logging.StreamHandler[TextIO]):
    """Drops lines while the reader of the stream hangs. The process must go on, and end on a signal."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self._dropped = 0
        self._poll: select.poll | None = None
        # A stream without a descriptor is in memory, or None if standard error is closed.
        with suppress(AttributeError, io.UnsupportedOperation):
            descriptor = stream.fileno()
            self._poll = select.poll()
            self._poll.register(descriptor, select.POLLOUT)

    def emit(self, record: logging.LogRecord) -> None:
        # One that hangs is waited for once, and not for each line.
        if self._poll and not self._poll.poll(0 if self._dropped else 1000 * WAIT_SECONDS):
            self._dropped += 1
            return
        if self._dropped:
            number, self._dropped = self._dropped, 0
            text = f"{number} lines of the log were dropped, because nobody read standard error"
            super().emit(logging.LogRecord(__name__, logging.WARNING, __file__, 0, text, None, None))
        super().emit(record)


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
    """A record is an object in one line, with its extra fields as members."""


class _TextFormatter(_Rfc3339Formatter):
    """A record is a line with its extra fields at the end, and a traceback is indented lines.

    Quoted text cannot forge either, because control characters are escaped.
    """

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        fields = "".join(f" {name}={value}" for name, value in record.__dict__.items() if name not in _RESERVED)
        return _printable(super().formatMessage(record) + fields)

    def formatException(self, ei: Any) -> str:  # noqa: N802 - logging's name
        return "\n".join(f"    {_printable(line)}" for line in super().formatException(ei).split("\n"))


def _printable(text: str) -> str:
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


def _remove_traceback(record: logging.LogRecord) -> bool:
    if record.exc_info and record.exc_info[1] is not None:
        # The text of the error quotes the request, which may contain a password; so do asyncio's further lines.
        first_line, *_ = record.getMessage().split("\n", 1)
        record.msg = f"{first_line}: {type(record.exc_info[1]).__name__}"
        record.args = None
        record.exc_info = None
        if record.levelno == logging.DEBUG:
            record.levelno, record.levelname = logging.ERROR, "ERROR"
    return record.levelno >= logging.getLogger().level
