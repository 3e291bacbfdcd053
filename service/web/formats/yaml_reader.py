"""YAML bytes to text in dicts and lists, within the limits of a body. Knows events, no types: the schema has those."""

import re
import secrets
from collections.abc import Callable
from io import StringIO
from typing import Any, Final

import yaml
from yaml._yaml import CParser
from yaml.reader import ReaderError

from service.errors import MalformedBody
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
_QUOTES = frozenset("'\"")
# libyaml compares each directive with all before it: 1 MiB of them takes ten seconds, in one call.
_TAG_DIRECTIVE = re.compile("(?<![^\n\r])%TAG")
_BYTE_ORDER_MARK = "\ufeff"
# libyaml ends a line at each of the first three, as YAML 1.1 does; to YAML 1.2 (section 5.4) they are characters.
# libyaml skips a byte order mark that begins a line; to YAML 1.2 (section 5.2) it is an error.
_DISPUTED = re.compile("[\x85\u2028\u2029]|(?<![^\n\r])\ufeff")
# After an odd number of backslashes, the next one is escaped and begins nothing.
_SURROGATE_ESCAPE = re.compile(r"(?<!\\)((?:\\\\)*+)\\u([dD][89a-fA-F][0-9a-fA-F]{2})")
_PRIVATE_USE = [chr(code) for code in range(0xE000, 0xF900)]

# What most bodies are: one line, which is text whatever stands around it, and of which libyaml makes fourteen objects.
_ONE_MEMBER = re.compile(r"([A-Za-z][A-Za-z-]{0,99}): ([A-Za-z0-9_./][A-Za-z0-9_./-]*)\n?")


def load_yaml(body: bytes) -> dict[str, Any]:
    """Read one YAML mapping: every scalar is the text that was written, plain ``null``, ``~`` and nothing are None.

    Raises:
        MalformedBody: for anything else; anchors, aliases, tags, merge keys and duplicate keys among it.
    """
    text = decode(body)
    if member := _ONE_MEMBER.fullmatch(text):
        key, value = member.groups()
        return {key: None if value in _NULLS else value}
    _refuse_what_readers_dispute(text)
    text, surrogates = _hide_surrogates(text)
    document = _Document(surrogates)
    try:
        # The bare parser: CSafeLoader would add 40 % for a constructor and a resolver that nobody asks.
        parser = CParser(text if len(text) <= LARGE_BODY else _Pieces(text))
        for event in iter(parser.get_event, None):
            _STEPS[type(event)](document, event)
    except yaml.MarkedYAMLError as error:
        raise _unreadable(error) from None
    except ReaderError as error:
        problem = "this character is not allowed unless it is escaped in double quotes"
        raise MalformedBody(problem, *position(text.encode()[: error.position])) from None
    if document.root is None:
        raise MalformedBody(EMPTY)
    return document.root


def _refuse_what_readers_dispute(text: str) -> None:
    if "%TAG" in text and (directive := _TAG_DIRECTIVE.search(text)):
        raise MalformedBody("tag directives are not allowed", *_position(text, directive.start()))
    if not text.isascii() and (found := _DISPUTED.search(text)):
        raise MalformedBody(_escape_it(found[0]), *_position(text, found.start()))


def _escape_it(char: str) -> str:
    code = ord(char)
    return f'a raw U+{code:04X}, which readers take for different things; escape it as "\\u{code:04x}"'


def _position(text: str, index: int) -> tuple[int, int]:
    return position(text[:index].encode())


def _hide_surrogates(text: str) -> tuple[str, re.Pattern[str] | None]:
    """Put a marker in place of the two characters that begin an escape of half a surrogate pair.

    libyaml refuses such escapes, and it alone knows which of them are in double quotes. A marker has two characters
    too, so positions stay true. The second item finds the markers in libyaml's scalars; None if there are none.
    """
    if "\\ud" not in text and "\\uD" not in text:
        return text, None
    # A random one: a body cannot be made to hold it.
    while (marker := secrets.choice(_PRIVATE_USE) + secrets.choice(_PRIVATE_USE)) in text:
        pass
    hidden = _SURROGATE_ESCAPE.sub(rf"\g<1>{marker}\g<2>", text)
    return hidden, re.compile(f"{marker}([0-9a-fA-F]{{4}})")


def _reveal(text: str, surrogates: re.Pattern[str], *, escapes: bool) -> str:
    """The text that was written. Raises UnicodeDecodeError for a lone surrogate where they are ``escapes``."""
    if not escapes:
        return surrogates.sub(r"\\u\1", text)
    halves = surrogates.sub(lambda found: chr(int(found[1], 16)), text)
    return halves.encode("utf-16-le", "surrogatepass").decode("utf-16-le")


