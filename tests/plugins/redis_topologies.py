"""Real Sentinel groups and Clusters on loopback ports, whose nodes tests can kill, hang, resume and restart."""

import time
from contextlib import suppress

import pytest
from plugins.network import SERVICE as ANY_SOURCE
from plugins.redis_server import RedisServer, free_port
from redis import Redis
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

# A busy machine takes its time.
READY_SECONDS = 60
SERVICE = "accounts"
QUORUM = 2
SENTINELS = 3
LOG = "sentinel.log"
DOWN_AFTER_MILLISECONDS = 500
FAILOVER_MILLISECONDS = 1000
PRIMARIES = 3
SLOTS = 16384
NODE_TIMEOUT_MILLISECONDS = 1000
# A Sentinel demotes a returned primary after four of its announcements, which it sends every two seconds by default.
HASTE = ("info-period", 200, "publish-period", 200)


class Node(RedisServer):
    """A server of a group, with the port of its Cluster bus if it has one.

    With a ``network``, the others reach it over a proxy at the port ``announced``, and it opens connections from
    ``source``. With the certificates ``tls``, the port ``announced`` uses TLS, and clients need a certificate too.
    Tests reach it at ``port`` in any case.
    """

    bus_port: int | None = None
    is_hung = False
    password: str | None = None

    def __init__(self, binary, directory, *options, network=None, tls=None, **config) -> None:
        super().__init__(binary, directory, *options, **config)
        self.source, self.announced = ANY_SOURCE, self.port
        if tls:
            self.announced = free_port()
            self.add_options("--tls-port", str(self.announced), "--tls-replication", "yes", "--tls-cluster", "yes")
            self.add_options("--tls-cert-file", str(tls.certificate), "--tls-key-file", str(tls.key))
            self.add_options("--tls-ca-cert-file", str(tls.ca))
        if network:
            self.source = network.source()
            self.announced = network.front(self.source, self.port)
            self.add_options("--bind-source-addr", self.source)

    def hang(self) -> None:
        super().hang()
        self.is_hung = True

    def resume(self) -> None:
        super().resume()
        self.is_hung = False

    def kill(self) -> None:
        super().kill()
        self.is_hung = False

    def run(self, *command):
        """Return the answer to one command, parsed by redis-py if its name is one word as in ``"CLUSTER NODES"``."""
        if self.is_hung:
            raise RedisTimeoutError("The node hangs")
        with Redis(port=self.port, password=self.password, socket_timeout=1, decode_responses=True) as client:
            return client.execute_command(*command)

    def info(self, section="replication"):
        """Return a section of INFO."""
        return self.run("INFO", section)


class Group:
    """Nodes that start and stop together. ``nodes`` are the servers with data, in the order of their start."""

    nodes: list[Node]
    url: str

    @property
    def processes(self):
        return self.nodes

    @property
    def primaries(self):
        """The nodes that serve writes now."""
        raise NotImplementedError

    def replicas_of(self, primary):
        """Return the replicas whose link to ``primary`` is up."""
        return [node for node in self.nodes if node is not primary and _follows(node, primary)]

    def is_ready(self):
        """Return whether every node answers, and a failover can succeed."""
        raise NotImplementedError

    def wait_until_ready(self, seconds=READY_SECONDS):
        until = time.monotonic() + seconds
        while not _answer_or_none(self.is_ready):
            if time.monotonic() > until:
                raise RuntimeError(f"{type(self).__name__} is not ready")
            time.sleep(0.02)

    def stop(self):
        for process in self.processes:
            process.kill()

    def restart(self):
        """Kill all processes and start them again."""
        raise NotImplementedError

    def flush(self):
        for node in self.primaries:
            node.run("FLUSHALL")


