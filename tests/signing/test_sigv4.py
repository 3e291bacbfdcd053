from datetime import UTC, datetime

import pytest
from botocore.auth import S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import ReadOnlyCredentials

from service.resources.types import AwsAccount
from service.signing import sigv4
from service.signing.operations import DELETE_OBJECT, GET_OBJECT, PUT_OBJECT
from service.signing.sigv4 import sign_query, timestamp

AT = 1369353600  # 2013-05-24T00:00:00Z
DAY = 86400
EXPECTED_SIGNATURE = "aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404"


def account(access_key_id, secret_access_key, session_token=None):
    return AwsAccount(
        id="x", access_key_id=access_key_id, secret_access_key=secret_access_key, session_token=session_token
    )


@pytest.fixture
def credentials():
    return account("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")


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
def test_an_instant_is_written_in_utc(at, text):
    assert timestamp(at) == text


def test_the_next_day_has_a_signing_key_of_its_own(credentials):
    before = sign(credentials, at=AT + DAY - 1)
    after = sign(credentials, at=AT + DAY)
    fresh = account(credentials.access_key_id, credentials.secret_access_key)

    assert "%2F20130524%2F" in before
    assert after == sign(fresh, at=AT + DAY)
    assert sign(credentials).endswith(EXPECTED_SIGNATURE)


def test_each_region_has_a_signing_key_of_its_own(credentials):
    east = sign(credentials)
    west = sign(credentials, "us-west-2")
    fresh = account(credentials.access_key_id, credentials.secret_access_key)

    assert west == sign(fresh, "us-west-2")
    assert "%2Fus-west-2%2F" in west
    assert sign(credentials) == east


def test_a_signing_key_is_kept_where_more_regions_are_in_use_than_are_remembered(credentials, monkeypatch):
    before = sign(credentials)
    sigv4.scope_of.cache_clear()
    monkeypatch.delattr(sigv4, "_derive")

    assert sign(credentials) == before


def test_a_blank_session_token_is_none(credentials):
    blank = account(credentials.access_key_id, credentials.secret_access_key, "")

    assert sign(blank) == sign(credentials)


def test_a_query_holds_the_token_and_not_the_secret():
    query = sign(account("AKIA", "the-secret", "the-token"))

    assert "X-Amz-Security-Token=the-token" in query
    assert "the-secret" not in query


def test_secrets_are_in_no_repr():
    credentials = account("AKIA", "the-secret", "the-token")
    sign(credentials)

    shown = repr(credentials)

    assert "AKIA" in shown
    assert "the-" not in shown
    assert repr(credentials.signing_blocks) not in shown


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
def test_what_else_is_bound_is_signed_as_aiobotocore_signs_it(oracle, operation, params, bound, token):
    credentials = account("AKIA", "secret", token)

    ours = sign(credentials, method=operation.method, **bound)

    request = {"bucket": "examplebucket", "key": "test.txt", "at": AT, "expires_in": DAY}
    oracles = oracle.presign(credentials, operation, request, **params)
    assert f"http://examplebucket.s3.amazonaws.com/test.txt?{ours}" == oracles


def test_parameters_are_sorted_by_name_before_value(credentials, monkeypatch):
    # As whole strings "a-b=1" would sort before "a=1", and S3 would compute another signature.
    monkeypatch.setattr("botocore.auth.get_current_datetime", lambda: datetime.fromtimestamp(AT, UTC))
    oracle = AWSRequest("GET", "http://examplebucket.s3.amazonaws.com/test.txt?a-b=1&a=2")
    keys = ReadOnlyCredentials(credentials.access_key_id, credentials.secret_access_key, None)
    S3SigV4QueryAuth(keys, "s3", "us-east-1", expires=DAY).add_auth(oracle)

    query = sign(credentials, query={"a-b": "1", "a": "2"})

    assert query == oracle.url.partition("?")[2]
