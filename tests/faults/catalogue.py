"""Every fault: what happens, and what the service promises meanwhile."""

import asyncio
import os
import shutil
import signal
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from math import inf
from time import monotonic
from unittest.mock import patch

from faults.clock import faketime
from faults.load import HOT, Rewind, session
from faults.scene import Scene
from plugins.network import SERVICE
from redis.asyncio import Redis
from support.waiting import until

# A connection that is silent for this long is checked; a second later it counts as lost.
TRACKING_SECONDS = 2.2
# A server that is started again is found by the next probe.
PROBE_SECONDS = 1.2

# A silent worker is replaced after ten seconds.
REPLACED_SECONDS = 40
# How long a promotion may take on a busy machine.
PROMOTION_SECONDS = 40
# How long replication may take.
LAG_SECONDS = 1.0

KEPT = "Every acknowledged write is kept."
KEEPS = f"Known accounts sign. {KEPT}"
OUTAGE = f"Known accounts sign for `SIGNER_STALE_SECONDS`, here 3. {KEPT}"
# Where replicas are promoted.
GROUPS = ("sentinel", "cluster")
SIGNS = "Known accounts sign."
LAST_INSTANT = "Writes of the last instant can be lost."


@dataclass(frozen=True, kw_only=True)
class Fault:
    """``act`` causes the fault and mends it. It returns what the store forgot.

    ``loses`` is a sentence on what is lost in a group of replicas without ``SIGNER_WAIT_REPLICAS``.
    ``stale`` is the age that an answer may have, in seconds, although the store answers. With ``serves``, known
    accounts sign throughout, in an outage for ``SIGNER_STALE_SECONDS``. ``resets`` allows connections
    of clients to break. ``proxied`` puts a proxy in front of the store. ``clock`` gives the service a clock of its own.
    The service may log ``log_lines``. On the stores of ``long``, the fault is not part of CI.
    """

    name: str
    what: str
    promise: str
    act: Callable[[Scene], Awaitable[Rewind | None]]
    loses: str = ""
    stores: tuple[str, ...] = ("single",)
    settings: Mapping[str, str] = field(default_factory=dict)
    stale: float = 0
    serves: bool = False
    resets: bool = False
    proxied: bool = False
    clock: bool = False
    log_lines: int = 12
    long: tuple[str, ...] = ()


async def in_thread(function, *arguments):
    """Run what would block the load."""
    return await asyncio.to_thread(function, *arguments)


async def kill(scene):
    primary = scene.primary
    primary.kill()
    await scene.out(4)
    await in_thread(primary.start)


async def kill_often(scene):
    for _ in range(10):
        scene.primary.kill()
        await asyncio.sleep(1)
        await in_thread(scene.primary.start)
        await asyncio.sleep(1)


async def hang(scene):
    primary = scene.primary
    primary.hang()
    await scene.out(4)
    primary.resume()


async def cut(scene):
    scene.proxy.cut()
    await scene.out(4)
    scene.proxy.heal()


async def cut_tracking(scene):
    scene.proxy.cut_tracking()
    await asyncio.sleep(4)


async def restart_everything(scene):
    scene.kill_service()
    scene.primary.kill()
    await in_thread(scene.primary.start)
    await in_thread(scene.start_service)


async def restart_group(scene):
    scene.kill_service()
    await in_thread(scene.store.group.restart)
    await in_thread(scene.start_service)


async def load_slowly(scene):
    async with scene.store.client() as client, client.pipeline(transaction=False) as pipe:
        for number in range(4000 * len(scene.store.primaries)):
            pipe.set(f"Other:{number}", number)
        await pipe.execute()
    primary = scene.primary
    primary.kill()
    # Half a millisecond for each key.
    await in_thread(primary.start, "--key-load-delay", "500", "--loading-process-events-interval-bytes", "1024")


async def load_slowly_in_group(scene):
    """The same. The replica may be promoted meanwhile or not."""
    begin = monotonic()
    await load_slowly(scene)
    await in_thread(scene.store.group.wait_until_ready)
    return _loss_of_the_last_writes(scene, begin)


async def fill(scene):
    await on_primaries(scene, "CONFIG SET", "maxmemory", 1)
    await asyncio.sleep(3)
    await on_primaries(scene, "CONFIG SET", "maxmemory", 0)


async def on_primaries(scene, *command):
    """Run a command on each primary."""
    for primary in scene.store.primaries:
        async with Redis.from_url(primary.url) as client:
            await client.execute_command(*command)


