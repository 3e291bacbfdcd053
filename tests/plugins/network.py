"""A network between the nodes of a group, which can drop all packets between some of them and the others."""

import asyncio
import threading

import pytest
from support.proxy import Proxy

SERVICE = "127.0.0.1"
"""The source address of programs that bind none."""


class Network:
    """A proxy in front of each port of a node. The source address of a connection tells which node has opened it."""

    def __init__(self):
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._proxies = []
        self._sources = 0

    def source(self):
        """Return an address of its own for a node."""
        self._sources += 1
        return f"127.0.0.{10 + self._sources}"

    def front(self, source, port):
        """Return the port of a proxy in front of ``port`` of the node that has the address ``source``."""
        proxy = Proxy(port)
        self._run(proxy.start())
        self._proxies.append((source, proxy))
        return proxy.port

    def cut_off(self, *sources):
        """Drop all packets between these addresses and all others, until ``heal``. Cut connections never work again."""

        async def cut():
            for own, proxy in self._proxies:
                proxy.cut(lambda link, own=own: (link.source in sources) != (own in sources))

        self._run(cut())

    def cut_tracking(self, source):
        """Drop all bytes of the tracking connections to the node ``source``, and let new ones through."""

        async def cut():
            for own, proxy in self._proxies:
                if own == source:
                    proxy.cut_tracking()

        self._run(cut())

    def heal(self):
        async def heal():
            for _, proxy in self._proxies:
                proxy.heal()

        self._run(heal())

    def stop(self):
        for _, proxy in self._proxies:
            self._run(proxy.stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self, work):
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(20)


@pytest.fixture
def network():
    network = Network()
    yield network
    network.stop()
