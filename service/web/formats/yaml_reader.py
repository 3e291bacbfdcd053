"""Decode YAML into dicts and lists of text, within the limits of a body. Schemas convert text to types later."""

import re
from collections.abc import Callable
from io import StringIO
from typing import Any, Final

import yaml
from yaml._yaml import CParser
from yaml.reader import ReaderError

from service.errors import MalformedBody
from service.web.formats import surrogates
from service.web.formats.limits import (
    EMPTY,
    LARGE_BODY,
    LONE_SURROGATE,
    MAX_DEPTH,
    MAX_NODES,
    NO_OBJECT,
    TOO_DEEP,
    TOO_MANY,
    decode,
    duplicate,
    position,
)

_NULLS = frozenset({"", "~", "null"})
_KEY_INDICATOR = "?"
_JOINED = "a ? in front of this key without a space, which YAML readers interpret differently; put both in quotes"
_QUOTES = frozenset("'\"")
# libyaml compares each directive with all previous ones: 1 MiB of them takes ten seconds in one call.
_TAG_DIRECTIVE = "%TAG"
_BYTE_ORDER_MARK = "\ufeff"
# The first three end a line in YAML 1.1 and libyaml, but not in YAML 1.2 (section 5.4).
# libyaml skips a byte order mark at the start of a line, which is an error in YAML 1.2 (section 5.2).
_LINE_SEPARATORS = "\x85\u2028\u2029"
_TAB = "\t"

# Most bodies are one line of plain text, for which libyaml would create fourteen objects.
_ONE_MEMBER = re.compile(r"([A-Za-z][A-Za-z-]{0,99}): ([A-Za-z0-9_./][A-Za-z0-9_./-]*)\n?")


def load_yaml(body: bytes) -> dict[str, Any]:
    """Read one YAML mapping. Scalars are text; plain ``null``, ``~`` and empty scalars are None.

    Raises:
        MalformedBody: for anything else, and for anchors, aliases, tags, merge keys and duplicate keys.
    """
    text = decode(body)
    if member := _ONE_MEMBER.fullmatch(text):
        key, value = member.groups()
        return {key: None if value in _NULLS else value}
    _reject_ambiguous_text(text)
    text, marker = surrogates.mark(_without_tabs_around_object(text))
    builder = _Builder(text, marker)
    try:
        # CSafeLoader would take 40 % more time for its constructor and resolver.
        parser = CParser(text if len(text) <= LARGE_BODY else _Stream(text))
        for event in iter(parser.get_event, None):
            _HANDLERS[type(event)](builder, event)
    except yaml.MarkedYAMLError as error:
        raise _syntax_error(error) from None
    except ReaderError as error:
        problem = "this character is not allowed unless it is escaped in double quotes"
        raise MalformedBody(problem, *position(text.encode()[: error.position])) from None
    if builder.root is None:
        raise MalformedBody(EMPTY)
    return builder.root


def _reject_ambiguous_text(text: str) -> None:
    if (index := _find_at_line_start(text, _TAG_DIRECTIVE)) >= 0:
        raise MalformedBody("tag directives are not allowed", *_position(text, index))
    if not text.isascii():
        found = [*map(text.find, _LINE_SEPARATORS), _find_at_line_start(text, _BYTE_ORDER_MARK)]
        first = min((index for index in found if index >= 0), default=-1)
        if first >= 0:
            raise MalformedBody(_ambiguity(text[first]), *_position(text, first))


def _without_tabs_around_object(text: str) -> str:
    """Return the text with spaces for the tabs around a flow mapping such as JSON. Positions stay correct."""
    # Stripping only the white space of JSON would take 60 ms for 4 MiB. libyaml refuses the rest of it.
    start, end = len(text) - len(text.lstrip()), len(text.rstrip())
    if not text.startswith("{", start):
        return text
    # libyaml refuses a tab in front of an object and on a line behind it.
    return f"{text[:start].replace(_TAB, ' ')}{text[start:end]}{text[end:].replace(_TAB, ' ')}"


def _find_at_line_start(text: str, token: str) -> int:
    """Return the first index of a token at the start of a line, or -1. One call of ``re`` takes 40 ms for 1 MiB."""
    if text.startswith(token):
        return 0
    if token not in text:
        return -1
    found = [index + 1 for end in "\n\r" if (index := text.find(end + token)) >= 0]
    return min(found, default=-1)


def _ambiguity(char: str) -> str:
    code = ord(char)
    return f'a raw U+{code:04X}, which YAML readers interpret differently; escape it as "\\u{code:04x}"'


def _position(text: str, index: int) -> tuple[int, int]:
    return position(text[:index].encode())


class _Stream:
    """A text that libyaml reads in pieces of 16 KiB, so that it releases the interpreter lock in between.

    Otherwise, one event holds the lock throughout: 60 ms for a scalar of 4 MiB.
    """

    def __init__(self, text: str) -> None:
        self._text = StringIO(text)

    def read(self, size: int = -1, /) -> str:
        return self._text.read(size)


