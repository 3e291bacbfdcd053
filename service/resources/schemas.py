"""marshmallow schemas: wire names, rules and messages.

A body in JSON brings its own types; YAML, query strings and Redis hashes carry text, and the schema gives it its type
(``text=True``). Values are keyed by wire name before and after. A message completes a sentence that begins with the
field's name.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import islice, permutations
from typing import Any, ClassVar

from marshmallow import RAISE, Schema, ValidationError, fields, post_load, pre_load, validates_schema

from service.endpoints import AWS_REGION_PATTERN, REGION_PATTERN, check_aws_region, check_region, parse_host
from service.errors import Invalid, Issue
from service.resources.invisible import INVISIBLE, invisible_hint
from service.resources.secrets.encryption import SEALED
from service.resources.suggestions import suggestion
from service.stores.record import ID

ID_RULE = "must be 1 to 64 of A-Z a-z 0-9 . _ - and begin with a letter or digit"
DEFAULT_EXPIRATION_SECONDS = 86_400
MAX_EXPIRATION_SECONDS = 604_800
DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE = 100, 1000

MASKED = {
    "extension": [{"url": "http://hl7.org/fhir/StructureDefinition/data-absent-reason", "valueCode": "masked"}],
}

# An answer that lists every one of 20,000 misspelt fields would help nobody and cost the others their turn.
MAX_ISSUES = 100
MAX_NAME_IN_MESSAGE = 64
# To look for a hundred of them would take 20 ms.
MAX_SUGGESTIONS = 20
# Beyond any real base URL, and short enough to be validated at once.
MAX_HOST_LENGTH = 2048


class WireSchema(Schema):
    """A schema whose fields have their wire names: ``use_ssl`` is ``use-ssl``.

    ``query_parameters`` are names that callers may take for fields.
    """

    query_parameters: ClassVar[frozenset[str]] = frozenset({"_format", "_pretty"})
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
        """The typed values of ``data``.

        Raises:
            Invalid: one issue a fault, all faults at once; ``within`` goes in front of each field's name.
        """
        if self.unknown == RAISE and len(data) > len(self.names) + MAX_ISSUES:
            # marshmallow takes tens of milliseconds to refuse thousands of fields.
            unknown = {name: [self.error_messages["unknown"]] for name in data if name not in self.names}
            raise Invalid(*_issues(self._with_advice(unknown), within))
        try:
            return dict(self.load(data))
        except ValidationError as error:
            messages: Mapping[str, list[str]] = error.normalized_messages()  # type: ignore[no-untyped-call]
            raise Invalid(*_issues(self._with_advice(messages), within)) from None

    def check_patch(self, data: Mapping[str, Any], *, within: str = "") -> None:
        """Raise Invalid for the fields of a merge patch that are not valid, whatever the patch is merged into.

        Nulls and objects are left out: what becomes of them depends on what is stored.
        """
        by_name = {field.data_key: field for field in self.fields.values()}
        messages: dict[str, list[str]] = {}
        for name, value in data.items():
            if name not in by_name:
                messages.update({} if value is None else {name: [self.error_messages["unknown"]]})
            elif value is not None and not isinstance(value, Mapping):
                try:
                    by_name[name].deserialize(value, name, data)
                except ValidationError as error:
                    messages[name] = [str(message) for message in error.messages]
        if messages:
            raise Invalid(*_issues(self._with_advice(messages), within))

    def _with_advice(self, messages: Mapping[str, list[str]]) -> Mapping[str, list[str]]:
        """The messages, with what an unknown field may have been meant for."""
        problem = self.error_messages["unknown"]
        unknown = islice((name for name, problems in messages.items() if problems == [problem]), MAX_SUGGESTIONS)
        return {**messages, **{name: [f"{problem}{self._advice(name)}"] for name in unknown}}

    def _advice(self, name: str) -> str:
        hint = invisible_hint(name[:MAX_NAME_IN_MESSAGE])
        similar = suggestion(name, [*self.names, *self.query_parameters])
        if similar in self.query_parameters:
            return f"{hint}; {similar} is a query parameter: write ?{similar}=... in the URL"
        return f"{hint}; did you mean {similar}?" if similar else hint


@dataclass(frozen=True, slots=True)
class ParsedBody:
    """A body that was read. ``text`` says that its scalars are all text, for the schema to type."""

    values: Mapping[str, Any] = field(repr=False)
    text: bool

    def under(self, id: str) -> "ParsedBody":
        """The same with ``id`` for its id."""
        return ParsedBody({**self.values, "id": id}, self.text)


class Reader:
    """A schema for documents of either kind. Making a schema costs more than using it, so both are kept."""

    def __init__(self, schema: type[WireSchema]) -> None:
        self.typed = schema()
        self.text = schema(text=True)

    def read(self, document: ParsedBody, *, within: str = "") -> dict[str, Any]:
        """See ``WireSchema.read``."""
        return self._schema(document).read(document.values, within=within)

    def check_patch(self, document: ParsedBody, *, within: str = "") -> None:
        """See ``WireSchema.check_patch``."""
        self._schema(document).check_patch(document.values, within=within)

    def _schema(self, document: ParsedBody) -> WireSchema:
        return self.text if document.text else self.typed


class Text(fields.String):
    """A string, from a string alone; ``rule`` is for the whole of it, ``message`` says what it asks for.

    Where the rule allows ``visible`` characters alone, an error names those that are not.
    """

    default_error_messages = {"invalid": "must be a string"}

    def __init__(self, rule: str | None = None, message: str = "", *, visible: bool = False, **options: Any) -> None:
        super().__init__(**options)
        self.rule = re.compile(rule) if rule else None
        self.message = message
        self.visible = visible

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        text = super()._deserialize(value, attr, data, **kwargs)
        if self.rule and not self.rule.fullmatch(text):
            raise ValidationError(f"{self.message}{invisible_hint(text)}" if self.visible else self.message)
        return text


class Flag(fields.Field[bool]):
    """A boolean, from a boolean; from exactly ``true`` or ``false`` where text is carried."""

    words: ClassVar[Mapping[str, bool]] = {"true": True, "false": False}

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> bool:
        del attr, data, kwargs
        if isinstance(value, bool):
            return value
        if getattr(self.root, "text", False) and isinstance(value, str) and value in self.words:
            return self.words[value]
        raise ValidationError(_unquoted("must be true or false", value, self))

    def _serialize(self, value: Any, attr: str | None, obj: Any, **kwargs: Any) -> Any:
        # What an operator wrote into Redis is shown as it is, even where it is no boolean.
        del attr, obj, kwargs
        return self.words.get(value, value) if isinstance(value, str) else value


class Number(fields.Field[int]):
    """A whole number, from an integer; from plain decimal digits where text is carried, as in a query string."""

    def __init__(self, at_least: int, at_most: int, unit: str = "", **options: Any) -> None:
        super().__init__(**options)
        self.range = range(at_least, at_most + 1)
        self.message = f"must be a whole number{unit}, from {at_least} to {at_most}"

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> int:
        del attr, data, kwargs
        is_text = getattr(self.root, "text", False) and isinstance(value, str)
        # int() takes '6_0', ' 60' and other scripts' digits too.
        number = int(value) if is_text and re.fullmatch("[0-9]{1,12}", value) else value
        if isinstance(number, float) and number.is_integer():
            # JSON does not tell 60.0 from 60.
            number = int(number)
        if type(number) is not int or number not in self.range:
            raise ValidationError(_unquoted(self.message, value, self))
        return number


class Masked(fields.Field[dict[str, Any]]):
    """The marker that stands for a secret in an answer, sent back by clients that read, change and write."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Any:
        del attr, data, kwargs
        if value != MASKED:
            raise ValidationError("must be the marker of a masked secret, as it was read")
        return value


