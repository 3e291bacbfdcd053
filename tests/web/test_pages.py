import re
import threading

import pytest

from service.web.handlers.pages import PAGES

STATIC = ["/docs", "/static/docs.js", "/static/scalar.js"]
MADE = ["/openapi.json", "/openapi.yaml"]


@pytest.mark.parametrize(
    ("path", "content_type"),
    [
        ("/docs", "text/html"),
        ("/static/scalar.js", "text/javascript"),
        ("/static/docs.js", "text/javascript"),
        ("/openapi.json", "application/json"),
        ("/openapi.yaml", "text/yaml"),
    ],
)
async def test_a_page_has_a_fixed_media_type(client, path, content_type):
    response = await client.get(path, headers={"Accept": "image/png"})

    assert (response.status, response.content_type, response.charset) == (200, content_type, "utf-8")
    assert await response.read()


@pytest.mark.parametrize("path", STATIC + MADE)
async def test_a_page_may_only_run_its_own_scripts(client, path):
    # Scalar needs inline styles and inline images.
    on_page = {"style-src": "'unsafe-inline'", "img-src": "'self' data:"} if path == "/docs" else {}
    headers = (await client.get(path)).headers

    assert dict(rule.split(" ", 1) for rule in headers["Content-Security-Policy"].split("; ")) == {
        "default-src": "'none'",
        "script-src": "'self'",
        "style-src": "'self'",
        "connect-src": "'self'",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
        **on_page,
    }
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["Cross-Origin-Opener-Policy"] == "same-origin"


@pytest.mark.parametrize("path", STATIC + MADE)
async def test_a_cached_page_is_a_304(client, path):
    first = await client.get(path)
    tag = first.headers["ETag"]
    again = [await client.get(path, headers={"If-None-Match": known}) for known in (tag, f'W/{tag}, "x"', "*")]
    others = [await client.get(path, headers={"If-None-Match": known}) for known in ('"x"', f"{tag}, " * 200)]

    assert first.headers["Cache-Control"] == "no-cache"
    assert [(response.status, await response.read()) for response in again] == [(304, b"")] * 3
    assert {response.headers["ETag"] for response in again} == {tag}
    assert [response.status for response in others] == [200, 200]


@pytest.mark.parametrize("path", ["/", *STATIC, *MADE])
async def test_a_page_refuses_parameters(client, faults, path):
    assert await faults(await client.get(f"{path}?x=1"), 400) == ("invalid", ["x"])


async def test_the_page_refers_only_to_existing_files_of_the_service(client):
    page = await (await client.get("/docs")).text()
    links = re.findall(r'(?:href|src)="([^"]+)"', page)

    assert len(links) >= 4
    assert all([(await client.get(f"/{link}")).status == 200 for link in links])


async def test_the_viewer_is_sent_compressed(client):
    response = await client.get("/static/scalar.js")

    assert response.headers["Content-Encoding"] == "gzip"
    assert int(response.headers["Content-Length"]) < 2_000_000
    assert b"createApiReference" in await response.read()


async def test_the_script_creates_no_markup_from_text(client):
    script = await (await client.get("/static/docs.js")).text()

    assert re.findall(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|Function\(", script) == []


def test_the_pages_are_in_the_table_of_routes():
    assert {route.path for route in PAGES} == {"/", *STATIC}


@pytest.mark.parametrize("path", MADE)
async def test_the_document_is_built_while_the_event_loop_runs(client, monkeypatch, path):
    threads = []

    def build(*_, **__):
        threads.append(threading.current_thread())
        return {}

    monkeypatch.setattr("service.web.openapi.document.document", build)
    await client.get(path)
    await client.get(path)

    assert len(threads) == 1
    assert threads != [threading.current_thread()]