def _syntax_error(error: yaml.MarkedYAMLError) -> MalformedBody:
    """Convert an error of libyaml. Its messages are constants, but its marks quote the body."""
    message = ", ".join(part for part in (error.context, error.problem) if part)
    return _malformed(message, error.problem_mark or error.context_mark)


def _malformed(problem: str, mark: Any) -> MalformedBody:
    return MalformedBody(problem, mark.line + 1, mark.column + 1)


class _Builder:
    """Builds plain data from events on a stack. The recursion of PyYAML's loaders crashes at some depth."""

    __slots__ = ("_key", "_marker", "_nodes", "_outer", "_source", "_started", "_top", "root")

    def __init__(self, text: str, marker: str | None = None) -> None:
        self.root: dict[str, Any] | None = None
        # Only keys of a text with a ? need the text.
        self._source = text if _KEY_INDICATOR in text else ""
        self._marker = marker
        self._started = False
        self._nodes = 0
        # The innermost open collection, its key without a value, and the collections around it.
        self._top: Any = None
        self._key: str | None = None
        self._outer: list[Any] = []

    def start(self, event: yaml.DocumentStartEvent) -> None:
        if self._started:
            raise _malformed("a second document", event.start_mark)
        self._started = True

    def scalar(self, event: yaml.ScalarEvent) -> None:
        self._check_node(event)
        text = event.value if event.value.isascii() else self._text(event)
        if self._key is None and type(self._top) is dict:
            self._start_member(text, event)
        else:
            plain = event.implicit[0]
            self._put(None if plain and text in _NULLS else text, event)

    def _text(self, event: yaml.ScalarEvent) -> str:
        text: str = event.value
        if _BYTE_ORDER_MARK in text and event.style not in _QUOTES:
            raise _malformed(_ambiguity(_BYTE_ORDER_MARK), event.start_mark)
        if self._marker is None:
            return text
        if event.style != '"':
            return text.replace(self._marker, "\\u")
        try:
            return surrogates.decode(text, self._marker)
        except UnicodeDecodeError:
            raise _malformed(LONE_SURROGATE, event.start_mark) from None

    def mapping(self, event: yaml.MappingStartEvent) -> None:
        self._open({}, event)

    def sequence(self, event: yaml.SequenceStartEvent) -> None:
        self._open([], event)

    def close(self, _event: yaml.Event) -> None:
        self._top = self._outer.pop()

    def alias(self, event: yaml.AliasEvent) -> None:
        raise _malformed("aliases are not allowed", event.start_mark)

    def ignore(self, event: yaml.Event) -> None:
        """Ignore the boundaries of the stream and the end of the document."""

    def _check_node(self, event: yaml.ScalarEvent | yaml.MappingStartEvent | yaml.SequenceStartEvent) -> None:
        self._nodes += 1
        if self._nodes > MAX_NODES:
            raise _malformed(TOO_MANY, event.start_mark)
        if event.anchor is not None:
            raise _malformed("anchors are not allowed", event.start_mark)
        if event.tag is not None:
            raise _malformed("tags are not allowed", event.start_mark)

    def _start_member(self, key: str, event: yaml.ScalarEvent) -> None:
        if key == "<<" and event.implicit[0]:
            raise _malformed("merge keys are not allowed", event.start_mark)
        if self._source and self._is_joined_to_indicator(event.start_mark, event.end_mark):
            raise _malformed(_JOINED, event.start_mark)
        if key in self._top:
            raise _malformed(duplicate(key), event.start_mark)
        self._key = key

    def _is_joined_to_indicator(self, start: Any, end: Any) -> bool:
        # In YAML 1.2, `[?a]` is a list of the text `?a` (section 7.3.3). libyaml reads the key `a`.
        return start.index < end.index and self._source[start.index - 1 : start.index] == _KEY_INDICATOR

    def _open(self, collection: Any, event: yaml.MappingStartEvent | yaml.SequenceStartEvent) -> None:
        self._check_node(event)
        if self._key is None and type(self._top) is dict:
            raise _malformed("a key that is not text", event.start_mark)
        self._put(collection, event)
        self._outer.append(self._top)
        if len(self._outer) > MAX_DEPTH:
            raise _malformed(TOO_DEEP, event.start_mark)
        self._top = collection

    def _put(self, value: Any, event: yaml.Event) -> None:
        if self._key is not None:
            self._top[self._key] = value
            self._key = None
        elif self._top is not None:
            self._top.append(value)
        elif type(value) is dict:
            self.root = value
        else:
            raise _malformed(NO_OBJECT, event.start_mark)


_HANDLERS: Final[dict[type, Callable[[_Builder, Any], None]]] = {
    yaml.StreamStartEvent: _Builder.ignore,
    yaml.StreamEndEvent: _Builder.ignore,
    yaml.DocumentStartEvent: _Builder.start,
    yaml.DocumentEndEvent: _Builder.ignore,
    yaml.MappingStartEvent: _Builder.mapping,
    yaml.MappingEndEvent: _Builder.close,
    yaml.SequenceStartEvent: _Builder.sequence,
    yaml.SequenceEndEvent: _Builder.close,
    yaml.ScalarEvent: _Builder.scalar,
    yaml.AliasEvent: _Builder.alias,
}
