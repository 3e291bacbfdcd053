"""YAML bytes to text in dicts and lists, within the limits of a body. Knows events, no types: the schema has those."""

import re
from collections.abc import Callable
from io import StringIO
from typing import Any, Final

import yaml
from yaml._yaml import CParser
from yaml.reader import ReaderError

from service.errors import MalformedBody
from service.web.limits import (
    EMPTY,
    LARGE_BODY,
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
# libyaml compares each directive with all before it: 1 MiB of them takes ten seconds, in one call.
_TAG_DIRECTIVE = re.compile("(?<![^\n\r\x85\u2028\u2029])%TAG")

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
    if "%TAG" in text and (directive := _TAG_DIRECTIVE.search(text)):
        raise MalformedBody("tag directives are not allowed", *position(text[: directive.start()].encode()))
    document = _Document()
    try:
        # The bare parser: CSafeLoader would add 40 % for a constructor and a resolver that nobody asks.
        parser = CParser(text if len(text) <= LARGE_BODY else _Pieces(text))
        for event in iter(parser.get_event, None):
            _STEPS[type(event)](document, event)
    except yaml.MarkedYAMLError as error:
        raise _unreadable(error) from None
    except ReaderError as error:
        raise MalformedBody(error.reason, *position(text.encode()[: error.position])) from None
    if document.root is None:
        raise MalformedBody(EMPTY)
    return document.root


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

    __slots__ = ("_key", "_nodes", "_outer", "_started", "_top", "root")

    def __init__(self) -> None:
        self.root: dict[str, Any] | None = None
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
        if self._key is None and type(self._top) is dict:
            self._begin_member(event)
        else:
            plain = event.implicit[0]
            self._put(None if plain and event.value in _NULLS else event.value, event)

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

    def _begin_member(self, event: yaml.ScalarEvent) -> None:
        key = event.value
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
