"""Real S3 servers on loopback: OpenStack Swift with s3api, and ministack. Both verify signatures and expiry."""

import json
import os
import select
import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any, Literal

import pytest
from botocore.auth import S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.session import Session
from live.certificates import Certificates
from live.installation import python_with
from live.raw_http import Answer, send

HERE = Path(__file__).parent
DOMAIN = "s3.localtest"
REGION = "us-east-1"
USER = "TESTACCESSKEY0000001"
# Its slash and plus are what a careless parser trips over.
SECRET = "testsecretkey/with+chars0000000000000001"

START_SECONDS = 30
STOP_SECONDS = 3

Scheme = Literal["http", "https"]
Style = Literal["path", "virtual"]


class Gap(Enum):
    """What a server is known not to do, so that no test expects it. docs/reference/s3-servers.md has the others."""

    LEADING_SLASH = "a key with a leading slash in virtual-hosted style is answered with 500"


def xfail_for(gap: Gap, server: "S3Server", request: pytest.FixtureRequest) -> None:
    """Expect the test to fail where the server has the gap; strictly, so that one that was closed is noticed."""
    if gap in server.gaps:
        request.applymarker(pytest.mark.xfail(reason=gap.value, strict=True))


class OutOfOrder(Exception):
    """A server ended, said nothing for too long, or does not do the first thing that it is asked for."""


@dataclass(frozen=True)
class S3Server:
    """A running server; `http` and `https` are `127.0.0.1:port`, and lead to the same buckets."""

    name: str
    http: str
    https: str
    ca: Path
    access_key_id: str
    secret_access_key: str = field(repr=False)
    gaps: frozenset[Gap] = frozenset()
    domain: str = DOMAIN
    region: str = REGION

    def host(self, style: Style, scheme: Scheme) -> str:
        """Return what an AwsAccount's `host` is for this style; an IP address would always mean path style."""
        address = self.https if scheme == "https" else self.http
        return address if style == "path" else address.replace("127.0.0.1", self.domain)

    def account(self, id: str, style: Style = "path", scheme: Scheme = "http") -> dict[str, str | bool]:
        """Return an AwsAccount for this server, as it goes over the wire."""
        return {
            "id": id,
            "access-key-id": self.access_key_id,
            "secret-access-key": self.secret_access_key,
            "region": self.region,
            "host": self.host(style, scheme),
            "use-ssl": scheme == "https",
            "path-style": style == "path",
        }

    def send(
        self, url: str, method: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        return send(url, method, body, headers, ca=self.ca)

    def client(self, service: str = "s3") -> Any:
        """Return botocore's client of the server itself, for what the service does not sign."""
        return Session().create_client(
            service,
            endpoint_url=f"http://{self.http}",
            region_name=self.region,
            aws_access_key_id=self.access_key_id,
            aws_secret_access_key=self.secret_access_key,
            config=Config(s3={"addressing_style": "path"}),
        )

    def make_bucket(self, name: str) -> str:
        """Make a bucket with a URL that botocore signed, not the service: what is tested makes nothing for itself."""
        request = AWSRequest("PUT", f"http://{self.http}/{name}")
        credentials = Credentials(self.access_key_id, self.secret_access_key)
        S3SigV4QueryAuth(credentials, "s3", self.region, expires=60).add_auth(request)
        answer = self.send(request.url, "PUT", b"")
        if answer.status not in {200, 409}:
            raise OutOfOrder(f"{self.name} does not make a bucket: {answer.status} {answer.body!r}")
        return name


@contextmanager
def swift(state: Path, tls: Certificates) -> Iterator[S3Server]:
    # An S3 access key is tempauth's account and user.
    with _running("swift", state, tls, user=f"test_{USER}") as ports:
        gaps = frozenset({Gap.LEADING_SLASH})
        yield S3Server("swift", **ports, ca=tls.ca, access_key_id=f"test:{USER}", secret_access_key=SECRET, gaps=gaps)


@contextmanager
def ministack(state: Path, tls: Certificates) -> Iterator[S3Server]:
    with _running("ministack", state, tls, user=USER) as ports:
        yield S3Server("ministack", **ports, ca=tls.ca, access_key_id=USER, secret_access_key=SECRET)


@contextmanager
def _running(name: str, state: Path, tls: Certificates, *, user: str) -> Iterator[dict[str, str]]:
    log = state / f"{name}.log"
    with log.open("wb") as stderr:
        process = subprocess.Popen(
            # Isolated: no PYTHONPATH, no user site, nothing of ours on its path.
            [python_with(name), "-I", HERE / f"{name}_node.py"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            bufsize=0,
            cwd=state,
            env={"HOME": str(state), "TMPDIR": str(state), "PATH": os.defpath, "LANG": "C.UTF-8"},
            start_new_session=True,
        )
    try:
        ports = _greet(process, log, _settings(state, tls, user))
        yield {scheme: f"127.0.0.1:{port}" for scheme, port in ports.items()}
    finally:
        _stop(process)


def _settings(state: Path, tls: Certificates, user: str) -> dict[str, str]:
    files = {"state": state, "certificate": tls.certificate, "key": tls.key}
    return {name: str(path) for name, path in files.items()} | {
        "domain": DOMAIN,
        "region": REGION,
        "user": user,
        "secret": SECRET,
    }


def _greet(process: subprocess.Popen[bytes], log: Path, settings: dict[str, str]) -> dict[str, int]:
    with suppress(BrokenPipeError):  # its log says more
        process.stdin.write(json.dumps(settings).encode() + b"\n")
    readable, _, _ = select.select([process.stdout], [], [], START_SECONDS)
    line = process.stdout.readline() if readable else b""
    if not line:
        raise OutOfOrder(log.read_text()[-2000:])
    return json.loads(line)


def _stop(process: subprocess.Popen[bytes]) -> None:
    # A closed pipe ends it, and so does the end of this process, however sudden; the signal is for one that hangs.
    with process:
        process.stdin.close()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
