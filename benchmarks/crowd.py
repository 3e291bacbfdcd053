"""Many accounts in one Redis, which is filled once and then shared by all rows of a run."""

from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from functools import cache
from itertools import islice
from typing import Any, TypeVar

from redis import Redis

from benchmarks import example, servers
from service.stores.record import compose

T = TypeVar("T")

ACCOUNTS = 100_000
CHUNK = 1000

SHARED = ExitStack()
"""Ends the shared Redis, if there is one, when it is left."""


@cache
def url() -> str:
    """The URL of a Redis with the accounts 1 to ACCOUNTS, each as the service would have written it."""
    redis_url = SHARED.enter_context(servers.redis())
    with Redis.from_url(redis_url) as client:
        fill(client, ACCOUNTS)
    return redis_url


def fill(client: Redis, accounts: int) -> None:
    """Write the accounts 1 to ``accounts``."""
    for chunk in batched(records(accounts)):
        with client.pipeline(transaction=False) as pipe:
            for key, record in chunk:
                pipe.hset(key, mapping=record)
            pipe.execute()


def records(accounts: int) -> Iterator[tuple[str, dict[Any, Any]]]:
    """Yield key and hash of each account, as the service writes it. So it need not adopt them at the first read."""
    now = datetime.now(UTC)
    for number in range(1, accounts + 1):
        member = example.member(number)
        record = compose(
            example.fields(member), expected=None, version=number, now=now, write_id=f"{number:016x}", validated=True
        )
        yield f"AwsAccount:{member.id}", record


def batched(items: Iterator[T]) -> Iterator[list[T]]:
    """Yield lists of at most CHUNK items."""
    while chunk := list(islice(items, CHUNK)):
        yield chunk
