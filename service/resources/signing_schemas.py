"""marshmallow schemas of signing requests: what a URL can carry, by wire name.

An upload can bind headers, which become signed headers; a download can set headers of S3's response.
"""

import re
from collections.abc import Mapping
from itertools import combinations
from typing import Any, ClassVar
from urllib.parse import quote

from marshmallow import ValidationError, fields, post_load, validates_schema

from service.resources.fields import VISIBLE, Flag, Number, Text
from service.resources.queries import DEFAULT_EXPIRATION_SECONDS
from service.resources.schemas import MAX_EXPIRATION_SECONDS, MAX_UPLOAD_BYTES, WireSchema

# Source: https://docs.aws.amazon.com/AmazonS3/latest/userguide/UsingMetadata.html
MAX_METADATA_BYTES = 2048
# Source: https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-tagging.html
MAX_TAGS = 10

MAX_ITEMS = 1000

CHECKSUM_BYTES = {"sha256": 32, "sha1": 20, "crc32": 4, "crc32c": 4, "crc64nvme": 8}
CHECKSUMS = tuple(f"checksum-{name}" for name in CHECKSUM_BYTES)
# S3 recognizes it in every field of a form.
FILE_NAME_VARIABLE = "${filename}"
KMS = ("aws:kms", "aws:kms:dsse")
_NULL = {"type": "null"}
_LINE = rf"{VISIBLE}(?:(?:{VISIBLE}| ){{0,1022}}{VISIBLE})?"
_LINE_RULE = "must be 1 to 1024 visible characters, with spaces only inside"
_DAY, _MONTH = "Mon|Tue|Wed|Thu|Fri|Sat|Sun", "Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec"


def _line(**options: Any) -> Text:
    """Return a field for the value of a header. Clients cannot send other characters, or spaces at an end."""
    return Text(_LINE, _LINE_RULE, visible=True, **options)


def _response_header(name: str) -> Text:
    return _line(metadata={"description": f"S3 sends this {name} with the object."})


def _base64(size: int) -> Text:
    """Return a field for ``size`` bytes in base64, in the one spelling that encoders produce."""
    last = {1: "[AQgw]==", 2: "[AEIMQUYcgkosw048]="}[size % 3]
    characters = size // 3 * 4 + size % 3
    return Text(rf"[A-Za-z0-9+/]{{{characters}}}{last}", f"must be {size} bytes in base64", visible=True)


def _upload_id(**options: Any) -> Text:
    return Text(rf"{VISIBLE}{{1,2048}}", "must be 1 to 2048 visible characters", visible=True, **options)


class TextMap(fields.Field[dict[str, str]]):
    """A mapping of at most ``at_most`` texts, whose names and values match as a whole. ``rule`` describes both."""

    def __init__(self, names: str, values: str, rule: str, *, at_most: int) -> None:
        super().__init__()
        self.names, self.values = re.compile(names), re.compile(values)
        self.rule = rule
        self.at_most = at_most

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> dict[str, str]:
        del attr, data, kwargs
        if not isinstance(value, Mapping) or len(value) > self.at_most or not all(map(self._accepts, value.items())):
            raise ValidationError(f"must be {self.rule}")
        return dict(value)

    def _accepts(self, item: tuple[str, Any]) -> bool:
        name, text = item
        return isinstance(text, str) and bool(self.names.fullmatch(name) and self.values.fullmatch(text))


def _not_together(*names: str) -> dict[str, Any]:
    """Return JSON Schema for objects that do not have all of these fields."""
    return {"not": {"required": [*names], "properties": {name: {"not": _NULL} for name in names}}}


