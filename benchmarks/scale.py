"""A million accounts in a Cluster, and what ten replicas of the service would take: ``make scale``.

Writes its figures into docs/reliability.md. SCALE_ACCOUNTS sets another number of accounts.
"""

import asyncio
import os
import random
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles
from typing import Any, Self

from redis import Redis
from redis.crc import REDIS_CLUSTER_HASH_SLOTS, key_slot

from benchmarks import cores, crowd, example, markers, reckoning, report, servers
from benchmarks.load import LoadError, Request, ask
from benchmarks.servers import Server
from benchmarks.sockets import LARGEST_READ, Answer, connect, read
from service.stores.redis import RedisStore

ACCOUNTS = 1_000_000
PRIMARIES = 3
BUILD_SECONDS = 600
JOIN_SECONDS = 30
# The default of SIGNER_CACHE_SIZE is larger than this.
SIGNED = 5_000
LONGEST_HOLD = 0.02
PAGE = 1000
SLOW_MICROSECONDS = 1000
PAUSE_SECONDS = 0.02
CALLS = 5_000
ROUNDS = 3
MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Node:
    """A primary of the Cluster."""

    client: Redis
    port: int
    first: int
    last: int


Rows = list[tuple[str, str]]


@contextmanager
def cluster() -> Iterator[list[Node]]:
    """Primaries without replicas, which keep nothing on disk."""
    with ExitStack() as stack:
        nodes: list[Node] = []
        for number in range(PRIMARIES):
            options = ("--cluster-enabled", "yes", "--cluster-port", str(servers.free_port()), "--appendonly", "no")
            url = stack.enter_context(servers.redis(*options))
            client = stack.enter_context(Redis.from_url(url))
            first, last = (REDIS_CLUSTER_HASH_SLOTS * n // PRIMARIES for n in (number, number + 1))
            nodes.append(Node(client, int(client.connection_pool.connection_kwargs["port"]), first, last - 1))
            _run(client, "CLUSTER ADDSLOTSRANGE", first, last - 1)
            _run(client, "CLUSTER SET-CONFIG-EPOCH", number + 1)
            bus = int(client.config_get("cluster-port")["cluster-port"])
            _run(nodes[0].client, "CLUSTER MEET", "127.0.0.1", nodes[-1].port, bus)
        end = time.monotonic() + JOIN_SECONDS
        while any(_run(node.client, "CLUSTER INFO")["cluster_state"] != "ok" for node in nodes):
            if time.monotonic() > end:
                raise LoadError("The nodes form no Cluster")
            time.sleep(PAUSE_SECONDS)
        yield nodes


def _run(client: Redis, *command: str | int) -> Any:
    return client.execute_command(*command)  # type: ignore[no-untyped-call]


def fill(nodes: list[Node], accounts: int) -> None:
    """Write the accounts with pipelines, without an index, as an import does."""
    waiting: dict[int, list[tuple[str, dict[Any, Any]]]] = defaultdict(list)
    for chunk in crowd.batched(crowd.records(accounts)):
        for key, record in chunk:
            slot = key_slot(key.encode())
            waiting[next(number for number, node in enumerate(nodes) if slot <= node.last)].append((key, record))
        for number, found in waiting.items():
            with nodes[number].client.pipeline(transaction=False) as pipe:
                for key, record in found:
                    pipe.hset(key, mapping=record)
                pipe.execute()
        waiting.clear()


class Beside:
    """Sends one request after another in a thread while something else happens."""

    def __init__(self, server: Server, request: Callable[[], Request]) -> None:
        self.seconds: list[float] = []
        self._server = server
        self._request = request
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        with connect(self._server.address, BUILD_SECONDS) as connection:
            while not self._stop.is_set():
                self.seconds.append(_timed(connection, self._request())[0])
                time.sleep(PAUSE_SECONDS / 10)


def _timed(connection: Any, request: Request) -> tuple[float, Answer]:
    started = time.perf_counter()
    connection.sendall(request.written(random.randint(1, max(1, request.accounts))))  # noqa: S311 - no secret
    answer = read(connection)
    return time.perf_counter() - started, answer


def measure(accounts: int) -> Rows:
    rows: Rows = []

    def note(what: str, figure: str) -> None:
        rows.append((what, figure))
        print(f"{what}: {figure}", flush=True)

    with cluster() as nodes, tempfile.TemporaryDirectory() as directory:
        started = time.monotonic()
        fill(nodes, accounts)
        note("import with pipelines", f"{time.monotonic() - started:.0f} s")
        note("memory of the Cluster", f"{sum(map(_used_mib, nodes)):.0f} MiB")
        holds = Path(directory, "holds")
        url = f"redis+cluster://{','.join(f'127.0.0.1:{node.port}' for node in nodes)}"
        started = time.monotonic()
        with servers.watched(holds, SIGNER_STORE_URL=url) as server:
            ask(server.address, Request("/ready"))
            note("start of the service, until `/ready` is a 200", _written(time.monotonic() - started))
            note("memory of the process after its start", f"{server.resident_mib():.0f} MiB")
            _listings(server, nodes, holds, accounts, note)
            _signatures(server, accounts, note)
            note("memory of the process at the end", f"{server.resident_mib():.0f} MiB")
    return rows


def _listings(server: Server, nodes: list[Node], holds: Path, accounts: int, note: Callable[[str, str], None]) -> None:
    signing = Request(f"/aws/storage/account-{{}}/{example.BUCKET}/{example.KEY}", accounts=accounts)
    with connect(server.address, BUILD_SECONDS) as connection:
        before, started = server.cpu_seconds(), time.monotonic()
        with Beside(server, lambda: Request("/live")) as live, Beside(server, lambda: signing) as signed:
            first, answer = _timed(connection, Request("/AwsAccount"))
            note("first listing without an index", f"{answer.status} after {first:.1f} s")
            while answer.status == 503:  # noqa: PLR2004 - being built
                time.sleep(1)
                _, answer = _timed(connection, Request("/AwsAccount"))
                if time.monotonic() - started > BUILD_SECONDS:
                    raise LoadError(f"No listing: {answer.body!r}")
        built = time.monotonic()
        if answer.status != 200 or f'"total":{accounts},'.encode() not in answer.body.replace(b": ", b":"):  # noqa: PLR2004
            raise LoadError(f"A wrong listing: {answer.status} {answer.body[:200]!r}")
        note("until listings are a 200", f"{built - started:.0f} s, {server.cpu_seconds() - before:.0f} s of CPU")
        note("longest other request meanwhile: `/live`", _written(max(live.seconds)))
        note(f"and any of {accounts:,} accounts signed, of {len(signed.seconds):,}", _written(max(signed.seconds)))
        note("memory of the process after the build", f"{server.resident_mib():.0f} MiB")
        note("longest hold of the loop in the build", _longest(holds, started, built))
        last = accounts // PAGE
        for what, path in {
            "first page of 1,000": f"/AwsAccount?_count={PAGE}",
            "last page of 1,000": f"/AwsAccount?_count={PAGE}&_page={last}",
            "the same, sorted by `-_id`": f"/AwsAccount?_count={PAGE}&_page={last}&_sort=-_id",
            "total alone": "/AwsAccount?_summary=count",
        }.items():
            note(f"listing, {what}, median of 5", _page(server, nodes, holds, Request(path)))


def _page(server: Server, nodes: list[Node], holds: Path, request: Request) -> str:
    """Ask for a page five times. Return what it takes, as a text."""
    for node in nodes:
        node.client.config_set("slowlog-log-slower-than", SLOW_MICROSECONDS)
        node.client.slowlog_reset()
    started = time.monotonic()
    with Beside(server, lambda: Request("/live")) as live, connect(server.address, BUILD_SECONDS) as connection:
        found = [_timed(connection, request) for _ in range(5)]
    if any(answer.status != 200 for _, answer in found):  # noqa: PLR2004
        raise LoadError(f"{request.path} answers {[answer.status for _, answer in found]}")
    slow = [entry["duration"] / 1e6 for node in nodes for entry in node.client.slowlog_get(100)]
    return (
        f"{_written(sorted(seconds for seconds, _ in found)[2])}; longest hold "
        f"{_longest(holds, started, time.monotonic())}; longest other request {_written(max(live.seconds))}; "
        f"longest command in Redis {_written(max(slow)) if slow else 'under 1 ms'}"
    )


def _signatures(server: Server, accounts: int, note: Callable[[str, str], None]) -> None:
    numbers = random.Random(1).sample(range(1, accounts + 1), SIGNED)  # noqa: S311 - no secret
    with cores.pinned(cores.LOAD), connect(server.address, BUILD_SECONDS) as connection:
        for what in ("cold", "warm"):
            seconds = []
            for number in numbers:
                request = Request(f"/aws/storage/account-{number}/{example.BUCKET}/{example.KEY}")
                taken, answer = _timed(connection, request)
                if answer.status != 200:  # noqa: PLR2004
                    raise LoadError(f"{request.path} answers {answer.status}")
                seconds.append(taken)
            cuts = quantiles(seconds, n=100)
            note(f"signing, {what}, p50 and p99", f"{_written(cuts[49])} and {_written(cuts[98])}")


def _longest(holds: Path, begin: float, end: float) -> str:
    lines = (line.split() for line in holds.read_text(encoding="ascii").splitlines())
    found = [(float(cpu), float(taken)) for at, cpu, taken in lines if begin <= float(at) <= end]
    cpu, taken = (max(values, default=0.0) for values in zip(*found, strict=True)) if found else (0.0, 0.0)
    mark = " MISSED" if cpu > LONGEST_HOLD else ""
    return f"{_written(cpu)} of CPU, {_written(taken)} in all{mark}"


def _used_mib(node: Node) -> float:
    used: int = node.client.info("memory")["used_memory"]
    return used / MIB


def _written(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds >= 1 else f"{seconds * 1e3:.1f} ms"


def parts() -> Rows:
    """What one read and one write take of Redis, and what the trackers of ten replicas add; medians of some rounds."""
    with servers.redis() as url, Redis.from_url(url) as client:
        crowd.fill(client, CALLS)
        keys = [f"AwsAccount:account-{number}" for number in range(1, CALLS + 1)]
        reads, changes, tracked, received = [], [], [], []
        for _ in range(ROUNDS):
            reads.append(_cpu_of(client, lambda: _read_at_once(client, keys)))
            changes.append(_cpu_of(client, lambda: asyncio.run(_write(url))))
            with ExitStack() as stack:
                trackers = [stack.enter_context(_Tracker(client)) for _ in range(reckoning.PROCESSES)]
                tracked.append(_cpu_of(client, lambda: asyncio.run(_write(url))))
                received += [tracker.drained() for tracker in trackers]
    return [
        (reckoning.READ, f"{median(reads):.1f} µs"),
        (reckoning.CHANGE, f"{median(changes):.1f} µs"),
        (reckoning.TRACKED, f"{median(tracked):.1f} µs"),
        (reckoning.INVALIDATION, f"{max(received) / CALLS:.0f}"),
    ]


def _cpu_of(client: Redis, work: Callable[[], object]) -> float:
    """Microseconds for each of CALLS calls."""

    def used() -> float:
        info = client.info("cpu")
        return float(info["used_cpu_user"] + info["used_cpu_sys"])

    before = used()
    work()
    return (used() - before) / CALLS * 1e6


def _read_at_once(client: Redis, keys: list[str]) -> None:
    """Read each key, with one command in flight from each process that is reckoned with."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(connect(_port_of(client), JOIN_SECONDS)) for _ in range(reckoning.PROCESSES)]
        for start in range(0, len(keys), len(sockets)):
            asked = list(zip(sockets, keys[start : start + len(sockets)], strict=False))
            for socket, key in asked:
                socket.sendall(f"HGETALL {key}\r\n".encode())
            for socket, key in asked:
                if not socket.recv(LARGEST_READ).startswith(b"*"):
                    raise LoadError(f"{key} was not read")


def _port_of(client: Redis) -> int:
    return int(client.connection_pool.connection_kwargs["port"])


async def _write(url: str) -> None:
    store = RedisStore.at(url)
    await store.open()
    for number in range(1, CALLS + 1):
        id_ = f"account-{number}"
        expected = await store.get("AwsAccount", id_)
        if expected is None or not await store.replace("AwsAccount", id_, expected.fields, expected=expected):
            raise LoadError(f"{id_} was not written")
    await store.close()


class _Tracker:
    """A connection that tracks changes as a replica of the service does, and counts the bytes of invalidations."""

    def __init__(self, client: Redis) -> None:
        self._port = _port_of(client)
        self._received = 0

    def __enter__(self) -> Self:
        self._socket = connect(self._port, JOIN_SECONDS)
        prefixes = "".join(f" PREFIX {kind}:" for kind in ("AccessPolicy", "AwsAccount", "Client", "Session"))
        self._socket.sendall(f"HELLO 3\r\nCLIENT TRACKING ON BCAST{prefixes}\r\n".encode())
        while not self._socket.recv(LARGEST_READ).endswith(b"+OK\r\n"):
            pass
        self._thread = threading.Thread(target=self._drain, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def drained(self) -> int:
        """Return the bytes so far, after an answer to PING has followed them."""
        self._socket.sendall(b"PING\r\n")
        self._thread.join()
        return self._received

    def _drain(self) -> None:
        while received := self._socket.recv(LARGEST_READ):
            self._received += len(received)
            if received.endswith(b"+PONG\r\n"):
                return


def table(rows: Rows) -> str:
    return markers.row(["what", "figure"]) + markers.row(["---"] * 2) + "".join(markers.row([*row]) for row in rows)


def main() -> int:
    accounts = int(os.environ.get("SCALE_ACCOUNTS", ACCOUNTS))
    setting = f"Measured with {accounts:,} accounts on {report.machine()}. {servers.redis_version()}.\n\n"
    try:
        measured = measure(accounts)
        taken = parts()
    except (LoadError, servers.ServerError, OSError) as error:
        sys.stderr.write(f"scale: {error}\n")
        return 2
    markers.write("scale", setting + table(measured))
    markers.write("parts", table(taken))
    reckoning.write()
    return int(any("MISSED" in figure for _, figure in measured))


if __name__ == "__main__":
    sys.exit(main())
