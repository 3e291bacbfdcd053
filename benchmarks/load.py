"""The load generators, over 32 connections kept alive: wrk, as fast as it goes, and hey, at a rate; single requests."""

import http.client
import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from statistics import quantiles

from benchmarks import cores

CONNECTIONS = 32
SCRIPT = Path(__file__).with_name("wrk.lua")
ASK_SECONDS = 10
INSTALL_SECONDS = 120
# Of the rate that was asked for, what the generator has to send.
LEAST_OF_RATE = 0.95


class LoadError(Exception):
    """What went wrong with requests: any answer that is not 2xx, or none."""


class RateError(LoadError):
    """The generator has not kept its rate, and would be the one that is measured."""


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


def delays(port: int, request: Request, *, rate: float, seconds: int) -> tuple[float, float]:
    """The 50th and 99th percentile, in microseconds, of the time an answer takes at a ``rate`` that hey holds.

    Its 32 workers beat in step, so that each answer waits for those of the same beat. Raises RateError where it holds
    less than the rate.
    """
    command = ["hey", "-z", f"{seconds}s", "-c", str(CONNECTIONS), "-q", f"{rate / CONNECTIONS:.3f}", "-o", "csv"]
    with cores.pinned(cores.LOAD):
        done = subprocess.run(
            [*command, f"http://127.0.0.1:{port}{request.path}"], capture_output=True, text=True, check=False
        )
    answers = [line.split(",") for line in done.stdout.splitlines()[1:]]
    if done.returncode or not answers or any(status != "200" for *_, status, _ in answers):
        raise LoadError(f"hey failed, or not every answer is 200: {done.stderr}")
    if len(answers) < LEAST_OF_RATE * rate * seconds:
        raise RateError(f"The rate is not held: {len(answers) / seconds:.0f} a second of {rate:.0f}")
    percentiles = quantiles((float(answer[0]) for answer in answers), n=100)
    return percentiles[49] * 1e6, percentiles[98] * 1e6


def install() -> None:
    """Install the generators where that is possible without asking.

    Raises LoadError, which says what to do, where it is not.
    """
    missing = [name for name in ("wrk", "hey") if not shutil.which(name)]
    if missing and os.geteuid() == 0 and shutil.which("apt-get"):
        for arguments in (["update"], ["install", "-y", *missing]):
            subprocess.run(
                ["apt-get", "-q", *arguments],  # noqa: S607 - the system's own
                stdout=subprocess.DEVNULL,
                timeout=INSTALL_SECONDS,
                check=False,
            )
    if still := [name for name in missing if not shutil.which(name)]:
        raise LoadError(f"A load generator is missing; on Debian: apt-get install {' '.join(still)}")
