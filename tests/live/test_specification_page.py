"""The specification's page on compatible storages, as written, for a server on loopback."""

import pytest
from live.raw_http import send

pytestmark = pytest.mark.timeout(300)  # the first test may install the servers

PUT_ACCOUNT = """\
access-key-id: {server.access_key_id}
secret-access-key: {server.secret_access_key}
region: us-east-1
host: {server.http}
path-style: true
use-ssl: false
"""


def test_the_examples_of_the_page_work_as_written(service, s3_server):
    s3_server.make_bucket("aidboxtestbucket")
    yaml = {"Content-Type": "text/yaml", "Accept": "text/yaml"}
    storage = f"{service.url}/aws/storage/my-minio/aidboxtestbucket"
    put = send(f"{service.url}/AwsAccount/my-minio", "PUT", PUT_ACCOUNT.format(server=s3_server).encode(), yaml)
    upload = _url(send(storage, "POST", b"filename: example.txt\n", yaml))
    download = _url(send(f"{storage}/example.txt", "GET", headers=yaml))
    half_a_day = _url(send(f"{storage}/example.txt?expiration=43200", "GET", headers=yaml))
    delete = _url(send(f"{storage}/example.txt", "DELETE", headers=yaml))

    assert put.status in {200, 201}
    assert s3_server.send(upload, "PUT", b"content").status == 200
    assert s3_server.send(download, "GET").body == b"content"
    assert "X-Amz-Expires=86400" in download
    assert "X-Amz-Expires=43200" in half_a_day
    assert s3_server.send(half_a_day, "GET").body == b"content"
    assert s3_server.send(delete, "DELETE").status == 204
    assert s3_server.send(download, "GET").status == 404


def _url(answer) -> str:
    assert answer.status == 200, answer
    name, _, value = answer.body.decode().strip().partition(": ")
    assert name == "url"
    return value
