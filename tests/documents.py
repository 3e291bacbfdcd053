"""Reads the documents' examples, and carries them out: requests in console notation, answers with placeholders.

A request is a method and a path, header lines if there are any, a blank line, a body; its answer is a comment.
"""

import re
import textwrap
from base64 import b64encode
from pathlib import Path
from typing import Any, NamedTuple

import yaml

ROOT = Path(__file__).parent.parent
_BLOCK = re.compile(r"^( *)```([^\n]*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
_REQUEST = re.compile(r"(GET|POST|PUT|PATCH|DELETE) (/\S*)\n((?:[A-Za-z-]+: .*\n)*)(?:\n|\Z)")
_PLACEHOLDER = re.compile("<[a-z-]+>")


class Example(NamedTuple):
    """A request, and what is documented of its answer."""

    method: str
    path: str
    headers: dict[str, str]
    body: str
    documented: dict[str, Any]


def blocks(page, section=None):
    """Info string and content of each fenced block, of the whole page or under a heading of the second level."""
    text = (ROOT / page).read_text(encoding="utf-8")
    if section is not None:
        text = text.partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    return [(info, textwrap.dedent(content)) for _, info, content in _BLOCK.findall(text)]


def examples(page, section=None):
    """Each example in console notation."""
    for _, block in blocks(page, section):
        if found := _REQUEST.match(block):
            method, path, head = found.groups()
            lines = block[found.end() :].splitlines()
            answer = [line[1:] for line in lines if line.startswith("#")]
            body = "\n".join(line for line in lines if not line.startswith("#")).strip()
            headers = dict(line.split(": ", 1) for line in head.splitlines())
            yield Example(method, path, headers, body, yaml.safe_load(textwrap.dedent("\n".join(answer))))


async def carry_out(client, example, known):
    """Send the example's request and hold the answer against what is documented.

    ``known`` has what some placeholders stand for, and learns what others of the answer do.
    """
    headers = {name: _header(value, known) for name, value in example.headers.items()}
    # The console sends no Content-Type: the body itself tells that it is YAML.
    skipped = ["Content-Type"]
    body = _filled(example.body, known).encode() or None
    response = await client.request(
        example.method,
        example.path,
        headers=headers,
        data=body,
        skip_auto_headers=skipped,
        allow_redirects=False,
    )
    answer = yaml.safe_load(await response.read())
    documented = example.documented
    assert response.status == documented["status"], (example, answer)
    assert "body" not in documented or agrees(documented["body"], answer), (example, answer)
    known.update(_learned(documented.get("body"), answer))


def agrees(documented, actual):
    """Whether an answer is the documented one, a `<placeholder>` standing for anything."""
    if isinstance(documented, str) and _PLACEHOLDER.fullmatch(documented):
        return True
    if isinstance(documented, dict) and isinstance(actual, dict):
        return documented.keys() == actual.keys() and all(agrees(documented[name], actual[name]) for name in actual)
    if isinstance(documented, list) and isinstance(actual, list):
        return len(documented) == len(actual) and all(map(agrees, documented, actual))
    return documented == actual


def _filled(text, known):
    return _PLACEHOLDER.sub(lambda found: known.get(found[0], found[0]), text)


def _header(value, known):
    scheme, _, credentials = value.partition(" ")
    if scheme == "Basic":
        # A page shows them as curl's -u takes them.
        return f"Basic {b64encode(_filled(credentials, known).encode()).decode()}"
    return _filled(value, known)


def _learned(documented, actual):
    if not isinstance(documented, dict) or not isinstance(actual, dict):
        return {}
    return {
        placeholder: actual[name]
        for name, placeholder in documented.items()
        if isinstance(placeholder, str) and _PLACEHOLDER.fullmatch(placeholder) and isinstance(actual[name], str)
    }
