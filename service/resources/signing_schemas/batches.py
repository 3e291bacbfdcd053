"""The bodies of requests for many URLs, and of upload widgets."""

from collections.abc import Mapping
from typing import Any, ClassVar

from marshmallow import ValidationError, fields

from service.resources.fields import Number, Text, Word
from service.resources.schemas import MAX_EXPIRATION_SECONDS, WireSchema
from service.resources.signing_schemas.fields import LINE, LINE_RULE, upload_id_field
from service.resources.signing_schemas.queries import DownloadFields
from service.resources.signing_schemas.uploads import CreateFields, PartFields, UploadFields

MAX_ITEMS = 1000
_OF_A_STEP = "is the field of a step of an upload in parts"


class ItemFields(WireSchema):
    """The fields of every item of a batch, besides what its URL carries."""

    query_parameters = WireSchema.query_parameters | {"details"}
    method = Text()
    filename = Text(required=True)
    expiration = Number(1, MAX_EXPIRATION_SECONDS, " of seconds")


def item_schema(fields_: type[WireSchema]) -> type[WireSchema]:
    """Return the schema of an item whose URL can carry ``fields_``."""
    own = fields_().names
    sent_with = f"method{' and upload-id' if 'upload-id' in own else ''}"
    others = {
        name: f"cannot be sent with this {sent_with}; leave it out"
        for other in (UploadFields, CreateFields, PartFields, DownloadFields)
        for name in other().names - own
    }
    # An item with upload-id has another schema, so here the two are misspelt.
    misspelt = {} if "upload-id" in own else dict.fromkeys(("upload-id", "part-number"), _OF_A_STEP)
    attributes = {"conditions": fields_.conditions, "misplaced": {**others, **fields_.misplaced, **misspelt}}
    return type(f"{fields_.__name__}Item", (fields_, ItemFields), attributes)


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
    misplaced: ClassVar[Mapping[str, str]] = {"expiration": "is a field of each item: write it there"}
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
    misplaced: ClassVar[Mapping[str, str]] = {
        "expiration": "has another name in this request: write expiresIn",
        "filename": "has another name in this request: write key",
    }
    method = Word(
        "PUT",
        "POST",
        "GET",
        "DELETE",
        message="must be PUT, POST, GET or DELETE",
        required=True,
        metadata={"description": "The method of the request.", "examples": ["PUT"]},
    )
    key = Text(required=True, metadata={"description": "The key of the object.", "examples": ["photo.png"]})
    content_type = Text(rf"|{LINE}", LINE_RULE, visible=True, data_key="contentType")
    upload_id = upload_id_field(required=False, data_key="uploadId")
    part_number = Number(1, 10_000, data_key="partNumber")
    expires_in = Number(1, MAX_EXPIRATION_SECONDS, " of seconds", data_key="expiresIn")
