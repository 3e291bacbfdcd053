"""Many accounts in one Redis, which is filled once and then shared by all rows of a run."""

from contextlib import ExitStack
from datetime import UTC, datetime
from functools import cache
from typing import Any

from redis import Redis

from benchmarks import example, servers
from service.stores.record import compose

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
    """Write the accounts 1 to ``accounts``. The service need not adopt them, which would take a write at first read."""
    now = datetime.now(UTC)
    for start in range(1, accounts + 1, CHUNK):
        with client.pipeline(transaction=False) as pipe:
            for number in range(start, min(start + CHUNK, accounts + 1)):
                member = example.member(number)
                fields, mark = example.fields(member), f"{number:016x}"
                record: dict[Any, Any] = {
                    **compose(fields, expected=None, version=number, now=now, write_id=mark, validated=True)
                }
                pipe.hset(f"AwsAccount:{member.id}", mapping=record)
            pipe.execute()