class SentinelGroup(Group):
    """A primary, replicas and three Sentinels. ``options`` go to all servers, ``lines`` to each Sentinel's file.

    With ``hasty``, Sentinels demote a returned primary within a second, and not only after about ten.
    """

    def __init__(self, binary, directory, *options, lines=(), hasty=True, replicas=1, network=None, tls=None):
        self.network = network
        self._hasty = hasty

        def node(name, *more, config=None):
            (directory / name).mkdir()
            return Node(binary, directory / name, *more, config=config, network=network, tls=tls)

        self.nodes = [node(name, *options) for name in ("one", "two", "three")[: replicas + 1]]
        for node_ in self.nodes if network else ():
            node_.add_options("--replica-announce-ip", "127.0.0.1", "--replica-announce-port", str(node_.announced))
        self.sentinels = []
        ids = [f"{number:040x}" for number in range(1, SENTINELS + 1)]
        for number in range(SENTINELS):
            config = directory / f"sentinel-{number}.conf"
            sentinel = node(f"sentinel-{number}", "--sentinel", "--logfile", LOG, config=config)
            self.sentinels.append(sentinel)
        for number, sentinel in enumerate(self.sentinels):
            others = [(other, id_) for other, id_ in zip(self.sentinels, ids, strict=True) if other is not sentinel]
            # Sentinels that know each other from the start need not wait two seconds for an announcement.
            (directory / f"sentinel-{number}.conf").write_text(
                "\n".join(
                    [
                        f"sentinel myid {ids[number]}",
                        "sentinel announce-ip 127.0.0.1",
                        f"sentinel announce-port {sentinel.announced}",
                        f"sentinel monitor {SERVICE} 127.0.0.1 {self.nodes[0].announced} {QUORUM}",
                        f"sentinel down-after-milliseconds {SERVICE} {DOWN_AFTER_MILLISECONDS}",
                        f"sentinel failover-timeout {SERVICE} {FAILOVER_MILLISECONDS}",
                        *lines,
                        *(f"sentinel known-replica {SERVICE} 127.0.0.1 {node.announced}" for node in self.nodes[1:]),
                        *(
                            f"sentinel known-sentinel {SERVICE} 127.0.0.1 {other.announced} {id_}"
                            for other, id_ in others
                        ),
                        "",
                    ]
                )
            )
        self._replica_options = ("--replicaof", f"127.0.0.1 {self.nodes[0].announced}")
        hosts = ",".join(f"127.0.0.1:{sentinel.announced}" for sentinel in self.sentinels)
        self.url = f"{'rediss' if tls else 'redis'}+sentinel://{hosts}/{SERVICE}/0"

    @property
    def processes(self):
        return [*self.nodes, *self.sentinels]

    def start(self):
        first, *replicas = self.nodes
        first.start()
        for replica in replicas:
            replica.start(*self._replica_options)
        for sentinel in self.sentinels:
            sentinel.start()
            if self._hasty:
                sentinel.run("SENTINEL", "DEBUG", *HASTE)
        self.wait_until_ready()

    def restart(self):
        self.stop()
        self.start()

    @property
    def primary(self):
        """The node that the Sentinels name, or None while none does."""
        for sentinel in self.sentinels:
            if named := _answer_or_none(lambda s=sentinel: s.run("SENTINEL", "GET-MASTER-ADDR-BY-NAME", SERVICE)):
                return next(node for node in self.nodes if node.announced == int(named[1]))
        return None

    @property
    def primaries(self):
        return [primary] if (primary := self.primary) else []

    @property
    def replica(self):
        """The first node that is not the primary."""
        return next(node for node in self.nodes if node is not self.primary)

    @property
    def promotions(self):
        """How often the Sentinels have named another node."""
        logs = [(sentinel.directory / LOG).read_text() for sentinel in self.sentinels]
        # A Sentinel that hung has missed some.
        return max(log.count(f" +switch-master {SERVICE} ") for log in logs)

    def is_ready(self):
        primary = self.primary
        return (
            primary
            and len(self.replicas_of(primary)) == len(self.nodes) - 1
            and all(map(self._knows_all, self.sentinels))
        )

    def fail_over(self):
        """Promote the replica, and wait until all nodes have their new roles."""
        before = self.primary
        until = time.monotonic() + READY_SECONDS
        # A Sentinel refuses until it knows the state of the replica.
        while self.primary is before:
            _answer_or_none(lambda: self.sentinels[0].run("SENTINEL", "FAILOVER", SERVICE))
            if time.monotonic() > until:
                raise RuntimeError("The Sentinels keep the primary")
            time.sleep(0.1)
        try:
            self.wait_until_ready(READY_SECONDS / 4)
        except RuntimeError:
            # On a busy machine, Sentinels sometimes leave the old primary as it is.
            before.run("REPLICAOF", "127.0.0.1", self.primary.announced)
            self.wait_until_ready()

    def _knows_all(self, sentinel):
        state = sentinel.run("SENTINEL", "MASTER", SERVICE)
        known = (state["flags"], state["num-slaves"], state["num-other-sentinels"])
        return known == ("master", str(len(self.nodes) - 1), str(SENTINELS - 1))