class ResourceSchema(WireSchema):
    """What every resource has; ``kind`` is its ``resourceType``, ``together`` fields of which none comes alone.

    A field's ``metadata`` says in JSON Schema what the field itself does not, ``conditions`` what no single field does.
    """

    kind: ClassVar[str]
    together: ClassVar[tuple[str, ...]] = ()
    conditions: ClassVar[tuple[Mapping[str, Any], ...]] = ()
    query_parameters = WireSchema.query_parameters | {"_id"}
    meta = fields.Raw(load_only=True)
    resource_type = Text(data_key="resourceType", load_only=True)

    @validates_schema(skip_on_field_errors=False)
    def _of_this_kind(self, data: Mapping[str, Any], **_: Any) -> None:
        if data.get("resourceType", self.kind) != self.kind:
            raise ValidationError(f"must be {self.kind}", "resourceType")


def _rule(parse: Callable[[str], object]) -> Callable[[str], None]:
    def rule(value: str) -> None:
        try:
            parse(value)
        except ValueError as error:
            raise ValidationError(f"{error}{invisible_hint(value)}") from None

    return rule


def _unquoted(message: str, value: Any, field: fields.Field[Any]) -> str:
    """The message, also for who has sent "true" or "60" in JSON."""
    is_json = not getattr(field.root, "text", False)
    return f"{message}, without quotes" if is_json and isinstance(value, str) else message


