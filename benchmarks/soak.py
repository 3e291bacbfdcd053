"""Whether memory stays what it is over millions of mixed requests: ``make soak``, shorter with SOAK_REQUESTS."""

import os
import sys
import time
from dataclasses import replace
from math import ceil
from pathlib import Path

from redis import Redis

from benchmarks import crowd, example, load, ready, servers, steady
from benchmarks.__main__ import prepare
from benchmarks.servers import Server

REQUESTS = 5_000_000
TENTHS = 10
MOST_GROWTH = 1.05
DAY_SECONDS = "86400"
# More than the service remembers by default, so that its cache is full from the beginning.
ACCOUNTS = 12_000
SCRIPT = Path(__file__).with_name("soak.lua")
FIRST_SECONDS, LONGEST_SECONDS = 1, 60
# Of 100 requests 10 are for an account that is not there, 9 cannot be understood, and no policy allows 5.
SHARES = {"missing": 0.10, "invalid": 0.09, "denied": 0.05}
TOLERANCE = 0.03
# A client of its own opens sessions, as each has so many, and the oldest ends.
VISITOR = "visitor"
ACCESS = {
    f"/Client/{VISITOR}": example.CLIENT,
    "/AccessPolicy/soak": {
        "engine": "matcho",
        "matcho": {"params": {"account": "#^(account|nobody)-", "key": "#^(object|example)"}},
        "link": [{"reference": "Client/reader"}],
    },
}


class Soak:
    """Requests sent to ``server`` so far, and how fast it answers them."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._rate = 0.0
        self.sent = 0

    def until(self, requests: int) -> None:
        """Send until there have been so many, or a few more. Raises LoadError for an answer that should not be."""
        while (left := requests - self.sent) > 0:
            seconds = min(LONGEST_SECONDS, ceil(left / self._rate)) if self._rate else FIRST_SECONDS
            url = f"http://127.0.0.1:{self._server.port}/"
            callers = (self._server.authorization, example.ROOT, example.basic(VISITOR, example.ROOT_SECRET))
            counts = load.wrk(SCRIPT, url, seconds, str(ACCOUNTS), *callers)
            if counts["other"] or counts["broken"] or not counts["requests"] or not _mixed(counts):
                raise load.LoadError(f"Not every answer is what it should be: {counts}")
            self.sent += counts["requests"]
            self._rate = counts["requests"] / seconds


def _mixed(counts: dict[str, int]) -> bool:
    return all(abs(counts[name] / counts["requests"] - share) <= TOLERANCE for name, share in SHARES.items())


def main() -> int:
    requests = int(os.environ.get("SOAK_REQUESTS", REQUESTS))
    try:
        prepare()
        with servers.redis() as url, Redis.from_url(url) as client:
            crowd.fill(client, ACCOUNTS)
            with ready.closed(SIGNER_STORE_URL=url, SIGNER_TOKEN_SECONDS=DAY_SECONDS) as server:
                for path, resource in ACCESS.items():
                    load.ask(server.port, example.stored(path, resource))
                return _watch(server, client, requests)
    except (load.LoadError, servers.ServerError, OSError) as error:
        sys.stderr.write(f"soak: {error}\n")
        return 2


def _watch(server: Server, client: Redis, requests: int) -> int:
    started = time.monotonic()
    soak = Soak(server)
    steady.visit(server.port, replace(example.GET_FIRST, authorization=server.authorization), ACCOUNTS)
    memory = []
    for tenth in range(1, TENTHS + 1):
        soak.until(requests * tenth // TENTHS)
        memory.append(server.resident_mib())
        # All connections but this one, that which tells of changes among them.
        client.client_kill_filter(skipme=True)
        growth = memory[-1] / memory[0]
        print(
            f"{tenth * 100 // TENTHS:3} %  {soak.sent:>10,} requests  {time.monotonic() - started:6.0f} s"
            f"  {memory[-1]:7.1f} MiB  {growth - 1:+.1%}",
            flush=True,
        )
    held = memory[-1] <= MOST_GROWTH * memory[0]
    print(f"memory at the end is {memory[-1] / memory[0]:.3f} of that at 10 %: {'ok' if held else 'MISSED'}")
    return int(not held)


if __name__ == "__main__":
    sys.exit(main())
