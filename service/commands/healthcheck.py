"""``s3-signer healthcheck``: report whether the service with these settings, on this machine, accepts requests."""

import argparse
import http.client
import ipaddress
import socket
import ssl

from service.commands import output
from service.settings import Settings

SECONDS = 3.0
EXIT_UNHEALTHY = 1


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over the unix socket at ``path``."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=SECONDS)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def run(settings: Settings, _: argparse.Namespace | None = None) -> int:
    """Print one line, and return 0 if ``/ready`` answers 200 within three seconds, else 1."""
    try:
        connection = _connection(settings)
        connection.request("GET", "/ready")
        answer = connection.getresponse()
    except (OSError, http.client.HTTPException) as error:
        output.print_problems([f"not ready: {str(error).strip()}"])
        return EXIT_UNHEALTHY
    if answer.status != http.HTTPStatus.OK:
        output.print_problems([f"not ready: /ready answers {answer.status}"])
        return EXIT_UNHEALTHY
    return output.print_line("ready")


def _connection(settings: Settings) -> http.client.HTTPConnection:
    if settings.ops_port is not None:
        return http.client.HTTPConnection(_local(settings.ops_host), settings.ops_port, timeout=SECONDS)
    if settings.socket:
        return _UnixConnection(settings.socket)
    host = _local(settings.host)
    if settings.tls_cert:
        # The certificate names the service, not this machine's own address, and nothing secret is sent.
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        return http.client.HTTPSConnection(host, settings.port, timeout=SECONDS, context=context)
    return http.client.HTTPConnection(host, settings.port, timeout=SECONDS)


def _local(host: str) -> str:
    """Return an address to connect to for an address to listen on."""
    try:
        if not ipaddress.ip_address(host).is_unspecified:
            return host
    except ValueError:
        return host
    return "::1" if ":" in host else "127.0.0.1"
