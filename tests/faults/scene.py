"""A running service under load with its store, one fault, and what is measured and checked after it."""

import asyncio
import signal
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import monotonic

from faults.clock import faketime
from faults.load import HOT, LOST, STILL, History, Load, account, session
from plugins.redis_server import free_port
from processes import ServiceProcess
from support.proxy import Proxy
from support.waiting import until

WARM_SECONDS, SETTLE_SECONDS = 1.0, 1.5
RECOVERY_SECONDS = 40
EQUAL_SECONDS = 5
# The load has 17 requests at once. After a fault, each may need a connection to a primary that had fewer before.
SOCKETS_SLACK = 20
# The service caches the accounts that the load creates meanwhile, 2 KB for each, and loads code at the first failure.
# Python takes memory in parts of a MiB.
MEMORY_SLACK_MIB = 4
# The time from the instant at which a test sees an outage to the same instant in the service.
SLACK_SECONDS = 0.3
# Without a change, the service hears from the store once in this time. From then on it counts SIGNER_STALE_SECONDS.
HEARTBEAT_SECONDS = 1


@dataclass
class Figures:
    """What one run has measured."""

    reads: int
    writes: int
    refused_reads: int
    refused_writes: int
    seconds_refused: float
    recovery: float
    created: int
    lost: int
    oldest: float
    log_lines: int
    memory_mib: tuple[float, float]
    """Before the fault, and after it."""
    sockets: tuple[int, int]


@dataclass
class Scene:
    """What a fault acts on. ``began`` and ``ended`` are those of the fault; it may set ``began`` itself."""

    store: object
    directory: Path
    settings: dict = field(default_factory=dict)
    proxy: Proxy | None = None
    service: ServiceProcess | None = None
    load: Load | None = None
    began: float = 0.0
    ended: float = 0.0
    outage: tuple[float, float] | None = None
    log_lines: int = 0

    def start_service(self):
        """Start the service, again on the same port."""
        self.settings.setdefault("SIGNER_PORT", str(free_port()))
        self.service = ServiceProcess(measured=False, **self.settings)

    def kill_service(self):
        self.log_lines += len(self.service.log)
        assert self.service.stop(signal.SIGKILL) == -signal.SIGKILL

    async def out(self, seconds):
        """Wait while nothing can reach the store."""
        begin = monotonic()
        await asyncio.sleep(seconds)
        self.outage = (begin, monotonic())

    @property
    def clock(self):
        """The file with the offset of the service's clock in seconds."""
        return self.directory / "clock"

    @property
    def primary(self):
        return self.store.primaries[0]

    def pids(self):
        """The processes that serve."""
        children = Path(f"/proc/{self.service.pid}/task/{self.service.pid}/children").read_text().split()
        return [int(child) for child in children] or [self.service.pid]


async def play(fault, scene):
    """Carry out ``fault`` under load. Return the figures, and a line for each answer or state that is wrong."""
    scene.settings = {"SIGNER_STORE_URL": scene.store.url, **scene.store.settings, **fault.settings}
    if fault.proxied:
        scene.proxy = Proxy(scene.primary.port)
        await scene.proxy.start()
        scene.settings["SIGNER_STORE_URL"] = f"redis://127.0.0.1:{scene.proxy.port}/0"
    if fault.clock:
        scene.settings |= faketime(scene.clock, 0)
    await asyncio.to_thread(scene.start_service)
    try:
        return await _play(fault, scene)
    finally:
        scene.service.stop()
        if scene.proxy:
            await scene.proxy.stop()


async def _play(fault, scene):
    load = scene.load = Load(scene.service.url)
    await load.start()
    try:
        await asyncio.sleep(WARM_SECONDS)
        async with session() as client:
            for id_ in STILL:
                # From now on the service knows them, however few reads the load has made.
                await load.read(client, id_)
        logged, memory, sockets = len(scene.service.log), _memory_mib(scene), _sockets(scene)
        promotions = scene.store.promotions()
        scene.began = monotonic()
        rewind = await fault.act(scene)
        scene.ended = monotonic()
        await until(lambda: _has_recovered(load, scene.ended), seconds=RECOVERY_SECONDS)
        await asyncio.sleep(SETTLE_SECONDS)
        figures = Figures(
            **_outcomes(load, scene),
            created=sum(call.acknowledged for id_, (call,) in _new(load)),
            lost=0,
            oldest=0,
            log_lines=scene.log_lines + len(scene.service.log) - logged,
            memory_mib=(memory, _memory_mib(scene)),
            sockets=(sockets, _sockets(scene)),
        )
    finally:
        await load.stop()
    if rewind and scene.store.promotions() > promotions + 1:
        # On a busy machine, Sentinels with short times may promote the other server again, which loses writes again.
        rewind = replace(rewind, end=monotonic())
    history = History(load.writes, load.reads, rewind)
    figures.oldest = max(history.age(call) for call in load.reads if call.status in {200, 404})
    wrong = [*load.faults, *_wrong_answers(load, history, fault, scene)]
    async with scene.store.client() as operator:
        stored = {id_: await _number(operator, id_, wrong) for id_ in load.writes}
    now = monotonic()
    wrong += [
        f"the store has {number} in {id_}, and the last write was {_shown(load.writes[id_][-1], scene)}"
        for id_, number in stored.items()
        if not history.allows(id_, number, now, now)
    ]
    figures.lost = sum(call.acknowledged and stored[id_] is None for id_, (call,) in _new(load))
    wrong += [line async for line in _differences(load, stored)]
    return figures, [*wrong, *_growth(fault, figures, scene)]


