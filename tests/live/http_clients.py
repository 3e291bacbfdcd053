"""HTTP clients as callers have them: each parses the URL by itself, and connects to a port of loopback instead.

Only the address that a connection goes to is given; the request that is sent is all the client's own.
"""

import asyncio
import http.client
import os
import socket
import ssl
import subprocess
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import pytest
import requests

SECONDS = 20

# Without a proxy, whatever the environment says.
ENVIRONMENT = {"PATH": os.environ.get("PATH", os.defpath), "NO_PROXY": "*"}

# undici's documented options, given to the agent that Node's own fetch has.
NODE_FETCH = """
const [method, url, port, ca, body] = process.argv.slice(1);
const net = require("node:net"), tls = require("node:tls"), fs = require("node:fs");
const own = Symbol.for("undici.globalDispatcher.1");
const connect = ({ protocol, servername, hostname }, done) => {
  const at = { host: "127.0.0.1", port: Number(port) };
  const secure = { ...at, servername: servername || hostname, ca: ca && fs.readFileSync(ca) };
  const socket = protocol === "https:" ? tls.connect(secure) : net.connect(at);
  socket.once(protocol === "https:" ? "secureConnect" : "connect", () => done(null, socket)).once("error", done);
};
(async () => {
  await fetch("data:,").then((answer) => answer.text());
  const Agent = globalThis[own].constructor;
  const dispatcher = new Agent({ connect });
  const answer = await fetch(url, { method, body: method === "PUT" ? body : undefined, dispatcher });
  process.stdout.write(`${answer.status} ${await answer.text()}`);
  await dispatcher.close();
})();
"""


@dataclass(frozen=True)
class Call:
    """A request: `port` of loopback is where it goes, whatever host the URL has; `ca` is a PEM file to trust."""

    method: str
    url: str
    port: int
    ca: Path
    body: bytes = b""

    @property
    def content(self) -> bytes | None:
        return self.body if self.method == "PUT" else None

    def trusting(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=self.ca)


# The answer's status and body.
Client = Callable[[Call], tuple[int, bytes]]


def curl(call: Call) -> tuple[int, bytes]:
    upload = ["--data-binary", "@-", "--header", "Content-Type:"] if call.method == "PUT" else []
    printed = _run(
        "curl",
        *("--silent", "--show-error", "--globoff", "--request", call.method, *upload),
        *("--connect-to", f"::127.0.0.1:{call.port}", "--cacert", str(call.ca)),
        *("--write-out", "\n%{http_code}", call.url),
        stdin=call.body,
    )
    body, _, status = printed.rpartition(b"\n")
    return int(status), body


def node_fetch(call: Call) -> tuple[int, bytes]:
    arguments = (call.method, call.url, str(call.port), str(call.ca), call.body.decode())
    status, _, body = _run("node", "--eval", NODE_FETCH, *arguments).partition(b" ")
    return int(status), body


def http_client(call: Call) -> tuple[int, bytes]:
    parts = urlsplit(call.url)
    secure = parts.scheme == "https"
    kind = http.client.HTTPSConnection if secure else http.client.HTTPConnection
    options = {"context": call.trusting()} if secure else {}
    with _everything_at(call.port):
        connection = kind(parts.netloc, timeout=SECONDS, **options)
        try:
            connection.request(call.method, f"{parts.path}?{parts.query}", call.content)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()


def urllib_request(call: Call) -> tuple[int, bytes]:
    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=call.trusting())
    )
    request = urllib.request.Request(call.url, call.content, method=call.method)  # noqa: S310 - http is what is tested
    with _everything_at(call.port), opener.open(request, timeout=SECONDS) as answer:
        return answer.status, answer.read()


def requests_(call: Call) -> tuple[int, bytes]:
    with _everything_at(call.port), requests.Session() as session:
        session.trust_env = False
        answer = session.request(call.method, call.url, data=call.content, verify=str(call.ca), timeout=SECONDS)
        return answer.status_code, answer.content


def aiohttp_(call: Call) -> tuple[int, bytes]:
    class Loop(asyncio.SelectorEventLoop):
        async def sock_connect(self, sock: socket.socket, address: object) -> None:
            del address
            await super().sock_connect(sock, ("127.0.0.1", call.port))

    with asyncio.Runner(loop_factory=Loop) as runner:
        return runner.run(_aiohttp(call))


async def _aiohttp(call: Call) -> tuple[int, bytes]:
    connector = aiohttp.TCPConnector(
        resolver=_AnyName(), ssl=call.trusting(), socket_factory=lambda _: socket.socket(socket.AF_INET)
    )
    async with (
        aiohttp.ClientSession(connector=connector) as session,
        session.request(call.method, call.url, data=call.content) as answer,
    ):
        return answer.status, await answer.read()


class _AnyName(aiohttp.abc.AbstractResolver):
    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[aiohttp.abc.ResolveResult]:
        address = {"hostname": host, "host": "127.0.0.1", "port": port, "family": family, "proto": 0, "flags": 0}
        return [aiohttp.abc.ResolveResult(**address)]

    async def close(self) -> None:
        """It holds nothing."""


CLIENTS: dict[str, Client] = {
    "curl": curl,
    "http.client": http_client,
    "urllib.request": urllib_request,
    "requests": requests_,
    "aiohttp": aiohttp_,
    "fetch of Node": node_fetch,
}

# The program that a client takes.
PROGRAMS = {"curl": "curl", "fetch of Node": "node"}


@contextmanager
def _everything_at(port: int) -> Iterator[None]:
    """Every name is at this port of loopback, as if a hosts file said so."""
    found = [(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", ("127.0.0.1", port))]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
        yield


def _run(program: str, *arguments: str, stdin: bytes = b"") -> bytes:
    done = subprocess.run(
        [program, *arguments], input=stdin, env=ENVIRONMENT, capture_output=True, timeout=SECONDS, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
