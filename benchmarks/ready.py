"""Servers, ours and others, that have what they need to be asked."""

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from importlib.util import find_spec

from redis import Redis

from benchmarks import cores, crowd, example, load, servers
from benchmarks.contest import Skipped
from benchmarks.servers import Server

Serve = Callable[[], AbstractContextManager[Server]]


@contextmanager
def embedded() -> Iterator[Server]:
    with servers.service() as server:
        load.ask(server.port, example.STORE_ACCOUNT)
        yield server


@contextmanager
def closed(**settings: str) -> Iterator[Server]:
    """A service that asks for credentials, with a client that has a token and a policy."""
    root = {"SIGNER_ROOT_CLIENT_ID": "root", "SIGNER_ROOT_CLIENT_SECRET": example.ROOT_SECRET}
    with servers.service(**root, **settings) as server:
        for request in example.STORE_ACCESS:
            load.ask(server.port, request)
        token = json.loads(load.ask(server.port, example.TOKEN))["access_token"]
        yield replace(server, authorization=f"Bearer {token}")


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


def fast_api(handler: str) -> Serve:
    """FastAPI, with a handler that is a ``function`` or a ``coroutine``."""

    @contextmanager
    def serve() -> Iterator[Server]:
        missing = [name for name in ("fastapi", "uvicorn", "uvloop", "httptools", "boto3") if not find_spec(name)]
        if missing:
            raise Skipped(f"{', '.join(missing)} not installed: pip install fastapi 'uvicorn[standard]' boto3")
        with servers.peer("fast_api", handler) as server:
            yield server

    return serve


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
            client.hset(f"AwsAccount:{example.AMAZON.id}", mapping=dict(example.fields(example.AMAZON)))
        yield url