def _shown(call, scene):
    return f"{call.number} from {call.begin - scene.began:.3f} to {call.end - scene.began:.3f}: {call.status}"


def _new(load):
    return [(id_, calls) for id_, calls in load.writes.items() if id_.startswith("new")]


def _has_recovered(load, since):
    """Whether each writer and a read that no cache answers have succeeded since."""
    written = {id_ for id_, calls in load.writes.items() if calls[-1].acknowledged and calls[-1].begin > since}
    missed = any(call.status == 404 and call.begin > since for call in load.reads[-500:])
    return missed and written.issuperset(HOT)


def _outcomes(load, scene):
    writes = [call for calls in load.writes.values() for call in calls]
    refused_reads, refused_writes = (
        [call for call in calls if call.status in {503, LOST}] for calls in (load.reads, writes)
    )
    refused = [*refused_reads, *refused_writes]
    last = max((call.end for call in refused), default=0)
    return {
        "reads": len(load.reads),
        "writes": len(writes),
        "refused_reads": len(refused_reads),
        "refused_writes": len(refused_writes),
        "seconds_refused": last - min((call.begin for call in refused), default=0),
        "recovery": max(0, last - scene.ended),
    }


def _wrong_answers(load, history, fault, scene):
    stale_seconds = float(scene.settings.get("SIGNER_STALE_SECONDS", 60))
    known_until = scene.began + stale_seconds - HEARTBEAT_SECONDS - SLACK_SECONDS
    for call in load.reads:
        if call.status == LOST and not fault.resets:
            yield f"a connection broke while {call.id} was read"
        if call.status not in {200, 404}:
            if fault.serves and call.id in STILL and call.end < known_until:
                yield f"{call.id} was {call.status} at {call.begin - scene.began:.3f}"
            continue
        if not history.allows(call.id, call.number, call.begin, call.end, stale=fault.stale):
            yield f"{call.id} was {call.number} at {call.begin - scene.began:.3f}"
        if scene.outage:
            begin, end = scene.outage
            if call.begin > begin + stale_seconds + SLACK_SECONDS and call.end < end:
                yield f"{call.id} was {call.status} {call.begin - begin:.1f} seconds into the outage"
    if not fault.resets:
        lost = Counter(call.id for calls in load.writes.values() for call in calls if call.status == LOST)
        yield from (f"{count} connections broke while {id_} was written" for id_, count in lost.items())


async def _number(operator, id_, wrong):
    """The number of the write that the store holds; None for none."""
    stored = await operator.hgetall(f"AwsAccount:{id_}")
    if not stored:
        return None
    number = int(stored["access-key-id"][1:])
    if not account(number).items() <= stored.items():
        wrong.append(f"the store has a mixture in {id_}: {stored}")
    return number


async def _differences(load, stored):
    """Compare what the workers answer and list, at rest, with what the store holds."""
    signing = {id_: stored[id_] for id_ in (*HOT, *STILL, *list(load.writes)[-20:])}
    listed = {id_ for id_, number in stored.items() if number is not None}
    for _ in range(3):
        async with session() as client:

            async def all_sign(client=client):
                return {id_: (await load.read(client, id_)).number for id_ in signing} == signing

            async def all_are_listed(client=client):
                return await load.listed(client) == listed

            for condition in (all_sign, all_are_listed):
                try:
                    await until(condition, seconds=EQUAL_SECONDS)
                except TimeoutError:
                    yield f"not {condition.__name__} in the end"


def _growth(fault, figures, scene):
    before, after = figures.sockets
    if after > before + SOCKETS_SLACK:
        yield f"{after} sockets after {before}"
    before, after = figures.memory_mib
    if after > before + MEMORY_SLACK_MIB:
        yield f"{after:.1f} MiB of memory after {before:.1f}"
    if figures.log_lines > fault.log_lines:
        yield f"{figures.log_lines} log lines: {Counter(scene.service.messages)}"


def _memory_mib(scene):
    """The resident memory of all processes."""
    total = 0
    for pid in scene.pids():
        with suppress(FileNotFoundError):
            total += int(Path(f"/proc/{pid}/status").read_text().partition("VmRSS:")[2].split()[0])
    return total / 1024


def _sockets(scene):
    """The open sockets of all processes. Those to clients stay the same under the same load."""
    files = [file for pid in scene.pids() for file in Path(f"/proc/{pid}/fd").iterdir()]
    return sum(_is_socket(file) for file in files)


def _is_socket(file):
    with suppress(FileNotFoundError):
        return str(file.readlink()).startswith("socket:")
    return False
