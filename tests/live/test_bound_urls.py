"""A real S3 server accepts what a URL binds, and refuses everything else."""

import base64
import hashlib
import re
from urllib.parse import quote

import pytest
from live.signer import Storage

pytestmark = pytest.mark.timeout(300)  # the first test may install the servers

CONTENT = b"hello"
MD5 = base64.b64encode(hashlib.md5(CONTENT, usedforsecurity=False).digest()).decode()
SHA256 = base64.b64encode(hashlib.sha256(CONTENT).digest()).decode()
REFUSED = {400, 403, 411}


@pytest.fixture(scope="module", params=["path", "virtual"])
def storage(request, signer, s3_server, bucket):
    account = s3_server.account(f"{s3_server.name}-bound-{request.param}", request.param)
    return Storage(signer, s3_server, signer.put_account(account), bucket)


def upload(storage, content, fields, **changes):
    """Upload with the headers that the service names; ``changes`` replace some, and None leaves one out."""
    signed = storage.details("POST", "", {"filename": "bound", **fields})
    headers = {**signed["headers"], **{name.replace("_", "-"): text for name, text in changes.items()}}
    sent = {name: text for name, text in headers.items() if text is not None}
    return storage.server.send(signed["url"], signed["method"], content, sent)


def test_an_upload_with_all_that_it_binds_is_accepted_and_kept(storage):
    fields = {
        "content-type": "text/plain; charset=utf-8",
        "content-length": len(CONTENT),
        "content-md5": MD5,
        "content-disposition": 'inline; filename="a b.txt"',
        "cache-control": "no-store",
        "metadata": {"owner": "team;a=1,  b"},
    }
    accepted = upload(storage, CONTENT, fields)
    kept = storage.download("bound")

    assert (accepted.status, kept.body) == (200, CONTENT)
    assert kept.headers["content-type"].replace("UTF-8", "utf-8") == "text/plain; charset=utf-8"
    assert kept.headers["content-disposition"] == 'inline; filename="a b.txt"'
    assert re.sub(" +", " ", kept.headers["x-amz-meta-owner"]) == "team;a=1, b"


@pytest.mark.parametrize(
    ("fields", "changes"),
    [
        ({"content-type": "text/plain"}, {"content_type": "text/html"}),
        ({"content-type": "text/plain"}, {"content_type": None}),
        ({"metadata": {"owner": "a"}}, {"x_amz_meta_owner": "b"}),
        ({"metadata": {"owner": "a"}}, {"x_amz_meta_owner": None}),
        ({"content-disposition": "inline"}, {"content_disposition": "attachment"}),
        ({"acl": "private"}, {"x_amz_acl": "public-read"}),
        ({"checksum-sha256": SHA256}, {"x_amz_checksum_sha256": None}),
    ],
    ids=str,
)
def test_an_upload_with_another_header_is_refused(storage, fields, changes):
    right = upload(storage, CONTENT, fields)
    wrong = upload(storage, CONTENT, fields, **changes)

    assert right.status == 200
    assert wrong.status in REFUSED


@pytest.mark.parametrize("content", [b"hell", b"hello!", b""], ids=["shorter", "longer", "empty"])
def test_an_upload_of_another_length_is_refused(storage, content):
    fields = {"content-length": len(CONTENT)}
    right = upload(storage, CONTENT, fields)
    wrong = upload(storage, content, fields, content_length=str(len(content)))

    assert right.status == 200
    assert wrong.status in REFUSED


@pytest.mark.parametrize("fields", [{"content-md5": MD5}, {"checksum-sha256": SHA256}], ids=["md5", "sha256"])
def test_an_upload_with_one_other_byte_is_refused(storage, s3_server, fields):
    right = upload(storage, CONTENT, fields)
    wrong = upload(storage, b"hellO", fields)

    assert right.status == 200
    assert wrong.status in REFUSED


def test_a_download_comes_with_the_headers_that_its_url_asks_for(storage):
    storage.upload("asked", CONTENT)
    url = storage.download_url("asked", f"?download={quote('naïve.pdf')}&response-content-type=application/pdf")
    answer = storage.server.send(url, "GET")
    touched = storage.server.send(url.replace("application%2Fpdf", "text%2Fhtml"), "GET")

    assert (answer.status, answer.body) == (200, CONTENT)
    assert answer.headers["content-type"].partition(";")[0] == "application/pdf"
    assert answer.headers["content-disposition"].endswith("filename*=UTF-8''na%C3%AFve.pdf")
    assert touched.status in REFUSED


def test_a_head_url_is_good_for_head_alone(storage):
    storage.upload("looked at", CONTENT)
    url = storage.download_url("looked at", "?method=HEAD")
    head, get = storage.server.send(url, "HEAD"), storage.server.send(url, "GET")

    assert (head.status, head.headers["content-length"]) == (200, str(len(CONTENT)))
    assert get.status in REFUSED


def test_a_listing_comes_page_by_page(storage):
    keys = [f"listed/{name}" for name in ("a", "b c", "é", "z")]
    for key in keys:
        storage.upload(key, b"")
    found, token = [], None
    while token is not None or not found:
        query = {"prefix": "listed/", "max-keys": "2"} | ({"continuation-token": token} if token else {})
        page = storage.server.send(storage.list_url(query), "GET")
        assert page.status == 200
        found += re.findall("<Key>(.*?)</Key>", page.body.decode())
        token = next(iter(re.findall("<NextContinuationToken>(.*?)</NextContinuationToken>", page.body.decode())), None)

    assert found == [quote(key) for key in sorted(keys)]


def test_a_listing_of_another_prefix_is_refused(storage):
    url = storage.list_url({"prefix": "listed/"})

    assert storage.server.send(url.replace("listed", "others"), "GET").status in REFUSED
