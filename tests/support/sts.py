"""A fake STS, and fake endpoints that serve credentials to containers and instances. All listen on loopback."""

import asyncio
import json
from datetime import UTC, datetime
from time import time
from urllib.parse import parse_qsl

from aiohttp import web
from aiohttp.test_utils import TestServer

ROLE = "arn:aws:iam::123456789012:role/uploads"
_ANSWER = """<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleResult><Credentials>
<AccessKeyId>ASIA{number:016}</AccessKeyId><SecretAccessKey>temporary-secret-{number}</SecretAccessKey>
<SessionToken>temporary-token-{number}</SessionToken><Expiration>{end}</Expiration>
</Credentials></AssumeRoleResult></AssumeRoleResponse>"""
_REFUSAL = """<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error><Type>Sender</Type>
<Code>{code}</Code><Message>refused by the test</Message></Error></ErrorResponse>"""


class FakeSts:
    """Answers AssumeRole. Tests set `refusal` (an error code), `hanging` (ARNs of roles) and `seconds`.

    `requests` has the parameters of each request, and its `Authorization`; `clients` the addresses that sent them.
    """

    def __init__(self, clock=time):
        self.clock = clock
        self.requests = []
        self.clients = set()
        self.refusal = None
        self.hanging = set()
        self.seconds = 3600
        self.closing = asyncio.Event()
        self.server = TestServer(self._application())

    @property
    def url(self):
        return str(self.server.make_url("/"))

    def _application(self):
        app = web.Application()
        app.router.add_post("/", self._answer)
        return app

    async def _answer(self, request):
        asked = dict(parse_qsl(await request.text()))
        self.requests.append(asked | {"Authorization": request.headers["Authorization"]})
        self.clients.add(request.transport.get_extra_info("peername"))
        number = len(self.requests)
        if asked["RoleArn"] in self.hanging:
            await self.closing.wait()
        if self.refusal:
            return web.Response(status=403, text=_REFUSAL.format(code=self.refusal), content_type="text/xml")
        # Concurrent requests overlap.
        await asyncio.sleep(0.01)
        end = instant(self.clock() + self.seconds)
        return web.Response(text=_ANSWER.format(number=number, end=end), content_type="text/xml")


def metadata_application(served):
    """The endpoint of a container at `/container`, and that of an instance. Each answer is added to `served`."""

    async def container(request):
        if request.headers.get("Authorization") != "container-token":
            return web.Response(status=401)
        return answer("container")

    async def token(_):
        return web.Response(text="imds-token")

    async def role(request):
        assert request.headers["x-aws-ec2-metadata-token"] == "imds-token"
        return web.Response(text="instance-role")

    async def instance(_):
        return answer("instance")

    def answer(kind):
        served.append(kind)
        return web.json_response(
            {
                "Code": "Success",
                "Type": "AWS-HMAC",
                "AccessKeyId": f"ASIA{kind}",
                "SecretAccessKey": f"{kind}-secret",
                "Token": f"{kind}-token",
                "Expiration": instant(time() + 3600),
                "LastUpdated": instant(time()),
            },
            dumps=json.dumps,
        )

    app = web.Application()
    roles = "/latest/meta-data/iam/security-credentials/"
    app.router.add_get("/container", container)
    app.router.add_put("/latest/api/token", token)
    app.router.add_get(roles, role)
    app.router.add_get(f"{roles}instance-role", instance)
    return app


def instant(seconds):
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%SZ}"