# Surrogates are bytes that are not UTF-8 in Redis.
VISIBLE = rf"[^{INVISIBLE}\ud800-\udfff]"
"""A pattern for one visible character."""


class AwsAccountSchema(ResourceSchema):
    """https://docs.aidbox.app/storage-1/aws-s3 and, for the shapes of keys, AWS' own limits."""

    kind = "AwsAccount"
    together = ("access-key-id", "secret-access-key")
    conditions = (
        {
            "anyOf": [
                {"properties": {"region": {"pattern": f"^{AWS_REGION_PATTERN}$"}}},
                {"required": ["host"], "properties": {"host": {"type": "string"}}},
            ]
        },
    )
    id = Text(ID.pattern, ID_RULE, visible=True, required=True, metadata={"examples": ["my-account"]})
    access_key_id = Text(
        r"[!-+\--.0-~]{1,256}",
        "must be 1 to 256 printable ASCII characters without space, comma or slash",
        visible=True,
        metadata={"examples": ["AKIAIOSFODNN7EXAMPLE"]},
    )
    secret_access_key = Text(
        # A passphrase of MinIO may have spaces inside; at an end they come from pasting.
        rf"(?!{SEALED})(?! )(?:{VISIBLE}| ){{0,511}}{VISIBLE}",
        f"must be 1 to 512 visible characters of Unicode, with spaces only inside, and not begin with {SEALED!r}",
        visible=True,
        metadata={"examples": ["<secret-access-key>"]},
    )
    masked_secret_access_key = Masked(data_key="_secret-access-key")
    session_token = Text(
        rf" {{0,8192}}|(?!{SEALED}){VISIBLE}{{1,8192}}",
        f"must be at most 8192 visible characters of Unicode, and not begin with {SEALED!r}",
        visible=True,
    )
    masked_session_token = Masked(data_key="_session-token")
    region = Text(
        validate=_rule(check_region),
        metadata={
            "pattern": f"^{REGION_PATTERN}$",
            "default": "us-east-1",
            "examples": ["us-east-1"],
            "description": "one of AWS' own regions; with a host any name, which is part of the credential scope alone",
        },
    )
    host = Text(
        rf"(?s:.){{0,{MAX_HOST_LENGTH}}}",
        f"must be at most {MAX_HOST_LENGTH} characters",
        validate=_rule(parse_host),
        metadata={
            "format": "s3-host",
            "description": "name[:port], 1.2.3.4[:port], [v6][:port] or a base URL http(s)://…[/prefix]; "
            "without it AWS' own endpoint of the region",
        },
    )
    use_ssl = Flag(metadata={"description": "https or http; SIGNER_DEFAULT_USE_SSL where nothing is said"})
    path_style = Flag(metadata={"default": False, "description": "the bucket in the path, not in the host name"})

    @validates_schema(pass_original=True, skip_on_field_errors=False)
    def _keys_come_together(self, _: Any, original: Mapping[str, Any], **__: Any) -> None:
        given = {name for name, value in original.items() if value is not None}
        for name, twin in permutations(self.together):
            if name in given and not given & {twin, f"_{twin}"}:
                raise ValidationError(f"is missing; it comes together with {name}", twin)

    @validates_schema(pass_original=True, skip_on_field_errors=False)
    def _region_is_of_aws_without_host(self, data: Mapping[str, Any], original: Mapping[str, Any], **_: Any) -> None:
        # A host that has a fault is a custom host all the same.
        if "region" in data and not isinstance(original.get("host"), str):
            try:
                check_aws_region(data["region"])
            except ValueError as error:
                raise ValidationError(str(error), "region") from None

    @validates_schema(skip_on_field_errors=False)
    def _scheme_agrees(self, data: Mapping[str, Any], **_: Any) -> None:
        if "host" in data:
            try:
                parse_host(data["host"]).use_ssl(stated=data.get("use-ssl"))
            except ValueError as error:
                raise ValidationError(str(error), "use-ssl") from None

    @post_load
    def _blank_token_is_none(self, data: dict[str, Any], **_: Any) -> dict[str, Any]:
        if not data.get("session-token", "").strip():
            data.pop("session-token", None)
        return data


