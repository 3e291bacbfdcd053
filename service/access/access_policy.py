"""The resource type AccessPolicy: a rule that allows requests.

Source: https://docs.aidbox.app/security/authorization/access-policies
"""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from itertools import islice
from typing import Any

from marshmallow import ValidationError, fields, validates_schema

from service.access.client import ClientSchema, description_field
from service.access.policies.evaluation import Evaluation
from service.access.policies.matchers import scalar_text
from service.access.policies.matcho import MalformedPattern, Pattern, PatternFault, compile_pattern
from service.access.policies.unrestricted import unrestricted_faults
from service.access.policies.values import PARAM_SCHEMAS
from service.errors import Issue
from service.resources.fields import ID_RULE, Number, Text, Word
from service.resources.schemas import MAX_EXPIRATION_SECONDS, ResourceSchema, shortened
from service.resources.suggestions import suggestion
from service.resources.types import Exists, ResourceType
from service.stores.pacing import in_chunks
from service.stores.record import ID, Resource

ALLOW, MATCHO = "allow", "matcho"
MAX_LINKS = 1000
# Each message takes up to 0.25 ms.
MAX_UNKNOWN_NAMES = 20

# The parts of a request. A misspelt name would always be nil, and so match under nil? or $not.
REQUEST_NAMES = frozenset({"request-method", "uri", "params", "client", "jwt", "headers", "body"})
_CLIENT_NAMES = ("id", "resourceType")
# Policies see the names of headers in lower case, and none of the headers that hold credentials.
# Source: https://www.rfc-editor.org/rfc/rfc9110#name-tokens
_HEADER = re.compile(r"(?!(?:proxy-)?authorization$|cookie$)[!#$%&'*+.^_`|~0-9a-z-]+")
_OTHER_PARAMS = {
    *("operation", "account", "bucket", "key", "key-prefix", "expiration"),
    *("resource/type", "resource/id"),
}

# Operations on many objects, or of several requests. Policies that do not name them were not written for them.
NAMED_OPERATIONS = frozenset({"list", "multipart", "form"})
_ANOTHER_OPERATION = "another"

_DROPPED_LINK = (
    "the stored policy has one, and without it this would be for every caller; to remove it, delete the policy"
)


@cache
def param_names() -> Collection[str]:
    """Return the names that ``params`` can have."""
    # Policies see these as response-content-disposition, key and key-prefix.
    signed = {name for schema in PARAM_SCHEMAS for name in schema().names} - {"download", "filename", "starts-with"}
    return sorted(signed | _OTHER_PARAMS)


@dataclass(frozen=True, kw_only=True, slots=True)
class AccessPolicy:
    """A rule that allows requests.

    ``link`` has the ids of the Clients that it applies to; if empty, it applies to every principal.
    ``pattern`` is None for the engine ``allow``. ``max_expiration`` is in seconds.
    """

    id: str
    engine: str
    pattern: Pattern | None
    link: frozenset[str] = frozenset()
    max_expiration: int | None = None

    def allows(self, evaluation: Evaluation) -> bool:
        """Return whether the policy allows the request. Raises TooMuchWork and TooMuchTime."""
        if self.pattern and not (self.pattern.matches(evaluation) and _names_operation(self.pattern, evaluation)):
            return False
        return self.max_expiration is None or _expires_within(evaluation.request, self.max_expiration)

    def mismatch(self, evaluation: Evaluation) -> str | None:
        """Return why the policy does not allow the request, or None if it does. Raises TooMuchWork."""
        if self.pattern and (mismatch := self.pattern.mismatch(evaluation)):
            return mismatch
        if self.pattern and not _names_operation(self.pattern, evaluation):
            return f"params.operation is one that a pattern must name: {', '.join(sorted(NAMED_OPERATIONS))}"
        if self.max_expiration is None or _expires_within(evaluation.request, self.max_expiration):
            return None
        return f"params.expiration is more than max-expiration, {self.max_expiration}"