async def lose_replica(scene):
    """A replica is gone, and its primary then refuses changes."""
    replica = scene.store.replica_of(scene.primary)
    await on_primaries(scene, "CONFIG SET", "min-replicas-to-write", 1)
    replica.kill()
    await in_thread(scene.service.wait_for, "NOREPLICAS")
    await asyncio.sleep(2)
    await in_thread(replica.start)


async def evict(scene):
    await on_primaries(scene, "CONFIG SET", "maxmemory-policy", "allkeys-lru")
    await in_thread(scene.service.wait_for, "may evict accounts")
    begin = monotonic()
    for primary in scene.store.primaries:
        async with Redis.from_url(primary.url) as client:
            await client.config_set("maxmemory", (await client.info("memory"))["used_memory"] - 20_000)
    await asyncio.sleep(2)
    await on_primaries(scene, "CONFIG SET", "maxmemory", 0)
    return Rewind(begin, monotonic(), latest=inf)


async def flush(scene):
    begin = monotonic()
    await on_primaries(scene, "FLUSHALL")
    return Rewind(begin, monotonic())


async def restore(scene):
    primary = scene.primary
    data, copy = primary.directory / "appendonlydir", scene.directory / "backup"
    earliest = monotonic()
    shutil.copytree(data, copy)
    latest = monotonic()
    await asyncio.sleep(1)
    begin = scene.began = monotonic()
    primary.kill()
    shutil.rmtree(data)
    shutil.copytree(copy, data)
    await in_thread(primary.start)
    return Rewind(begin, monotonic(), earliest, latest)


async def restore_group(scene):
    """The same for a group. Each replica gets the backup of its primary."""
    group = scene.store.group
    servers = {primary: [primary, *group.replicas_of(primary)] for primary in scene.store.primaries}
    earliest = monotonic()
    for primary in servers:
        shutil.copytree(primary.directory / "appendonlydir", scene.directory / f"backup-{primary.port}")
    latest = monotonic()
    await asyncio.sleep(1)
    begin = scene.began = monotonic()
    await in_thread(group.stop)
    for primary, nodes in servers.items():
        for node in nodes:
            shutil.rmtree(node.directory / "appendonlydir")
            shutil.copytree(scene.directory / f"backup-{primary.port}", node.directory / "appendonlydir")
    await in_thread(group.restart)
    return Rewind(begin, monotonic(), earliest, latest)


async def promote(scene):
    """Kill the primary, promote its replica, and move the address."""
    _, replica = scene.store.nodes
    begin = monotonic()
    scene.primary.kill()
    return await _move(scene, replica, begin, earliest=begin - LAG_SECONDS, latest=begin)


async def promote_lagging(scene):
    """The same with a replica that has lost its primary a second before."""
    _, replica = scene.store.nodes
    async with Redis.from_url(replica.url) as client:
        earliest = monotonic() - LAG_SECONDS
        await client.replicaof("127.0.0.1", 1)
        latest = monotonic()
    await asyncio.sleep(1)
    begin = scene.began = monotonic()
    scene.primary.kill()
    return await _move(scene, replica, begin, earliest=earliest, latest=latest)


async def split(scene):
    """Promote the replica while the primary hangs. Later the old primary runs again, and still is one."""
    old, replica = scene.store.nodes
    begin = monotonic()
    old.hang()
    await asyncio.sleep(1)
    rewind = await _move(scene, replica, begin, earliest=begin - LAG_SECONDS, latest=begin)
    await asyncio.sleep(0.5)
    old.resume()
    return rewind


async def _move(scene, replica, begin, *, earliest, latest):
    await scene.store.promote(replica)
    scene.proxy.target = replica.port
    return Rewind(begin, monotonic(), earliest, latest)


async def kill_primary(scene):
    """Kill a primary, and start it when its replica is promoted. It then takes itself for a primary for a while."""
    old = scene.primary
    begin = monotonic()
    old.kill()
    return await _promotion(scene, old, begin, old.start)


async def kill_primaries_often(scene):
    begin = monotonic()
    for _ in range(5):
        await kill_primary(scene)
    return replace(_loss_of_the_last_writes(scene, begin), latest=inf)


