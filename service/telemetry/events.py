"""The events of the audit log, and their format: one line of JSON each."""

import json
import os
import secrets
import time
from collections.abc import Mapping
from functools import lru_cache
from json.encoder import encode_basestring_ascii as quote
from typing import Any, Required, TypedDict, cast

from service.telemetry.lines import PIPE_BYTES, encode, truncate


class SignedUrl(TypedDict):
    """The fields of a ``signed`` event; its ``outcome`` is always ``success``."""

    caller: str
    """Principal, such as ``Client/reports``."""
    address: str
    """IP address of the client, or ``unix``."""
    policy: str | None
    """Id of the policy that allowed the request; None if it needed none."""
    operation: str
    """Such as ``get_object``."""
    method: str
    """HTTP method of the URL."""
    account: str
    """Id of the account."""
    access_key_id: str
    role: tuple[str, str] | None
    """ARN of the role whose keys sign, and the name of its session; None for other keys."""
    host: str
    """Host, as it is signed."""
    style: str
    """``virtual-hosted`` or ``path``."""
    path_prefix: str
    """Path of the URL before the key; in path style it ends with the bucket."""
    bucket: str
    key: str | None
    """None if the operation has no key."""
    bound: Mapping[str, Any] | None
    """What the URL carries, by wire name: a line has the names, and the values of ``_SHOWN``."""
    signed_at: str
    """X-Amz-Date."""
    expiration: int
    """Seconds."""
    request_id: str
    """X-Request-Id."""


class Denial(TypedDict, total=False):
    """The fields of a ``denied`` event, in the order of its line; None and absent fields are left out."""

    caller: Required[str]
    address: Required[str]
    operation: str | None
    method: Required[str]
    """HTTP method of the request."""
    route: Required[str]
    account: str | None
    resource: str | None
    bucket: str | None
    key: str | None
    bound: Mapping[str, Any] | None
    """As in a ``signed`` event."""
    expiration: int | None
    outcome: Required[str]
    """Code of the error, such as ``forbidden``."""
    request_id: Required[str]


Event = tuple[str, int, int, Mapping[str, Any]]
"""Name (``signed``, ``denied`` or ``changed``), Unix time in nanoseconds, number in this process, fields."""

SIGNED = "signed"
# Other values may be secret or personal, such as those of metadata.
_ROLE = ("role_arn", "role_session")
_SHOWN = {"version-id": "version_id", "content-type": "content_type", "content-length": "content_length"}


class LineFormat:
    """Formats the events of one process. Their ids begin with a random id of the log."""

    def __init__(self) -> None:
        self.identify()

    def identify(self) -> None:
        """Take a new log id and the current process id, as after a fork."""
        self._log_id = secrets.token_hex(8)
        self._pid = os.getpid()

    def line(self, event: Event) -> str:
        """Return one line of ASCII of at most PIPE_BYTES, with its newline. Fields may contain any text."""
        name, nanoseconds, number, fields = event
        instant, event_id = timestamp(nanoseconds), f"{self._log_id}-{number}"
        if name != SIGNED:
            return truncate({"time": instant, "event": name, "event_id": event_id, "pid": self._pid, **fields})
        members = _signed_members(cast(SignedUrl, fields))
        line = f'{{"time":"{instant}","event":"signed","event_id":"{event_id}","pid":{self._pid},{members}}}\n'
        # The search for one character is ten times as fast, and most lines have no backslash.
        return truncate(json.loads(line)) if len(line) > PIPE_BYTES or ("\\" in line and "\\ud" in line) else line


def _signed_members(url: SignedUrl) -> str:
    """Return the members as JSON. A general encoder takes five times as long, a tenth of a signed GET (ADR 19)."""
    policy = "null" if url["policy"] is None else quote(url["policy"])
    key = "" if url["key"] is None else f'"key":{quote(url["key"])},'
    role = f"{encode(dict(zip(_ROLE, url['role'], strict=True)))[1:-1]}," if url["role"] else ""
    bound = _bound_members(url["bound"]) if url["bound"] else ""
    return (
        f'"caller":{quote(url["caller"])},"address":{quote(url["address"])},"policy":{policy},'
        f'"operation":{quote(url["operation"])},"method":{quote(url["method"])},'
        f'"account":{quote(url["account"])},"access_key_id":{quote(url["access_key_id"])},{role}'
        f'"host":{quote(url["host"])},"style":{quote(url["style"])},"path_prefix":{quote(url["path_prefix"])},'
        f'"bucket":{quote(url["bucket"])},{key}{bound}"signed_at":{quote(url["signed_at"])},'
        f'"expiration":{url["expiration"]},"outcome":"success","request_id":{quote(url["request_id"])}'
    )


def _bound_members(bound: Mapping[str, Any]) -> str:
    return f"{encode(bound_fields(bound))[1:-1]},"


def bound_fields(bound: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a line about what a URL carries: its names, and a few values."""
    return {"bound": list(bound), **{member: bound[name] for name, member in _SHOWN.items() if name in bound}}


def timestamp(nanoseconds: int) -> str:
    """Return a Unix time as ``2013-05-24T00:00:00.000000Z``."""
    digits = str(nanoseconds)
    return f"{_second(digits[:-9])}.{digits[-9:-3]}Z"


# Many URLs are signed in one second.
@lru_cache(maxsize=8)
def _second(seconds: str) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(int(seconds)))
