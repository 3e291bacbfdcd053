"""An upload widget sends a file in parts, with a signed URL for each request."""

import re

import pytest
from live.signer import Storage

pytestmark = pytest.mark.timeout(300)  # the first test may install the servers


@pytest.fixture(scope="module")
def storage(signer, s3_server, bucket):
    account = signer.put_account(s3_server.account(f"{s3_server.name}-parts"))
    return Storage(signer, s3_server, account, bucket)


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
