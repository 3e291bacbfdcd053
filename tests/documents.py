"""Reads the documents' examples: fenced blocks, requests in console notation, answers with placeholders."""

import re
import textwrap
from pathlib import Path

import yaml

ROOT = Path(__file__).parent.parent
_BLOCK = re.compile(r"^```([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_REQUEST = re.compile(r"(GET|POST|PUT|PATCH|DELETE) (/\S*)\n")
_PLACEHOLDER = re.compile("<[a-z-]+>")


def blocks(page):
    """Info string and content of each fenced block."""
    return _BLOCK.findall((ROOT / page).read_text(encoding="utf-8"))


def examples(page):
    """Method, path, body and the documented answer of each example in console notation."""
    for _, block in blocks(page):
        if found := _REQUEST.match(block):
            lines = block[found.end() :].splitlines()
            answer = [line[1:] for line in lines if line.startswith("#")]
            body = "\n".join(line for line in lines if not line.startswith("#")).strip()
            yield found[1], found[2], body, yaml.safe_load(textwrap.dedent("\n".join(answer)))


def agrees(documented, actual):
    """Whether an answer is the documented one, a `<placeholder>` standing for anything."""
    if isinstance(documented, str) and _PLACEHOLDER.fullmatch(documented):
        return True
    if isinstance(documented, dict) and isinstance(actual, dict):
        return documented.keys() == actual.keys() and all(agrees(documented[name], actual[name]) for name in actual)
    if isinstance(documented, list) and isinstance(actual, list):
        return len(documented) == len(actual) and all(map(agrees, documented, actual))
    return documented == actual
