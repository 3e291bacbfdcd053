"""The body of a request for an upload form."""

from collections.abc import Mapping
from typing import Any, ClassVar

from marshmallow import ValidationError, validates_schema

from service.resources.fields import Number, Text
from service.resources.schemas import MAX_UPLOAD_BYTES, WireSchema
from service.resources.signing_schemas.fields import not_together
from service.resources.signing_schemas.uploads import CHECKSUMS, ObjectFields, UploadFields

# S3 recognizes it in every field of a form.
FILE_NAME_VARIABLE = "${filename}"


def _check_line_ends(key: str) -> None:
    """Raise ValidationError for a key that browsers change.

    Source: https://html.spec.whatwg.org/multipage/form-control-infrastructure.html#multipart-form-data
    """
    rest = key.replace("\r\n", "")
    if "\r" in rest or "\n" in rest:
        raise ValidationError(
            "must not have a carriage return or a line feed alone: browsers send both of them in a form; use the URL of"
            " an upload, or leave it out"
        )


class FormFields(ObjectFields):
    """The fields of an upload form, and the limits of its file."""

    query_parameters = WireSchema.query_parameters | {"expiration", "details"}
    conditions = (
        *ObjectFields.conditions,
        not_together("filename", "starts-with"),
        {
            "anyOf": [
                {"required": [name], "properties": {name: {"type": "string"}}} for name in ("filename", "starts-with")
            ]
        },
    )
    misplaced: ClassVar[Mapping[str, str]] = {
        "content-length": "cannot be in a form: write min-size and max-size instead",
        **dict.fromkeys(
            ("content-md5", *CHECKSUMS, "if-none-match"),
            "cannot be in a form: use the URL of an upload, or leave it out",
        ),
        **dict.fromkeys(("upload-id", "part-number"), "cannot be in a form: use $sign for an upload in parts"),
        "version-id": UploadFields.misplaced["version-id"],
    }
    filename = Text(
        validate=_check_line_ends, metadata={"description": "The key of the object.", "examples": ["example.txt"]}
    )
    starts_with = Text(
        validate=_check_line_ends,
        metadata={"description": "The browser chooses a key that begins with this text; an empty text allows any key."},
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
            name: [value] if isinstance(value, str) else [*value, *value.values()]
            for name, value in data.items()
            if isinstance(value, str | dict)
        }
        problem = f"must not have {FILE_NAME_VARIABLE}: S3 replaces it by the name of the file"
        if messages := {
            name: [problem] for name, values in texts.items() if any(FILE_NAME_VARIABLE in it for it in values)
        }:
            raise ValidationError(messages)
