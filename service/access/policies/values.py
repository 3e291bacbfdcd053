"""What the values of a request can be, as far as a few words, ids, numbers and headers go. Pure.

A text that no request has never matches, and so forbids nothing under $not.
"""

import re
from collections.abc import Mapping, Sequence
from functools import cache, lru_cache

from service.access.policies.regex import compile_regex, is_plain_prefix
from service.resources.fields import BUCKET, ID_RULE, Number, Text, Word
from service.resources.schemas import WireSchema
from service.resources.signing_schemas.forms import FormFields
from service.resources.signing_schemas.queries import DownloadFields, ListFields, SigningQuery
from service.resources.signing_schemas.uploads import CreateFields, PartFields, UploadFields
from service.resources.suggestions import suggestion
from service.stores.record import ID

PARAM_SCHEMAS: Sequence[type[WireSchema]] = (
    DownloadFields,
    ListFields,
    UploadFields,
    CreateFields,
    PartFields,
    FormFields,
)
"""The schemas whose fields policies see in ``params``."""

Names = tuple[str, ...]

_METHODS = ("get", "head", "post", "put", "patch", "delete", "options")
_OPERATIONS = ("upload", "download", "head", "delete", "list", "multipart", "form")
_TYPES = ("AwsAccount", "Client", "AccessPolicy")

# A regular expression, a reference to another value, or nil?, present? and not-blank?.
_NO_TEXT = re.compile(r"[#.].*|.*[?]", re.DOTALL)
_NUMBER = re.compile("0|[1-9][0-9]{0,11}")
# The value of a download= may be longer than one that is sent.
_ANY_LENGTH = "response-content-disposition"
_IDS: Sequence[Names] = (("params", "account"), ("params", "resource/id"), ("client", "id"))
_BUCKET_NAMES: Names = ("params", "bucket")
_BUCKET_RULE = "must be the name of a bucket: 2 to 255 of A-Z a-z 0-9 . _ -"
_PATH_RULE = "must begin with a slash, as each path does"
_NAME_RULE = "must begin as an id or the name of a bucket does, without a slash"


def value_problem(pattern: str, names: Names, *, is_text: bool) -> str:
    """Return why no request has such a value at ``names``, or "" if one may.

    ``is_text`` says that the pattern is taken literally, as in an $enum.
    """
    if is_text or not _NO_TEXT.fullmatch(pattern):
        return _text_problem(pattern, names)
    return _regex_problem(pattern[1:], names) if pattern.startswith("#") else ""


def _text_problem(text: str, names: Names) -> str:
    words = _words().get(names, ())
    if words and text not in words:
        similar = suggestion(text, words)
        return f"must be one of {', '.join(words)}{f'; did you mean {similar}?' if similar else ''}"
    field = _fields().get(names)
    return field.message if field and not _accepts(field, text) else ""


def _accepts(field: Text | Number, text: str) -> bool:
    if isinstance(field, Number):
        return bool(_NUMBER.fullmatch(text)) and int(text) in field.range
    return not field.rule or bool(field.rule.fullmatch(text))


@lru_cache(1000)
def _regex_problem(source: str, names: Names) -> str:
    words = _words().get(names, ())
    if words:
        regex = compile_regex(source)
        find = regex.program.find if regex.program else None
        if not any(find(word.encode()) if find else word.startswith(regex.prefix) for word in words):
            return f"must match one of {', '.join(words)}"
    # Others cost more than the answer is worth.
    if is_plain_prefix(source):
        if names == ("uri",) and not source.startswith("^/"):
            return _PATH_RULE
        if names in (*_IDS, _BUCKET_NAMES) and not re.fullmatch(r"\^[A-Za-z0-9][A-Za-z0-9_-]*", source):
            return _NAME_RULE
    return ""


@cache
def _words() -> Mapping[Names, Sequence[str]]:
    """Return the values that are one of a few words."""
    of_fields = {("params", name): field.words for name, field in _param_fields().items() if isinstance(field, Word)}
    return of_fields | {
        ("request-method",): _METHODS,
        ("params", "operation"): _OPERATIONS,
        ("params", "resource/type"): _TYPES,
        ("client", "resourceType"): ("Client",),
    }


@cache
def _fields() -> Mapping[Names, Text | Number]:
    """Return the fields that accept each value that a request can have."""
    of_params = {("params", name): field for name, field in _param_fields().items() if name != _ANY_LENGTH}
    return of_params | {
        **dict.fromkeys(_IDS, Text(ID.pattern, ID_RULE)),
        ("uri",): Text("(?s:/.*)", _PATH_RULE),
        _BUCKET_NAMES: Text(BUCKET, _BUCKET_RULE),
    }


def _param_fields() -> Mapping[str, Text | Number]:
    schemas: Sequence[type[WireSchema]] = [*PARAM_SCHEMAS, SigningQuery]
    all_fields = [field for schema in schemas for field in schema().fields.values()]
    return {field.data_key: field for field in all_fields if isinstance(field, Text | Number) and field.data_key}
