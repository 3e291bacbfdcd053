"""JSON Patches of stored resources. Pure.

The library applies them; docs/adr/0030 says which operations it is not given.

Source: RFC 6902, https://www.rfc-editor.org/rfc/rfc6902
"""

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import jsonpatch
from jsonpointer import JsonPointer, JsonPointerException

from service import json_text
from service.errors import Invalid, Issue
from service.resources.fields import MASKED
from service.resources.schemas import ParsedBody
from service.resources.types import ResourceType
from service.stores.record import Resource

# The event loop waits while a patch is applied, about 10 ms for the slowest one within these limits.
MAX_OPERATIONS = 100
# The items of all objects and lists of a patch. No resource has as many.
MAX_VALUES = 4000
MAX_PATH_LENGTH = 1024
# The sum of all paths of a patch. The library splits each path several times.
MAX_PATHS_LENGTH = 20_000
# Copies of a longer text, such as one of nearly 1 MiB, would take the memory of the process.
MAX_COPIED_TEXT = 2000
# They would show what a secret is, or put it where it can be read.
_NOT_FOR_SECRETS = frozenset({"test", "copy", "move"})
# Stands for a stored secret, so that the patch can replace or remove it.
_KEPT = object()
_NOTHING = object()
_NO_PLACE = "does not apply: its path or from is no JSON Pointer to a place in the resource"


def patch_resource(type_: ResourceType, stored: Resource, patch: ParsedBody) -> ParsedBody:
    """Return the body that replaces ``stored``. Raises Invalid for an operation that does not apply."""
    operations = patch.operations or ()
    _check_size(operations)
    document = copy.deepcopy({**type_.unknown_fields(stored), **type_.represent(stored)})
    masked = [name for name in type_.secrets if f"_{name}" in document]
    document |= dict.fromkeys(masked, _KEPT)
    for number, operation in enumerate(operations, 1):
        try:
            _apply(type_, document, operation)
        except _Unfit as fault:
            raise Invalid(f"Operation {number} of the JSON Patch {fault}") from None
    for name in masked:
        if document.get(name) is _KEPT:
            del document[name]
        elif document.get(f"_{name}") == MASKED:
            # The secret is replaced or removed. Any other marker is one that the patch has changed, and stays a fault.
            del document[f"_{name}"]
    if document.get("id") != stored.id:
        raise Invalid(Issue(f"{type_.kind}.id cannot change; create another {type_.kind} instead", f"{type_.kind}.id"))
    if _depth(document) > json_text.MAX_DEPTH:
        raise Invalid(Issue(f"The patched {type_.kind} is nested deeper than {json_text.MAX_DEPTH}"))
    return ParsedBody(document, text=False)


def _check_size(operations: Sequence[Any]) -> None:
    if len(operations) > MAX_OPERATIONS:
        raise Invalid(f"A JSON Patch must have at most {MAX_OPERATIONS} operations")
    if _is_large(operations):
        raise Invalid(f"A JSON Patch must have at most {MAX_VALUES} values")
    paths = (it.get(name) for it in operations if isinstance(it, dict) for name in ("path", "from"))
    if sum(len(path) for path in paths if isinstance(path, str)) > MAX_PATHS_LENGTH:
        raise Invalid(f"A JSON Patch must have at most {MAX_PATHS_LENGTH} characters in all its paths")


def _is_large(operations: Sequence[Any]) -> bool:
    """Return whether the operations have more than MAX_VALUES items. Stops there, so that it takes little time."""
    found = list(operations)
    for value in found:
        if len(found) > MAX_VALUES:
            return True
        if isinstance(value, dict | list):
            found.extend(value.values() if isinstance(value, dict) else value)
    return False


def _depth(value: Any) -> int:
    """Return how deep objects and lists are nested. Limits of bodies and paths bound the recursion."""
    if not isinstance(value, dict | list):
        return 0
    return 1 + max(map(_depth, value.values() if isinstance(value, dict) else value), default=0)


class _Unfit(Exception):
    """The reason why an operation is refused."""


def _apply(type_: ResourceType, document: dict[str, Any], operation: Any) -> None:
    try:
        _check_length(operation)
        patch = jsonpatch.JsonPatch([operation])
        _check(type_, document, operation)
        patch.apply(document, in_place=True)
    except jsonpatch.JsonPatchTestFailed:
        raise _Unfit("is a test that fails") from None
    except (jsonpatch.InvalidJsonPatch, TypeError):
        raise _Unfit("is malformed; it must have op, path, and value or from, as RFC 6902 says") from None
    except (jsonpatch.JsonPatchConflict, JsonPointerException):
        # The library's text can contain the document.
        raise _Unfit(_NO_PLACE) from None


def _check_length(operation: Mapping[str, Any]) -> None:
    """Raise _Unfit for a path that the library would take long to split."""
    for name in ("path", "from"):
        if name in operation and len(operation[name]) > MAX_PATH_LENGTH:
            raise _Unfit(f"has a {name} of more than {MAX_PATH_LENGTH} characters")


def _check(type_: ResourceType, document: dict[str, Any], operation: Mapping[str, Any]) -> None:
    """Raise _Unfit for operations on the whole resource or on secrets, and those that could grow without limit."""
    pointers = [JsonPointer(operation[name]) for name in ("path", "from") if name in operation]
    for pointer in pointers:
        if not pointer.parts:
            raise _Unfit(f"is for the whole {type_.kind}; send a PUT instead")
        if len(pointer.parts) > json_text.MAX_DEPTH:
            raise _Unfit(f"has a path of more than {json_text.MAX_DEPTH} names")
        if operation["op"] in _NOT_FOR_SECRETS and pointer.parts[0] in type_.secrets:
            raise _Unfit(f"is a {operation['op']} of {pointer.parts[0]}, which takes only add, replace and remove")
    # Copies of copies would double the resource each time.
    if operation["op"] in {"copy", "move"}:
        value = pointers[-1].resolve(document, _NOTHING)
        if value is _NOTHING and "from" in operation:
            # The library would write the whole document into an error once more.
            raise _Unfit(_NO_PLACE)
        if isinstance(value, dict | list):
            raise _Unfit(f"is a {operation['op']} of an object or a list; add the value instead")
        if operation["op"] == "copy" and isinstance(value, str) and len(value) > MAX_COPIED_TEXT:
            raise _Unfit(f"is a copy of a text of more than {MAX_COPIED_TEXT} characters; add the value instead")
