"""The load generators, over 32 connections kept alive: wrk, as fast as it goes, and hey, at a rate; single requests."""

import json
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import quantiles

from benchmarks import cores
from benchmarks.sockets import Address, Answer, connect, read

CONNECTIONS = 32
SCRIPT = Path(__file__).with_name("wrk.lua")
ASK_SECONDS = 10
WARM_UP_SECONDS = 0.5
INTERRUPT_SECONDS = 0.5
LONGEST_SECONDS = 600
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
    closes: bool = False
    """Whether the connection ends with the answer, so that each request has a new one."""

    def headers(self) -> dict[str, str]:
        given = {"Content-Type": self.content_type, "Authorization": self.authorization}
        return {name: text for name, text in given.items() if text} | ({"Connection": "close"} if self.closes else {})

    def written(self, number: int = 1) -> bytes:
        """As it goes over the wire."""
        body = self.body.encode()
        headers = {"Host": "127.0.0.1", **self.headers(), **({"Content-Length": len(body)} if body else {})}
        lines = "".join(f"{name}: {text}\r\n" for name, text in headers.items())
        return f"{self.method} {self.target(number)} HTTP/1.1\r\n{lines}\r\n".encode() + body

    def target(self, number: int) -> str:
        return self.path.replace("{}", str(number))


def ask(address: Address, request: Request) -> Answer:
    """Send a request once. Raises LoadError unless it succeeds."""
    with connect(address, ASK_SECONDS) as connection:
        connection.sendall(request.written())
        answer = read(connection)
    if answer.status // 100 != 2:  # noqa: PLR2004 - the class of success
        told = answer.body.decode(errors="replace")
        raise LoadError(f"{request.method} {request.path} answers {answer.status}: {told}")
    return answer


def put(port: int, request: Request, seconds: int) -> tuple[int, float]:
    """Put the server under load for whole seconds. How many requests it served, in how many seconds."""
    counts = _checked(request, wrk(SCRIPT, f"http://127.0.0.1:{port}{request.path}", seconds, *_arguments(request)))
    return counts["requests"], counts["microseconds"] / 1e6


def wrk(script: Path, url: str, seconds: int, *arguments: str) -> dict[str, int]:
    """Run wrk for whole seconds; what its script tells at the end."""
    with _started(script, url, seconds, *arguments) as process:
        return _told(process, seconds + ASK_SECONDS)


class Turns:
    """wrk, which sends a request over and over, but rests between its turns."""

    def __init__(self, process: "subprocess.Popen[str]", request: Request) -> None:
        self._process = process
        self._request = request
        self._rest()

    @contextmanager
    def turn(self) -> Iterator[None]:
        self._process.send_signal(signal.SIGCONT)
        try:
            yield
        finally:
            self._rest()

    def end(self) -> int:
        """How many requests were answered in all turns."""
        end = time.monotonic() + ASK_SECONDS
        with self.turn():
            while time.monotonic() < end:
                # The first may be taken by a thread that has woken before the one that waits for it.
                self._process.send_signal(signal.SIGINT)
                with suppress(subprocess.TimeoutExpired):
                    return _checked(self._request, _told(self._process, INTERRUPT_SECONDS))["requests"]
        raise LoadError("wrk does not end")

    def _rest(self) -> None:
        self._process.send_signal(signal.SIGSTOP)


@contextmanager
def in_turns(port: int, request: Request) -> Iterator[Turns]:
    url = f"http://127.0.0.1:{port}{request.path}"
    with _started(SCRIPT, url, LONGEST_SECONDS, *_arguments(request)) as process:
        yield Turns(process, request)


def warm_up(port: int, request: Request) -> None:
    with in_turns(port, request) as turns:
        with turns.turn():
            time.sleep(WARM_UP_SECONDS)
        turns.end()


@contextmanager
def _started(script: Path, url: str, seconds: int, *arguments: str) -> Iterator["subprocess.Popen[str]"]:
    command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", f"--timeout={seconds}s", "-s", str(script), url]
    with cores.pinned(cores.LOAD):
        process = subprocess.Popen(
            [*command, "--", *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
    with process:
        try:
            yield process
        finally:
            process.kill()


def _told(process: "subprocess.Popen[str]", seconds: float) -> dict[str, int]:
    output, errors = process.communicate(timeout=seconds)
    if process.returncode:
        raise LoadError(f"wrk failed: {output}{errors}")
    counts: dict[str, int] = json.loads(output.splitlines()[-1])
    return counts


def _arguments(request: Request) -> tuple[str, ...]:
    closes = "close" if request.closes else ""
    return (request.method, request.content_type, request.body, str(request.accounts), request.authorization, closes)


def _checked(request: Request, counts: dict[str, int]) -> dict[str, int]:
    if counts["refused"] or counts["broken"] or not counts["requests"]:
        raise LoadError(f"{request.method} {request.path}: not every answer is 2xx: {counts}")
    return counts


def delays(
    port: int,
    request: Request,
    *,
    rate: float,
    seconds: int,
    connections: int = CONNECTIONS,
    least: float = LEAST_OF_RATE,
) -> tuple[float, float]:
    """The 50th and 99th percentile, in microseconds, of the time an answer takes at a ``rate`` that hey holds.

    Its workers, one for each connection, beat in step, so that each answer waits for those of the same beat. Raises
    RateError where it holds less than the share ``least`` of the rate.
    """
    command = ["hey", "-z", f"{seconds}s", "-c", str(connections), "-q", f"{rate / connections:.3f}", "-o", "csv"]
    headers = [argument for name, text in request.headers().items() for argument in ("-H", f"{name}: {text}")]
    with cores.pinned(cores.LOAD):
        done = subprocess.run(
            [*command, *headers, f"http://127.0.0.1:{port}{request.path}"], capture_output=True, text=True, check=False
        )
    answers = [line.split(",") for line in done.stdout.splitlines()[1:]]
    if done.returncode or not answers or any(status != "200" for *_, status, _ in answers):
        raise LoadError(f"hey failed, or not every answer is 200: {done.stderr}")
    if len(answers) < least * rate * seconds:
        raise RateError(f"The rate is not held: {len(answers) / seconds:.0f} a second of {rate:.0f}")
    percentiles = quantiles((float(answer[0]) for answer in answers), n=100)
    return percentiles[49] * 1e6, percentiles[98] * 1e6


def wrk_version() -> str:
    """As wrk tells it, which is a failure to it."""
    told = subprocess.run(["wrk", "-v"], capture_output=True, text=True, check=False).stdout  # noqa: S607 - on PATH
    return " ".join(told.split()[:2])


def require() -> None:
    """Raise LoadError, which says what to install, unless the generators are there."""
    if missing := [name for name in ("wrk", "hey") if not shutil.which(name)]:
        raise LoadError(f"A load generator is missing; on Debian: apt-get install {' '.join(missing)}")
