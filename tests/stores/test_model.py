"""Every store against a plain dictionary, over random calls and faults.

After a write that failed, the model knows both possibilities until a read. With two stores, each is a replica of the
service: it sees its own writes at once, and those of the other one soon.
"""

import asyncio
import os
import time
from dataclasses import dataclass, field
from itertools import cycle

import pytest
from fakeredis import FakeAsyncRedis, FakeServer
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test
from plugins.redis_topologies import SERVICE, Cluster, Node, SentinelGroup
from redis import Redis
from support.waiting import eventually, until

from service.errors import StoreUnavailable
from service.stores.cache import CachedStore
from service.stores.connection import ServerIdentity
from service.stores.health import HealthMonitor
from service.stores.memory import EmbeddedStore
from service.stores.redis import RedisStore
from service.stores.shard import Shard
from service.stores.store import NothingWritten
from service.stores.topology import Topology
from service.stores.tracking import Tracker

EXAMPLES = os.environ.get("MODEL_EXAMPLES")
STEPS = 20

# Resources of the second kind have a time to live. They are written once.
KIND, KEPT_KIND = "AwsAccount", "Session"
# Of a Cluster with three primaries, each has one of these.
IDS = ["a", "b", "c"]
DAY_SECONDS = 86_400
PAUSE_SECONDS = 0.01
KILLS = 10
PROMOTION_SECONDS = 40
PATIENCE_MILLISECONDS = 3000
# The limit of one attempt is 0.5 seconds, and that of all attempts 1 second.
SHORT_HANG_SECONDS, LONG_HANG_SECONDS = 0.2, 1.2


@dataclass
class World:
    """The servers of a store. ``faults`` block until they are repaired."""

    make_stores: object
    nodes: tuple = ()
    faults: tuple = ()
    flush: object = lambda: None
    primaries: object = None

    def pass_barrier(self):
        """Wait until the servers have carried out what old connections have sent."""
        for node in self.nodes:
            assert eventually(node.answers)

    async def settle(self, stores):
        """Wait until all stores work with the current primaries."""
        await asyncio.to_thread(self.pass_barrier)
        await until(lambda: self._are_settled(stores))

    async def _are_settled(self, stores):
        try:
            for store in stores:
                await store.check()
        except StoreUnavailable:
            return False
        if self.primaries is None:
            return True
        ports = {node.port for node in await asyncio.to_thread(self.primaries)}
        return all({address.port for address in shards_of(store)} == ports for store in stores)


@dataclass
class Known:
    """What is known of one id: the numbers of the writes that may be stored (None: no resource), and who wrote last.

    ``seen`` has the resources that were read or written, the last one at the end.
    """

    possible: set = field(default_factory=lambda: {None})
    seen: list = field(default_factory=lambda: [None])
    writer: int = 0
    version: int = 0


# A name, and which resource it expects: the last one, or one of those before.
NAMES = st.sampled_from(["replace", "replace", "replace", "patch", "patch", "rewrite", "remove"])
CALLS = st.tuples(NAMES, st.sampled_from([0, 0, 0, 0, 1, 2, 3]))


