"""URLs for one version of an object, at S3 servers whose bucket keeps versions."""

import pytest
from botocore.auth import S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from live.signer import Storage

pytestmark = pytest.mark.timeout(300)  # the first test may install the servers

RULE = b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>"


@pytest.fixture(scope="module")
def storage(signer, s3_server):
    bucket = s3_server.make_bucket("versions")
    request = AWSRequest("PUT", f"http://{s3_server.http}/{bucket}?versioning=")
    credentials = Credentials(s3_server.access_key_id, s3_server.secret_access_key)
    S3SigV4QueryAuth(credentials, "s3", s3_server.region, expires=60).add_auth(request)
    answer = s3_server.send(request.url, "PUT", RULE)
    assert answer.status == 200, answer
    account = signer.put_account(s3_server.account(f"{s3_server.name}-versions"))
    return Storage(signer, s3_server, account, bucket)


def test_a_url_reads_and_deletes_one_version(storage):
    first, second = (storage.upload("k", content).headers["x-amz-version-id"] for content in (b"first", b"second"))

    def send(url, method):
        return storage.server.send(url, method)

    older = send(storage.download_url("k", f"?version-id={first}"), "GET")
    looked = send(storage.download_url("k", f"?version-id={first}&method=HEAD"), "HEAD")
    changed = storage.download_url("k", f"?version-id={first}").replace(first, second)
    deleted = send(storage.delete_url("k", f"?version-id={second}"), "DELETE")

    assert (older.status, older.body) == (200, b"first")
    assert looked.headers["content-length"] == "5"
    assert send(changed, "GET").status == 403
    assert deleted.status == 204
    # The older version is the latest one again, because the deletion has left no marker.
    assert storage.download("k").body == b"first"
