"""A browser uploads a file with a form of the service, and a real S3 server refuses a file that is too large."""

from html import escape

import pytest
from live.signer import Storage

pytestmark = pytest.mark.timeout(300)  # the first test may install the server

CONTENT = b"a photo \x00\xff of bytes"
# A script may choose a file only as a person does: through the input of the form.
PAGE = """<!doctype html>
<form method="post" enctype="multipart/form-data" action="{action}" target="{target}">
{fields}
<input type="file" name="file">
</form>
<iframe name="frame"></iframe>
<script>
const files = new DataTransfer();
files.items.add(new File([new Uint8Array({content})], "holiday.png", {{type: "image/png"}}));
document.querySelector("[type=file]").files = files.files;
document.querySelector("form").submit();
</script>
"""


@pytest.fixture
def storage(signer, ministack):
    account = ministack.account("browser-forms")
    return Storage(signer, ministack, signer.put_account(account), ministack.make_bucket("browser-forms"))


@pytest.fixture
def submit(browse, storage, tmp_path):
    """Return a function that asks for a form and submits a file with it. It returns the page that the browser shows.

    ``target`` is where the browser shows the answer. It ends only for a page, and an accepted upload has none.
    """

    def submit(request, content, target):
        form = storage.details("POST", "/$upload-form", request)
        fields = "".join(
            f'<input type="hidden" name="{escape(name)}" value="{escape(text)}">\n'
            for name, text in form["fields"].items()
        )
        page = PAGE.format(action=escape(form["url"]), target=target, fields=fields, content=[*content])
        (tmp_path / "page.html").write_text(page, encoding="utf-8")
        shown, _ = browse((tmp_path / "page.html").as_uri())
        return shown

    return submit


def test_a_browser_uploads_a_file_under_its_own_name(storage, submit):
    submit({"starts-with": "photos/é/", "content-type": "image/png", "max-size": len(CONTENT)}, CONTENT, "frame")
    kept = storage.download("photos/é/holiday.png")

    assert (kept.status, kept.body, kept.headers["content-type"]) == (200, CONTENT, "image/png")


def test_a_file_of_a_browser_over_the_largest_size_is_refused(storage, submit):
    shown = submit({"filename": "too large", "max-size": len(CONTENT) - 1}, CONTENT, "_self")

    assert "EntityTooLarge" in shown
    assert storage.download("too large").status == 404
