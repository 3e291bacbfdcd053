"""marshmallow schemas with wire names, whose errors are issues.

JSON has types. In YAML, query strings and Redis hashes every scalar is text, which a text schema (``text=True``)
converts. Values have wire names as keys, before and after.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, ClassVar

from marshmallow import RAISE, Schema, ValidationError, fields, pre_load, validates_schema

from service.errors import Invalid, Issue, drop_tracebacks
from service.invisible import invisible_hint
from service.resources.fields import Text
from service.resources.suggestions import MAX_SUGGESTIONS, suggestion

# An error that lists 20,000 misspelt fields helps nobody and blocks other requests.
MAX_ISSUES = 100
MAX_NAME_IN_MESSAGE = 64
MAX_EXPIRATION_SECONDS = 604_800
# The largest object of one PUT. Source: https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html
MAX_UPLOAD_BYTES = 5 * 1024**3


class WireSchema(Schema):
    """A schema whose fields have their wire names: ``use_ssl`` is ``use-ssl``.

    ``query_parameters`` are names that callers confuse with fields. ``misplaced`` has messages for fields of other
    requests. In the OpenAPI document, a field's ``metadata`` adds JSON Schema to the field, and ``conditions`` to the
    whole object.
    """

    query_parameters: ClassVar[frozenset[str]] = frozenset({"_format", "_pretty"})
    misplaced: ClassVar[Mapping[str, str]] = {}
    conditions: ClassVar[tuple[Mapping[str, Any], ...]] = ()
    error_messages = {"unknown": "is not known here", "type": "must be an object"}

    class Meta:
        unknown = RAISE

    def __init__(self, *, text: bool = False, **options: Any) -> None:
        super().__init__(**options)
        self.text = text
        self.names = {name for field in self.fields.values() if (name := field.data_key)}

    def on_bind_field(self, field_name: str, field_obj: fields.Field[Any]) -> None:
        field_obj.data_key = field_obj.data_key or field_name.replace("_", "-")
        field_obj.attribute = field_obj.data_key
        field_obj.error_messages = {**field_obj.error_messages, "required": "is missing", "null": "is missing"}

    @pre_load
    def _null_is_absent(self, data: Any, **_: Any) -> Any:
        if not isinstance(data, Mapping):
            return data
        return {name: value for name, value in data.items() if value is not None or name not in self.names}

    def read(self, data: Mapping[str, Any], *, within: str = "") -> dict[str, Any]:
        """Return the typed values of ``data``. ``within`` is the prefix of field names in messages.

        Raises:
            Invalid: one issue for each fault.
        """
        if self.unknown == RAISE and len(data) > len(self.names) + MAX_ISSUES:
            # marshmallow takes tens of milliseconds to refuse thousands of fields.
            unknown = {name: [self.error_messages["unknown"]] for name in data if name not in self.names}
            raise self._invalid(unknown, within)
        try:
            return dict(self.load(data))
        except ValidationError as error:
            messages: Mapping[str, list[str]] = error.normalized_messages()  # type: ignore[no-untyped-call]
            drop_tracebacks(error)
            # marshmallow returns unknown fields in no fixed order.
            in_order = {name: messages[name] for name in data if name in messages}
            raise self._invalid({**in_order, **messages}, within) from None

    def check_patch(self, data: Mapping[str, Any], *, within: str = "") -> None:
        """Raise Invalid for fields of a merge patch that are invalid for every target.

        Nulls and objects are not checked: their effect depends on the target.
        """
        by_name = {field.data_key: field for field in self.fields.values()}
        messages: dict[str, list[str]] = {}
        for name, value in data.items():
            if value is None or (name in by_name and isinstance(value, Mapping)):
                continue
            if name not in by_name:
                messages[name] = [self.error_messages["unknown"]]
                continue
            try:
                by_name[name].deserialize(value, name, data)
            except ValidationError as error:
                messages[name] = [str(message) for message in error.messages]
        if messages:
            raise self._invalid(messages, within)

    def _invalid(self, messages: Mapping[str, list[str]], within: str) -> Invalid:
        """Return the error for messages by field name, with suggestions for unknown names."""
        problem = self.error_messages["unknown"]
        unknown = islice((name for name, problems in messages.items() if problems == [problem]), MAX_SUGGESTIONS)
        return Invalid(*_issues({**messages, **{name: [self._unknown(name)] for name in unknown}}, within))

    def _unknown(self, name: str) -> str:
        return self.misplaced.get(name) or f"{self.error_messages['unknown']}{self._suggestion(name)}"

    def _suggestion(self, name: str) -> str:
        hint = invisible_hint(name[:MAX_NAME_IN_MESSAGE])
        similar = suggestion(name, [*self.names, *self.query_parameters, *self.misplaced])
        if similar in self.query_parameters:
            return f"{hint}; {similar} is a query parameter: write ?{similar}=... in the URL"
        if similar and similar in self.misplaced:
            return f"{hint}; {similar} {self.misplaced[similar]}"
        return f"{hint}; did you mean {similar}?" if similar else hint


@dataclass(frozen=True, slots=True)
class ParsedBody:
    """The values of a body. ``text`` means that every scalar is text, and a schema converts it.

    ``operations`` are those of a JSON Patch, which has no values.
    """

    values: Mapping[str, Any] = field(repr=False)
    text: bool
    operations: Sequence[Any] | None = field(default=None, repr=False)

    def with_id(self, id: str) -> "ParsedBody":
        return ParsedBody({**self.values, "id": id}, self.text)


class Reader:
    """A schema for bodies with types and for bodies of text. Both are kept, as making a schema is slow."""

    def __init__(self, schema: type[WireSchema]) -> None:
        self.typed = schema()
        self.text = schema(text=True)

    def read(self, body: ParsedBody, *, within: str = "") -> dict[str, Any]:
        """See ``WireSchema.read``."""
        return self._schema(body).read(body.values, within=within)

    def check_patch(self, body: ParsedBody, *, within: str = "") -> None:
        """See ``WireSchema.check_patch``."""
        self._schema(body).check_patch(body.values, within=within)

    def _schema(self, body: ParsedBody) -> WireSchema:
        return self.text if body.text else self.typed


class ResourceSchema(WireSchema):
    """The fields of every resource.

    ``kind`` is the ``resourceType``, ``required_together`` names fields that require each other.
    """

    kind: ClassVar[str]
    required_together: ClassVar[tuple[str, ...]] = ()
    query_parameters = WireSchema.query_parameters | {"_id"}
    meta = fields.Raw(load_only=True)
    resource_type = Text(data_key="resourceType", load_only=True)

    @validates_schema(skip_on_field_errors=False)
    def _check_resource_type(self, data: Mapping[str, Any], **_: Any) -> None:
        if data.get("resourceType", self.kind) != self.kind:
            raise ValidationError(f"must be {self.kind}", "resourceType")


def shortened(name: str) -> str:
    """Return a name of a caller as messages show it: its first 64 characters."""
    return name if len(name) <= MAX_NAME_IN_MESSAGE else f"{name[:MAX_NAME_IN_MESSAGE]}…"


def _issues(messages: Mapping[str, Any], within: str) -> list[Issue]:
    issues: list[Issue] = []
    for position, (field_name, problems) in enumerate(messages.items(), 1):
        name = f"{within}.{field_name}" if within else field_name
        shown = shortened(name)
        issues += [Issue(f"{shown} {problem}", shown) for problem in problems]
        if len(issues) >= MAX_ISSUES and position < len(messages):
            return [*issues, Issue(f"And {len(messages) - position} more fields have faults")]
    return issues
