"""The log: one line an event, on standard error, as JSON or text."""

import logging
import sys
from typing import Any

from pythonjsonlogger.json import JsonFormatter

# aiohttp logs what its parser refused with a traceback, and so does asyncio for connections that break.
ONE_LINE_LOGGERS = ("aiohttp.server", "asyncio")
# At debug level they log the requests to AWS and its answers whole, those among them that hold credentials.
RESERVED_LOGGERS = ("botocore", "aiobotocore")


def configure(*, level: str, form: str) -> None:
    """Send all logging to standard error, in ``form`` ``json`` or ``text``, from ``level`` upwards."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_formatter(form))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    for name in ONE_LINE_LOGGERS:
        logging.getLogger(name).filters = [_without_traceback]
    for name in RESERVED_LOGGERS:
        logging.getLogger(name).setLevel(max(logging.INFO, logging.getLogger().level))
    # aiohttp tells a malformed method at debug level, and all else that its parser refuses as an error.
    logging.getLogger("aiohttp.server").setLevel(logging.DEBUG)


def _formatter(form: str) -> logging.Formatter:
    if form == "json":
        return JsonFormatter(
            "{asctime}{levelname}{name}{message}",
            style="{",
            rename_fields={"asctime": "time", "levelname": "level", "name": "logger"},
            datefmt="%Y-%m-%dT%H:%M:%S%z",
        )
    return _TextFormatter("{asctime} {levelname:<7} {name}: {message}", style="{")


class _TextFormatter(logging.Formatter):
    """An event is a line, and a traceback its indented lines: neither can be forged by what a message quotes."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        return _printable(super().formatMessage(record))

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