class Model(RuleBasedStateMachine):
    """Makes calls, and compares each answer with what the model knows."""

    def __init__(self, world):
        super().__init__()
        self.world = world
        self.runner = asyncio.Runner()
        self.known = {id_: Known() for id_ in IDS}
        self.kept = {}
        self.fields = {None: None}
        self.disturbed = False
        self.in_fault = False
        world.flush()
        self.stores = self.runner.run(self.open())

    async def open(self):
        stores = [make() for make in self.world.make_stores]
        for store in stores:
            await store.open()
        return stores

    def teardown(self):
        async def close():
            for store in self.stores:
                await store.close()

        self.runner.run(close())
        self.runner.close()

    @rule(id_=st.sampled_from(IDS), call=CALLS, writer=st.integers(0, 1))
    def write(self, id_, call, writer):
        self.runner.run(self.make(id_, call, writer))

    @rule(writer=st.integers(0, 1))
    def keep(self, writer):
        self.runner.run(self.keep_one(writer))

    @rule(id_=st.sampled_from(IDS))
    def read(self, id_):
        self.runner.run(self.resolve(KIND, id_, self.known[id_]))

    @rule()
    def list_all(self):
        self.runner.run(self.compare_listings())

    @precondition(lambda self: self.world.faults)
    @rule(number=st.integers(0, 3), calls=st.lists(CALLS, min_size=4, max_size=8), writer=st.integers(0, 1))
    def fail(self, number, calls, writer):
        fault = self.world.faults[number % len(self.world.faults)]
        self.runner.run(self.call_during(fault, calls, writer))

    async def make(self, id_, call, writer):
        """Make one call that writes."""
        name, age = call
        known = self.known[id_]
        expected = known.seen[-1 - age % len(known.seen)]
        if expected is None and name in {"remove", "rewrite"}:
            return
        known.writer = writer
        number = None if name == "remove" else self.new_fields(expected if name == "patch" else None)
        may_apply = number_of(expected) in known.possible
        try:
            answer = await self.send(name, id_, expected, number)
        except NothingWritten:
            self.check_outage()
        except StoreUnavailable:
            self.check_outage()
            known.possible |= {number} if may_apply else set()
        else:
            if answer:
                assert may_apply, f"{name} of {id_} replaced {expected}, which is not stored: {known.possible}"
                self.learn(known, name, number, answer)
            else:
                self.learn_refusal(known, name, number, number_of(expected))

    async def send(self, name, id_, expected, number):
        store = self.store(self.known[id_].writer)
        if name == "remove":
            return await store.remove(expected)
        if name == "rewrite":
            return await store.rewrite(expected, self.fields[number])
        return await store.replace(KIND, id_, self.fields[number], expected=expected)

    def learn(self, known, name, number, answer):
        known.possible = {number}
        if name == "remove":
            known.seen.append(None)
        elif name != "rewrite":
            self.check_fields(answer)
            assert number_of(answer) == number
            assert answer.version > known.version, "a version is used twice"
            known.version = answer.version
            known.seen.append(answer)

    def learn_refusal(self, known, name, number, before):
        if name == "rewrite" and before in known.possible and self.disturbed:
            # A rewrite whose first answer was lost counts as a failure.
            known.possible |= {number}
            return
        assert known.possible != {before}, f"{name} was refused, although {before} is stored"
        if not self.in_fault:
            known.possible -= {before}

    async def keep_one(self, writer):
        number = self.new_fields(None)
        id_, known = f"kept-{number}", Known(writer=writer)
        self.kept[id_] = known
        # It may be stored before its answer.
        known.possible.add(number)
        try:
            await self.store(writer).put_with_ttl(KEPT_KIND, id_, self.fields[number], seconds=DAY_SECONDS)
        except StoreUnavailable:
            self.check_outage()
        else:
            known.possible = {number}

    async def resolve(self, kind, id_, known):
        """Read with all stores. The one that has written last sees its write at once."""
        if len(known.possible) > 1:
            await asyncio.to_thread(self.world.pass_barrier)
        store = self.store(known.writer)
        cached = await self.answer(lambda: store.get(kind, id_))
        stored = await self.answer(lambda: store.get(kind, id_, bypass_cache=True))
        self.check_fields(cached)
        self.check_fields(stored)
        number = number_of(stored)
        assert number in known.possible, f"{id_} is {number} and not one of {known.possible}"
        assert number_of(cached) == number, f"{id_} is {number_of(cached)} in the cache and {number} in the store"
        known.possible = {number}
        known.seen.append(stored)
        if stored:
            known.version = max(known.version, stored.version)
        for other in self.stores:

            async def is_read(other=other):
                found = await self.answer(lambda: other.get(kind, id_))
                return number_of(found) == number

            await until(is_read)

    async def compare_listings(self):
        for kind, all_known in ((KIND, self.known), (KEPT_KIND, self.kept)):
            for id_, known in all_known.items():
                await self.resolve(kind, id_, known)
        stored = {id_: next(iter(known.possible)) for id_, known in self.known.items() if known.possible != {None}}
        for number, store in enumerate(self.stores):
            is_only_writer = all(known.writer % len(self.stores) == number for known in self.known.values())

            async def page(store=store):
                return (await store.page(KIND, offset=0, count=len(IDS))).resources

            for read, is_exact in ((page, True), (lambda store=store: store.all(KIND), is_only_writer)):

                async def is_listed(read=read):
                    return {found.id: number_of(found) for found in await self.answer(read)} == stored

                if is_exact and not self.disturbed:
                    assert await is_listed()
                else:
                    await until(is_listed)

    async def call_during(self, fault, calls, writer):
        self.disturbed = self.in_fault = True
        failing = asyncio.create_task(asyncio.to_thread(fault))

        async def call(id_):
            for one in cycle(calls):
                await self.make(id_, one, writer)
                await self.read_during(id_, writer)
                await asyncio.sleep(PAUSE_SECONDS)
                if failing.done():
                    return

        async def keep():
            while not failing.done():
                await self.keep_one(writer)
                await asyncio.sleep(PAUSE_SECONDS)

        await asyncio.gather(failing, keep(), *map(call, IDS))
        await self.world.settle(self.stores)
        self.in_fault = False
        await self.compare_listings()

    async def read_during(self, id_, writer):
        known = self.known[id_]
        try:
            found = await self.store(writer).get(KIND, id_)
        except StoreUnavailable:
            return
        self.check_fields(found)
        assert number_of(found) in known.possible, f"{id_} is {number_of(found)} and not one of {known.possible}"
        known.seen.append(found)

    async def answer(self, read):
        """Return the answer, which a store must give now or, after a fault, soon."""
        found = None

        async def is_answered():
            nonlocal found
            try:
                found = await read()
            except StoreUnavailable:
                self.check_outage()
                return False
            return True

        await until(is_answered)
        return found

    def store(self, number):
        return self.stores[number % len(self.stores)]

    def new_fields(self, patched):
        number = len(self.fields)
        fields = patched.fields if patched else {f"field-{number % 3}": "x"}
        self.fields[number] = {**fields, "number": str(number)}
        return number

    def check_fields(self, found):
        assert found is None or found.fields == self.fields[number_of(found)]

    def check_outage(self):
        assert self.world.nodes, "a store without servers is always available"


