from datetime import UTC, datetime

import pytest
from botocore.auth import S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import ReadOnlyCredentials

from service.resources.types import AwsAccount
from service.signing.operations import DELETE_OBJECT, GET_OBJECT, PUT_OBJECT
from service.signing.sigv4 import Credentials, amz_date, credential_scope, sign_query

AT = 1369353600  # 2013-05-24T00:00:00Z
DAY = 86400
EXPECTED_SIGNATURE = "aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404"


KEYS = ("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")


@pytest.fixture
def credentials():
    return Credentials(*KEYS)


def sign(credentials, region="us-east-1", **changes):
    request = {
        "method": "GET",
        "host": "examplebucket.s3.amazonaws.com",
        "path": "/test.txt",
        "at": AT,
        "expires_in": DAY,
    }
    return sign_query(credentials, region, **(request | changes))


def test_the_example_that_aws_publishes_has_its_signature(credentials):
    # https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html#query-string-auth-v4-signing-example
    query = sign(credentials)

    assert query == (
        "X-Amz-Algorithm=AWS4-HMAC-SHA256"
        "&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2Faws4_request"
        "&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host"
        f"&X-Amz-Signature={EXPECTED_SIGNATURE}"
    )


@pytest.mark.parametrize(
    ("at", "text"),
    [(0, "19700101T000000Z"), (1709210096, "20240229T123456Z"), (AT - 1, "20130523T235959Z"), (AT, "20130524T000000Z")],
)
def test_a_date_is_written_in_utc(at, text):
    assert amz_date(at) == text


def test_the_next_day_has_a_signing_key_of_its_own(credentials):
    before = sign(credentials, at=AT + DAY - 1)
    after = sign(credentials, at=AT + DAY)

    assert "%2F20130524%2F" in before
    assert after == sign(Credentials(*KEYS), at=AT + DAY)
    assert sign(credentials).endswith(EXPECTED_SIGNATURE)


def test_each_region_has_a_signing_key_of_its_own(credentials):
    east = sign(credentials)
    west = sign(credentials, "us-west-2")

    assert west == sign(Credentials(*KEYS), "us-west-2")
    assert "%2Fus-west-2%2F" in west
    assert sign(credentials) == east


def test_a_signing_key_outlives_the_eviction_of_its_scope(credentials, monkeypatch):
    before = sign(credentials)
    credential_scope.cache_clear()
    monkeypatch.delattr(Credentials, "derive_signing_key")

    assert sign(credentials) == before


def test_a_blank_session_token_is_left_out(credentials):
    assert sign(Credentials(*KEYS, "")) == sign(credentials)


def test_a_query_holds_the_token_and_not_the_secret():
    query = sign(Credentials("AKIA", "the-secret", "the-token"))

    assert "X-Amz-Security-Token=the-token" in query
    assert "the-secret" not in query


def test_a_repr_of_credentials_holds_no_secret():
    credentials = Credentials("AKIA", "the-secret", "the-token")
    sign(credentials)

    shown = repr(credentials)

    assert "the-" not in shown
    assert repr(credentials.padded_key) not in shown


@pytest.mark.parametrize(
    ("operation", "params", "bound"),
    [
        (
            PUT_OBJECT,
            {"ContentType": " text/plain;  charset=utf-8", "ACL": "private", "Metadata": {"a": "1", "a-b": ""}},
            {
                "headers": {
                    "content-type": " text/plain;  charset=utf-8",
                    "x-amz-acl": "private",
                    "x-amz-meta-a": "1",
                    "x-amz-meta-a-b": "",
                }
            },
        ),
        (PUT_OBJECT, {"CacheControl": "no-store"}, {"headers": {"cache-control": "no-store"}}),
        (
            GET_OBJECT,
            {
                "VersionId": "3/L4+kq tJ",
                "ResponseContentType": "text/plain; charset=utf-8",
                "ResponseContentDisposition": 'attachment; filename="é ~*.pdf"',
                "PartNumber": 2,
            },
            {
                "query": {
                    "versionId": "3/L4+kq tJ",
                    "response-content-type": "text/plain; charset=utf-8",
                    "response-content-disposition": 'attachment; filename="é ~*.pdf"',
                    "partNumber": "2",
                }
            },
        ),
        (
            DELETE_OBJECT,
            {"VersionId": "v", "MFA": "s 1"},
            {"headers": {"x-amz-mfa": "s 1"}, "query": {"versionId": "v"}},
        ),
    ],
)
@pytest.mark.parametrize("token", [None, "to/ken+=="])
def test_headers_and_parameters_are_signed_as_aiobotocore_signs_them(oracle, operation, params, bound, token):
    account = AwsAccount(id="x", access_key_id="AKIA", secret_access_key="secret", session_token=token)

    ours = sign(Credentials("AKIA", "secret", token), method=operation.method, **bound)

    request = {"bucket": "examplebucket", "key": "test.txt", "at": AT, "expires_in": DAY}
    oracles = oracle.presign(account, operation, request, **params)
    assert f"http://examplebucket.s3.amazonaws.com/test.txt?{ours}" == oracles


def test_parameters_are_sorted_by_name_and_then_by_value(credentials, monkeypatch):
    # As whole strings "a-b=1" would sort before "a=1", and S3 would compute another signature.
    monkeypatch.setattr("botocore.auth.get_current_datetime", lambda: datetime.fromtimestamp(AT, UTC))
    oracle = AWSRequest("GET", "http://examplebucket.s3.amazonaws.com/test.txt?a-b=1&a=2")
    S3SigV4QueryAuth(ReadOnlyCredentials(*KEYS, None), "s3", "us-east-1", expires=DAY).add_auth(oracle)

    query = sign(credentials, query={"a-b": "1", "a": "2"})

    assert query == oracle.url.partition("?")[2]