def _names_operation(pattern: Pattern, evaluation: Evaluation) -> bool:
    """Return whether a pattern that matches names the request's operation, if it is one of NAMED_OPERATIONS.

    It does if it does not match the same request with another operation. So ``present?`` and ``$not`` do not count.
    """
    params = evaluation.request.get("params")
    if not isinstance(params, Mapping) or scalar_text(params.get("operation")) not in NAMED_OPERATIONS:
        return True
    another = {**evaluation.request, "params": {**params, "operation": _ANOTHER_OPERATION}}
    return not pattern.matches(evaluation.continue_with(another))


def _expires_within(request: Mapping[str, Any], seconds: int) -> bool:
    """Return whether the request's expiration is at most ``seconds``. It has none if it signs nothing."""
    params = request.get("params")
    expiration = params.get("expiration") if isinstance(params, Mapping) else None
    if expiration is None:
        return True
    text = scalar_text(expiration) or ""
    return re.fullmatch("[0-9]{1,12}", text) is not None and int(text) <= seconds


def _validate_links(value: Any) -> None:
    # An empty list is refused: a policy without a link applies to every principal.
    if not isinstance(value, list) or not 0 < len(value) <= MAX_LINKS or None in map(linked_client, value):
        raise ValidationError(
            f"must be a list of 1 to {MAX_LINKS} references, each {{reference: Client/id}} "
            "or {id: id, resourceType: Client}; without one, the policy is for every caller"
        )


def _compile(value: Any, *, stored: bool = False) -> Pattern:
    try:
        pattern = compile_pattern(value, stored=stored)
    except MalformedPattern as error:
        raise ValidationError(_messages(error.faults)) from None
    if unknown := sorted(pattern.names - REQUEST_NAMES):
        raise ValidationError(
            f"has the unknown names {', '.join(unknown)}; a request has {', '.join(sorted(REQUEST_NAMES))}"
        )
    return pattern


def _validate_pattern(value: Any) -> None:
    if messages := [*islice(unknown_members(_compile(value)), MAX_UNKNOWN_NAMES)]:
        raise ValidationError(messages)


class StoredPattern(fields.Field[Pattern]):
    """The pattern of a stored policy, compiled."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Pattern:
        del attr, data, kwargs
        return _compile(value, stored=True)


def unknown_members(pattern: Pattern) -> Iterator[str]:
    """Yield a message for each name that a pattern reads in a part of the request, and that the part never has."""
    for part, known in (("params", param_names()), ("client", _CLIENT_NAMES)):
        yield from unknown_names(part, sorted(name for it, name in pattern.members if it == part), known)
    yield from unknown_headers(sorted(name for it, name in pattern.members if it == "headers"))


def unknown_names(part: str, names: Iterable[str], known: Collection[str]) -> Iterator[str]:
    """Yield a message for each name that ``part`` of a request never has."""
    for name in names:
        if name not in known:
            similar = suggestion(name, known)
            hint = f"; did you mean {similar}?" if similar else ""
            yield f"has the unknown name {shortened(f'{part}.{name}')}, which no request has{hint}"


def unknown_headers(names: Iterable[str]) -> Iterator[str]:
    """Yield a message for each name that ``headers`` of a request never has."""
    for name in names:
        if not _HEADER.fullmatch(name):
            yield (
                f"has the unknown name {shortened(f'headers.{name}')}, which no request has: names of headers are in "
                "lower case, and credentials are not shown"
            )


def _messages(faults: Sequence[PatternFault]) -> list[str]:
    return [f"{fault.problem}; this is at {fault.path}" if fault.path else fault.problem for fault in faults]


class StoredAccessPolicySchema(ResourceSchema):
    """A stored policy. Earlier versions stored some that today's rules refuse."""

    kind = "AccessPolicy"
    id = Text(
        ID.pattern,
        ID_RULE,
        visible=True,
        required=True,
        metadata={"description": "The name of the policy.", "examples": ["my-policy"]},
    )
    engine = Word(
        "allow",
        MATCHO,
        message="must be allow or matcho",
        required=True,
        metadata={
            "description": "The policy allows every request of its Clients, or those that match a pattern.",
            "examples": [MATCHO],
        },
    )
    matcho: fields.Field[Any] = StoredPattern()
    link = fields.Raw(
        validate=_validate_links,
        metadata={
            "type": "array",
            "minItems": 1,
            "maxItems": MAX_LINKS,
            "items": {"type": "object"},
            "description": "The Clients to which the policy applies. Without it, the policy is for every caller.",
            "examples": [[{"reference": "Client/my-client"}]],
        },
    )
    max_expiration = Number(
        1,
        MAX_EXPIRATION_SECONDS,
        " of seconds",
        metadata={"description": "The policy allows URLs of at most this lifetime in seconds."},
    )
    description = description_field("What the policy is for, for people.")

    @validates_schema(skip_on_field_errors=False, pass_original=True)
    def _validate_engine(self, data: Mapping[str, Any], original: Mapping[str, Any], **_: Any) -> None:
        given = original.get("matcho") is not None
        if data.get("engine") == MATCHO and not given:
            raise ValidationError("is missing; the engine matcho needs it", "matcho")
        if data.get("engine") == ALLOW and given:
            raise ValidationError("is not used by the engine allow; leave it out", "matcho")