def number_of(found):
    """The number of the write that a resource comes from."""
    return int(found.fields["number"]) if found else None


def shards_of(store):
    return (store.topology if isinstance(store, RedisStore) else store.inner_topology).shards


class ObservedCachedStore(CachedStore):
    """A cached store as the application makes it, whose topology tests can see."""

    def __init__(self, url, **options):
        inner = RedisStore.at(url, **options)
        self.inner_topology = inner.topology
        tracker = Tracker(inner.topology, kinds=[KIND, KEPT_KIND])
        super().__init__(inner, tracker, size=100, ttl=3600, stale=60)


def fake_store():
    server = FakeServer()

    def client():
        return FakeAsyncRedis(server=server, decode_responses=True, encoding_errors="surrogateescape")

    def shard(_):
        pool, identity = client(), ServerIdentity()
        monitor = HealthMonitor(pool.connection_pool, client(), name="fake", key="AwsAccount:", identity=identity)
        return Shard(pool, monitor, client)

    return RedisStore(Topology("fake", shard))


def flush(node):
    with Redis(port=node.port, socket_timeout=5) as client:
        client.flushall()


def kill_connections(*nodes):
    for node in nodes:
        with Redis(port=node.port, socket_timeout=5) as client:
            for _ in range(KILLS):
                client.client_kill_filter(_type="normal", skipme=True)
                time.sleep(PAUSE_SECONDS)


