"""marshmallow fields of resources and queries, with their rules and messages.

A message completes a sentence that begins with the field's name.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from marshmallow import ValidationError, fields

from service.invisible import INVISIBLE, invisible_hint

BUCKET = r"[A-Za-z0-9][A-Za-z0-9._-]{1,254}"
"""The characters of the name of a bucket."""

ID_RULE = "must be 1 to 64 of A-Z a-z 0-9 . _ - and begin with a letter or digit"

MASKED = {
    "extension": [{"url": "http://hl7.org/fhir/StructureDefinition/data-absent-reason", "valueCode": "masked"}],
}
"""Stands for a secret in a response."""

# Text from Redis that is not UTF-8 has surrogates.
VISIBLE = rf"[^{INVISIBLE}\ud800-\udfff]"
"""A pattern for one visible character."""


class Text(fields.String):
    """A string that matches ``rule`` as a whole. ``message`` describes the rule.

    If the rule allows only ``visible`` characters, an error names the invisible ones.
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


class Word(Text):
    """One of a few words, in letters, digits, ``:`` and ``-``."""

    def __init__(self, *words: str, message: str, **options: Any) -> None:
        super().__init__("|".join(words), message, **options)
        self.words = words


class Flag(fields.Field[bool]):
    """A boolean, written as a boolean, or as ``true`` or ``false`` in a text schema."""

    words: ClassVar[Mapping[str, bool]] = {"true": True, "false": False}

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> bool:
        del attr, data, kwargs
        if isinstance(value, bool):
            return value
        if _is_text(self, value) and value in self.words:
            return self.words[value]
        raise _type_error("must be true or false", value, self)

    def _serialize(self, value: Any, attr: str | None, obj: Any, **kwargs: Any) -> Any:
        # An invalid value that an operator wrote into Redis is shown unchanged.
        del attr, obj, kwargs
        return self.words.get(value, value) if isinstance(value, str) else value


class Number(fields.Field[int]):
    """A whole number, written as an integer, or as decimal digits in a text schema."""

    def __init__(self, at_least: int, at_most: int, unit: str = "", **options: Any) -> None:
        super().__init__(**options)
        self.range = range(at_least, at_most + 1)
        self.message = f"must be a whole number{unit}, from {at_least} to {at_most}"

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> int:
        del attr, data, kwargs
        number = value
        # int() accepts '6_0', ' 60' and digits of other scripts too.
        if _is_text(self, value) and re.fullmatch("[0-9]{1,12}", value):
            # Policies compare the text, and 05 would escape a pattern that excludes 5. As JSON, it is malformed.
            if re.match("0[0-9]", value):
                raise ValidationError(f"{self.message}, without zeros in front")
            number = int(value)
        # In JSON, 60.0 and 60 are the same number.
        if isinstance(number, float) and number.is_integer():
            number = int(number)
        if type(number) is not int or number not in self.range:
            raise _type_error(self.message, value, self)
        return number


class Masked(fields.Field[dict[str, Any]]):
    """The marker of a masked secret, which clients send back after they have read a resource."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Any:
        del attr, data, kwargs
        if value != MASKED:
            raise ValidationError("must be the marker of a masked secret, as it was read")
        return value


def rule(parse: Callable[[str], object]) -> Callable[[str], None]:
    """Return a marshmallow validator from a function that raises ValueError with a message."""

    def validate(value: str) -> None:
        try:
            parse(value)
        except ValueError as error:
            raise ValidationError(f"{error}{invisible_hint(value)}") from None

    return validate


def _is_text(field: fields.Field[Any], value: Any) -> bool:
    """Return whether the value is a string in a text schema, where every scalar is a string."""
    return isinstance(value, str) and getattr(field.root, "text", False)


def _type_error(message: str, value: Any, field: fields.Field[Any]) -> ValidationError:
    is_quoted = isinstance(value, str) and not _is_text(field, value)
    return ValidationError(f"{message}, without quotes" if is_quoted else message)
