"""Signed GETs from accounts in Redis as one would write them by hand: aiohttp, redis-py, one aiobotocore client.

Arguments: port, URL of Redis. To be no slower than it must, it runs on uvloop and hiredis without an access log, and
keeps the client of an account for as long as the account's keys stay the same.
"""

import sys
from collections.abc import AsyncIterator
from typing import Any, cast

import uvloop
from aiobotocore.config import AioConfig
from aiobotocore.session import AioSession
from aiohttp import web
from redis.asyncio import Redis

REDIS = web.AppKey("REDIS", Redis)
CLIENTS = web.AppKey("CLIENTS", dict[tuple[str, str], Any])


async def client_of(app: web.Application, access_key_id: str, secret_access_key: str) -> Any:
    """The S3 client for these keys, an open one of a class that aiobotocore makes at run time."""
    clients = app[CLIENTS]
    if (access_key_id, secret_access_key) not in clients:
        context = AioSession().create_client(
            "s3",
            region_name="us-east-1",
            use_ssl=False,
            aws_access_key_id=access_key_id,
            aws_secret_access_key=secret_access_key,
            config=AioConfig(signature_version="s3v4", s3={"addressing_style": "virtual"}),
        )
        clients[access_key_id, secret_access_key] = await context.__aenter__()
    return clients[access_key_id, secret_access_key]


async def download(request: web.Request) -> web.Response:
    found = await request.app[REDIS].hgetall(f"AwsAccount:{request.match_info['account']}")
    if not found:
        raise web.HTTPNotFound
    account = cast("dict[str, str]", found)
    client = await client_of(request.app, account["access-key-id"], account["secret-access-key"])
    url = await client.generate_presigned_url(
        "get_object",
        Params={"Bucket": request.match_info["bucket"], "Key": request.match_info["key"]},
        ExpiresIn=int(request.query.get("expiration", "86400")),
    )
    return web.json_response({"url": url})


async def connections(app: web.Application) -> AsyncIterator[None]:
    app[REDIS] = Redis.from_url(sys.argv[2], decode_responses=True)
    app[CLIENTS] = {}
    yield
    for client in app[CLIENTS].values():
        await client.close()
    await app[REDIS].aclose()


if __name__ == "__main__":
    app = web.Application()
    app.add_routes([web.get("/aws/storage/{account}/{bucket}/{key:.+}", download)])
    app.cleanup_ctx.append(connections)
    loop = uvloop.new_event_loop()
    web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), access_log=None, print=None, loop=loop)
