"""A bounded load on one service, and a check of every answer against the history of all writes."""

import asyncio
import random
import re
from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from math import inf
from time import monotonic, time

import aiohttp

HOT = [f"hot{n}" for n in range(8)]
# Written once. A write that fails drops an account from the cache, and so the others are not known in an outage.
STILL = [f"still{n}" for n in range(4)]
READERS = 8
HOST = {"host": "127.0.0.1:9000", "path-style": True}
# Longer than the ten seconds after which a silent worker is replaced.
HANG_SECONDS = 20
# Between the instant of a URL and the instant at which the answer arrives.
CLOCK_SLACK_SECONDS = 5
LOST = 0
"""The status of a request whose connection broke."""

SIGNED = re.compile(r"^https?://[^/]+/bucket/([^?]+)\?.*X-Amz-Credential=A(\d+)%2F\d+%2Fr(\d+)%2F.*X-Amz-Date=(\w+)")


@dataclass(frozen=True, slots=True)
class Call:
    """One request: a write of ``number``, or a read that found ``number`` (None for a 404)."""

    id: str
    begin: float
    end: float
    status: int
    number: int | None

    @property
    def acknowledged(self):
        return self.status in {200, 201}


@dataclass(frozen=True, slots=True)
class Rewind:
    """Between ``begin`` and ``end`` the store went back to an instant between ``earliest`` and ``latest``.

    With ``keeps_acknowledged``, it lost only writes that nobody had acknowledged.
    """

    begin: float
    end: float
    earliest: float = -inf
    latest: float = -inf
    keeps_acknowledged: bool = False


def account(number):
    """Fields that each show the number of their write, so that a mixture of two writes is noticed."""
    return {"access-key-id": f"A{number}", "secret-access-key": f"secret of write {number}", "region": f"r{number}"}


class Load:
    """Each account has one writer, which counts up. So the order of its writes is known exactly.

    Each writer and reader has one connection. So it talks to one worker until the connection breaks.

    One more writer creates accounts ``new0``, ``new1`` and so on. Nobody writes them again, so each one that is
    missing in the end is a lost write.
    """

    def __init__(self, url):
        self.url = url
        self.writes = defaultdict(list)
        self.reads = []
        self.faults = []
        self.created = -1
        self.numbers = dict.fromkeys(HOT, 0)
        self.clock_offsets = {0}
        """By how many seconds the service's clock may differ from the load's."""

        self._versions = defaultdict(int)
        self._tasks = []
        self._running = True

    async def start(self):
        async with session() as client:
            for id_ in STILL:
                await self.write(client, id_, 0)
        parts = [*(partial(self._write, id_=id_) for id_ in HOT), self._create, *[self._read] * READERS]
        self._tasks = [asyncio.create_task(self._repeat(part)) for part in parts]

    async def stop(self):
        self._running = False
        await asyncio.gather(*self._tasks)

    async def write(self, client, id_, number, *, patch=False):
        """Write and note the outcome."""
        method, body = ("PATCH", account(number)) if patch else ("PUT", {**account(number), **HOST})
        begin = monotonic()
        status, answer, headers = await self._ask(client, method, f"/AwsAccount/{id_}", json=body)
        call = Call(id_, begin, monotonic(), status, number)
        if status == 404 and patch:
            self.reads.append(Call(id_, begin, call.end, status, None))
            return
        self.writes[id_].append(call)
        if call.acknowledged:
            version = int(headers["ETag"].strip('W/"'))
            if version <= self._versions[id_]:
                self.faults.append(f"{id_} has version {version} after {self._versions[id_]}")
            self._versions[id_] = version
        elif status not in {503, LOST}:
            self.faults.append(f"write of {id_}: {status} {answer}")

    async def read(self, client, id_):
        """Sign a URL and note the number of the account that signed it."""
        key = f"key-{random.randrange(10**6)}"  # noqa: S311 - no secret
        begin = monotonic()
        status, answer, _ = await self._ask(client, "GET", f"/aws/storage/{id_}/bucket/{key}")
        number = None
        if status == 200:
            signed_key, number, region, instant = SIGNED.search(answer["url"]).groups()
            offset = datetime.strptime(f"{instant}+0000", "%Y%m%dT%H%M%SZ%z").timestamp() - time()
            if (signed_key, region) != (key, number):
                self.faults.append(f"{id_}, {key}: a mixture, {answer['url']}")
            if all(abs(offset - known) > CLOCK_SLACK_SECONDS for known in self.clock_offsets):
                self.faults.append(f"a URL is from {offset} seconds ago: {answer['url']}")
            number = int(number)
        elif status not in {404, 503, LOST}:
            self.faults.append(f"read of {id_}: {status} {answer}")
        call = Call(id_, begin, monotonic(), status, number)
        self.reads.append(call)
        return call

    async def listed(self, client):
        """Return the ids of a listing of all accounts."""
        _, answer, _ = await self._ask(client, "GET", "/AwsAccount?_count=1000")
        return {entry["resource"]["id"] for entry in answer["entry"]} if answer and "entry" in answer else set()

    async def _repeat(self, part):
        async with session() as client:
            while self._running:
                await part(client)

    async def _write(self, client, id_):
        self.numbers[id_] += 1
        patch = self.numbers[id_] > 1 and random.random() < 0.5  # noqa: S311 - no secret
        await self.write(client, id_, self.numbers[id_], patch=patch)
        await asyncio.sleep(random.uniform(0, 0.1))  # noqa: S311 - no secret

    async def _create(self, client):
        await self.write(client, f"new{self.created + 1}", self.created + 1)
        self.created += 1
        await asyncio.sleep(0.03)

    async def _read(self, client):
        # The newest, and the next one, which the cache then knows as missing.
        recent = [f"new{self.created + step}" for step in (0, 1)]
        await self.read(client, random.choice(random.choice([HOT, HOT, STILL, recent])))  # noqa: S311 - no secret
        await asyncio.sleep(0.01)

    async def _ask(self, client, method, path, **options):
        try:
            async with client.request(method, self.url + path, **options) as response:
                return response.status, await response.json(content_type=None), response.headers
        except TimeoutError:
            self.faults.append(f"{method} {path}: no answer in {HANG_SECONDS} seconds")
        except (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError):
            pass
        # As a client would, before it connects again.
        await asyncio.sleep(0.1)
        return LOST, None, {}


