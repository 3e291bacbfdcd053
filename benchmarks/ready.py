"""Servers, ours and others, that have what they need to be asked."""

from collections.abc import Iterator
from contextlib import contextmanager

from redis import Redis

from benchmarks import example, load, servers
from benchmarks.servers import Server


@contextmanager
def embedded() -> Iterator[Server]:
    with servers.service() as server:
        load.ask(server.port, example.STORE_ACCOUNT)
        yield server


@contextmanager
def on_redis() -> Iterator[Server]:
    with _accounts() as url, servers.service(SIGNER_STORE_URL=url) as server:
        yield server


@contextmanager
def by_hand() -> Iterator[Server]:
    with _accounts() as url, servers.peer("by_hand", url) as server:
        yield server


@contextmanager
def constant() -> Iterator[Server]:
    with servers.peer("constant", str(example.answer_size())) as server:
        yield server


@contextmanager
def hello() -> Iterator[Server]:
    with servers.peer("hello") as server:
        yield server


@contextmanager
def _accounts() -> Iterator[str]:
    with servers.redis() as url:
        with Redis.from_url(url) as client:
            client.hset(f"AwsAccount:{example.AMAZON.id}", mapping=dict(example.FIELDS))
        yield url
