"""Check every feature of signed URLs at an S3 server that is named in environment variables."""

import argparse
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path
from typing import Any

from live.raw_http import Answer, send
from live.signer import Signer, Storage
from s3_check import page
from s3_check.features import FEATURES, clean, run, storage
from s3_check.uses import Use, Verdict
from support.service import running

REQUIRED = ("S3_TEST_ENDPOINT", "S3_TEST_ACCESS_KEY_ID", "S3_TEST_SECRET_ACCESS_KEY", "S3_TEST_BUCKET")
STYLES = ("path", "virtual")
TIMEOUT_SECONDS = 60


class InvalidVariables(Exception):
    """The text says which variable is missing or not valid."""


@dataclass(frozen=True)
class Target:
    """The S3 server, the keys and the bucket of the variables."""

    endpoint: str
    access_key_id: str
    secret_access_key: str = field(repr=False)
    session_token: str | None = field(repr=False)
    bucket: str
    region: str
    style: str
    ca: Path | None

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> "Target":
        if absent := [name for name in REQUIRED if not environ.get(name)]:
            raise InvalidVariables(f"set {', '.join(absent)}; docs/reference/s3-servers.md explains them")
        if not environ["S3_TEST_ENDPOINT"].startswith(("http://", "https://")):
            raise InvalidVariables("S3_TEST_ENDPOINT must begin with http:// or https://")
        style = environ.get("S3_TEST_STYLE") or "path"
        if style not in STYLES:
            raise InvalidVariables(f"S3_TEST_STYLE must be one of {', '.join(STYLES)}")
        ca = environ.get("AWS_CA_BUNDLE")
        return cls(
            *(environ[name] for name in REQUIRED[:3]),
            session_token=environ.get("S3_TEST_SESSION_TOKEN") or None,
            bucket=environ["S3_TEST_BUCKET"],
            region=environ.get("S3_TEST_REGION") or "us-east-1",
            style=style,
            ca=Path(ca) if ca else None,
        )

    def account(self) -> dict[str, Any]:
        """Return the AwsAccount for this server, as it goes over the wire."""
        return {
            "id": "s3-check",
            "access-key-id": self.access_key_id,
            "secret-access-key": self.secret_access_key,
            **({"session-token": self.session_token} if self.session_token else {}),
            "region": self.region,
            "host": self.endpoint,
            "path-style": self.style == "path",
        }

    def send(
        self, url: str, method: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        return send(url, method, body, headers, ca=self.ca, timeout=TIMEOUT_SECONDS, address=None)


def main() -> int:
    parser = argparse.ArgumentParser(prog="make s3-check", description=__doc__)
    parser.add_argument("--column", nargs=2, metavar=("SERVER", "VERSION"), help=f"write a column of {page.PAGE.name}")
    arguments = parser.parse_args()
    try:
        target = Target.of(os.environ)
    except InvalidVariables as error:
        return _fail(str(error))
    settings = {"SIGNER_LIVE_CHECK": "true"} | ({"SSL_CERT_FILE": str(target.ca)} if target.ca else {})
    with running(**settings) as service:
        s3 = storage(Signer(service.url), target, target.account(), target.bucket)
        print(f"Keys begin with {s3.prefix} in the bucket {s3.bucket} of {target.endpoint}", file=sys.stderr)
        try:
            try:
                found = _check(s3)
            finally:
                left = clean(s3)
        except (OSError, HTTPException) as error:
            return _fail(f"{target.endpoint} cannot be reached: {error}")
    if left:
        print(f"These keys could not be deleted: {', '.join(left)}", file=sys.stderr)
    if arguments.column:
        page.write(*arguments.column, page.column(found))
    faults = sum(use.verdict is Verdict.WRONG for uses in found.values() for use in uses)
    print(f"\n{faults} of {sum(map(len, found.values()))} uses are WRONG")
    return 1 if faults else 0


def _check(s3: Storage) -> dict[str, list[Use]]:
    print("| feature | use | result | answer |\n| --- | --- | --- | --- |")
    found: dict[str, list[Use]] = {}
    for feature in FEATURES:
        found[feature] = []
        for use in run(feature, s3):
            found[feature].append(use)
            print(f"| {feature} | {use.name} | {use.verdict} | {use.answer} |", flush=True)
    return found


def _fail(message: str) -> int:
    print(f"s3-check: {message}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
