"""Writes the reference pages that are made from declarations; a test holds that they are up to date."""

from pathlib import Path

from service import settings

DOCS = Path(__file__).parent

CONFIGURATION = """\
# Configuration

Made by `make docs` from `service/settings.py`.

Settings are environment variables. A wrong value stops the start with one line that names it; a `SIGNER_*` variable
that is none of these is a warning in the log. A setting that may hold a secret can be read from a file instead: the
variable with `_FILE` behind its name says which.

| variable | default | meaning |
| --- | --- | --- |
"""


def configuration() -> str:
    """The page on settings."""
    rows = []
    for variable, (_, declaration) in settings.declarations().items():
        default = f"`{declaration.default}`" if declaration.default else ""
        twin = f" Or `{variable}{settings.FILE_SUFFIX}`." if declaration.secret else ""
        rows.append(f"| `{variable}` | {default} | {declaration.meaning}{twin} |\n")
    return CONFIGURATION + "".join(rows)


PAGES = {"configuration.md": configuration}

if __name__ == "__main__":
    for name, page in PAGES.items():
        (DOCS / name).write_text(page(), encoding="utf-8")
