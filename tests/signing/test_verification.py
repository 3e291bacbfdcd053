"""A presigned URL is taken apart, and each change in it is named."""

import asyncio
from dataclasses import replace
from urllib.parse import quote, unquote, urlsplit

import pytest
from aiobotocore.config import AioConfig
from aiobotocore.session import get_session
from hypothesis import given, settings
from hypothesis import strategies as st
from support.accounts import KEYS

from service.resources.types import AwsAccount
from service.signing import verification
from service.signing.endpoint import Endpoint
from service.signing.operations import (
    DELETE_OBJECT,
    GET_OBJECT,
    HEAD_OBJECT,
    LIST_OBJECTS,
    NOTHING_BOUND,
    PUT_OBJECT,
)
from service.signing.presigned_url import parse
from service.signing.presigner import Presigner
from service.signing.verification import (
    FAIL,
    account_credentials,
    find_change,
    signed_method,
    time_findings,
)

pytestmark = pytest.mark.slow

AT = 1_369_353_600
SECRET = KEYS["secret-access-key"]
ACCOUNT = AwsAccount(id="mine", access_key_id=KEYS["access-key-id"], secret_access_key=SECRET, use_ssl=True)
TEMPORARY = replace(ACCOUNT, id="temporary", session_token="token/with+signs==")
OTHER = AwsAccount(id="other", access_key_id="AKIAOTHER", secret_access_key="another-secret", use_ssl=True)
MINIO = replace(ACCOUNT, id="minio", host="minio.example:9000", path_style=True)
ACCOUNTS = (ACCOUNT, TEMPORARY, MINIO)
OPERATIONS = (GET_OBJECT, HEAD_OBJECT, PUT_OBJECT, DELETE_OBJECT)

segments = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0/"), min_size=1, max_size=20)
keys = st.lists(segments.filter(lambda it: it not in {".", ".."}), min_size=1, max_size=3).map("/".join)
expirations = st.integers(1, 604_800)


@pytest.fixture(scope="module")
def presign():
    """Returns a URL and the endpoints of its account."""
    presigner = Presigner(default_use_ssl=True)

    with asyncio.Runner() as runner:

        def make(account, operation, key, *, expires_in=300, bucket="my-bucket", bound=NOTHING_BOUND):
            async def sign():
                url = await presigner.presign(
                    account, operation, bucket=bucket, key=key, at=AT, expires_in=expires_in, bound=bound
                )
                return url, [await presigner.endpoint(account, bucket)]

            return runner.run(sign())

        yield make
        runner.run(presigner.close())


def change_of(text, account, endpoints=(), others=None, headers=None):
    """The finding about a URL that must not fit its account."""
    url, headers = parse(text), headers or {}
    assert signed_method(url, account_credentials(account), headers) is None
    return find_change(url, account, headers, endpoints=endpoints, others=others or {})


@given(st.sampled_from(ACCOUNTS), st.sampled_from(OPERATIONS), keys, expirations)
@settings(max_examples=100)
def test_a_url_of_the_service_is_valid(presign, account, operation, key, expires_in):
    text, _ = presign(account, operation, key, expires_in=expires_in)
    url = parse(text)

    assert signed_method(url, account_credentials(account), {}) == operation.method
    assert [it for it in time_findings(url, AT + expires_in) if it.status == FAIL] == []


@given(st.sampled_from(("get_object", "put_object", "delete_object", "head_object")), keys, st.booleans())
@settings(max_examples=50)
def test_a_url_of_aiobotocore_is_valid(sdk_url, method, key, with_token):
    url = parse(sdk_url(method, key, with_token=with_token))

    assert signed_method(url, account_credentials(ACCOUNT), {}) == method.partition("_")[0].upper()


@pytest.fixture(scope="module")
def sdk_url():
    with asyncio.Runner() as runner:

        async def client(token):
            context = get_session().create_client(
                "s3",
                region_name="us-east-1",
                aws_access_key_id=KEYS["access-key-id"],
                aws_secret_access_key=SECRET,
                aws_session_token=token,
                config=AioConfig(signature_version="s3v4"),
            )
            return await context.__aenter__()

        clients = [runner.run(client(token)) for token in (None, "token/with+signs==")]
        yield lambda method, key, *, with_token: runner.run(
            clients[with_token].generate_presigned_url(method, Params={"Bucket": "my-bucket", "Key": key})
        )
        for it in clients:
            runner.run(it.close())


