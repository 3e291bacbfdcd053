"""A TCP proxy that can drop bytes silently, as a firewall does that has forgotten a connection."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from support.waiting import until


@dataclass(eq=False)
class Link:
    """One connection through the proxy, from the address ``source``."""

    source: str
    writers: list[asyncio.StreamWriter] = field(default_factory=list)
    is_cut: bool = False
    tracks: bool = False


class Proxy:
    """Forwards connections to ``target``, a port on loopback that may change for new connections."""

    def __init__(self, target):
        self.target = target
        self.port = 0
        self._links = set()
        self._is_cut: Callable[[Link], bool] = lambda _: False

    async def start(self):
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self):
        self._server.close()
        for link in self._links:
            for writer in link.writers:
                writer.transport.abort()
        await until(lambda: not self._links)

    def cut(self, concerns=lambda _: True):
        """Drop all bytes of old and new connections that it concerns, until ``heal``."""
        self._is_cut = concerns
        for link in self._links:
            link.is_cut |= concerns(link)

    def heal(self):
        """Let new connections through. Old ones stay silent and open, because nobody tells their ends."""
        self._is_cut = lambda _: False

    def cut_tracking(self):
        """Drop all bytes of the tracking connections, and let new ones through."""
        for link in self._links:
            link.is_cut |= link.tracks

    async def _accept(self, reader, writer):
        link = Link(writer.get_extra_info("peername")[0], [writer])
        link.is_cut = self._is_cut(link)
        self._links.add(link)
        with suppress(OSError):
            if link.is_cut:
                await reader.read(-1)
            other, to_server = await asyncio.open_connection("127.0.0.1", self.target)
            link.writers.append(to_server)
            await asyncio.gather(self._pump(link, reader, to_server), self._pump(link, other, writer))
        for writer_ in link.writers:
            writer_.transport.abort()
        self._links.discard(link)

    async def _pump(self, link, reader, writer):
        while received := await reader.read(65536):
            link.tracks |= b"TRACKING" in received
            if not link.is_cut:
                writer.write(received)
        writer.close()
