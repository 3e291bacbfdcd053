"""An application on a port of its own, in the process of the tests."""

from aiohttp import web
from aiohttp.test_utils import BaseTestServer


class AppServer(BaseTestServer):
    """Serves an application, as service.server does."""

    def __init__(self, app):
        super().__init__()
        self.app = app

    async def _make_runner(self, **_):
        await self.app.open()
        return web.ServerRunner(web.Server(self.app.handle, request_factory=self.app.request, auto_decompress=False))

    async def close(self):
        if not self.closed:
            await super().close()
            await self.app.close()
