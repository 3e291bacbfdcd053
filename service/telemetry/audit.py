"""The audit log: one line of JSON for each signed URL, denial and change, written some milliseconds later."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from itertools import count
from typing import Any, Final, Unpack

from service.addresses import network
from service.errors import AuditUnavailable
from service.telemetry.denials import RepeatedDenials
from service.telemetry.events import SIGNED, Denial, Event, LineFormat, SignedUrl, bound_fields, timestamp
from service.telemetry.line_writer import MAX_PENDING, LineWriter

ANONYMOUS: Final = "anonymous"
"""The caller of a request without valid credentials."""

# Denials may fill only this share of the log, so that they cannot stop signing.
DENIALS_SHARE: Final = 0.5
RETRY_SECONDS: Final = 1.0


class AuditLog:
    """Writes events to ``descriptor``, which stays open. All calls come from one event loop, and none blocks.

    At most ``limit`` lines are pending, none for longer than a second; beyond either limit, and while writing fails,
    calls raise AuditUnavailable. Fields may contain any text: an event is one line of ASCII.
    """

    def __init__(self, descriptor: int, *, limit: int = MAX_PENDING) -> None:
        self._format = LineFormat()
        self._writer = LineWriter(descriptor, self._format.line, limit=limit)
        self._repeats = RepeatedDenials()
        self._timer: asyncio.TimerHandle | None = None
        self._number = count(1)

    def open(self) -> None:
        """Begin to write. Raises OSError if the descriptor is closed."""
        self._writer.open()
        # The server may have forked since __init__.
        self._format.identify()

    async def close(self) -> int:
        """Write the pending lines, for at most two seconds. Log and return how many could not be written."""
        if self._timer:
            self._timer.cancel()
        for fields in self._repeats.summaries(float("inf")):
            self._writer.add_always(self._event("denied", fields))
        return await self._writer.close()

    def is_available(self) -> bool:
        """Return whether events are accepted, without a line in the log if they are not."""
        return self._writer.accepts()

    def check(self) -> None:
        """Raise AuditUnavailable if a change could not be recorded. Call it before the change."""
        self._writer.check()

    def signed(self, **url: Unpack[SignedUrl]) -> None:
        """Record a URL. If this raises AuditUnavailable, the URL must not be returned to the client."""
        self._writer.add((SIGNED, time.time_ns(), next(self._number), url))

    def denied(self, **denial: Unpack[Denial]) -> None:
        """Record a denial. May raise AuditUnavailable, which is then the response.

        The first denial of a caller on a route for an account is written at once. Its repeats are summarized in one
        line for each ten seconds. Anonymous callers with different addresses or IPv6 networks count as different.
        """
        self._writer.check(share=DENIALS_SHARE)
        values: Mapping[str, Any] = denial
        fields: dict[str, Any] = {}
        for name in Denial.__annotations__:
            value = values.get(name)
            if name == "bound":
                fields |= bound_fields(value) if value else {}
            elif value is not None:
                fields[name] = value
        client, repeated = fields["caller"], fields
        if client == ANONYMOUS:
            # A client with an IPv6 network can use another address for each try.
            client = network(fields["address"])
            repeated = {**fields, "address": client}
        identity = (client, *(fields.get(name) for name in ("method", "route", "account", "outcome")))
        if not self._repeats.is_repeat(identity, repeated, time=timestamp(time.time_ns()), now=time.monotonic()):
            self._writer.add(self._event("denied", fields))
            self._summarize()

    def changed(
        self,
        *,
        caller: str,
        address: str,
        policy: str | None,
        operation: str,
        method: str,
        resource: str,
        fields: Sequence[str] | None = None,
        host: str | None = None,
        request_id: str,
    ) -> None:
        """Record a completed change, such as an ``update`` of ``AwsAccount/x``. Never raises; see ``check``.

        ``fields`` are the names of the changed fields, None for a deletion; ``host`` is written if it is one of them.
        """
        event = {
            "caller": caller,
            "address": address,
            "policy": policy,
            "operation": operation,
            "method": method,
            "resource": resource,
            **({} if fields is None else {"fields": list(fields)}),
            **({"host": host} if fields and "host" in fields else {}),
            "outcome": "success",
            "request_id": request_id,
        }
        self._writer.add_always(self._event("changed", event))

    def _event(self, name: str, fields: Mapping[str, Any]) -> Event:
        return name, time.time_ns(), next(self._number), fields

    def _summarize(self) -> None:
        """Write a line for each window of repeats that has ended, and schedule the next call."""
        if self._timer:
            self._timer.cancel()
            self._timer = None
        now, loop = time.monotonic(), asyncio.get_running_loop()
        try:
            self._writer.check(share=DENIALS_SHARE)
        except AuditUnavailable:
            self._timer = loop.call_later(RETRY_SECONDS, self._summarize)
            return
        for fields in self._repeats.summaries(now):
            self._writer.add_always(self._event("denied", fields))
        if (end := self._repeats.next_end()) is not None:
            self._timer = loop.call_later(max(0, end - now), self._summarize)
