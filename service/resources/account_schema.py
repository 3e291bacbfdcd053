"""The schema of an AwsAccount: its fields, their rules and messages."""

import re
from collections.abc import Mapping
from itertools import permutations
from typing import Any

from botocore.exceptions import InvalidRegionError
from botocore.utils import validate_region_name
from marshmallow import ValidationError, post_load, validates_schema

from service.endpoints import (
    AWS_REGION_PATTERN,
    DEFAULT_REGION,
    REGION_PATTERN,
    aws_region,
    check_aws_region,
    check_region,
    check_region_of_host,
    default_region,
    parse_account_host,
    parse_host,
)
from service.invisible import NOT_A_VALUE, PLACEHOLDER
from service.resources.fields import ID_RULE, VISIBLE, Flag, Masked, Number, Text, rule
from service.resources.schemas import MAX_EXPIRATION_SECONDS, MAX_UPLOAD_BYTES, ResourceSchema
from service.resources.secrets.encryption import ENCRYPTED_PREFIX
from service.stores.record import ID

# Longer than any real base URL, and quick to validate.
MAX_HOST_LENGTH = 2048

ACCESS_KEY_ID_PATTERN = rf"(?!{NOT_A_VALUE}$)[!-+\--.0-~]{{1,256}}"
ACCESS_KEY_ID_RULE = (
    "must be 1 to 256 printable ASCII characters without space, comma or slash, not in quotes, and no "
    f"placeholder such as {PLACEHOLDER}"
)
# In place of the secret: the two are swapped, and each URL would show the secret.
AWS_ACCESS_KEY_ID_PATTERN = r"(?:AKIA|ASIA)[A-Z0-9]{16}"


def is_temporary(access_key_id: str) -> bool:
    """Return whether an access key of AWS works only with a session token.

    Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_identifiers.html
    """
    return re.fullmatch(r"ASIA[A-Z0-9]{16}", access_key_id) is not None


def is_aws_key(text: str) -> bool:
    """Return whether a text has the form of an access key id or a secret of AWS. A session token is longer."""
    return re.fullmatch(rf"{AWS_ACCESS_KEY_ID_PATTERN}|[A-Za-z0-9+/]{{40}}", text) is not None


class AwsAccountSchema(ResourceSchema):
    """The account of https://docs.aidbox.app/storage-1/aws-s3, with AWS' own limits for keys."""

    kind = "AwsAccount"
    required_together = ("access-key-id", "secret-access-key")
    conditions = (
        {
            "anyOf": [
                {"properties": {"region": {"pattern": f"^{AWS_REGION_PATTERN}$"}}},
                {"required": ["host"], "properties": {"host": {"type": "string"}}},
                {"required": ["public-host"], "properties": {"public-host": {"type": "string"}}},
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
        ACCESS_KEY_ID_PATTERN,
        ACCESS_KEY_ID_RULE,
        visible=True,
        metadata={
            "description": "The id of the access key, as your S3 shows it. It comes together with secret-access-key.",
            "examples": ["AKIAIOSFODNN7EXAMPLE"],
        },
    )
    secret_access_key = Text(
        # A passphrase of MinIO can have spaces inside; spaces at an end come from pasting.
        rf"(?!{ENCRYPTED_PREFIX})(?!{NOT_A_VALUE}$)(?!{AWS_ACCESS_KEY_ID_PATTERN}$)(?! )"
        rf"(?:{VISIBLE}| ){{0,511}}{VISIBLE}",
        "must be 1 to 512 visible characters of Unicode, with spaces only inside, not be in quotes, be no placeholder "
        f"such as {PLACEHOLDER} and no access key id of AWS, and not begin with {ENCRYPTED_PREFIX!r}",
        visible=True,
        metadata={
            "description": "The secret of the access key. It can be changed, but not read back.",
            "examples": ["<secret-access-key>"],
        },
    )
    masked_secret_access_key = Masked(data_key="_secret-access-key")
    session_token = Text(
        rf" {{0,8192}}|(?!{ENCRYPTED_PREFIX})(?!{NOT_A_VALUE}$){VISIBLE}{{1,8192}}",
        "must be at most 8192 visible characters of Unicode, not be in quotes, be no placeholder such as "
        f"{PLACEHOLDER}, and not begin with {ENCRYPTED_PREFIX!r}",
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
            "default": DEFAULT_REGION,
            "examples": ["us-east-1"],
            "description": "One of AWS' own regions. With a host, any name that this server expects, such as garage."
            " S3's own host of a region, such as s3.eu-west-1.amazonaws.com, has that region, also by default.",
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
        has_host = any(isinstance(original.get(name), str) for name in ("host", "public-host"))
        if "region" in data and not has_host:
            try:
                check_aws_region(data["region"])
            except ValueError as error:
                raise ValidationError(str(error), "region") from None

    @validates_schema(skip_on_field_errors=False)
    def _check_region_of_hosts(self, data: Mapping[str, Any], **_: Any) -> None:
        hosts = [data[name] for name in ("public-host", "host") if name in data]
        if len({aws_region(parse_host(host)) for host in hosts} - {None}) > 1:
            raise ValidationError("must be in the region of public-host", "host")
        region = data.get("region", default_region(*hosts))
        try:
            for host in hosts:
                check_region_of_host(region, parse_host(host))
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

    @validates_schema(pass_original=True, skip_on_field_errors=False)
    def _check_temporary_key(self, data: Mapping[str, Any], original: Mapping[str, Any], **_: Any) -> None:
        key_id, host = data.get("access-key-id", ""), data.get("public-host", data.get("host"))
        # Each URL shows the token.
        if is_aws_key(key_id) and is_aws_key(data.get("session-token", "")):
            raise ValidationError("must be no other key of AWS; are the two swapped?", "session-token")
        token = original.get("session-token")
        is_missing = token is None or (isinstance(token, str) and not token.strip())
        is_aws = host is None or parse_host(host).is_name_of_aws
        if is_temporary(key_id) and is_missing and "_session-token" not in original and is_aws:
            raise ValidationError("is missing; an access-key-id that begins with ASIA comes with one", "session-token")

    @validates_schema(skip_on_field_errors=False)
    def _check_region_of_role(self, data: Mapping[str, Any], **_: Any) -> None:
        if "role-arn" in data and "region" in data:
            try:
                validate_region_name(data["region"])
            except InvalidRegionError:
                raise ValidationError(
                    "must be letters, digits and hyphens, because the keys of role-arn are requested in it",
                    "region",
                ) from None

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
