"""The floor: a bare handler in an application with one middleware, on uvloop.

Arguments: port or path of a unix socket, size of its one answer in bytes, and how many headers that has.
"""

import sys

import uvloop
from aiohttp import web
from aiohttp.typedefs import Handler

# Content-Type, Content-Length, Date and Server.
HEADERS_OF_AIOHTTP = 4
# It is asked for the same URLs as the service, which take aiohttp longer than "/" does.
PATH = "/aws/storage/{account}/{bucket}/{key:.+}"
VALUE = "x" * 20


@web.middleware
async def passing(request: web.Request, handler: Handler) -> web.StreamResponse:
    return await handler(request)


def main(address: str, size: int, headers: int) -> None:
    body = b'{"url":"%s"}' % (b"x" * (size - len(b'{"url":""}')))
    further = {f"X-Header-{number}": VALUE for number in range(headers - HEADERS_OF_AIOHTTP)}

    async def answer(_: web.Request) -> web.Response:
        return web.Response(body=body, content_type="application/json", headers=further)

    app = web.Application(middlewares=[passing])
    app.add_routes([web.get(PATH, answer)])
    loop = uvloop.new_event_loop()
    if address.isdigit():
        web.run_app(app, host="127.0.0.1", port=int(address), access_log=None, print=None, loop=loop)
    else:
        web.run_app(app, path=address, access_log=None, print=None, loop=loop)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