class Cluster(Group):
    """A Cluster of three primaries, each with one replica. ``options`` go to every node."""

    def __init__(self, binary, directory, *options, network=None, tls=None):
        self.network = network
        self.nodes = []
        for number in range(2 * PRIMARIES):
            (directory / f"node-{number}").mkdir()
            bus_port = free_port()
            cluster = ("--cluster-enabled", "yes", "--cluster-port", str(bus_port))
            timeout = ("--cluster-node-timeout", str(NODE_TIMEOUT_MILLISECONDS))
            node = Node(binary, directory / f"node-{number}", *cluster, *timeout, *options, network=network, tls=tls)
            node.bus_port = bus_port
            if network:
                node.bus_port = network.front(node.source, bus_port)
                node.add_options("--cluster-announce-ip", "127.0.0.1", "--cluster-announce-port", str(node.announced))
                node.add_options("--cluster-announce-bus-port", str(node.bus_port))
            self.nodes.append(node)
        hosts = ",".join(f"127.0.0.1:{node.announced}" for node in self.nodes)
        self.url = f"{'rediss' if tls else 'redis'}+cluster://{hosts}"

    def start(self):
        for number, node in enumerate(self.nodes):
            node.start()
            node.run("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
        for node in self.nodes[1:]:
            node.run("CLUSTER", "MEET", "127.0.0.1", self.nodes[0].announced, self.nodes[0].bus_port)
        for number, node in enumerate(self.nodes[:PRIMARIES]):
            slots = range(number * SLOTS // PRIMARIES, (number + 1) * SLOTS // PRIMARIES)
            node.run("CLUSTER", "ADDSLOTS", *slots)
        until = time.monotonic() + READY_SECONDS
        for primary, replica in zip(self.nodes[:PRIMARIES], self.nodes[PRIMARIES:], strict=True):
            id_ = primary.run("CLUSTER", "MYID")
            # A node can follow only a node that it has met.
            while _answer_or_none(lambda r=replica, i=id_: r.run("CLUSTER", "REPLICATE", i)) is None:
                if time.monotonic() > until:
                    raise RuntimeError("The nodes do not meet")
                time.sleep(0.02)
        self.wait_until_ready()

    def restart(self):
        self.stop()
        for node in self.nodes:
            node.start()
        self.wait_until_ready()

    @property
    def primaries(self):
        return [node for node in self.nodes if self._is_primary(node)]

    def primary_of(self, key):
        """Return the node that serves ``key``, or None while none does."""
        for node in self.primaries:
            slot = node.run("CLUSTER", "KEYSLOT", key)
            if any(start <= slot <= end for start, end in self._slots_of(node)):
                return node
        return None

    def fail_over(self, primary):
        """Promote the replica of ``primary``, which keeps running, and wait until all nodes have their new roles."""
        (replica,) = self.replicas_of(primary)
        replica.run("CLUSTER", "FAILOVER")
        until = time.monotonic() + READY_SECONDS
        while not self._is_primary(replica):
            if time.monotonic() > until:
                raise RuntimeError("The replica is not promoted")
            time.sleep(0.02)
        self.wait_until_ready()

    def is_ready(self):
        primaries = self.primaries
        return len(primaries) == PRIMARIES and all(map(self.replicas_of, primaries)) and all(map(_is_whole, self.nodes))

    def _is_primary(self, node):
        found = _answer_or_none(node.info)
        return bool(found) and found["role"] == "master" and bool(self._slots_of(node))

    def _slots_of(self, node):
        """Return the ranges of slots that the node itself claims."""
        (own,) = [known for known in node.run("CLUSTER NODES").values() if "myself" in known["flags"]]
        return [(int(range_[0]), int(range_[-1])) for range_ in own["slots"]]


def _is_whole(node):
    known = node.run("CLUSTER NODES").values()
    return (
        node.run("CLUSTER INFO")["cluster_state"] == "ok"
        and len(known) == 2 * PRIMARIES
        and not any("fail" in other["flags"] or "handshake" in other["flags"] for other in known)
    )


def _follows(node, primary):
    found = _answer_or_none(node.info)
    return (
        bool(found)
        and found["role"] == "slave"
        and (found["master_port"], found["master_link_status"]) == (primary.announced, "up")
    )


def _answer_or_none(ask):
    with suppress(RedisError, OSError):
        return ask()
    return None


def _started(group):
    try:
        group.start()
        yield group
    finally:
        group.stop()


@pytest.fixture(scope="session")
def shared_sentinel(redis_binary, tmp_path_factory):
    """One group for all tests that do not disturb it."""
    yield from _started(SentinelGroup(redis_binary, tmp_path_factory.mktemp("sentinel")))


@pytest.fixture(scope="session")
def shared_cluster(redis_binary, tmp_path_factory):
    """One Cluster for all tests that do not disturb it."""
    yield from _started(Cluster(redis_binary, tmp_path_factory.mktemp("cluster")))


@pytest.fixture
def sentinel_url(shared_sentinel):
    """The URL of an empty database in the shared group."""
    shared_sentinel.flush()
    return shared_sentinel.url


@pytest.fixture
def cluster_url(shared_cluster):
    """The URL of the shared Cluster, which is empty."""
    shared_cluster.flush()
    return shared_cluster.url


@pytest.fixture
def own_sentinel(redis_binary, tmp_path):
    """A group for one test, which may kill and hang its nodes."""
    yield from _started(SentinelGroup(redis_binary, tmp_path))


@pytest.fixture
def own_cluster(redis_binary, tmp_path):
    """A Cluster for one test, which may kill and hang its nodes."""
    yield from _started(Cluster(redis_binary, tmp_path))
