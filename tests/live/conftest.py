"""Real S3 servers for the session, each installed and started when the first test asks for it."""

import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

import pytest
from live import s3_servers
from live.certificates import Certificates, make_certificates
from live.installation import NotInstalled
from live.proxies import Replica
from live.s3_servers import S3Server
from live.signer import Signer
from redis import Redis
from support.accounts import KEYS
from support.tools import missing


@pytest.fixture(scope="session")
def certificates(tmp_path_factory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("tls"), s3_servers.DOMAIN)


@pytest.fixture(scope="session")
def swift(tmp_path_factory, certificates) -> Iterator[S3Server]:
    with _or_skip(s3_servers.swift, tmp_path_factory.mktemp("swift"), certificates) as server:
        yield server


@pytest.fixture(scope="session")
def ministack(tmp_path_factory, certificates) -> Iterator[S3Server]:
    with _or_skip(s3_servers.ministack, tmp_path_factory.mktemp("ministack"), certificates) as server:
        yield server


@pytest.fixture(scope="session", params=["swift", "ministack"])
def s3_server(request) -> S3Server:
    return request.getfixturevalue(request.param)


@pytest.fixture(scope="session")
def signer(service) -> Signer:
    return Signer(service.url)


@pytest.fixture(scope="session")
def bucket(s3_server) -> str:
    return s3_server.make_bucket("signed-uploads")


@contextmanager
def _or_skip(
    start: Callable[[Path, Certificates], AbstractContextManager[S3Server]], state: Path, tls: Certificates
) -> Iterator[S3Server]:
    try:
        running = start(state, tls)
        with running as server:
            yield server
    except NotInstalled as reason:
        missing(str(reason))


@pytest.fixture(scope="module")
def audit_log_of_replicas(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("audit") / "log"


@pytest.fixture(scope="module")
def replicas(shared_redis, audit_log_of_replicas) -> Iterator[list[Replica]]:
    """Two replicas on one Redis, with the account ``shared``."""
    with Redis.from_url(shared_redis.url) as client:
        client.hset("AwsAccount:shared", mapping=KEYS)
    with audit_log_of_replicas.open("ab") as log, ExitStack() as stack:
        started: list[Replica] = []
        for _ in range(2):
            started.append(Replica(shared_redis.url, log))
            stack.callback(lambda replica=started[-1]: replica.process.stop(signal.SIGINT))
        yield started