def session():
    """Return a client whose connections are new."""
    return aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=HANG_SECONDS))


class History:
    """Which numbers an account may show at an instant, given all calls and what the fault took back."""

    def __init__(self, writes, reads=(), rewind=None):
        self._rewind = rewind
        # A write happened if it was acknowledged, or if somebody has read it.
        self._acknowledged_at = {(c.id, c.number): c.end for calls in writes.values() for c in calls if c.acknowledged}
        self._known_at = dict(self._acknowledged_at)
        for read in reads:
            key = read.id, read.number
            self._known_at[key] = min(read.end, self._known_at.get(key, inf))
        self._writes = writes

    def allows(self, id_, number, begin, end, *, stale=0):
        """Whether an answer to a request from ``begin`` to ``end`` is right, or was within ``stale`` seconds before."""
        writes = [call for call in self._writes.get(id_, ()) if call.begin < end]
        return any(self._allowed_at(writes, number, instant) for instant in (begin - stale, end))

    def age(self, call):
        """By how many seconds an answer was out of date; 0 if it was right."""
        if self.allows(call.id, call.number, call.begin, call.end):
            return 0
        later = [
            self._known_at.get((write.id, write.number), inf)
            for write in self._writes[call.id]
            if call.number is None or write.number > call.number
        ]
        if self._rewind:
            later = [known_at for known_at in later if known_at > self._rewind.end] + [self._rewind.end]
        return call.begin - min(later)

    def _allowed_at(self, writes, number, instant):
        held = max((call.number for call in writes if self._is_held(call, instant)), default=None)
        if number is None:
            return held is None
        found = next((call for call in writes if call.number == number), None)
        return found is not None and not self._is_gone(found, instant) and (held is None or held <= number)

    def _is_held(self, call, instant):
        """Whether the store certainly had this write, or a later one."""
        known_at = self._known_at.get((call.id, call.number), inf)
        if known_at > instant:
            return False
        rewind = self._rewind
        if rewind is None or instant < rewind.begin or known_at < rewind.earliest or call.begin > rewind.end:
            return True
        return rewind.keeps_acknowledged and self._acknowledged_at.get((call.id, call.number), inf) <= instant

    def _is_gone(self, call, instant):
        rewind = self._rewind
        return rewind is not None and instant > rewind.end and call.end < rewind.begin and call.begin > rewind.latest