async def kill_primary_of_lagging(scene):
    """Kill a primary whose replica has lost it a second before."""
    old = scene.primary
    earliest = monotonic() - LAG_SECONDS
    # The replica cannot connect again.
    old.run("ACL", "SETUSER", "default", "-psync", "-sync")
    old.run("CLIENT", "KILL", "TYPE", "replica")
    await asyncio.sleep(1)
    begin = scene.began = monotonic()
    old.kill()
    return replace(await _promotion(scene, old, begin, old.start), earliest=earliest)


async def kill_primary_of_late(scene):
    """Kill a primary whose replica has a clock that is an hour late."""
    old = scene.primary
    replica = scene.store.replica_of(old)
    replica.kill()
    with patch.dict(os.environ, faketime(scene.directory / "past", -3600)):
        await in_thread(replica.start)
    await in_thread(scene.store.group.wait_until_ready)
    begin = scene.began = monotonic()
    old.kill()
    return await _promotion(scene, old, begin, old.start)


async def hang_sentinels(scene):
    for sentinel in scene.store.group.sentinels:
        sentinel.hang()
    await asyncio.sleep(15)
    for sentinel in scene.store.group.sentinels:
        sentinel.resume()


async def cut_tracking_of_one(scene):
    """Drop the packets of the tracking connections to one primary."""
    scene.store.group.network.cut_tracking(scene.primary.source)
    await asyncio.sleep(4)


async def hang_sentinel(scene):
    first = scene.store.group.sentinels[0]
    first.hang()
    old = scene.primary
    begin = monotonic()
    old.kill()

    def bring_back():
        first.resume()
        old.start()

    return await _promotion(scene, old, begin, bring_back)


async def hang_primary(scene):
    """The same with a primary that hangs, and keeps its connections."""
    old = scene.primary
    begin = monotonic()
    old.hang()
    return await _promotion(scene, old, begin, old.resume)


async def fail_over(scene):
    begin = monotonic()
    await in_thread(scene.store.fail_over)
    return _loss_of_the_last_writes(scene, begin)


async def cut_off(scene):
    """Cut a primary off from all others, until some time after the promotion of its replica."""
    return await _partition(scene, scene.primary.source)


async def cut_off_with_service(scene):
    """The same, and the service and the first Sentinel are on the side of the old primary."""
    first = scene.store.sentinels[:1]
    return await _partition(scene, scene.primary.source, *(sentinel.source for sentinel in first), SERVICE)


async def _partition(scene, *sources):
    group, replica = scene.store.group, scene.store.replica_of(scene.primary)
    begin = monotonic()
    group.network.cut_off(*sources)
    await until(lambda: asyncio.to_thread(lambda: replica.info()["role"] == "master"), seconds=PROMOTION_SECONDS)
    # What the old primary has acknowledged until it can be reached again is lost.
    await asyncio.sleep(3)
    group.network.heal()
    await in_thread(group.wait_until_ready)
    return _loss_of_the_last_writes(scene, begin)


async def move_slots(scene):
    await in_thread(scene.store.move_slots, f"AwsAccount:{HOT[0]}")


async def move_keys(scene):
    await in_thread(scene.store.move_keys, [f"AwsAccount:{id_}" for id_ in HOT])


async def _promotion(scene, old, begin, bring_back):
    await in_thread(scene.store.wait_for_promotion, old)
    rewind = _loss_of_the_last_writes(scene, begin)
    await asyncio.sleep(1)
    await in_thread(bring_back)
    await in_thread(scene.store.group.wait_until_ready)
    return rewind


def _loss_of_the_last_writes(scene, begin):
    waits = "SIGNER_WAIT_REPLICAS" in scene.settings
    return Rewind(begin, monotonic(), earliest=begin - LAG_SECONDS, latest=begin, keeps_acknowledged=waits)


async def step_clock(scene):
    for offset in (3600, -3600, 0):
        scene.load.clock_offsets.add(offset)
        scene.clock.write_text(f"{offset:+}")
        await asyncio.sleep(0.5)
        scene.load.clock_offsets = {offset}
        await asyncio.sleep(1)


async def start_in_the_past(scene):
    primary = scene.primary
    primary.kill()
    with patch.dict(os.environ, faketime(scene.directory / "past", -3600)):
        await in_thread(primary.start)


async def kill_worker(scene):
    worker = scene.pids()[0]
    os.kill(worker, signal.SIGKILL)
    await until(lambda: worker not in scene.pids() and len(scene.pids()) == 2, seconds=REPLACED_SECONDS)