class _Pieces:
    """A text that libyaml asks for piece by piece, 16 KiB each, so that the interpreter lock can change hands.

    Without, one event holds it as long as it takes: 60 ms for a scalar of 4 MiB.
    """

    def __init__(self, text: str) -> None:
        self._rest = StringIO(text)

    def read(self, size: int = -1, /) -> str:
        return self._rest.read(size)


def _unreadable(error: yaml.MarkedYAMLError) -> MalformedBody:
    """Tell libyaml's words, which are constants. Its marks would quote the body."""
    words = ", ".join(part for part in (error.context, error.problem) if part)
    return _fault(words, error.problem_mark or error.context_mark)


def _fault(problem: str, mark: Any) -> MalformedBody:
    return MalformedBody(problem, mark.line + 1, mark.column + 1)


class _Document:
    """Plain data, built event by event on a stack: a loader's recursion is a crash at some depth."""

    __slots__ = ("_key", "_nodes", "_outer", "_started", "_surrogates", "_top", "root")

    def __init__(self, surrogates: re.Pattern[str] | None = None) -> None:
        self.root: dict[str, Any] | None = None
        self._surrogates = surrogates
        self._started = False
        self._nodes = 0
        self._top: Any = None  # The innermost open collection,
        self._key: str | None = None  # the key there that waits for its value,
        self._outer: list[Any] = []  # and the collections around it.

    def start(self, event: yaml.DocumentStartEvent) -> None:
        if self._started:
            raise _fault("a second document", event.start_mark)
        self._started = True

    def scalar(self, event: yaml.ScalarEvent) -> None:
        self._admit(event)
        text = event.value if event.value.isascii() else self._text(event)
        if self._key is None and type(self._top) is dict:
            self._begin_member(text, event)
        else:
            plain = event.implicit[0]
            self._put(None if plain and text in _NULLS else text, event)

    def _text(self, event: yaml.ScalarEvent) -> str:
        text: str = event.value
        if _BYTE_ORDER_MARK in text and event.style not in _QUOTES:
            raise _fault(_escape_it(_BYTE_ORDER_MARK), event.start_mark)
        if self._surrogates is None:
            return text
        try:
            return _reveal(text, self._surrogates, escapes=event.style == '"')
        except UnicodeDecodeError:
            raise _fault(LONE_SURROGATE, event.start_mark) from None

    def mapping(self, event: yaml.MappingStartEvent) -> None:
        self._open({}, event)

    def sequence(self, event: yaml.SequenceStartEvent) -> None:
        self._open([], event)

    def close(self, _event: yaml.Event) -> None:
        self._top = self._outer.pop()

    def alias(self, event: yaml.AliasEvent) -> None:
        raise _fault("aliases are not allowed", event.start_mark)

    def nothing(self, event: yaml.Event) -> None:
        """The stream begins or ends, the document ends: nothing to build."""

    def _admit(self, event: yaml.ScalarEvent | yaml.MappingStartEvent | yaml.SequenceStartEvent) -> None:
        self._nodes += 1
        if self._nodes > MAX_NODES:
            raise _fault(TOO_MANY, event.start_mark)
        if event.anchor is not None:
            raise _fault("anchors are not allowed", event.start_mark)
        if event.tag is not None:
            raise _fault("tags are not allowed", event.start_mark)

    def _begin_member(self, key: str, event: yaml.ScalarEvent) -> None:
        if key == "<<" and event.implicit[0]:
            raise _fault("merge keys are not allowed", event.start_mark)
        if key in self._top:
            raise _fault(duplicate(key), event.start_mark)
        self._key = key

    def _open(self, collection: Any, event: yaml.MappingStartEvent | yaml.SequenceStartEvent) -> None:
        self._admit(event)
        if self._key is None and type(self._top) is dict:
            raise _fault("a key that is not text", event.start_mark)
        self._put(collection, event)
        self._outer.append(self._top)
        if len(self._outer) > MAX_DEPTH:
            raise _fault(TOO_DEEP, event.start_mark)
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
            raise _fault(NO_OBJECT, event.start_mark)


_STEPS: Final[dict[type, Callable[[_Document, Any], None]]] = {
    yaml.StreamStartEvent: _Document.nothing,
    yaml.StreamEndEvent: _Document.nothing,
    yaml.DocumentStartEvent: _Document.start,
    yaml.DocumentEndEvent: _Document.nothing,
    yaml.MappingStartEvent: _Document.mapping,
    yaml.MappingEndEvent: _Document.close,
    yaml.SequenceStartEvent: _Document.sequence,
    yaml.SequenceEndEvent: _Document.close,
    yaml.ScalarEvent: _Document.scalar,
    yaml.AliasEvent: _Document.alias,
}
