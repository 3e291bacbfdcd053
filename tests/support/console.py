"""Pages of the console in a browser, with what each of them complains of."""

import json
from contextlib import contextmanager
from types import MappingProxyType

CORS = {
    "AllowedOrigins": ["*"],
    "AllowedMethods": ["GET", "HEAD", "PUT", "POST", "DELETE"],
    "AllowedHeaders": ["*"],
    "ExposeHeaders": ["ETag"],
}


@contextmanager
def console_page(browser, url, *, session=MappingProxyType({}), **options):
    """Open the console, with these items in its sessionStorage.

    At the end, the page has complained of nothing and has asked nobody but the service and S3.
    """
    with browser.new_context(**options) as context:
        for name, value in session.items():
            context.add_init_script(f"sessionStorage.setItem({json.dumps(name)}, {json.dumps(value)})")
        page = context.new_page()
        page.set_default_timeout(20_000)
        complaints = []
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
        page.goto(url)
        yield page
        # A browser also reports each answer with an error status, and each request that CORS blocks.
        assert [text for text in complaints if not text.startswith(("Failed to load resource", "Access to "))] == []


def bucket_with_cors(server, name, *, rule=CORS):
    """Make a bucket that web pages may use, and return its name."""
    server.make_bucket(name)
    if rule:
        server.client().put_bucket_cors(Bucket=name, CORSConfiguration={"CORSRules": [rule]})
    return name


def run(page, text):
    """Run a request in the editor, and return its answer."""
    page.get_by_role("textbox", name="Requests").fill(text)
    page.get_by_role("textbox", name="Requests").press("Control+Enter")
    return answered(page)


def answered(page):
    """Return the answer of a request that runs, when it is there. The answer of an earlier request stays until then."""
    answer = page.get_by_role("region", name="Answer")
    answer.locator(".answer:not([aria-busy]) .answer-head").wait_for()
    return answer
