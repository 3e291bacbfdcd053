"""marshmallow schemas with wire names, whose errors are issues; the schema of an account.

JSON has types. In YAML, query strings and Redis hashes every scalar is text, which a text schema (``text=True``)
converts. Values have wire names as keys, before and after.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice, permutations
from typing import Any, ClassVar

from marshmallow import RAISE, Schema, ValidationError, fields, post_load, pre_load, validates_schema

from service.endpoints import (
    AWS_REGION_PATTERN,
    REGION_PATTERN,
    check_aws_region,
    check_region,
    parse_account_host,
    parse_host,
)
from service.errors import Invalid, Issue
from service.resources.fields import ID_RULE, VISIBLE, Flag, Masked, Number, Text, rule
from service.resources.invisible import invisible_hint
from service.resources.secrets.encryption import ENCRYPTED_PREFIX
from service.resources.suggestions import suggestion
from service.stores.record import ID

# An error that lists 20,000 misspelt fields helps nobody and blocks other requests.
MAX_ISSUES = 100
MAX_NAME_IN_MESSAGE = 64
# A hundred suggestions take 20 ms.
MAX_SUGGESTIONS = 20
# Longer than any real base URL, and quick to validate.
MAX_HOST_LENGTH = 2048

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
            raise self._invalid(messages, within) from None

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
        similar = suggestion(name, [*self.names, *self.query_parameters])
        if similar in self.query_parameters:
            return f"{hint}; {similar} is a query parameter: write ?{similar}=... in the URL"
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


class AwsAccountSchema(ResourceSchema):
    """The account of https://docs.aidbox.app/storage-1/aws-s3, with AWS' own limits for keys."""

    kind = "AwsAccount"
    required_together = ("access-key-id", "secret-access-key")
    conditions = (
        {
            "anyOf": [
                {"properties": {"region": {"pattern": f"^{AWS_REGION_PATTERN}$"}}},
                {"required": ["host"], "properties": {"host": {"type": "string"}}},
            ]
        },
        {
            "anyOf": [
                {"properties": {"public-use-ssl": {"type": "null"}}},
                {"required": ["public-host"], "properties": {"public-host": {"type": "string"}}},
            ]
        },
        {
            "anyOf": [
                {"properties": {"external-id": {"type": "null"}}},
                {"required": ["role-arn"], "properties": {"role-arn": {"type": "string"}}},
            ]
        },
    )
    id = Text(
        ID.pattern,
        ID_RULE,
        visible=True,
        required=True,
        metadata={"description": "The name of the account in requests for URLs.", "examples": ["my-account"]},
    )
    access_key_id = Text(
        r"[!-+\--.0-~]{1,256}",
        "must be 1 to 256 printable ASCII characters without space, comma or slash",
        visible=True,
        metadata={
            "description": "The id of the access key, as your S3 shows it. It comes together with secret-access-key.",
            "examples": ["AKIAIOSFODNN7EXAMPLE"],
        },
    )
    secret_access_key = Text(
        # A passphrase of MinIO can have spaces inside; spaces at an end come from pasting.
        rf"(?!{ENCRYPTED_PREFIX})(?! )(?:{VISIBLE}| ){{0,511}}{VISIBLE}",
        "must be 1 to 512 visible characters of Unicode, with spaces only inside, and not begin with "
        f"{ENCRYPTED_PREFIX!r}",
        visible=True,
        metadata={
            "description": "The secret of the access key. It can be changed, but not read back.",
            "examples": ["<secret-access-key>"],
        },
    )
    masked_secret_access_key = Masked(data_key="_secret-access-key")
    session_token = Text(
        rf" {{0,8192}}|(?!{ENCRYPTED_PREFIX}){VISIBLE}{{1,8192}}",
        f"must be at most 8192 visible characters of Unicode, and not begin with {ENCRYPTED_PREFIX!r}",
        visible=True,
        metadata={"description": "The token of temporary credentials. It is part of each URL that it signs."},
    )
    masked_session_token = Masked(data_key="_session-token")
    role_arn = Text(
        # Servers other than AWS have tenants in place of the twelve digits, or nothing.
        r"arn:[a-z0-9-]{1,32}:iam::[A-Za-z0-9_-]{0,64}:role/[A-Za-z0-9_+=,.@/-]{1,576}",
        "must be the ARN of an IAM role, such as arn:aws:iam::123456789012:role/uploads",
        visible=True,
        metadata={"description": "the role whose temporary keys sign; only the root client may set it"},
    )
    external_id = Text(
        r"[A-Za-z0-9_+=,.@:/-]{2,1224}",
        "must be 2 to 1224 of A-Z a-z 0-9 _ + = , . @ : / -",
        visible=True,
        metadata={"description": "what the role requires to be assumed; only the root client may set it"},
    )
    region = Text(
        validate=rule(check_region),
        metadata={
            "pattern": f"^{REGION_PATTERN}$",
            "default": "us-east-1",
            "examples": ["us-east-1"],
            "description": "One of AWS' own regions. With a host, any name that this server expects, such as garage.",
        },
    )
    host = Text(
        rf"(?s:.){{0,{MAX_HOST_LENGTH}}}",
        f"must be at most {MAX_HOST_LENGTH} characters",
        validate=rule(parse_account_host),
        metadata={
            "format": "s3-host",
            "description": "The S3 server, if it is not AWS: name[:port], an address[:port], or a base URL"
            " http(s)://…[/prefix].",
        },
    )
    use_ssl = Flag(metadata={"description": "Whether URLs begin with https. The default is SIGNER_DEFAULT_USE_SSL."})
    path_style = Flag(
        metadata={
            "default": False,
            "description": "Whether the bucket is in the path, not in the host name. MinIO, Garage and Ceph need it.",
        }
    )
    public_host = Text(
        rf"(?s:.){{0,{MAX_HOST_LENGTH}}}",
        f"must be at most {MAX_HOST_LENGTH} characters",
        validate=rule(parse_account_host),
        metadata={
            "format": "s3-host",
            "description": "The host of signed URLs, if clients reach the S3 server by another name than host.",
        },
    )
    public_use_ssl = Flag(metadata={"description": "Whether URLs for public-host begin with https."})
    default_expiration = Number(
        1,
        MAX_EXPIRATION_SECONDS,
        " of seconds",
        metadata={"description": "The lifetime in seconds of a URL that is requested without an expiration."},
    )
    max_expiration = Number(
        1,
        MAX_EXPIRATION_SECONDS,
        " of seconds",
        metadata={"description": "The longest lifetime in seconds. A longer expiration is refused."},
    )
    max_size = Number(
        1,
        MAX_UPLOAD_BYTES,
        " of bytes",
        metadata={"description": "The largest upload in bytes. A larger one, or one of unknown size, is refused."},
    )

    @validates_schema(pass_original=True, skip_on_field_errors=False)
    def _check_required_together(self, _: Any, original: Mapping[str, Any], **__: Any) -> None:
        given = {name for name, value in original.items() if value is not None}
        for name, twin in permutations(self.required_together):
            if name in given and not given & {twin, f"_{twin}"}:
                raise ValidationError(f"is missing; it comes together with {name}", twin)

    @validates_schema(pass_original=True, skip_on_field_errors=False)
    def _check_aws_region_without_host(self, data: Mapping[str, Any], original: Mapping[str, Any], **_: Any) -> None:
        # An invalid host is a custom host too.
        if "region" in data and not isinstance(original.get("host"), str):
            try:
                check_aws_region(data["region"])
            except ValueError as error:
                raise ValidationError(str(error), "region") from None

    @validates_schema(skip_on_field_errors=False)
    def _check_scheme(self, data: Mapping[str, Any], **_: Any) -> None:
        for prefix in ("", "public-"):
            if f"{prefix}host" in data:
                try:
                    parse_host(data[f"{prefix}host"]).use_ssl(stated=data.get(f"{prefix}use-ssl"))
                except ValueError as error:
                    raise ValidationError(str(error), f"{prefix}use-ssl") from None

    @validates_schema(pass_original=True, skip_on_field_errors=False)
    def _check_public_use_ssl(self, data: Mapping[str, Any], original: Mapping[str, Any], **_: Any) -> None:
        if "public-use-ssl" in data and original.get("public-host") is None:
            raise ValidationError("needs public-host; add that, or write use-ssl", "public-use-ssl")

    @validates_schema(pass_original=True, skip_on_field_errors=False)
    def _check_external_id(self, data: Mapping[str, Any], original: Mapping[str, Any], **_: Any) -> None:
        if "external-id" in data and original.get("role-arn") is None:
            raise ValidationError("needs role-arn, which is missing", "external-id")

    @validates_schema(skip_on_field_errors=False)
    def _check_default_expiration(self, data: Mapping[str, Any], **_: Any) -> None:
        longest = data.get("max-expiration", MAX_EXPIRATION_SECONDS)
        if data.get("default-expiration", 1) > longest:
            raise ValidationError(f"must be at most max-expiration, which is {longest}", "default-expiration")

    @post_load
    def _drop_blank_token(self, data: dict[str, Any], **_: Any) -> dict[str, Any]:
        if not data.get("session-token", "").strip():
            data.pop("session-token", None)
        return data


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
