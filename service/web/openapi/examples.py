"""Examples of bodies for the OpenAPI document, by the name of their schema. Pure data."""

from collections.abc import Mapping
from typing import Any

from service.access.access_policy import ACCESS_POLICY
from service.access.client import CLIENT
from service.resources.fields import MASKED
from service.resources.types import AWS_ACCOUNT, ResourceType
from service.web.handlers.capabilities import STATEMENT
from service.web.openapi.json_schema import example

Json = dict[str, Any]

_META = {
    "versionId": "1795910400000000",
    "createdAt": "2026-11-29T00:00:00.000000Z",
    "lastUpdated": "2026-11-29T00:00:00.000000Z",
}
_URL = (
    "https://my-bucket.s3.us-east-1.amazonaws.com/example.txt?X-Amz-Algorithm=AWS4-HMAC-SHA256"
    "&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20261129%2Fus-east-1%2Fs3%2Faws4_request&X-Amz-Date=20261129T000000Z"
    f"&X-Amz-Expires=86400&X-Amz-SignedHeaders=host&X-Amz-Signature={'0123456789abcdef' * 4}"
)
_ABOUT = {"version": "1.0.0", "commit": "unknown", "python": "3.11.2"}
# The secret of the example Client.
_SECRET = example(CLIENT)["secret"]
_OTHERS: Mapping[str, Any] = {
    "Upload": {"filename": "example.txt", "content-type": "text/plain"},
    "SignedUrl": {"url": _URL},
    "Batch": {"items": [{"filename": "a.txt"}, {"method": "PUT", "filename": "b.txt", "content-length": 5}]},
    "SignedUrls": {"items": [{"url": _URL}]},
    "UploadForm": {"starts-with": "inbox/", "content-type": "text/plain", "max-size": 10485760},
    "SignedForm": {
        "url": "https://my-bucket.s3.us-east-1.amazonaws.com/",
        "fields": {"key": "inbox/${filename}", "policy": "<policy>", "x-amz-signature": "0123456789abcdef" * 4},
    },
    "WidgetRequest": {"method": "PUT", "key": "photo.png", "contentType": "image/png"},
    "CheckRequest": {"bucket": "my-bucket"},
    "AccountCheck": {
        "status": "warn",
        "checks": [
            {
                "name": "host",
                "status": "warn",
                "output": "URLs begin with http://my-bucket.s3.amazonaws.com/",
                "advice": "anyone who reads an http URL in transit can use it; set use-ssl to true",
            },
            {"name": "region", "status": "pass", "output": "URLs are signed for the region us-east-1"},
        ],
    },
    "JsonPatch": [{"op": "replace", "path": "/description", "value": "text"}],
    "CapabilityStatement": STATEMENT,
    "Start": {"name": "s3-signer", "version": "1.0.0", "links": {"console": "/", "documentation": "/docs"}},
    "Status": {"status": "pass"},
    "Version": _ABOUT,
    "Health": {"status": "pass", "description": "s3-signer", "about": _ABOUT, "checks": {"store": {"status": "pass"}}},
    "TokenRequest": {
        "grant_type": "client_credentials",
        "client_id": "my-client",
        "client_secret": _SECRET,
    },
    "Token": {"token_type": "Bearer", "access_token": "my-access-token", "expires_in": 3600},
    "RevocationRequest": {
        "client_id": "my-client",
        "client_secret": _SECRET,
        "token": "my-access-token",
    },
    "Revoked": {},
    "Rotation": {"previous-valid-for": 3600},
    "RotatedSecret": {"secret": "<new-secret>", "previous-expires": "2026-11-29T01:00:00Z"},
    "DescribedRequest": {
        "request-method": "post",
        "uri": "/aws/storage/my-account/my-bucket",
        "client": {"id": "my-client"},
        "params": {"operation": "upload", "account": "my-account", "bucket": "my-bucket", "key": "team-a/report.pdf"},
    },
    "Explanation": {
        "allowed": False,
        "policies": [{"policy": "my-policy", "mismatch": "params.key is not like #^team-a/"}],
    },
}
_CHANGES: Mapping[ResourceType, Json] = {
    AWS_ACCOUNT: {"region": "eu-central-1", "max-expiration": 3600},
    CLIENT: {"description": "the upload service"},
    ACCESS_POLICY: {"max-expiration": 3600},
}


def _of_type(type_: ResourceType) -> Json:
    whole = example(type_)
    unnamed = {name: value for name, value in whole.items() if name != "id"}
    stored = {f"_{name}" if name in type_.secrets else name: value for name, value in whole.items()}
    stored |= {f"_{name}": MASKED for name in type_.secrets if name in whole}
    stored |= {"meta": _META, "resourceType": type_.kind}
    page = [{"relation": relation, "url": f"/{type_.kind}?_page=1"} for relation in ("first", "self", "last")]
    entry = {"fullUrl": f"/{type_.kind}/{whole['id']}", "resource": stored}
    listed = {"resourceType": "Bundle", "type": "searchset", "total": 1, "link": page, "entry": [entry]}
    return {
        type_.kind: stored,
        f"{type_.kind}Created": stored,
        f"{type_.kind}Bundle": listed,
        f"{type_.kind}Patch": _CHANGES[type_],
        f"{type_.kind}Replacement": unnamed,
        f"{type_.kind}New": unnamed,
        f"{type_.kind}WithId": whole,
    }


EXAMPLES: Mapping[str, Any] = {**_OTHERS, **_of_type(AWS_ACCOUNT), **_of_type(CLIENT), **_of_type(ACCESS_POLICY)}
