"""The requests of docs/examples/*.http work in the order of the file."""

import re

import pytest
from documents import ROOT

FILES = sorted((ROOT / "docs" / "examples").glob("*.http"))


def requests_of(text):
    """Return the method, path, headers and body of each request, without the variable in front of the path."""
    for block in re.split(r"^###.*$", text, flags=re.MULTILINE)[1:]:
        lines = [line for line in block.strip().splitlines() if not line.startswith("# ")]
        head, _, body = "\n".join(lines).partition("\n\n")
        first, *headers = head.splitlines()
        method, url = first.split(" ", 1)
        yield method, url.removeprefix("{{signer}}"), dict(line.split(": ", 1) for line in headers), body or None


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
async def test_the_requests_of_a_file_succeed(client, file):
    sent = [*requests_of(file.read_text())]
    statuses = [
        (await client.request(method, path, headers=headers, data=body)).status for method, path, headers, body in sent
    ]

    assert len(sent) >= 5
    assert [status for status in statuses if status not in {200, 201}] == []