class UploadSchema(WireSchema):
    """The body that asks for a URL to upload with."""

    query_parameters = WireSchema.query_parameters | {"expiration"}
    filename = Text(required=True, metadata={"description": "the key", "examples": ["example.txt"]})


class SigningQuery(WireSchema):
    """The query parameters of every signing call."""

    expiration = Number(1, MAX_EXPIRATION_SECONDS, " of seconds", load_default=DEFAULT_EXPIRATION_SECONDS)


class SearchQuery(WireSchema):
    """The query parameters that select, sort and page a listing; ``_id`` is a comma list.

    FHIR clients send ``_totalMethod`` and ``_elements``: the total is always exact, and elements are always complete.
    Source: https://hl7.org/fhir/search.html
    """

    ids = Text(data_key="_id")
    count = Number(0, MAX_PAGE_SIZE, load_default=DEFAULT_PAGE_SIZE, data_key="_count")
    page = Number(1, 10**9, load_default=1, data_key="_page")
    sort = Text("-?_id", "must be _id or -_id", load_default="_id", data_key="_sort")
    summary = Text("count", "must be count", data_key="_summary")
    total_method = Text(data_key="_totalMethod")
    elements = Text(data_key="_elements")


class NewQuery(WireSchema):
    """The id that must not be there yet for a POST to create anything."""

    id = Text(ID.pattern, ID_RULE, data_key="_id")


class ReplacementQuery(WireSchema):
    """The id that a PUT creates or replaces if its body has none."""

    id = Text(ID.pattern, ID_RULE, data_key="_id")


class DeleteQuery(WireSchema):
    """Whether a DELETE answers with the last resource."""

    no_content = Flag(data_key="_no-content", load_default=False)


def _issues(messages: Mapping[str, Any], within: str) -> list[Issue]:
    issues: list[Issue] = []
    for position, (field_name, problems) in enumerate(messages.items(), 1):
        name = f"{within}.{field_name}" if within else field_name
        shown = name if len(name) <= MAX_NAME_IN_MESSAGE else f"{name[:MAX_NAME_IN_MESSAGE]}…"
        issues += [Issue(f"{shown} {problem}", shown) for problem in problems]
        if len(issues) >= MAX_ISSUES and position < len(messages):
            return [*issues, Issue(f"And {len(messages) - position} more fields have faults")]
    return issues
