"""A file goes up in parts by signed URLs alone: made, listed, completed, or aborted."""

import hashlib
import re

import pytest
from live.signer import Storage

pytestmark = pytest.mark.timeout(300)  # the first test may install the servers

PART = 5 * 1024 * 1024  # S3's smallest part, but for the last one
CONTENTS = [bytes([number]) * PART for number in range(4)] + [b"the end"]
REFUSED = {400, 403, 411}


@pytest.fixture(scope="module")
def storage(signer, s3_server, bucket):
    account = signer.put_account(s3_server.account(f"{s3_server.name}-parts"))
    return Storage(signer, s3_server, account, bucket)


@pytest.fixture
def upload(storage):
    """Calls with the URL of one item of a batch."""

    def call(method, content=None, **fields):
        item = {"method": method, "filename": "in parts", **{name.replace("_", "-"): it for name, it in fields.items()}}
        (signed,) = storage.details("POST", "/$sign", {"items": [item]})["items"]
        return storage.server.send(signed["url"], signed["method"], content, signed["headers"])

    return call


def begin(upload):
    created = upload("POST", b"", content_type="text/plain")
    assert created.status == 200, created
    return re.search("<UploadId>(.*?)</UploadId>", created.body.decode())[1]


def complete(upload, upload_id, etags):
    parts = "".join(
        f"<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag></Part>" for number, etag in enumerate(etags, 1)
    )
    body = f"<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>".encode()
    return upload("POST", body, upload_id=upload_id)


def test_five_parts_become_one_object(storage, upload):
    upload_id = begin(upload)
    etags = []
    for number, content in enumerate(CONTENTS, 1):
        part = upload("PUT", content, upload_id=upload_id, part_number=number, content_length=len(content))
        assert part.status == 200
        etags.append(part.headers["etag"])
    listed = upload("GET", upload_id=upload_id)
    completed = complete(upload, upload_id, etags)
    down = storage.download("in parts")

    assert re.findall("<PartNumber>(.)</PartNumber>", listed.body.decode()) == ["1", "2", "3", "4", "5"]
    assert (listed.status, completed.status, down.status) == (200, 200, 200)
    assert hashlib.sha256(down.body).digest() == hashlib.sha256(b"".join(CONTENTS)).digest()
    assert down.headers["content-type"].partition(";")[0] == "text/plain"


def test_an_aborted_upload_leaves_nothing(storage, upload):
    storage.delete("in parts")
    upload_id = begin(upload)
    part = upload("PUT", b"first", upload_id=upload_id, part_number=1)
    aborted = upload("DELETE", upload_id=upload_id)
    late = complete(upload, upload_id, [part.headers["etag"]])

    assert (part.status, aborted.status) == (200, 204)
    assert late.status >= 400
    assert storage.download("in parts").status == 404


def test_the_url_of_a_part_is_good_for_that_part_alone(storage, upload):
    upload_id = begin(upload)
    item = {"method": "PUT", "filename": "in parts", "upload-id": upload_id, "part-number": 1, "content-length": 5}
    (signed,) = storage.details("POST", "/$sign", {"items": [item]})["items"]
    another = signed["url"].replace("partNumber=1", "partNumber=2")
    answers = [
        storage.server.send(another, "PUT", b"hello", signed["headers"]),
        storage.server.send(signed["url"], "PUT", b"hello!", {"content-length": "6"}),
        storage.server.send(signed["url"], "PUT", b"hello", signed["headers"]),
    ]

    assert [answer.status in REFUSED for answer in answers] == [True, True, False]


def test_a_widget_uploads_in_parts(storage, signer):
    """The requests of @uppy/aws-s3 6, in its order."""

    def send(wanted, content=None):
        signed = signer.details("POST", f"{storage.account}/{storage.bucket}/$sign-request", {"key": "w", **wanted})
        return storage.server.send(signed["url"], wanted["method"], content, signed["headers"])

    created = send({"method": "POST"}, b"")
    upload_id = re.search("<UploadId>(.*?)</UploadId>", created.body.decode())[1]
    part = send({"method": "PUT", "uploadId": upload_id, "partNumber": 1}, b"hello")
    listed = send({"method": "GET", "uploadId": upload_id})
    xml = f"<Part><PartNumber>1</PartNumber><ETag>{part.headers['etag']}</ETag></Part>"
    body = f"<CompleteMultipartUpload>{xml}</CompleteMultipartUpload>".encode()
    completed = send({"method": "POST", "uploadId": upload_id}, body)
    down = storage.download("w")
    gone = send({"method": "DELETE"})

    assert [created.status, part.status, listed.status, completed.status] == [200] * 4
    assert (down.body, gone.status) == (b"hello", 204)