class ObjectFields(WireSchema):
    """The headers that describe a new object, in every kind of upload."""

    conditions: ClassVar[tuple[Mapping[str, Any], ...]] = (
        {
            "anyOf": [
                {"properties": {"sse-kms-key-id": _NULL}},
                {
                    "required": ["server-side-encryption"],
                    "properties": {"server-side-encryption": {"enum": [*KMS]}},
                },
            ]
        },
    )
    content_type = _line(metadata={"description": "The media type of the object.", "examples": ["text/plain"]})
    content_encoding = _line(metadata={"description": "The coding of the object, such as gzip."})
    content_disposition = _line(metadata={"description": "How browsers present the object."})
    cache_control = _line(metadata={"description": "How long caches keep the object."})
    metadata = TextMap(
        # S3 returns names in lower case, and botocore refuses other than ASCII text.
        "[a-z0-9!#$%&'*+.^_`|~-]{1,64}",
        "(?:[!-~](?:[ -~]{0,1022}[!-~])?)?",
        f"names in lower case with texts of printable ASCII, at most {MAX_METADATA_BYTES} bytes together",
        at_most=64,
    )
    tagging = TextMap(
        rf"(?:{VISIBLE}| ){{1,128}}",
        rf"(?:{VISIBLE}| ){{0,256}}",
        f"at most {MAX_TAGS} tags: names of 1 to 128 and texts of at most 256 visible characters or spaces",
        at_most=MAX_TAGS,
    )
    storage_class = Text(
        "[A-Za-z0-9_.-]{1,64}",
        "must be 1 to 64 of A-Z a-z 0-9 _ . -",
        visible=True,
        metadata={"description": "The storage class of the object, such as STANDARD_IA."},
    )
    acl = Text(
        "private|public-read|public-read-write|authenticated-read|aws-exec-read|bucket-owner-read"
        "|bucket-owner-full-control",
        "must be a canned ACL of S3, such as private",
        metadata={"description": "Who may access the object."},
    )
    server_side_encryption = Text(
        "AES256|aws:kms|aws:kms:dsse",
        "must be AES256, aws:kms or aws:kms:dsse",
        metadata={"description": "How S3 encrypts the object."},
    )
    sse_kms_key_id = Text(
        rf"{VISIBLE}{{1,2048}}",
        "must be 1 to 2048 visible characters",
        visible=True,
        metadata={"description": "The key of AWS KMS. It needs server-side-encryption to be aws:kms or aws:kms:dsse."},
    )

    @validates_schema(skip_on_field_errors=False)
    def _check_metadata_size(self, data: Mapping[str, Any], **_: Any) -> None:
        metadata = data.get("metadata", {})
        if sum(len(name) + len(text) for name, text in metadata.items()) > MAX_METADATA_BYTES:
            raise ValidationError(f"must have at most {MAX_METADATA_BYTES} bytes of names and texts", "metadata")

    @validates_schema(skip_on_field_errors=False)
    def _check_kms(self, data: Mapping[str, Any], **_: Any) -> None:
        if "sse-kms-key-id" in data and data.get("server-side-encryption") not in KMS:
            raise ValidationError(
                f"needs server-side-encryption to be {' or '.join(KMS)}; set that, or leave this out", "sse-kms-key-id"
            )


class ContentFields(WireSchema):
    """The headers that bind the bytes of a request."""

    conditions: ClassVar[tuple[Mapping[str, Any], ...]] = tuple(
        _not_together(*pair) for pair in combinations(CHECKSUMS, 2)
    )
    content_length = Number(0, MAX_UPLOAD_BYTES, " of bytes", metadata={"description": "The exact size in bytes."})
    content_md5 = _base64(16)
    checksum_sha256 = _base64(CHECKSUM_BYTES["sha256"])
    checksum_sha1 = _base64(CHECKSUM_BYTES["sha1"])
    checksum_crc32 = _base64(CHECKSUM_BYTES["crc32"])
    checksum_crc32c = _base64(CHECKSUM_BYTES["crc32c"])
    checksum_crc64nvme = _base64(CHECKSUM_BYTES["crc64nvme"])

    @validates_schema(skip_on_field_errors=False)
    def _check_one_checksum(self, data: Mapping[str, Any], **_: Any) -> None:
        given = [name for name in CHECKSUMS if name in data]
        if len(given) > 1:
            raise ValidationError(f"cannot be sent with {given[0]}: S3 accepts one checksum; leave one out", given[1])


class UploadFields(ContentFields, ObjectFields):
    """The headers that an upload can bind."""

    conditions = ContentFields.conditions + ObjectFields.conditions
    misplaced: ClassVar[Mapping[str, str]] = {
        "version-id": "is for downloads and deletions: S3 gives the upload of filename a new version; leave it out"
    }
    if_none_match = Text(r"\*", "must be *", metadata={"description": "The upload fails if the object exists."})


class UploadSchema(UploadFields):
    """The body of a request for an upload URL."""

    query_parameters = WireSchema.query_parameters | {"expiration", "details"}
    filename = Text(required=True, metadata={"description": "The key of the object.", "examples": ["example.txt"]})


class PartFields(ContentFields):
    """One part of a multipart upload."""

    upload_id = _upload_id(required=True)
    part_number = Number(1, 10_000, required=True)


class UploadIdFields(WireSchema):
    """A multipart upload."""

    upload_id = _upload_id(required=True)