class AccessPolicySchema(StoredAccessPolicySchema):
    """A rule that allows requests. A request that no policy allows is denied."""

    matcho = fields.Raw(
        validate=_validate_pattern,
        metadata={
            "type": "object",
            "description": "The pattern that a request must match, for the engine matcho.",
            "examples": [{"params": {"key": "#^team-a/"}}],
        },
    )
    conditions = (
        {
            "anyOf": [
                {"properties": {"engine": {"const": MATCHO}}},
                {"required": ["link"], "properties": {"link": {"type": "array", "items": {"type": "object"}}}},
            ]
        },
    )

    @validates_schema(skip_on_field_errors=False, pass_original=True)
    def _validate_link(self, data: Mapping[str, Any], original: Mapping[str, Any], **_: Any) -> None:
        if data.get("engine") == ALLOW and original.get("link") is None:
            raise ValidationError("is missing; the engine allow permits every request, so name its clients", "link")


def _restriction_issues(values: Mapping[str, Any]) -> Sequence[Issue]:
    """Return the faults of a valid policy that may allow too much."""
    name = f"{AccessPolicySchema.kind}.matcho"
    faults = unrestricted_faults(values["matcho"]) if "matcho" in values else ()
    return [Issue(f"{name} {message}", name) for message in _messages(faults)]


async def link_issues(values: Mapping[str, Any], stored: Resource | None, exists: Exists) -> Sequence[Issue]:
    """Return the faults of a policy's link, compared to the stored policy and the stored Clients."""
    field_name = f"{AccessPolicySchema.kind}.link"
    if "link" not in values:
        dropped = stored is not None and stored.fields.get("link")
        return [Issue(f"{field_name} is missing; {_DROPPED_LINK}", field_name)] if dropped else ()
    clients = list(dict.fromkeys(filter(None, map(linked_client, values["link"]))))
    found = await in_chunks(partial(exists, ClientSchema.kind), clients)
    return [
        Issue(f"{field_name} names Client/{client}, which does not exist; store it first, or leave it out", field_name)
        for client, is_found in zip(clients, found, strict=True)
        if not is_found
    ]


def linked_client(link: Any) -> str | None:
    """Return the id of the Client that a link refers to, or None if the link is malformed."""
    if not isinstance(link, dict):
        return None
    if link.keys() == {"reference"}:
        kind, _, id_ = str(link["reference"]).partition("/")
    elif link.keys() == {"id", "resourceType"}:
        kind, id_ = str(link["resourceType"]), str(link["id"])
    else:
        return None
    return id_ if kind == ClientSchema.kind and ID.fullmatch(id_) else None


def _policy(
    *,
    id: str,
    engine: str,
    matcho: Pattern | None = None,
    link: Sequence[Any] = (),
    max_expiration: int | None = None,
    **_: Any,
) -> AccessPolicy:
    clients = frozenset(id_ for id_ in map(linked_client, link) if id_)
    return AccessPolicy(id=id, engine=engine, pattern=matcho, link=clients, max_expiration=max_expiration)


ACCESS_POLICY = ResourceType(
    AccessPolicySchema,
    model=_policy,
    stored_schema=StoredAccessPolicySchema,
    value_issues=_restriction_issues,
    write_issues=link_issues,
)
