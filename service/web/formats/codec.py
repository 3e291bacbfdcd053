"""Decode and encode plain data as JSON or YAML. Pure: no requests, no models."""

import codecs
from typing import Literal

from service.web.formats.json import dump_json, load_json, load_json_list
from service.web.formats.limits import LARGE_BODY
from service.web.formats.yaml_reader import load_yaml
from service.web.formats.yaml_writer import dump_yaml

__all__ = [
    "LARGE_BODY",
    "Format",
    "detect_format",
    "dump_json",
    "dump_yaml",
    "load_json",
    "load_json_list",
    "load_yaml",
]

Format = Literal["json", "yaml"]


def detect_format(body: bytes) -> Format:
    """Return the format of a body without a Content-Type."""
    return "json" if body.removeprefix(codecs.BOM_UTF8).lstrip(b" \t\r\n").startswith((b"{", b"[")) else "yaml"
