"""JSON merge patches of stored resources. Pure.

Source: RFC 7396, https://www.rfc-editor.org/rfc/rfc7396
"""

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

from service.errors import Invalid, Issue
from service.resources.schemas import MAX_ISSUES, ParsedBody, shortened
from service.resources.types import ResourceType
from service.stores.record import Resource


def patch_resource(type_: ResourceType, stored: Resource, patch: ParsedBody) -> ParsedBody:
    """Return the body that replaces ``stored``. Raises Invalid for nulls that remove nothing."""
    base = {**type_.unknown_fields(stored), **type_.represent(stored)}
    values = dict(patch.values)
    for secret in type_.secrets.keys() & values.keys():
        # A secret in the patch, even a blank one, replaces the masked one.
        values[f"_{secret}"] = None
    _check_nulls(type_, base, values)
    merged = merge_patch(_as_text(base) if patch.text else base, values)
    # A null for an unknown name is a misspelling, which validation reports.
    misspelt = dict.fromkeys(values.keys() - type_.names - base.keys())
    return ParsedBody({**misspelt, **merged}, patch.text)


def merge_patch(target: Any, patch: Any) -> Any:
    """Return the target with merged objects; null removes a member, and other values replace it."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = merge_patch(merged.get(name), value)
    return merged


def _check_nulls(type_: ResourceType, base: Mapping[str, Any], patch: Mapping[str, Any]) -> None:
    """Raise Invalid for nulls inside objects that remove nothing: their author probably meant to store them.

    Without its null, a pattern of an AccessPolicy matches more requests than intended.
    """
    names = patch.keys() & (type_.names - {"meta"})
    unused = ((name, path) for name in patch if name in names for path in _unused_nulls(base.get(name), patch[name]))
    if faults := [_null_issue(type_, name, path) for name, path in islice(unused, MAX_ISSUES)]:
        raise Invalid(*faults)


def _unused_nulls(target: Any, patch: Any, path: str = "") -> Iterator[str]:
    """Yield the paths, as messages show them, of the nulls inside a patch that remove nothing."""
    if not isinstance(patch, dict):
        return
    members = target if isinstance(target, dict) else {}
    for name, value in patch.items():
        # A body can have megabytes of names, and each null would have all of them in its path.
        inner = shortened(f"{path}.{shortened(name)}" if path else name)
        if value is None and members.get(name) is None:
            yield inner
        yield from _unused_nulls(members.get(name), value, inner)


def _null_issue(type_: ResourceType, name: str, path: str) -> Issue:
    field_name = f"{type_.kind}.{name}"
    return Issue(
        f"{field_name} has a null at {path}, which would remove what is not there;"
        f" to store a null, send the whole {type_.kind} with PUT",
        field_name,
    )


def _as_text(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values with text for scalars, which a text schema converts. Objects and lists stay unchanged."""
    return {name: str(value).lower() if isinstance(value, bool | int) else value for name, value in values.items()}
