"""Sides that sign in this process: microseconds of its CPU for one URL."""

import asyncio
import importlib
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

from benchmarks import example
from benchmarks.contest import Party, Rounds, Side, Skipped
from service.resources.types import AwsAccount
from service.signing.operations import GET_OBJECT
from service.signing.presigner import Presigner

ROUND_SECONDS = 0.3
CALLS_BETWEEN_LOOKS = 100


def presigner(account: AwsAccount) -> Side:
    """Our Presigner, its endpoint and day key remembered."""

    @contextmanager
    def side() -> Iterator[Party]:
        ours = Presigner(default_use_ssl=False)

        async def sign() -> str:
            return await ours.presign(
                account,
                GET_OBJECT,
                bucket=example.BUCKET,
                key=example.KEY,
                at=int(time.time()),
                expires_in=example.DAY_SECONDS,
            )

        with asyncio.Runner() as runner:
            yield _in_process(runner, account, sign)
            runner.run(ours.close())

    return side


@contextmanager
def aiobotocore() -> Iterator[Party]:
    """The generate_presigned_url of one client."""
    params = {"Bucket": example.BUCKET, "Key": example.KEY}
    with asyncio.Runner() as runner:
        context = example.client(example.AMAZON)
        client = runner.run(context.__aenter__())

        async def sign() -> str:
            url: str = await client.generate_presigned_url("get_object", Params=params, ExpiresIn=example.DAY_SECONDS)
            return url

        yield _in_process(runner, example.AMAZON, sign)
        runner.run(context.__aexit__(None, None, None))


@contextmanager
def minio() -> Iterator[Party]:
    """The presigned_get_object of minio-py, which is told the region and so asks nobody."""
    try:
        # Its absence is no fault, so it is not imported by name.
        library = importlib.import_module("minio")
    except ImportError:
        raise Skipped("minio is not installed: pip install minio") from None
    client = library.Minio(
        example.MINIO_HOST,
        access_key=example.MINIO.access_key_id,
        secret_key=example.MINIO.secret_access_key,
        secure=False,
        region=example.MINIO.region,
    )
    expires = timedelta(seconds=example.DAY_SECONDS)

    async def sign() -> str:
        url: str = client.presigned_get_object(example.BUCKET, example.KEY, expires=expires)
        return url

    with asyncio.Runner() as runner:
        yield _in_process(runner, example.MINIO, sign)


def _in_process(runner: asyncio.Runner, account: AwsAccount, sign: Callable[[], Awaitable[str]]) -> Party:
    async def repeat() -> float:
        calls, started = 0, time.process_time()
        while (taken := time.process_time() - started) < ROUND_SECONDS:
            # The clock is asked once for many calls.
            for _ in range(CALLS_BETWEEN_LOOKS):
                await sign()
            calls += CALLS_BETWEEN_LOOKS
        return taken / calls * 1e6

    async def once() -> str:
        return await sign()

    example.check_url(account, GET_OBJECT, example.DAY_SECONDS, runner.run(once()))
    runner.run(repeat())
    return Rounds(lambda: runner.run(repeat()))
