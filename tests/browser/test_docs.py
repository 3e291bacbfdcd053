"""The page on the API, in a browser."""

import json
import re


def test_the_page_shows_every_operation_and_schema_without_a_complaint(service, browse):
    page, console = browse(f"{service.url}/docs")
    answer = service.exchange(b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    document = json.loads(answer.partition(b"\r\n\r\n")[2])

    operations = {operation["operationId"] for item in document["paths"].values() for operation in item.values()}
    assert console == []
    assert set(re.findall(r'<details id="(\w+)">', page)) == operations | document["components"]["schemas"].keys()
    assert set(re.findall(r'<a href="#(\w+)">', page)) == operations
    assert 'aria-busy="false"' in page


def test_the_policy_of_the_page_is_enforced(service, browse, tmp_path):
    # The console would tell: a page that breaks its policy complains there.
    (tmp_path / "page.html").write_text(
        "<meta http-equiv=Content-Security-Policy content=\"script-src 'none'\"><script>1</script>", encoding="utf-8"
    )
    _, console = browse((tmp_path / "page.html").as_uri())

    assert any("Content Security Policy" in line for line in console)
