"""Fields of signing requests, and JSON Schema for several of them."""

import re
from collections.abc import Mapping
from typing import Any

from marshmallow import ValidationError, fields

from service.resources.fields import VISIBLE, Text

NULL = {"type": "null"}
LINE = rf"{VISIBLE}(?:(?:{VISIBLE}| ){{0,1022}}{VISIBLE})?"
LINE_RULE = "must be 1 to 1024 visible characters, with spaces only inside"


def line_field(**options: Any) -> Text:
    """Return a field for the value of a header. Clients cannot send other characters, or spaces at an end."""
    return Text(LINE, LINE_RULE, visible=True, **options)


def base64_field(size: int) -> Text:
    """Return a field for ``size`` bytes in base64, in the one spelling that encoders produce."""
    last = {1: "[AQgw]==", 2: "[AEIMQUYcgkosw048]="}[size % 3]
    characters = size // 3 * 4 + size % 3
    return Text(rf"[A-Za-z0-9+/]{{{characters}}}{last}", f"must be {size} bytes in base64", visible=True)


def upload_id_field(**options: Any) -> Text:
    return Text(rf"{VISIBLE}{{1,2048}}", "must be 1 to 2048 visible characters", visible=True, **options)


class TextMap(fields.Field[dict[str, str]]):
    """A mapping of at most ``at_most`` texts, whose names and values match as a whole. ``rule`` describes both."""

    def __init__(self, names: str, values: str, rule: str, *, at_most: int) -> None:
        super().__init__()
        self.names, self.values = re.compile(names), re.compile(values)
        self.rule = rule
        self.at_most = at_most

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> dict[str, str]:
        del attr, data, kwargs
        if not isinstance(value, Mapping) or len(value) > self.at_most or not all(map(self._accepts, value.items())):
            raise ValidationError(f"must be {self.rule}")
        return dict(value)

    def _accepts(self, item: tuple[str, Any]) -> bool:
        name, text = item
        return isinstance(text, str) and bool(self.names.fullmatch(name) and self.values.fullmatch(text))


def not_together(*names: str) -> dict[str, Any]:
    """Return JSON Schema for objects that do not have all of these fields."""
    return {"not": {"required": [*names], "properties": {name: {"not": NULL} for name in names}}}
