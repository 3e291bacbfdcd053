"""The log: one line an event, on standard error, as JSON or text."""

import logging
import sys

from pythonjsonlogger.json import JsonFormatter

# aiohttp logs what its parser refused with a traceback, and so does asyncio for connections that break.
ONE_LINE_LOGGERS = ("aiohttp.server", "asyncio")


def configure(*, level: str, form: str) -> None:
    """Send all logging to standard error, in ``form`` ``json`` or ``text``, from ``level`` upwards."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_formatter(form))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    for name in ONE_LINE_LOGGERS:
        logger = logging.getLogger(name)
        logger.filters = [_without_traceback]


def _formatter(form: str) -> logging.Formatter:
    if form == "json":
        return JsonFormatter(
            "{asctime}{levelname}{name}{message}",
            style="{",
            rename_fields={"asctime": "time", "levelname": "level", "name": "logger"},
            datefmt="%Y-%m-%dT%H:%M:%S%z",
        )
    return _OneLineFormatter("{asctime} {levelname:<7} {name}: {message}", style="{")


class _OneLineFormatter(logging.Formatter):
    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        # A request target may hold line breaks and terminal controls; a log line must not be forged with them.
        return "".join(char if char.isprintable() else repr(char)[1:-1] for char in super().formatMessage(record))


def _without_traceback(record: logging.LogRecord) -> bool:
    if record.exc_info and record.exc_info[1] is not None:
        error = record.exc_info[1]
        summary = " ".join(str(error).split())[:200]
        record.msg = f"{record.getMessage()}: {type(error).__name__}: {summary}"
        record.args = None
        record.exc_info = None
    return True
