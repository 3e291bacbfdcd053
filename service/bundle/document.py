"""A bundle: bytes -> entries, each of which puts or deletes one resource.

Source: https://hl7.org/fhir/bundle.html
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

from marshmallow import ValidationError, fields

from service.access.types import RESOURCE_TYPES
from service.errors import Invalid, Issue, MalformedBody
from service.invisible import invisible_hint, no_value_reason
from service.mounted_files import UnusableFile
from service.resources.fields import Text, Word
from service.resources.schemas import ParsedBody, Reader, WireSchema, shortened
from service.resources.types import ResourceType
from service.stores.record import ID
from service.web.formats import codec

FILE, ENV = "$file", "$env"
# An error that lists thousands of faults helps nobody.
MAX_FAULTS = 100

_TYPES = {type_.kind: type_ for type_ in RESOURCE_TYPES}
_URL = rf"/?(?:fhir/)?(?:{'|'.join(_TYPES)})/{ID.pattern}"

Lookup = Callable[[str, str], str]
"""Returns the text of a reference, by ``$file`` or ``$env`` and its name. Raises ValueError with a clause about it."""


class BundleError(UnusableFile):
    """A bundle that cannot be applied; ``faults`` has one sentence for each."""

    def __init__(self, faults: Sequence[str], *, depends_on_store: bool = False) -> None:
        self.depends_on_store = depends_on_store
        more = len(faults) - MAX_FAULTS
        self.faults = [*faults[:MAX_FAULTS], *([f"and {more} more faults"] if more > 0 else [])]
        super().__init__("; ".join(self.faults))


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry. ``body`` is None if it deletes the resource. ``referring`` are the fields that contain references."""

    position: int
    type: ResourceType
    id: str
    body: ParsedBody | None
    referring: frozenset[str] = frozenset()

    @property
    def key(self) -> tuple[str, str]:
        return self.type.kind, self.id

    def faults(self, issues: Iterable[Issue]) -> list[str]:
        """Return a sentence for each issue. None quotes what a reference stands for."""
        return [f"entry[{self.position}] ({self.type.kind}/{self.id}): {self._sentence(issue)}" for issue in issues]

    def _sentence(self, issue: Issue) -> str:
        field = (issue.expression or "").removeprefix(f"{self.type.kind}.")
        # Messages about secret and unknown fields never quote their values; those about other fields may.
        if field in self.referring & self.type.names - self.type.secrets.keys():
            return f"{issue.expression} is not valid with the value of its reference{self._hint(field)}"
        return issue.diagnostics

    def _hint(self, field: str) -> str:
        """Return the end of a message about a reference to a text that was pasted, or to a placeholder."""
        text = self.body.values.get(field) if self.body else None
        if not isinstance(text, str):
            return ""
        reason = no_value_reason(text)
        return invisible_hint(text) or (f"; it {reason}" if reason else "")


