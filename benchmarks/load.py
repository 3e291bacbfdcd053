"""The load generator: wrk, 32 connections kept alive; and single requests."""

import http.client
import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from benchmarks import cores

CONNECTIONS = 32
SCRIPT = Path(__file__).with_name("wrk.lua")
ASK_SECONDS = 10
INSTALL_SECONDS = 120


class LoadError(Exception):
    """What went wrong with requests: any answer that is not 2xx, or none."""


@dataclass(frozen=True, slots=True)
class Request:
    """One request, sent over and over. ``path`` is the target as it stands in the request line.

    Where it has ``{}``, each request has a number in its place, at random from 1 to ``accounts``.
    """

    path: str
    method: str = "GET"
    content_type: str = ""
    body: str = ""
    accounts: int = 0
    authorization: str = ""

    def target(self, number: int) -> str:
        return self.path.replace("{}", str(number))


def ask(port: int, request: Request) -> bytes:
    """The body of the answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=ASK_SECONDS)
    try:
        headers = {"Content-Type": request.content_type, "Authorization": request.authorization}
        headers = {name: text for name, text in headers.items() if text}
        connection.request(request.method, request.target(1), request.body.encode() or None, headers)
        answer = connection.getresponse()
        body = answer.read()
    finally:
        connection.close()
    if answer.status // 100 != 2:  # noqa: PLR2004 - the class of success
        raise LoadError(f"{request.method} {request.path} answers {answer.status}: {body.decode(errors='replace')}")
    return body


def put(port: int, request: Request, seconds: int) -> tuple[int, float]:
    """Put the server under load for whole seconds. How many requests it served, in how many seconds."""
    arguments = (request.method, request.content_type, request.body, str(request.accounts), request.authorization)
    counts = wrk(SCRIPT, f"http://127.0.0.1:{port}{request.path}", seconds, *arguments)
    if counts["refused"] or counts["broken"] or not counts["requests"]:
        raise LoadError(f"{request.method} {request.path}: not every answer is 2xx: {counts}")
    return counts["requests"], counts["microseconds"] / 1e6


def wrk(script: Path, url: str, seconds: int, *arguments: str) -> dict[str, int]:
    """Run wrk for whole seconds; what its script tells at the end."""
    command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "-s", str(script), url, "--", *arguments]
    with cores.pinned(cores.LOAD):
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds + ASK_SECONDS, check=False)
    if done.returncode:
        raise LoadError(f"wrk failed: {done.stdout}{done.stderr}")
    counts: dict[str, int] = json.loads(done.stdout.splitlines()[-1])
    return counts


def install() -> None:
    """Install wrk where that is possible without asking. Raises LoadError, which says what to do, where it is not."""
    if not shutil.which("wrk") and os.geteuid() == 0 and shutil.which("apt-get"):
        for arguments in (["update"], ["install", "-y", "wrk"]):
            subprocess.run(
                ["apt-get", "-q", *arguments],  # noqa: S607 - the system's own
                stdout=subprocess.DEVNULL,
                timeout=INSTALL_SECONDS,
                check=False,
            )
    if not shutil.which("wrk"):
        raise LoadError("The load generator wrk is missing; on Debian: apt-get install wrk")
