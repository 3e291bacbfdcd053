"""A live check of an account at a real S3 server."""

import json

import pytest
from live.raw_http import send
from processes import ServiceProcess

pytestmark = pytest.mark.timeout(300)  # the first test may install the servers


@pytest.fixture(scope="module")
def url():
    process = ServiceProcess(SIGNER_LIVE_CHECK="true")
    yield process.url
    assert process.stop() == 0


def check(url, account, bucket):
    def call(method, path, body):
        answer = send(f"{url}{path}", method, json.dumps(body).encode(), {"Content-Type": "application/json"})
        assert answer.status in {200, 201}, answer
        return answer.json()

    call("PUT", "/AwsAccount", account)
    answer = call("POST", f"/AwsAccount/{account['id']}/$check", {"bucket": bucket, "live": True})
    return answer["status"], {it["name"]: it["status"] for it in answer["checks"]}, answer


def test_a_right_account_passes(url, s3_server, bucket):
    status, checks, answer = check(url, s3_server.account("right"), bucket)

    assert status == "pass", answer
    assert checks["credentials"] == "pass"


@pytest.mark.parametrize("change", [{"secret-access-key": "another-secret-0123456789"}, {"access-key-id": "NOBODY"}])
def test_wrong_keys_fail(url, s3_server, bucket, change):
    status, checks, answer = check(url, {**s3_server.account("wrong"), **change}, bucket)

    assert (status, checks["style"], checks["credentials"]) == ("fail", "pass", "fail"), answer
