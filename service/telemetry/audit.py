"""The audit log: one line of JSON for each URL signed, denial and change, written some milliseconds later."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from itertools import count
from typing import Any, Final

from service.addresses import network
from service.errors import AuditUnavailable
from service.telemetry.denials import RepeatedDenials
from service.telemetry.events import Event, LineFormat, timestamp
from service.telemetry.line_writer import MAX_LINES, LineWriter

ANONYMOUS: Final = "anonymous"
"""The caller of a request without credentials, or with wrong ones."""

# Denied callers must not fill the log, and so keep others from signing.
DENIALS_SHARE: Final = 0.5
RETRY_SECONDS: Final = 1.0


class AuditLog:
    """Writes events to ``descriptor``, which stays open. All calls come from one event loop, and none waits.

    At most ``limit`` lines wait to be written, none for longer than a second; beyond either, and while writing fails,
    calls raise AuditUnavailable. Texts may hold anything: an event is one line of ASCII.
    """

    def __init__(self, descriptor: int, *, limit: int = MAX_LINES) -> None:
        self._format = LineFormat()
        self._writer = LineWriter(descriptor, self._format.line, limit=limit)
        self._add = self._writer.add
        self._repeats = RepeatedDenials()
        self._timer: asyncio.TimerHandle | None = None
        self._number = count(1)

    def open(self) -> None:
        """Begin to write. Raises OSError if the descriptor is closed."""
        self._writer.open()
        # A server may have forked since.
        self._format.identify()

    async def close(self) -> None:
        """Write the waiting lines, for at most two seconds. The log says how many could not be written."""
        if self._timer:
            self._timer.cancel()
        for fields in self._repeats.summaries(float("inf")):
            self._writer.add_always(self._event("denied", fields))
        await self._writer.close()

    def check(self) -> None:
        """Raise AuditUnavailable if a change could not be recorded: before it is made."""
        self._writer.check()

    def signed(
        self,
        *,
        caller: str,
        address: str,
        policy: str | None,
        operation: str,
        method: str,
        account: str,
        access_key_id: str,
        host: str,
        style: str,
        path_prefix: str,
        bucket: str,
        key: str | None,
        signed_at: str,
        expiration: int,
        request_id: str,
    ) -> None:
        """Record a URL before it is handed out; if this raises AuditUnavailable, it must not be.

        Args:
            caller: Who asked, such as ``Client/reports``.
            address: The client's IP address, or ``unix``.
            policy: The id of the policy that allowed it; None where it took none.
            operation: Such as ``get_object``.
            method: The URL's HTTP method.
            account: The account's id.
            access_key_id: The account's, as it stands in the URL.
            host: As it is signed.
            style: How the bucket is addressed: ``virtual-hosted`` or ``path``.
            path_prefix: The URL's path before the key; in path style it ends with the bucket.
            bucket: Its name.
            key: None where the operation has none.
            signed_at: X-Amz-Date.
            expiration: Seconds.
            request_id: X-Request-Id.
        """
        request, location = (caller, address, policy, operation, method), (host, style, path_prefix, bucket)
        url = (request, account, access_key_id, location, key, signed_at, expiration, request_id)
        self._add(("signed", time.time_ns(), next(self._number), url))

    def denied(
        self,
        *,
        caller: str,
        address: str,
        operation: str | None = None,
        method: str,
        route: str,
        account: str | None = None,
        resource: str | None = None,
        bucket: str | None = None,
        key: str | None = None,
        expiration: int | None = None,
        outcome: str,
        request_id: str,
    ) -> None:
        """Record a refusal: ``outcome`` is its code, such as ``forbidden``, and ``method`` the request's.

        The first denial of a caller (of an address or IPv6 network, for an anonymous one) on a ``route`` for an account
        is a line at once, and its repeats are one line for ten seconds. May raise AuditUnavailable, which is then the
        answer.
        """
        self._writer.check(share=DENIALS_SHARE)
        fields = {
            "caller": caller,
            "address": address,
            "operation": operation,
            "method": method,
            "route": route,
            "account": account,
            "resource": resource,
            "bucket": bucket,
            "key": key,
            "expiration": expiration,
            "outcome": outcome,
            "request_id": request_id,
        }
        fields = {name: value for name, value in fields.items() if value is not None}
        who, repeated = caller, fields
        if caller == ANONYMOUS:
            # Somebody with an IPv6 network has an address for each try.
            who = network(address)
            repeated = {**fields, "address": who}
        identity = (who, method, route, account, outcome)
        if not self._repeats.is_repeat(identity, repeated, time=timestamp(time.time_ns()), now=time.monotonic()):
            self._add(self._event("denied", fields))
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
        """Record a change that was made, such as an ``update`` of ``AwsAccount/x``.

        It is too late to refuse it, and so this never raises: ``check`` does, before it. ``fields`` are the names of
        the changed ones, None where there are none, and ``host`` is the new one if it is among them.
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
        """Write a line for each window of repeats that has ended, and come back at the end of the next."""
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