def hang(node, seconds):
    node.hang()
    time.sleep(seconds)
    node.resume()


def kill_and_start(node):
    node.kill()
    time.sleep(SHORT_HANG_SECONDS)
    node.start()


def both(make, url, **options):
    return [lambda: make(url, **options)] * 2


def check(world, *, examples):
    """Run the model. MODEL_EXAMPLES sets another number of examples, which are then new ones each time."""
    run_state_machine_as_test(
        lambda: Model(world),
        settings=settings(
            max_examples=int(EXAMPLES or examples),
            stateful_step_count=STEPS,
            derandomize=EXAMPLES is None,
            database=None,
            # To shrink an example would repeat its faults for minutes.
            phases=[Phase.generate],
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


@pytest.mark.parametrize("make", [EmbeddedStore, fake_store], ids=["embedded", "fakeredis"])
def test_a_store_in_this_process_is_a_dictionary(make):
    check(World([make]), examples=30)


@pytest.mark.heavy
@pytest.mark.parametrize("make", [RedisStore.at, ObservedCachedStore], ids=["plain", "cached"])
def test_a_store_on_one_server_is_a_dictionary_over_all_faults(make, own_redis):
    faults = (
        lambda: kill_connections(own_redis),
        lambda: hang(own_redis, SHORT_HANG_SECONDS),
        lambda: hang(own_redis, LONG_HANG_SECONDS),
        lambda: kill_and_start(own_redis),
    )
    check(World(both(make, own_redis.url), [own_redis], faults, lambda: flush(own_redis)), examples=4)


@pytest.fixture(params=["sentinel", pytest.param("cluster", marks=pytest.mark.heavy)])
def group(request, redis_binary, tmp_path):
    # On a busy machine, hasty servers promote a replica without a fault. Then a write that a read has seen, but no
    # replica has confirmed, may be lost.
    if request.param == "sentinel":
        lines = [f"sentinel down-after-milliseconds {SERVICE} {PATIENCE_MILLISECONDS}"]
        group = SentinelGroup(redis_binary, tmp_path, lines=lines)
    else:
        group = Cluster(redis_binary, tmp_path, "--cluster-node-timeout", str(PATIENCE_MILLISECONDS))
    try:
        group.start()
        yield group
    finally:
        group.stop()


@pytest.mark.slow
@pytest.mark.parametrize("make", [RedisStore.at, ObservedCachedStore], ids=["plain", "cached"])
def test_a_store_on_a_group_is_a_dictionary_over_lost_connections(make, group):
    faults = [lambda: kill_connections(*group.primaries)]
    check(World(both(make, group.url), group.nodes, faults, group.flush, lambda: group.primaries), examples=3)


@pytest.mark.heavy
@pytest.mark.parametrize("make", [RedisStore.at, ObservedCachedStore], ids=["plain", "cached"])
def test_a_store_on_a_group_is_a_dictionary_over_failovers_if_writes_are_confirmed(make, group):
    def disturb(begin, end):
        primary = group.primaries[-1]
        begin(primary)
        try:
            assert eventually(lambda: primary not in group.primaries and group.primaries, seconds=PROMOTION_SECONDS)
        finally:
            end(primary)
        group.wait_until_ready()

    def promote():
        # Sentinels have one primary.
        group.fail_over(*group.primaries[-1:] if isinstance(group, Cluster) else ())

    faults = (
        promote,
        lambda: disturb(Node.kill, Node.start),
        lambda: disturb(Node.hang, Node.resume),
        lambda: kill_connections(*group.primaries),
    )
    stores = both(make, group.url, wait_replicas=1)
    check(World(stores, group.nodes, faults, group.flush, lambda: group.primaries), examples=2)