class FormFields(ObjectFields):
    """The fields of an upload form, and the limits of its file."""

    query_parameters = WireSchema.query_parameters | {"expiration", "details"}
    conditions = (
        *ObjectFields.conditions,
        _not_together("filename", "starts-with"),
        {
            "anyOf": [
                {"required": [name], "properties": {name: {"type": "string"}}} for name in ("filename", "starts-with")
            ]
        },
    )
    misplaced: ClassVar[Mapping[str, str]] = {
        "content-length": "cannot be in a form: write min-size and max-size instead",
        "version-id": UploadFields.misplaced["version-id"],
    }
    filename = Text(metadata={"description": "The key of the object.", "examples": ["example.txt"]})
    starts_with = Text(
        metadata={"description": "The browser chooses a key that begins with this text; an empty text allows any key."}
    )
    min_size = Number(0, MAX_UPLOAD_BYTES, " of bytes", metadata={"description": "The smallest file in bytes."})
    max_size = Number(0, MAX_UPLOAD_BYTES, " of bytes", metadata={"description": "The largest file in bytes."})

    @validates_schema(pass_original=True, skip_on_field_errors=False)
    def _check_one_key(self, _: Any, original: Mapping[str, Any], **__: Any) -> None:
        given = [name for name in ("filename", "starts-with") if original.get(name) is not None]
        if not given:
            raise ValidationError("is missing; send it, or starts-with", "filename")
        if len(given) > 1:
            raise ValidationError("cannot be sent with filename; leave one out", "starts-with")

    @validates_schema(skip_on_field_errors=False)
    def _check_sizes(self, data: Mapping[str, Any], **_: Any) -> None:
        longest = data.get("max-size", MAX_UPLOAD_BYTES)
        if data.get("min-size", 0) > longest:
            raise ValidationError(f"must be at most max-size, which is {longest}", "min-size")

    @validates_schema(skip_on_field_errors=False)
    def _check_variable(self, data: Mapping[str, Any], **_: Any) -> None:
        texts = {
            name: [value] if isinstance(value, str) else [*value.values()]
            for name, value in data.items()
            if isinstance(value, str | dict)
        }
        problem = f"must not have {FILE_NAME_VARIABLE}: S3 replaces it by the name of the file"
        if messages := {
            name: [problem] for name, values in texts.items() if any(FILE_NAME_VARIABLE in it for it in values)
        }:
            raise ValidationError(messages)


class DetailsQuery(WireSchema):
    """The query parameter of every signing request."""

    details = Flag(
        metadata={
            "default": False,
            "description": "Adds the method and headers that the client must send, and when the URL expires.",
        }
    )


class SigningQuery(DetailsQuery):
    """The query parameters of every request for one URL."""

    expiration = Number(
        1,
        MAX_EXPIRATION_SECONDS,
        " of seconds",
        metadata={
            "default": DEFAULT_EXPIRATION_SECONDS,
            "description": "The lifetime of the URL in seconds. The account may have another default and a maximum.",
        },
    )


class VersionFields(WireSchema):
    """The version of an object."""

    version_id = Text(
        rf"{VISIBLE}{{1,1024}}",
        "must be 1 to 1024 visible characters",
        visible=True,
        metadata={"description": "The version of the object, in a bucket with versions."},
    )


class DownloadFields(VersionFields):
    """What a download can ask S3 for. ``download`` is a file name, for which S3 sends a Content-Disposition.

    Source: https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html
    """

    response_content_type = _response_header("Content-Type")
    response_content_disposition = _response_header("Content-Disposition")
    response_content_language = _response_header("Content-Language")
    response_content_encoding = _response_header("Content-Encoding")
    response_cache_control = _response_header("Cache-Control")
    response_expires = Text(
        rf"(?:{_DAY}), [0-3][0-9] (?:{_MONTH}) [0-9]{{4}} [0-2][0-9]:[0-5][0-9]:[0-6][0-9] GMT",
        "must be a time such as Wed, 21 Oct 2026 07:28:00 GMT",
        metadata={"description": "S3 sends this Expires with the object."},
    )
    download = Text(
        rf"{VISIBLE}(?:(?:{VISIBLE}| ){{0,253}}{VISIBLE})?",
        "must be a file name of 1 to 255 visible characters, with spaces only inside",
        visible=True,
        metadata={"description": "The browser saves the object under this name."},
    )

    @validates_schema(skip_on_field_errors=False)
    def _check_one_disposition(self, data: Mapping[str, Any], **_: Any) -> None:
        if {"download", "response-content-disposition"} <= data.keys():
            raise ValidationError("cannot be sent with response-content-disposition; leave one out", "download")

    @post_load
    def _name_attachment(self, data: dict[str, Any], **_: Any) -> dict[str, Any]:
        # Policies see what is signed.
        if name := data.pop("download", None):
            data["response-content-disposition"] = attachment(name)
        return data