@given(keys)
@settings(max_examples=30)
def test_an_upload_is_valid_with_its_headers_and_not_with_others(presign, key):
    bound = PUT_OBJECT.bind({"content-type": "text/plain", "metadata": {"a": "b  c", "d#&+%": "e"}})
    text, _ = presign(ACCOUNT, PUT_OBJECT, key, bound=bound)
    url, credentials = parse(text), account_credentials(ACCOUNT)

    metadata = {"x-amz-meta-a": "b c", "x-amz-meta-d#&+%": "e"}
    assert url.signed_headers == ("content-type", "host", *metadata)
    assert signed_method(url, credentials, {"content-type": "text/plain", **metadata}) == "PUT"
    assert signed_method(url, credentials, {"content-type": "text/html", **metadata}) is None


@given(st.sampled_from(ACCOUNTS), keys)
@settings(max_examples=20)
def test_another_host_is_named(presign, account, key):
    text, endpoints = presign(account, GET_OBJECT, key)
    host = urlsplit(text).netloc
    found = change_of(text.replace(host, "proxy.internal", 1), account, endpoints)

    assert (found.name, host in found.output) == ("host", True)


def test_a_bucket_that_moved_into_the_host_is_named(presign):
    text, _ = presign(MINIO, GET_OBJECT, "k")
    moved = text.replace("minio.example:9000/my-bucket", "my-bucket.minio.example:9000", 1)
    endpoint = Endpoint("https://minio.example:9000", "/my-bucket", "minio.example:9000", "us-east-1")

    assert change_of(moved, MINIO, [endpoint]).name == "host"


def test_a_prefix_that_a_proxy_removed_is_named(presign):
    text, endpoints = presign(MINIO, GET_OBJECT, "k")

    assert change_of(text.replace("/my-bucket/k", "/k", 1), MINIO, endpoints).name == "path"


@given(st.sampled_from(ACCOUNTS), st.sampled_from(["eu-west-1", "us-west-2", "garage"]))
@settings(max_examples=10)
def test_another_region_is_named(presign, account, region):
    text, endpoints = presign(account, GET_OBJECT, "k")
    found = change_of(text.replace("%2Fus-east-1%2F", f"%2F{region}%2F"), account, endpoints)

    assert (found.name, "us-east-1" in found.output) == ("region", True)


@given(keys)
@settings(max_examples=20)
def test_the_secret_of_another_account_is_named(presign, key):
    wrong = replace(ACCOUNT, secret_access_key=OTHER.secret_access_key)
    text, endpoints = presign(wrong, GET_OBJECT, key)
    found = change_of(text, ACCOUNT, endpoints, others={"other": account_credentials(OTHER)})

    assert (found.name, "AwsAccount/other" in found.output) == ("secret", True)


@given(keys.filter(lambda it: quote(it, safe="/~") != it))
@settings(max_examples=20)
def test_a_path_that_is_encoded_twice_is_named(presign, key):
    text, endpoints = presign(ACCOUNT, GET_OBJECT, key)
    encoded = quote(key, safe="/~")
    found = change_of(text.replace(encoded, quote(encoded, safe="/~"), 1), ACCOUNT, endpoints)

    assert (found.name, "encoded twice" in found.output) == ("path", True)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("/a%2520b", "/a%20b"),
        ("/a%20b", "/a+b"),
        ("/a%2Bb", "/a%20b"),
        ("/a/b", "/a//b"),
        ("/a/b", "/a/b/"),
        ("/a%20b", "/proxy/a%20b"),
        ("/%C3%A9", "/e%CC%81"),
    ],
)
def test_a_changed_path_is_named(presign, before, after):
    text, endpoints = presign(ACCOUNT, GET_OBJECT, unquote(before[1:]))
    found = change_of(text.replace(before, after, 1), ACCOUNT, endpoints)

    assert found.name == "path"


@given(st.sampled_from(ACCOUNTS), st.from_regex(r"[a-z]{3,12}", fullmatch=True), segments)
@settings(max_examples=20)
def test_an_added_parameter_is_named(presign, account, name, value):
    text, endpoints = presign(account, GET_OBJECT, "k")
    found = change_of(f"{text}&{name}={quote(value, safe='')}", account, endpoints)

    assert (found.name, found.output) == ("parameter", f"{name} was added after signing")


