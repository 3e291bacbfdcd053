"""The queries of requests for downloads, deletions and listings, and the parameters of all."""

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from marshmallow import ValidationError, post_load, validates_schema

from service.resources.fields import VISIBLE, Flag, Number, Text, Word
from service.resources.queries import DEFAULT_EXPIRATION_SECONDS
from service.resources.schemas import MAX_EXPIRATION_SECONDS, WireSchema
from service.resources.signing_schemas.fields import line_field

_DAY, _MONTH = "Mon|Tue|Wed|Thu|Fri|Sat|Sun", "Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec"


def _response_header(name: str) -> Text:
    return line_field(metadata={"description": f"S3 sends this {name} with the object."})


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

    method = Word(
        "GET",
        "HEAD",
        message="must be GET or HEAD",
        metadata={"default": "GET", "description": "The method of the URL."},
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
                "cannot be true with method=HEAD: clients follow it with the method of their request; leave one out",
                "redirect",
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


def attachment(name: str) -> str:
    """Return the Content-Disposition that saves a response under ``name``.

    Source: https://www.rfc-editor.org/rfc/rfc6266#appendix-D
    """
    plain = re.sub(r'[^ -~]|["%\\]', "_", name)
    extended = "" if plain == name else f"; filename*=UTF-8''{quote(name, safe='')}"
    return f'attachment; filename="{plain}"{extended}'
