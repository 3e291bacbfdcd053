"""Servers, ours and others, that have what they need to be asked."""

import json
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from functools import cache
from importlib.util import find_spec

from redis import Redis

from benchmarks import cores, crowd, example, load, servers
from benchmarks.contest import Skipped
from benchmarks.servers import Server
from benchmarks.sockets import Answer

Serve = Callable[[], AbstractContextManager[Server]]


@contextmanager
def embedded(**settings: str) -> Iterator[Server]:
    with servers.service(**settings) as server:
        load.ask(server.address, example.STORE_ACCOUNT)
        yield server


@contextmanager
def embedded_on_a_socket() -> Iterator[Server]:
    """The same on a unix socket."""
    with _socket() as path, embedded(SIGNER_SOCKET=path) as server:
        yield server


@contextmanager
def with_accounts() -> Iterator[Server]:
    """As many accounts as one listing shows."""
    with embedded() as server:
        for number in range(1, example.LISTED):
            load.ask(server.address, example.store_member(number))
        yield server


@contextmanager
def closed(**settings: str) -> Iterator[Server]:
    """A service that asks for credentials, with a client that has a token and a policy."""
    root = {"SIGNER_ROOT_CLIENT_ID": "root", "SIGNER_ROOT_CLIENT_SECRET": example.ROOT_SECRET}
    with servers.service(**root, **settings) as server:
        for request in example.STORE_ACCESS:
            load.ask(server.address, request)
        token = json.loads(load.ask(server.address, example.TOKEN).body)["access_token"]
        yield replace(server, authorization=f"Bearer {token}")


def with_policies(count: int) -> Serve:
    """A service that asks for credentials, with policies for all callers, none of which allows what is asked."""

    @contextmanager
    def serve() -> Iterator[Server]:
        with closed() as server:
            for number in range(count):
                load.ask(server.address, example.store_policy(number))
            yield server

    return serve


@contextmanager
def on_redis() -> Iterator[Server]:
    with _accounts() as url, servers.service(SIGNER_STORE_URL=url) as server:
        yield server


def in_crowd(*, cache: int | None = None) -> Serve:
    """The service on a Redis with very many accounts, which is shared."""
    settings = {} if cache is None else {"SIGNER_CACHE_SIZE": str(cache)}

    @contextmanager
    def serve() -> Iterator[Server]:
        with servers.service(SIGNER_STORE_URL=crowd.url(), **settings) as server:
            yield server

    return serve


def workers(count: int) -> Serve:
    """The service on Redis as so many processes, one or two, all on the same cores."""

    @contextmanager
    def serve() -> Iterator[Server]:
        settings = {"SIGNER_STORE_URL": crowd.url(), "SIGNER_WORKERS": str(count)}
        with servers.service(cores.WORKERS, **settings) as server:
            yield server

    return serve


def apart(count: int) -> Serve:
    """The same, where each process has a core of its own."""

    @contextmanager
    def serve() -> Iterator[Server]:
        if len(cores.WORKERS) < count:
            raise Skipped("it takes 4 cores: one for each of two workers, for Redis and for the load generator")
        with workers(count)() as server:
            yield server

    return serve


@contextmanager
def fast_api() -> Iterator[Server]:
    missing = [name for name in ("fastapi", "uvicorn", "uvloop", "httptools", "boto3") if not find_spec(name)]
    if missing:
        raise Skipped(f"{', '.join(missing)} not installed: pip install fastapi 'uvicorn[standard]' boto3")
    with servers.peer("fast_api") as server:
        yield server


@contextmanager
def by_hand() -> Iterator[Server]:
    with _accounts() as url, servers.peer("by_hand", url) as server:
        yield server


@contextmanager
def constant(path: str = "") -> Iterator[Server]:
    """The floor, whose answer has the size of ours, and as many headers."""
    size, headers = _measures(_our_answer())
    with servers.peer("constant", str(size), str(headers), path=path) as server:
        measures = _measures(load.ask(server.address, example.GET))
        if measures != (size, headers):
            raise load.LoadError(f"The floor answers {measures} bytes and headers, we {(size, headers)}")
        yield replace(server, signs=False)


@contextmanager
def constant_on_a_socket() -> Iterator[Server]:
    """The same on a unix socket."""
    with _socket() as path, constant(path) as server:
        yield server


@contextmanager
def hello() -> Iterator[Server]:
    with servers.peer("hello") as server:
        yield server


@cache
def _our_answer() -> Answer:
    with embedded() as server:
        return load.ask(server.address, example.GET)


def _measures(answer: Answer) -> tuple[int, int]:
    """The size of the body, and how many headers there are."""
    return len(answer.body), answer.head.count(b"\r\n")


@contextmanager
def _socket() -> Iterator[str]:
    with tempfile.TemporaryDirectory() as directory:
        yield f"{directory}/socket"


@contextmanager
def _accounts() -> Iterator[str]:
    with servers.redis() as url:
        with Redis.from_url(url) as client:
            client.hset(f"AwsAccount:{example.AMAZON.id}", mapping=dict(example.fields(example.AMAZON)))
        yield url
