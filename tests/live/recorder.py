"""A server that records what HTTP clients send, byte for byte."""

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from queue import Queue

from live.certificates import Certificates

SECONDS = 10
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


@dataclass(frozen=True)
class Sent:
    """The head of a request: its method, its target, and the one Host header that it must have."""

    method: str
    target: str
    host: str

    @classmethod
    def parse(cls, head: bytes) -> "Sent":
        request_line, *lines = head.decode("latin-1").split("\r\n")
        method, target, _ = request_line.split(" ")
        (host,) = [line[len("host:") :].strip() for line in lines if line.lower().startswith("host:")]
        return cls(method, target, host)


class Recorder:
    """Records the head of each request to `port` of loopback, and answers with 200."""

    def __init__(self, listener: socket.socket, tls: ssl.SSLContext | None) -> None:
        self.port = listener.getsockname()[1]
        self._listener = listener
        self._tls = tls
        self._heads: Queue[bytes] = Queue()

    def next(self) -> Sent:
        return Sent.parse(self._heads.get(timeout=SECONDS))

    def serve(self) -> None:
        # Until the listener is closed.
        with suppress(OSError):
            while True:
                plain, _ = self._listener.accept()
                with (
                    suppress(OSError),
                    self._tls.wrap_socket(plain, server_side=True) if self._tls else plain as client,
                ):
                    self._answer(client)

    def _answer(self, client: socket.socket) -> None:
        client.settimeout(SECONDS)
        received = b""
        while b"\r\n\r\n" not in received and (more := client.recv(65536)):
            received += more
        self._heads.put(received.partition(b"\r\n\r\n")[0])
        client.sendall(ANSWER)


@contextmanager
def recording(certificates: Certificates | None = None) -> Iterator[Recorder]:
    """A recorder for http, or for https where there are certificates."""
    tls = None
    if certificates:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(certificates.certificate, certificates.key)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        recorder = Recorder(listener, tls)
        thread = threading.Thread(target=recorder.serve, daemon=True)
        thread.start()
        yield recorder
        # It wakes the thread, which a closed listener alone would not.
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(SECONDS)
