"""The bodies of requests for uploads, whole and in parts."""

from collections.abc import Mapping
from itertools import combinations
from typing import Any, ClassVar

from marshmallow import ValidationError, validates_schema

from service.invisible import NOT_A_VALUE, PLACEHOLDER
from service.resources.fields import VISIBLE, Number, Text, Word
from service.resources.schemas import MAX_UPLOAD_BYTES, WireSchema
from service.resources.signing_schemas.fields import (
    NULL,
    TextMap,
    base64_field,
    line_field,
    not_together,
    upload_id_field,
)

# Source: https://docs.aws.amazon.com/AmazonS3/latest/userguide/UsingMetadata.html
MAX_METADATA_BYTES = 2048
# Source: https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-tagging.html
MAX_TAGS = 10

CHECKSUM_BYTES = {"sha256": 32, "sha1": 20, "crc32": 4, "crc32c": 4, "crc64nvme": 8}
CHECKSUMS = tuple(f"checksum-{name}" for name in CHECKSUM_BYTES)
KMS = ("aws:kms", "aws:kms:dsse")


class ObjectFields(WireSchema):
    """The headers that describe a new object, in every kind of upload."""

    conditions: ClassVar[tuple[Mapping[str, Any], ...]] = (
        {
            "anyOf": [
                {"properties": {"sse-kms-key-id": NULL}},
                {
                    "required": ["server-side-encryption"],
                    "properties": {"server-side-encryption": {"enum": [*KMS]}},
                },
            ]
        },
    )
    content_type = line_field(metadata={"description": "The media type of the object.", "examples": ["text/plain"]})
    content_encoding = line_field(metadata={"description": "The coding of the object, such as gzip."})
    content_disposition = line_field(metadata={"description": "How browsers present the object."})
    cache_control = line_field(metadata={"description": "How long caches keep the object."})
    metadata = TextMap(
        # S3 returns names in lower case, and botocore refuses other than ASCII text.
        "[a-z0-9!#$%&'*+.^_`|~-]{1,64}",
        f"(?:[!-~](?:[ -~]{{0,{MAX_METADATA_BYTES}}}[!-~])?)?",
        "names of at most 64 characters in lower case with texts of printable ASCII, "
        f"at most {MAX_METADATA_BYTES} bytes together",
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
    acl = Word(
        "private",
        "public-read",
        "public-read-write",
        "authenticated-read",
        "aws-exec-read",
        "bucket-owner-read",
        "bucket-owner-full-control",
        message="must be a canned ACL of S3, such as private",
        metadata={"description": "Who may access the object."},
    )
    server_side_encryption = Word(
        "AES256",
        *KMS,
        message="must be AES256, aws:kms or aws:kms:dsse",
        metadata={"description": "How S3 encrypts the object."},
    )
    sse_kms_key_id = Text(
        rf"(?!{NOT_A_VALUE}$){VISIBLE}{{1,2048}}",
        f"must be 1 to 2048 visible characters, not in quotes, and no placeholder such as {PLACEHOLDER}",
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
        not_together(*pair) for pair in combinations(CHECKSUMS, 2)
    )
    content_length = Number(0, MAX_UPLOAD_BYTES, " of bytes", metadata={"description": "The exact size in bytes."})
    content_md5 = base64_field(16)
    checksum_sha256 = base64_field(CHECKSUM_BYTES["sha256"])
    checksum_sha1 = base64_field(CHECKSUM_BYTES["sha1"])
    checksum_crc32 = base64_field(CHECKSUM_BYTES["crc32"])
    checksum_crc32c = base64_field(CHECKSUM_BYTES["crc32c"])
    checksum_crc64nvme = base64_field(CHECKSUM_BYTES["crc64nvme"])

    @validates_schema(skip_on_field_errors=False)
    def _check_one_checksum(self, data: Mapping[str, Any], **_: Any) -> None:
        given = [name for name in CHECKSUMS if name in data]
        if len(given) > 1:
            raise ValidationError(f"cannot be sent with {given[0]}: S3 accepts one checksum; leave one out", given[1])


class UploadFields(ContentFields, ObjectFields):
    """The headers that an upload can bind."""

    conditions = ContentFields.conditions + ObjectFields.conditions
    misplaced: ClassVar[Mapping[str, str]] = {
        "version-id": "is for downloads and deletions: S3 gives the upload of filename a new version; leave it out",
        **dict.fromkeys(
            ("upload-id", "part-number"), "is for the parts of an upload with upload-id and part-number: use $sign"
        ),
        **dict.fromkeys(("min-size", "max-size"), "is for $upload-form: use that, or content-length"),
        "starts-with": "is for $upload-form: use that, or filename",
    }
    if_none_match = Text(r"\*", "must be *", metadata={"description": "The upload fails if the object exists."})


class UploadSchema(UploadFields):
    """The body of a request for an upload URL."""

    query_parameters = WireSchema.query_parameters | {"expiration", "details"}
    filename = Text(required=True, metadata={"description": "The key of the object.", "examples": ["example.txt"]})


class CreateFields(ObjectFields):
    """The headers that the creation of a multipart upload can bind."""

    checksum_algorithm = Word(
        *(name.upper() for name in CHECKSUM_BYTES),
        message=f"must be {', '.join(CHECKSUM_BYTES).upper()}",
        metadata={"description": "The checksum that every part of the upload binds."},
    )


class PartFields(ContentFields):
    """One part of a multipart upload."""

    upload_id = upload_id_field(required=True)
    part_number = Number(1, 10_000, required=True)


class UploadIdFields(WireSchema):
    """A multipart upload."""

    upload_id = upload_id_field(required=True)
