"""Two replicas behind a proxy of deploy/proxies, with the ports of the test in place of those in its file."""

import re
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from live.installation import NotInstalled, python_with
from live.raw_http import send
from plugins.redis_server import free_port
from processes import ServiceProcess
from support.tools import missing, tool

CONFIGURATIONS = Path(__file__).parents[2] / "deploy/proxies"
PREFIX = "/signer"
# Longer than the checks in the files take to notice it.
DRAIN_SECONDS = 2
START_SECONDS = 20
STOP_SECONDS = 10


class Replica:
    """A service process that can restart on its ports."""

    def __init__(self, store: str, audit_log: IO[bytes]) -> None:
        self.port, self.ops_port = free_port(), free_port()
        self._audit_log = audit_log
        self._settings = {
            "SIGNER_STORE_URL": store,
            "SIGNER_PORT": str(self.port),
            "SIGNER_OPS_PORT": str(self.ops_port),
            "SIGNER_DRAIN_SECONDS": str(DRAIN_SECONDS),
            "SIGNER_PUBLIC_URL": f"https://s3.example.com{PREFIX}",
            "SIGNER_TRUSTED_PROXIES": "127.0.0.1",
        }
        self._start()

    @property
    def url(self) -> str:
        return self.process.url

    def restart(self) -> int:
        """The exit status of the process that SIGTERM ends."""
        status = self.process.stop()
        self._start()
        return status

    def _start(self) -> None:
        self.process = ServiceProcess(measured=False, stdout=self._audit_log, **self._settings)


def haproxy(config: Path) -> list[str]:
    return [tool("haproxy", package="haproxy"), "-db", "-f", str(config)]


def nginx(config: Path) -> list[str]:
    # By default, nginx writes to directories of root.
    names = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    paths = " ".join(f"{name}_temp_path {config.parent}/{name};" for name in names)
    config.write_text(config.read_text().replace("http {", f"http {{ access_log off; {paths}"))
    options = f"daemon off; pid {config.parent}/nginx.pid; error_log stderr;"
    return [tool("nginx", package="nginx"), "-e", "stderr", "-g", options, "-c", str(config)]


def envoy(config: Path) -> list[str]:
    options = ("--concurrency", "1", "--use-dynamic-base-id", "--log-level", "warning")
    return [_from_pypi("envoy"), "--config-path", str(config), *options]


def caddy(config: Path) -> list[str]:
    return [_from_pypi("caddy"), "run", "--config", str(config)]


PROXIES: Mapping[str, tuple[str, Callable[[Path], list[str]]]] = {
    "haproxy": ("haproxy.cfg", haproxy),
    "nginx": ("nginx.conf", nginx),
    "envoy": ("envoy.yaml", envoy),
    "caddy": ("Caddyfile", caddy),
}
"""The file of each proxy, and a function that returns the command for a copy of the file."""


@contextmanager
def running_proxy(
    name: str, directory: Path, replicas: list[Replica], change: tuple[str, str] | None = None
) -> Iterator[str]:
    """The URL of a proxy in front of two replicas. ``change`` is a text of its file, and another one for its place."""
    file, command = PROXIES[name]
    one, two = replicas
    ports = {"8000": free_port(), "8081": one.port, "9081": one.ops_port, "8082": two.port, "9082": two.ops_port}
    text = (CONFIGURATIONS / file).read_text()
    if change:
        assert text.count(change[0]) == 1
        text = text.replace(*change)
    config = directory / file
    config.write_text(re.sub(rf"\b({'|'.join(ports)})\b", lambda found: str(ports[found[1]]), text))
    log = directory / "log"
    with log.open("wb") as output:
        # Caddy writes its state to the home directory.
        process = subprocess.Popen(
            command(config), stdout=output, stderr=output, cwd=directory, env={"HOME": str(directory)}
        )
    url = f"http://127.0.0.1:{ports['8000']}"
    try:
        _wait(process, url, log)
        yield url
    finally:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(STOP_SECONDS)


def _wait(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    end = time.monotonic() + START_SECONDS
    while True:
        with suppress(OSError):
            if send(f"{url}/live", "GET").status == 200:
                return
        if process.poll() is not None or time.monotonic() > end:
            raise AssertionError(f"the proxy does not serve: {log.read_text()[-2000:]}")
        time.sleep(0.05)


def _from_pypi(program: str) -> str:
    try:
        return str(python_with("proxies").with_name(program))
    except NotInstalled as failure:
        return missing(str(failure))
