"""The service as its clients see it: an account goes in, signed URLs come out, and S3 gets to see them."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

from live.raw_http import Answer, send
from live.s3_servers import S3Server


@dataclass(frozen=True)
class Signer:
    """Calls of a running service, of which every one is expected to succeed."""

    url: str

    def put_account(self, account: dict[str, Any]) -> str:
        self._call("PUT", "/AwsAccount", account)
        return account["id"]

    def signed_url(self, method: str, target: str, body: dict[str, Any] | None = None) -> str:
        return self._call(method, f"/aws/storage/{target}", body).json()["url"]

    def redirect(self, target: str) -> str:
        """Return the URL to which the service redirects a download."""
        answer = send(f"{self.url}/aws/storage/{target}?redirect=true", "GET")
        assert answer.status == 302, (target, answer)
        return answer.headers["location"]

    def details(self, method: str, target: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return the answer with ``details=true``; ``target`` may have a query."""
        return self._call(method, f"/aws/storage/{target}{'&' if '?' in target else '?'}details=true", body).json()

    def check(self, account: str, bucket: str) -> dict[str, Any]:
        """Return the answer of a live check."""
        return self._call("POST", f"/AwsAccount/{account}/$check", {"bucket": bucket, "live": True}).json()

    def _call(self, method: str, target: str, body: dict[str, Any] | None) -> Answer:
        content = None if body is None else json.dumps(body).encode()
        answer = send(self.url + target, method, content, {"Content-Type": "application/json"})
        assert answer.status in {200, 201}, (method, target, answer)
        return answer


@dataclass(frozen=True)
class Storage:
    """One bucket, reached by signed URLs alone. `key` gives the name of an object below `prefix`."""

    signer: Signer
    server: S3Server
    account: str
    bucket: str
    prefix: str = ""

    def key(self, name: str) -> str:
        return self.prefix + name

    def upload(self, key: str, content: bytes, headers: Mapping[str, str] | None = None) -> Answer:
        return self.server.send(self.upload_url(key), "PUT", content, headers)

    def download(self, key: str, *, safe: str = "") -> Answer:
        return self.server.send(self.download_url(key, safe=safe), "GET")

    def delete(self, key: str, *, safe: str = "") -> Answer:
        return self.server.send(self.delete_url(key, safe=safe), "DELETE")

    def upload_url(self, key: str) -> str:
        return self.signer.signed_url("POST", f"{self.account}/{self.bucket}", {"filename": key})

    def download_url(self, key: str, query: str = "", *, safe: str = "") -> str:
        """Ask for a URL with the key's every byte percent-encoded, but for the characters in `safe`."""
        return self.signer.signed_url("GET", f"{self.account}/{self.bucket}/{quote(key, safe=safe)}{query}")

    def redirect(self, key: str) -> str:
        """Ask for a redirect to a download."""
        return self.signer.redirect(f"{self.account}/{self.bucket}/{quote(key, safe='')}")

    def list_url(self, query: Mapping[str, str]) -> str:
        return self.signer.signed_url("GET", f"{self.account}/{self.bucket}?{urlencode(query, quote_via=quote)}")

    def details(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """Ask for a URL with its method and headers; `path` follows the bucket."""
        return self.signer.details(method, f"{self.account}/{self.bucket}{path}", body)

    def delete_url(self, key: str, query: str = "", *, safe: str = "") -> str:
        return self.signer.signed_url("DELETE", f"{self.account}/{self.bucket}/{quote(key, safe=safe)}{query}")
