"""The table of the operations that can be signed. Routes, the OpenAPI document, docs and metrics follow from it."""

from collections.abc import Iterator, Mapping
from dataclasses import KW_ONLY, dataclass, field
from types import MappingProxyType
from typing import Any
from urllib.parse import quote, urlencode

from service.resources.schemas import WireSchema
from service.resources.signing_schemas.forms import FormFields
from service.resources.signing_schemas.queries import DownloadFields, ListFields, VersionFields
from service.resources.signing_schemas.uploads import CHECKSUMS, CreateFields, PartFields, UploadFields, UploadIdFields

MULTIPART = "multipart"
NOTHING: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Bound:
    """What a URL carries besides its key: headers that the client must send, and query parameters."""

    headers: Mapping[str, str]
    query: Mapping[str, str]


NOTHING_BOUND = Bound(NOTHING, NOTHING)


@dataclass(frozen=True, slots=True, eq=False)
class Operation:
    """One operation of S3.

    Args:
        name: botocore's client method, the name in the audit log and in metrics.
        method: The HTTP method of the URL.
        policy_name: ``operation`` in the ``params`` of policies. They also see each bound field under its wire name.
        schema: Validates what a URL can carry.
        has_key: Whether the URL is for an object, not for the bucket.
        policy_fields: Fields that policies see, besides those with a header or a parameter.
        headers: The signed header of each field that is sent in one.
        parameters: The query parameter of each field that is sent in one.
        query: Query parameters of every URL, before the others.
        last: Query parameters of every URL, after the others.

    Source: https://docs.aws.amazon.com/AmazonS3/latest/API/API_Operations_Amazon_Simple_Storage_Service.html
    """

    name: str
    method: str
    _: KW_ONLY
    policy_name: str
    schema: type[WireSchema]
    has_key: bool = True
    policy_fields: tuple[str, ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    parameters: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, str] = field(default_factory=dict)
    last: Mapping[str, str] = field(default_factory=dict)

    def bound_fields(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return the values that the URL carries, by wire name, in the order of the table."""
        return {name: values[name] for name in (*self.headers, *self.parameters, *self.policy_fields) if name in values}

    def bind(self, values: Mapping[str, Any]) -> Bound:
        """Return the headers and the query of a URL for values by wire name."""
        query = {name: str(values[given]) for given, name in self.parameters.items() if given in values}
        return Bound(dict(self._header_lines(values)), {**self.query, **query, **self.last})

    def _header_lines(self, values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        for given, header in self.headers.items():
            value = values.get(given)
            if value is None:
                continue
            if given == "metadata":
                yield from ((f"{header}{name}", text) for name, text in value.items())
            elif given != "tagging":
                yield header, str(value)
            # Without tags there is no header, as in a form: servers without tags refuse even an empty one.
            elif value:
                yield header, urlencode(value, quote_via=quote, safe="")


# The fields of schemas in signing_schemas/, and where S3 expects them.
# Source: https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutObject.html
_OBJECT_HEADERS = {
    "content-type": "content-type",
    "content-encoding": "content-encoding",
    "content-disposition": "content-disposition",
    "cache-control": "cache-control",
    "metadata": "x-amz-meta-",
    "tagging": "x-amz-tagging",
    "storage-class": "x-amz-storage-class",
    "acl": "x-amz-acl",
    "server-side-encryption": "x-amz-server-side-encryption",
    "sse-kms-key-id": "x-amz-server-side-encryption-aws-kms-key-id",
}
_CONTENT_HEADERS = {
    "content-length": "content-length",
    "content-md5": "content-md5",
    **{name: f"x-amz-{name}" for name in CHECKSUMS},
}
_VERSION = {"version-id": "versionId"}
_DOWNLOAD = {
    **_VERSION,
    **{
        f"response-{name}": f"response-{name}"
        for name in (
            *("content-type", "content-disposition", "content-language", "content-encoding"),
            *("cache-control", "expires"),
        )
    },
}

GET_OBJECT = Operation("get_object", "GET", policy_name="download", schema=DownloadFields, parameters=_DOWNLOAD)
HEAD_OBJECT = Operation("head_object", "HEAD", policy_name="head", schema=DownloadFields, parameters=_DOWNLOAD)
PUT_OBJECT = Operation(
    "put_object",
    "PUT",
    policy_name="upload",
    schema=UploadFields,
    headers={**_OBJECT_HEADERS, **_CONTENT_HEADERS, "if-none-match": "if-none-match"},
)
DELETE_OBJECT = Operation("delete_object", "DELETE", policy_name="delete", schema=VersionFields, parameters=_VERSION)
LIST_OBJECTS = Operation(
    "list_objects_v2",
    "GET",
    policy_name="list",
    schema=ListFields,
    has_key=False,
    query={"list-type": "2"},
    parameters={name: name for name in ("prefix", "delimiter", "max-keys", "continuation-token", "start-after")},
    # botocore asks for encoded keys, because XML cannot hold every character of a key.
    last={"encoding-type": "url"},
)

_UPLOAD_ID = {"upload-id": "uploadId"}
CREATE_MULTIPART_UPLOAD = Operation(
    "create_multipart_upload",
    "POST",
    policy_name=MULTIPART,
    schema=CreateFields,
    headers={**_OBJECT_HEADERS, "checksum-algorithm": "x-amz-checksum-algorithm"},
    query={"uploads": ""},
)
UPLOAD_PART = Operation(
    "upload_part",
    "PUT",
    policy_name=MULTIPART,
    schema=PartFields,
    headers=_CONTENT_HEADERS,
    parameters={**_UPLOAD_ID, "part-number": "partNumber"},
)
LIST_PARTS = Operation("list_parts", "GET", policy_name=MULTIPART, schema=UploadIdFields, parameters=_UPLOAD_ID)
COMPLETE_MULTIPART_UPLOAD = Operation(
    "complete_multipart_upload", "POST", policy_name=MULTIPART, schema=UploadIdFields, parameters=_UPLOAD_ID
)
ABORT_MULTIPART_UPLOAD = Operation(
    "abort_multipart_upload", "DELETE", policy_name=MULTIPART, schema=UploadIdFields, parameters=_UPLOAD_ID
)

UPLOAD_FORM = Operation(
    # The API has no operation for a form, so botocore has no method.
    "post_object",
    "POST",
    policy_name="form",
    schema=FormFields,
    has_key=False,
    policy_fields=(*_OBJECT_HEADERS, "key-prefix", "min-size", "max-size"),
)

OPERATIONS = (
    *(GET_OBJECT, HEAD_OBJECT, PUT_OBJECT, DELETE_OBJECT, LIST_OBJECTS),
    *(CREATE_MULTIPART_UPLOAD, UPLOAD_PART, LIST_PARTS, COMPLETE_MULTIPART_UPLOAD, ABORT_MULTIPART_UPLOAD),
    UPLOAD_FORM,
)

UNBOUNDED_UPLOADS = frozenset({CREATE_MULTIPART_UPLOAD, UPLOAD_PART, COMPLETE_MULTIPART_UPLOAD})
"""Uploads of an object whose size no single URL can bind."""
