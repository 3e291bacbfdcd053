"""The floor: a bare aiohttp handler on uvloop. Arguments: port, size of its one answer in bytes."""

import sys

import uvloop
from aiohttp import web


def main(port: int, size: int) -> None:
    body = b'{"url":"%s"}' % (b"x" * (size - len(b'{"url":""}')))

    async def answer(_: web.Request) -> web.Response:
        return web.Response(body=body, content_type="application/json")

    app = web.Application()
    app.add_routes([web.get("/", answer)])
    web.run_app(app, host="127.0.0.1", port=port, access_log=None, print=None, loop=uvloop.new_event_loop())


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
