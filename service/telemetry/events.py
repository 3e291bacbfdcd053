"""The events of the audit log, and each as a line of JSON."""

import json
import os
import secrets
import time
from collections.abc import Mapping, Sequence
from functools import lru_cache
from json.encoder import encode_basestring_ascii as quoted
from typing import Any

from service.telemetry.lines import PIPE_BYTES, encoded, truncate

Texts = tuple[str | None, ...]
SignedUrl = tuple[Texts, str, str, Texts, str | None, str, int, str]
"""What ``AuditLog.signed`` keeps of a URL until its line is written."""

Event = tuple[str, int, int, SignedUrl | Mapping[str, Any]]
"""Name (``signed``, ``denied`` or ``changed``), Unix time in nanoseconds, number in this process, members."""


class LineFormat:
    """Formats the events of one process, under an id that no other process has."""

    def __init__(self) -> None:
        self.identify()

    def identify(self) -> None:
        """Take a new id, and the id of this process."""
        self._log_id = secrets.token_hex(8)
        self._pid = os.getpid()

    def line(self, event: Event) -> str:
        """One line of ASCII, with its newline, of at most PIPE_BYTES. Texts may hold anything."""
        name, nanoseconds, number, fields = event
        instant, event_id = timestamp(nanoseconds), f"{self._log_id}-{number}"
        if not isinstance(fields, tuple):
            return truncate({"time": instant, "event": name, "event_id": event_id, "pid": self._pid, **fields})
        line = f'{{"time":"{instant}","event":"{name}","event_id":"{event_id}","pid":{self._pid},{_json(fields)}}}\n'
        # Looking for one character is ten times as fast, and most lines have no backslash.
        return truncate(json.loads(line)) if len(line) > PIPE_BYTES or ("\\" in line and "\\ud" in line) else line


def _json(url: SignedUrl) -> str:
    """The members of the event. An encoder for any mapping would take three times as long."""
    request, account, access_key_id, location, key, signed_at, expiration, request_id = url
    object_ = "" if key is None else f'"key":{quoted(key)},'
    return (
        f"{_request(*request)},"
        f'"account":{quoted(account)},"access_key_id":{quoted(access_key_id)},'
        f"{_location(*location)},"
        f'{object_}"signed_at":{quoted(signed_at)},"expiration":{expiration},'
        f'"outcome":"success","request_id":{quoted(request_id)}'
    )


# The arguments of these two recur, and a hit takes half of the time that encoding takes.
@lru_cache(maxsize=1024)
def _request(*texts: str | None) -> str:
    return _members(("caller", "address", "policy", "operation", "method"), texts)


@lru_cache(maxsize=1024)
def _location(*texts: str | None) -> str:
    return _members(("host", "style", "path_prefix", "bucket"), texts)


def _members(names: Sequence[str], texts: Texts) -> str:
    return encoded(dict(zip(names, texts, strict=True)))[1:-1]


def timestamp(nanoseconds: int) -> str:
    """A Unix time as ``2013-05-24T00:00:00.000000Z``."""
    # Formatting microseconds as a number would take twice as long.
    digits = str(nanoseconds)
    return f"{_second(digits[:-9])}.{digits[-9:-3]}Z"


# A busy service signs many URLs in one second.
@lru_cache(maxsize=8)
def _second(seconds: str) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(int(seconds)))