class _List(fields.Field[list[Any]]):
    """A list of anything: ``entries`` reads the items."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> list[Any]:
        del attr, data, kwargs
        if not isinstance(value, list):
            raise ValidationError("must be a list")
        return value


class _BundleSchema(WireSchema):
    id = fields.Raw()
    meta = fields.Raw()
    resource_type = Word("Bundle", message="must be Bundle", required=True, data_key="resourceType")
    type = Word("batch", "transaction", message="must be batch or transaction", required=True)
    entry = _List(load_default=list)


class _EntrySchema(WireSchema):
    full_url = fields.Raw(data_key="fullUrl")
    request = fields.Raw(required=True)
    resource = fields.Raw()


class _RequestSchema(WireSchema):
    method = Word("PUT", "DELETE", message="must be PUT or DELETE", required=True)
    url = Text(_URL, "must be the path of one resource, such as /AwsAccount/my-account", required=True)


_BUNDLE, _ENTRY, _REQUEST = Reader(_BundleSchema), Reader(_EntrySchema), Reader(_RequestSchema)


def parse(document: bytes) -> ParsedBody:
    """Return the plain data of a bundle in YAML or JSON. Raises ``BundleError``."""
    format_ = codec.detect_format(document)
    try:
        return ParsedBody((codec.load_json if format_ == "json" else codec.load_yaml)(document), format_ == "yaml")
    except MalformedBody as error:
        raise BundleError([f"cannot be read: {str(error).removeprefix('Malformed body: ')}"]) from None


def file_names(bundle: ParsedBody) -> list[str]:
    """Return the names of the files that a bundle refers to, each once."""
    return sorted({name for kind, name in _references(bundle.values) if kind == FILE})


def entries(bundle: ParsedBody, lookup: Lookup) -> list[Entry]:
    """Return the entries of a bundle, with texts in place of references. Raises ``BundleError`` with every fault."""
    faults: list[str] = []
    found: list[Entry] = []
    try:
        listed = _BUNDLE.read(bundle, within="Bundle")["entry"]
    except Invalid as error:
        raise BundleError([issue.diagnostics for issue in error.issues]) from None
    for position, values in enumerate(listed):
        try:
            found.append(_entry(position, values, lookup, text=bundle.text))
        except Invalid as error:
            faults += [issue.diagnostics for issue in error.issues]
    counts = Counter(entry.key for entry in found)
    faults += [f"{kind}/{id_} is in {number} entries; keep one" for (kind, id_), number in counts.items() if number > 1]
    if faults:
        raise BundleError(faults)
    return found


def _entry(position: int, values: Any, lookup: Lookup, *, text: bool) -> Entry:
    where = f"entry[{position}]"
    outer = _read(_ENTRY, values, where, text=text)
    request = _read(_REQUEST, outer["request"], f"{where}.request", text=text)
    kind, id_ = request["url"].split("/")[-2:]
    type_, resource = _TYPES[kind], outer.get("resource")
    if request["method"] == "DELETE":
        if resource is not None:
            raise Invalid(f"{where}.resource is not used by DELETE; leave it out")
        return Entry(position, type_, id_, None)
    if not isinstance(resource, Mapping) or _reference(resource):
        raise Invalid(f"{where}.resource must be an object")
    issues: list[str] = []
    body = _resolve(resource, partial(_try_to_look_up, lookup, issues))
    for name, secret in type_.secrets.items():
        if f"_{name}" in resource:
            issues.append(f"{kind}._{name} is masked; a bundle must hold the secret, or a reference to it")
        elif secret.generated and resource.get(name) is None:
            issues.append(f"{kind}.{name} is missing; a bundle cannot show a generated one")
    if issues:
        raise Invalid(*(f"{where} ({kind}/{id_}): {issue}" for issue in issues))
    referring = frozenset(name for name, value in resource.items() if any(_references(value)))
    return Entry(position, type_, id_, ParsedBody(body, text), referring)


def _read(reader: Reader, values: Any, within: str, *, text: bool) -> dict[str, Any]:
    if not isinstance(values, Mapping):
        raise Invalid(f"{within} must be an object")
    return reader.read(ParsedBody(values, text), within=within)


class _Reference(NamedTuple):
    kind: str
    name: str


def _reference(value: Any) -> _Reference | None:
    if isinstance(value, Mapping) and len(value) == 1:
        ((kind, name),) = value.items()
        if kind in {FILE, ENV}:
            return _Reference(kind, name if isinstance(name, str) else "")
    return None


def _references(value: Any) -> Iterator[_Reference]:
    if reference := _reference(value):
        yield reference
    elif isinstance(value, Mapping | list):
        for item in value.values() if isinstance(value, Mapping) else value:
            yield from _references(item)


def _resolve(value: Any, look_up: Callable[[_Reference], str]) -> Any:
    if reference := _reference(value):
        return look_up(reference)
    if isinstance(value, Mapping):
        return {name: _resolve(item, look_up) for name, item in value.items()}
    return [_resolve(item, look_up) for item in value] if isinstance(value, list) else value


def _try_to_look_up(lookup: Lookup, issues: list[str], reference: _Reference) -> str:
    try:
        return lookup(*reference)
    except ValueError as error:
        issues.append(f"{reference.kind} {shortened(reference.name)!r} {error}")
        return ""