@pytest.mark.parametrize("account", [ACCOUNT, TEMPORARY])
def test_a_plus_that_was_decoded_in_the_query_is_named(presign, account):
    bound = GET_OBJECT.bind({"response-content-disposition": "attachment;filename=x y+z"})
    text, endpoints = presign(account, GET_OBJECT, "k", bound=bound)
    credentials = account_credentials(account)
    found = change_of(text.replace("%2B", "+"), account, endpoints)

    assert (found.name, found.advice) == ("parameter", "write %2B")
    assert "+" in found.output
    assert signed_method(parse(text.replace("%20", "+")), credentials, {}) == "GET"
    assert signed_method(parse(f"{text}&&"), credentials, {}) == "GET"


def test_a_query_of_thousands_of_parameters_is_tried_with_few_changes(presign, monkeypatch):
    text, endpoints = presign(ACCOUNT, GET_OBJECT, "k")
    tried, sign = 0, verification.request_signature

    def counted(*args, **options):
        nonlocal tried
        tried += 1
        return sign(*args, **options)

    monkeypatch.setattr(verification, "request_signature", counted)
    changes = []
    for number in (200, 2000):
        change_of(
            "".join([text, *(f"&p{n}=a%20b" for n in range(number))]).replace("/k?", "/other?"), ACCOUNT, endpoints
        )
        changes.append(tried)
        tried = 0

    assert changes[0] == changes[1]


@pytest.mark.parametrize("name", ["list-type", "encoding-type"])
def test_a_removed_parameter_is_named(presign, name):
    text, endpoints = presign(ACCOUNT, LIST_OBJECTS, None, bound=LIST_OBJECTS.bind({}))
    kept = "&".join(pair for pair in text.partition("?")[2].split("&") if not pair.startswith(f"{name}="))
    found = change_of(f"{text.partition('?')[0]}?{kept}", ACCOUNT, endpoints)

    assert (found.name, found.output) == ("parameter", f"{name} was removed after signing")


def test_a_removed_session_token_is_named(presign):
    text, endpoints = presign(TEMPORARY, GET_OBJECT, "k")
    kept = "&".join(pair for pair in text.split("&") if "Security-Token" not in pair)
    found = change_of(kept, TEMPORARY, endpoints)

    assert (found.name, found.output) == ("parameter", "X-Amz-Security-Token was removed after signing")


@given(st.sampled_from([60, 300, 599, 900, 3600, 86_400, 604_800]), expirations)
@settings(max_examples=10)
def test_a_prolonged_url_is_named(presign, before, after):
    text, endpoints = presign(ACCOUNT, GET_OBJECT, "k", expires_in=before)
    if after != before:
        found = change_of(text.replace(f"Expires={before}&", f"Expires={after}&"), ACCOUNT, endpoints)
        assert (found.name, found.output) == ("parameter", f"X-Amz-Expires is {after}, and was {before} when signed")


def test_a_changed_key_is_one_of_several_possible_changes(presign):
    text, endpoints = presign(ACCOUNT, GET_OBJECT, "k")
    found = change_of(text.replace("/k?", "/other?"), ACCOUNT, endpoints)

    assert found.name == "signature"
    assert "its key" in found.advice


@pytest.mark.parametrize(
    ("now", "failing"),
    [
        (AT - 901, ["clock"]),
        (AT - 900, []),
        (AT, []),
        (AT + 300, []),
        (AT + 301, ["expiration"]),
    ],
)
def test_a_url_is_valid_from_its_time_to_its_expiration(presign, now, failing):
    text, _ = presign(ACCOUNT, GET_OBJECT, "k")

    assert [it.name for it in time_findings(parse(text), now) if it.status == FAIL] == failing


def test_a_day_that_contradicts_the_time_is_named(presign):
    text, _ = presign(ACCOUNT, GET_OBJECT, "k")
    url = parse(text.replace("X-Amz-Date=20130524", "X-Amz-Date=20130525"))

    assert "date" in [it.name for it in time_findings(url, AT + 86_400) if it.status == FAIL]