async def pause_worker(scene):
    worker = scene.pids()[0]
    async with session() as client:
        await asyncio.gather(*(scene.load.read(client, id_) for id_ in HOT * 4))
        os.kill(worker, signal.SIGSTOP)
        await asyncio.sleep(3)
        # They wait for the worker, which has not received the latest invalidations either.
        late = [asyncio.create_task(scene.load.read(client, id_)) for id_ in HOT * 4]
        await asyncio.sleep(0.1)
        os.kill(worker, signal.SIGCONT)
        await asyncio.gather(*late)


async def stop_worker(scene):
    worker = scene.pids()[0]
    os.kill(worker, signal.SIGSTOP)
    await until(lambda: worker not in scene.pids() and len(scene.pids()) == 2, seconds=REPLACED_SECONDS)


async def kill_service(scene):
    scene.kill_service()
    await in_thread(scene.start_service)


OUTAGES = [
    Fault(
        name="kill",
        what="The primary is killed and started after 4 seconds",
        promise=OUTAGE,
        act=kill,
        serves=True,
        settings={"SIGNER_STALE_SECONDS": "3"},
    ),
    Fault(
        name="hang",
        what="The primary is stopped (SIGSTOP) for 4 seconds",
        promise=OUTAGE,
        act=hang,
        serves=True,
        settings={"SIGNER_STALE_SECONDS": "3"},
    ),
    Fault(
        name="cut",
        what="The network drops all packets to the primary for 4 seconds; old connections never work again",
        promise=OUTAGE,
        act=cut,
        serves=True,
        settings={"SIGNER_STALE_SECONDS": "3"},
        proxied=True,
    ),
    Fault(
        name="cut-tracking",
        what="The network drops the packets of the tracking connections alone, of 2 workers",
        promise="An answer is at most 2 seconds old.",
        act=cut_tracking,
        serves=True,
        settings={"SIGNER_WORKERS": "2"},
        stale=TRACKING_SECONDS,
        proxied=True,
    ),
    Fault(
        name="restart-everything",
        what="The service and the primary are killed and started",
        promise="Every acknowledged write is kept.",
        act=restart_everything,
        resets=True,
    ),
    Fault(
        name="restart-group",
        what="The service and all servers, and the Sentinels if there are any, are killed and started",
        promise="Every acknowledged write is kept.",
        act=restart_group,
        stores=GROUPS,
        resets=True,
    ),
    Fault(
        name="kill-often",
        what="The primary is killed and started ten times",
        promise=f"{KEEPS} Memory, connections and the log stay small.",
        act=kill_often,
        serves=True,
        log_lines=24,
        long=("single",),
    ),
    Fault(
        name="loading",
        what="The primary is killed, and takes 2 seconds to load its data",
        promise=KEEPS,
        act=load_slowly,
        serves=True,
    ),
    Fault(
        name="loading-in-group",
        what="A primary is killed, and takes 2 seconds to load its data",
        promise=SIGNS,
        loses=LAST_INSTANT,
        act=load_slowly_in_group,
        stores=GROUPS,
        stale=TRACKING_SECONDS,
        serves=True,
        long=("cluster",),
    ),
]
LOSSES = [
    Fault(
        name="full",
        what="The memory of each primary is full for 3 seconds (`noeviction`)",
        promise="Accounts sign. Changes are a 503.",
        act=fill,
        stores=("single", *GROUPS),
        serves=True,
        long=("sentinel",),
    ),
    Fault(
        name="evict",
        what="The memory of each primary is full for 2 seconds (`allkeys-lru`)",
        promise="Evicted accounts are a 404, and changes a 503 if evictions free too little. `/health` warns.",
        act=evict,
        stores=("single", *GROUPS),
        long=GROUPS,
    ),
    Fault(
        name="flush",
        what="FLUSHALL on each primary",
        promise="Every account is a 404 until it is stored again.",
        act=flush,
        stores=("single", *GROUPS),
        long=("sentinel",),
    ),
    Fault(
        name="lose-replica",
        what="A replica is killed and started, and its primary has `min-replicas-to-write 1`",
        promise="Accounts sign. Changes are a 503 while the replica is missing.",
        act=lose_replica,
        stores=("replicated", *GROUPS),
        serves=True,
        long=GROUPS,
    ),
    Fault(
        name="restore",
        what="The primary is killed and started with a backup that is a second old",
        promise="The accounts of the backup sign. No version is used twice.",
        act=restore,
        serves=True,
        stale=PROBE_SECONDS,
    ),
    Fault(
        name="restore-group",
        what="All servers are killed and started with a backup that is a second old",
        promise="The accounts of the backup sign. No version is used twice.",
        act=restore_group,
        stores=GROUPS,
        serves=True,
        stale=TRACKING_SECONDS,
        long=GROUPS,
    ),
]
FAILOVERS = [
    Fault(
        name="promote",
        what="The primary is killed, and its replica promoted at the same address",
        promise="Writes of the last instant can be lost.",
        act=promote,
        serves=True,
        stores=("replicated",),
        stale=PROBE_SECONDS,
        proxied=True,
    ),
    Fault(
        name="promote-lagging",
        what="The same with a replica that has lost its primary a second before",
        promise="Writes of this second are lost.",
        act=promote_lagging,
        serves=True,
        stores=("replicated",),
        stale=PROBE_SECONDS,
        proxied=True,
    ),
    Fault(
        name="split",
        what="The primary is stopped (SIGSTOP), its replica promoted at the same address, and the old primary resumed",
        promise="The service does not write to the old primary.",
        act=split,
        serves=True,
        stores=("replicated",),
        stale=PROBE_SECONDS,
        proxied=True,
    ),
    Fault(
        name="kill-primary",
        what="A primary is killed, and started after its replica is promoted",
        promise=SIGNS,
        loses=LAST_INSTANT,
        act=kill_primary,
        stores=("sentinel", "sentinel_waiting", "sentinel_two", "cluster", "cluster_waiting"),
        stale=TRACKING_SECONDS,
        serves=True,
        long=("sentinel_two",),
    ),
    Fault(
        name="kill-primaries-often",
        what="A primary is killed, and started after its replica is promoted, five times",
        promise=f"{SIGNS} Memory, connections and the log stay small.",
        loses=LAST_INSTANT,
        act=kill_primaries_often,
        stores=("sentinel_waiting", "cluster_waiting"),
        stale=TRACKING_SECONDS,
        serves=True,
        log_lines=60,
        long=("sentinel_waiting", "cluster_waiting"),
    ),
    Fault(
        name="kill-primary-of-lagging",
        what="A primary is killed, and its replica, which has lost it a second before, is promoted",
        promise=SIGNS,
        loses="Writes of this second are lost.",
        act=kill_primary_of_lagging,
        stores=("sentinel", "sentinel_waiting", "cluster", "cluster_waiting"),
        stale=TRACKING_SECONDS,
        serves=True,
        long=("sentinel", "cluster"),
    ),
    Fault(
        name="kill-primary-of-late",
        what="A primary is killed, and its replica, whose clock is an hour late, is promoted",
        promise=f"{SIGNS} No version is used twice.",
        loses=LAST_INSTANT,
        act=kill_primary_of_late,
        stores=GROUPS,
        stale=TRACKING_SECONDS,
        serves=True,
        long=GROUPS,
    ),
    Fault(
        name="hang-primary",
        what="A primary is stopped (SIGSTOP), and resumed after its replica is promoted",
        promise=SIGNS,
        loses=LAST_INSTANT,
        act=hang_primary,
        stores=("sentinel", "sentinel_waiting", "cluster", "cluster_waiting"),
        stale=TRACKING_SECONDS,
        serves=True,
        long=("cluster_waiting",),
    ),
    Fault(
        name="cut-off",
        what="The network drops all packets between a primary and all others, until 3 seconds after the promotion",
        promise=SIGNS,
        loses=LAST_INSTANT,
        act=cut_off,
        stores=("sentinel_network", "cluster_network"),
        stale=TRACKING_SECONDS,
        serves=True,
    ),
    Fault(
        name="cut-off-with-service",
        what="The same, and the service, with one Sentinel if there are any, is cut off together with the primary",
        promise="Answers are those of the old primary.",
        loses="What it acknowledges meanwhile is lost.",
        act=cut_off_with_service,
        stores=("sentinel_network", "sentinel_network_waiting", "cluster_network"),
        stale=TRACKING_SECONDS,
        serves=True,
        long=("sentinel_network", "cluster_network"),
    ),
    Fault(
        name="cut-tracking-of-one",
        what="The network drops the packets of the tracking connections to one primary alone, of 2 workers",
        promise="An answer is at most 2 seconds old.",
        act=cut_tracking_of_one,
        stores=("sentinel_network", "cluster_network"),
        serves=True,
        settings={"SIGNER_WORKERS": "2"},
        stale=TRACKING_SECONDS,
        long=("sentinel_network",),
    ),
    Fault(
        name="hang-sentinels",
        what="All Sentinels are stopped (SIGSTOP) for 15 seconds",
        promise="Nothing changes for ten seconds. Then known accounts sign, and everything else is a 503.",
        act=hang_sentinels,
        stores=("sentinel",),
        serves=True,
        long=("sentinel",),
    ),
    Fault(
        name="hang-sentinel",
        what="The first Sentinel of the URL is stopped (SIGSTOP), and then the primary is killed",
        promise=SIGNS,
        loses=LAST_INSTANT,
        act=hang_sentinel,
        stores=("sentinel",),
        stale=TRACKING_SECONDS,
        serves=True,
    ),
    Fault(
        name="slow-demotion",
        what="A primary is killed and started, and its Sentinels demote it after some ten seconds",
        promise="The service does not write to the old primary.",
        act=kill_primary,
        stores=("sentinel_slow",),
        stale=TRACKING_SECONDS,
        serves=True,
        long=("sentinel_slow",),
    ),
    Fault(
        name="fail-over",
        what="An operator promotes a replica",
        promise=SIGNS,
        # The service uses the old primary until the next check.
        loses="Writes of up to a second can be lost.",
        act=fail_over,
        stores=("sentinel", "sentinel_waiting"),
        stale=TRACKING_SECONDS,
        serves=True,
        # On a busy machine the hasty Sentinels of tests promote back, and known accounts are refused for 0.2 seconds.
        long=("sentinel", "sentinel_waiting"),
    ),
    Fault(
        name="fail-over-in-cluster",
        what="An operator promotes a replica",
        promise=SIGNS,
        loses=LAST_INSTANT,
        act=fail_over,
        stores=("cluster",),
        stale=TRACKING_SECONDS,
        serves=True,
    ),
    Fault(
        name="move-slots",
        what="All slots of a primary move to another one",
        promise=KEEPS,
        act=move_slots,
        stores=("cluster",),
        stale=TRACKING_SECONDS,
        serves=True,
    ),
    Fault(
        name="move-keys",
        what="The slots of the accounts of a primary move to another one, key by key (MIGRATE)",
        promise=KEEPS,
        act=move_keys,
        stores=("cluster",),
        stale=TRACKING_SECONDS,
        serves=True,
    ),
]
PROCESSES = [
    Fault(
        name="clock",
        what="The clock of the service steps by an hour, forward and back",
        promise="URLs have the instant of the clock. Nothing else changes.",
        act=step_clock,
        stores=("single", *GROUPS),
        serves=True,
        clock=True,
        long=GROUPS,
    ),
    Fault(
        name="clock-of-redis",
        what="The primary is killed and started with a clock that is an hour late",
        promise=f"{KEEPS} No version is used twice.",
        act=start_in_the_past,
        serves=True,
    ),
    Fault(
        name="kill-worker",
        what="One of 2 workers is killed",
        promise=f"{KEEPS} Its connections break.",
        act=kill_worker,
        stores=("single", *GROUPS),
        settings={"SIGNER_WORKERS": "2"},
        stale=0.1,
        resets=True,
        long=GROUPS,
    ),
    Fault(
        name="pause-worker",
        what="One of 2 workers is stopped (SIGSTOP) for 3 seconds",
        promise="Its requests wait. No answer is older.",
        act=pause_worker,
        stores=("single", *GROUPS),
        serves=True,
        settings={"SIGNER_WORKERS": "2"},
        stale=0.1,
        long=GROUPS,
    ),
    Fault(
        name="stop-worker",
        what="One of 2 workers is stopped (SIGSTOP) for good",
        promise="It is replaced after 10 seconds, and its connections break.",
        act=stop_worker,
        settings={"SIGNER_WORKERS": "2"},
        stale=0.1,
        resets=True,
        long=("single",),
    ),
    Fault(
        name="kill-service",
        what="The service is killed during writes and started",
        promise="Every acknowledged write is kept, and none is half done.",
        act=kill_service,
        stores=("single", *GROUPS),
        resets=True,
        long=("sentinel",),
    ),
]
FAULTS = [*OUTAGES, *LOSSES, *FAILOVERS, *PROCESSES]


def cases(faults, stores=""):
    """Each fault with the name of each of its stores that begins with ``stores``."""
    return [(fault, store) for fault in faults for store in fault.stores if store.startswith(stores)]
