"""The fields and the policy of an upload form (presigned POST). Pure.

Source: https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-HTTPPOSTConstructPolicy.html
"""

import time
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple
from xml.sax.saxutils import escape

from service.resources.schemas import MAX_UPLOAD_BYTES
from service.resources.signing_schemas.forms import FILE_NAME_VARIABLE

# The field of the form for each field of a request.
_FIELDS = {
    "content-type": "Content-Type",
    "content-encoding": "Content-Encoding",
    "content-disposition": "Content-Disposition",
    "cache-control": "Cache-Control",
    "storage-class": "x-amz-storage-class",
    "acl": "acl",
    "server-side-encryption": "x-amz-server-side-encryption",
    "sse-kms-key-id": "x-amz-server-side-encryption-aws-kms-key-id",
}


class Form(NamedTuple):
    """A form before it is signed: ``fields`` that the browser must send, and the policy, which S3 verifies."""

    fields: dict[str, str]
    policy: dict[str, Any]


def make_form(bucket: str, key: str | None, values: Mapping[str, Any], *, expires_at: int) -> Form:
    """Return the form for values by wire name. If ``key`` is None, the key begins with ``key-prefix``.

    ``expires_at`` is Unix time in seconds.
    """
    fields = dict(_fields(values))
    conditions: list[Any] = [{name: value} for name, value in fields.items()]
    if "min-size" in values or "max-size" in values:
        conditions.append(["content-length-range", values.get("min-size", 0), values.get("max-size", MAX_UPLOAD_BYTES)])
    conditions.append({"bucket": bucket})
    if key is None:
        prefix = values["key-prefix"]
        conditions.append(["starts-with", "$key", prefix])
        fields["key"] = f"{prefix}{FILE_NAME_VARIABLE}"
    else:
        conditions.append({"key": key})
        fields["key"] = key
    expiration = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(expires_at))
    return Form(fields, {"expiration": expiration, "conditions": conditions})


def _fields(values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    yield from ((field, values[name]) for name, field in _FIELDS.items() if name in values)
    yield from ((f"x-amz-meta-{name}", text) for name, text in values.get("metadata", {}).items())
    if tags := values.get("tagging"):
        pairs = "".join(
            f"<Tag><Key>{escape(name)}</Key><Value>{escape(text)}</Value></Tag>" for name, text in tags.items()
        )
        yield "tagging", f"<Tagging><TagSet>{pairs}</TagSet></Tagging>"