class DownloadQuery(DownloadFields, SigningQuery):
    """The query parameters of a download. ``method`` is the method of the URL."""

    method = Text(
        "GET|HEAD", "must be GET or HEAD", metadata={"default": "GET", "description": "The method of the URL."}
    )
    redirect = Flag(metadata={"default": False, "description": "Returns a redirect (302) to the URL."})

    @validates_schema(skip_on_field_errors=False)
    def _check_redirect(self, data: Mapping[str, Any], **_: Any) -> None:
        if not data.get("redirect"):
            return
        if data.get("details"):
            raise ValidationError("cannot be true with details=true: a redirect has no body; leave one out", "redirect")
        if data.get("method") == "HEAD":
            raise ValidationError(
                "cannot be true with method=HEAD: clients follow it with GET; leave one out", "redirect"
            )


class DeleteObjectQuery(VersionFields, SigningQuery):
    """The query parameters of a deletion."""


class ListFields(WireSchema):
    """What a listing can ask S3 for.

    Source: https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectsV2.html
    """

    prefix = Text(
        r"[^\x00\ud800-\udfff]{0,1024}",
        "must be at most 1024 characters, without NUL",
        metadata={"description": "Only keys that begin with it."},
    )
    delimiter = Text(
        rf"{VISIBLE}{{1,64}}",
        "must be 1 to 64 visible characters",
        visible=True,
        metadata={"description": "Keys with it after the prefix are grouped, as in folders."},
    )
    max_keys = Number(1, 1000, metadata={"description": "The size of a page."})
    continuation_token = Text(
        # Some servers take the last key as it is, others encode it.
        r"[^\x00\ud800-\udfff]{1,4096}",
        "must be 1 to 4096 characters, without NUL",
        metadata={"description": "Continues a listing: the NextContinuationToken of S3's answer."},
    )
    start_after = Text(
        r"[^\x00\ud800-\udfff]{1,1024}",
        "must be 1 to 1024 characters, without NUL",
        metadata={"description": "Only keys after this one."},
    )


class ListQuery(ListFields, SigningQuery):
    """The query parameters of a listing."""


class ItemFields(WireSchema):
    """The fields of every item of a batch, besides what its URL carries."""

    method = Text()
    filename = Text(required=True)
    expiration = Number(1, MAX_EXPIRATION_SECONDS, " of seconds")


def item_schema(fields_: type[WireSchema]) -> type[WireSchema]:
    """Return the schema of an item whose URL can carry ``fields_``."""
    return type(f"{fields_.__name__}Item", (fields_, ItemFields), {"conditions": fields_.conditions})


class _Items(fields.Field[list[Mapping[str, Any]]]):
    """1 to ``MAX_ITEMS`` objects. Each is validated by itself."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> list[Mapping[str, Any]]:
        del attr, data, kwargs
        is_list = isinstance(value, list) and 0 < len(value) <= MAX_ITEMS
        if not is_list or not all(isinstance(item, Mapping) for item in value):
            raise ValidationError(f"must be a list of 1 to {MAX_ITEMS} objects")
        return list(value)


class BatchSchema(WireSchema):
    """The body of a request for many URLs."""

    query_parameters = WireSchema.query_parameters | {"details"}
    items = _Items(
        required=True,
        metadata={
            "type": "array",
            "minItems": 1,
            "maxItems": MAX_ITEMS,
            "items": {"type": "object"},
            "description": "Requests to S3: method (GET, HEAD, PUT, POST or DELETE; the default is GET), filename,"
            " expiration, upload-id, part-number, and what each URL carries. Each is validated by itself.",
            "examples": [[{"filename": "a.txt"}, {"method": "PUT", "filename": "b.txt", "content-length": 5}]],
        },
    )


class WidgetRequest(WireSchema):
    """The request object of @uppy/aws-s3 6, with its own names.

    Source: https://uppy.io/docs/aws-s3/
    """

    query_parameters = WireSchema.query_parameters | {"details"}
    method = Text(
        "PUT|POST|GET|DELETE",
        "must be PUT, POST, GET or DELETE",
        required=True,
        metadata={"description": "The method of the request.", "examples": ["PUT"]},
    )
    key = Text(required=True, metadata={"description": "The key of the object.", "examples": ["photo.png"]})
    content_type = Text(rf"|{_LINE}", _LINE_RULE, visible=True, data_key="contentType")
    upload_id = _upload_id(required=False, data_key="uploadId")
    part_number = Number(1, 10_000, data_key="partNumber")
    expires_in = Number(1, MAX_EXPIRATION_SECONDS, " of seconds", data_key="expiresIn")


def attachment(name: str) -> str:
    """Return the Content-Disposition that saves a response under ``name``.

    Source: https://www.rfc-editor.org/rfc/rfc6266#appendix-D
    """
    plain = re.sub(r'[^ -~]|["%\\]', "_", name)
    extended = "" if plain == name else f"; filename*=UTF-8''{quote(name, safe='')}"
    return f'attachment; filename="{plain}"{extended}'
