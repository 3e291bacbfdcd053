from dataclasses import replace
from datetime import UTC, datetime
from operator import attrgetter

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.endpoints import check_aws_region, check_region, parse_account_host
from service.errors import Invalid
from service.resources.types import AwsAccount
from service.signing.names import name_issues
from service.signing.operations import DELETE_OBJECT, GET_OBJECT, LIST_OBJECTS, OPERATIONS, PUT_OBJECT, UPLOAD_FORM
from service.signing.presigner import Presigner
from service.signing.sigv4 import Credentials

AT = 1369353600
WEEK = 604800
YEAR_2100 = 4102444800

EXAMPLES = settings(deadline=None, max_examples=400, suppress_health_check=[HealthCheck.too_slow])

ENDPOINTS = [
    # host, use_ssl, region, path_style
    (None, None, "us-east-1", False),
    (None, True, "us-east-1", True),
    (None, True, "eu-central-1", False),
    (None, False, "eu-central-1", True),
    (None, True, "cn-north-1", False),
    (None, True, "us-gov-west-1", False),
    (None, False, "us-gov-west-1", True),
    (None, None, "garage", False),
    ("s3.amazonaws.com", None, "eu-west-1", False),
    ("s3.dualstack.us-west-2.amazonaws.com", True, "us-west-2", False),
    ("minio:9000", None, "us-east-1", False),
    ("minio:9000", True, "us-east-1", False),
    ("minio:9000", False, "us-east-1", True),
    ("garage.local:80", False, "garage", False),
    ("garage.local:443", True, "garage", True),
    ("garage.local:443", False, "garage", False),
    ("S3.Example.COM:9000", True, "us-east-1", False),
    ("dotted.example", False, "US-EAST-1", False),
    ("127.0.0.1:9000", None, "us-east-1", False),
    ("[::1]:9000", None, "us-east-1", False),
    ("[FE80::ABCD]", True, "us-east-1", False),
    ("[::80]", False, "us-east-1", True),
    ("https://gateway.example/s3/", None, "eu-north-1", False),
    ("https://gateway.example:8443/s3", None, "eu-north-1", False),
    ("http://gateway.example:80/a//b~/", None, "eu-north-1", False),
    ("HTTP://gateway.example/a//b~/", None, "eu-north-1", True),
    ("http://10.0.0.1/s3", None, "eu-north-1", False),
]

LETTERS = "abcdefghijklmnopqrstuvwxyz"
buckets = st.one_of(
    st.sampled_from(
        ["bucket", "my.bucket", "My-Bucket", "my_bucket", "10.0.0.1", "ab", "a" * 63, "a" * 64, "b.", "b-"]
    ),
    st.text(LETTERS + "0123456789-._AZ", min_size=2, max_size=70),
    st.text(LETTERS + "-.", min_size=3, max_size=30),
).filter(lambda bucket: not name_issues(bucket, "k"))

RESERVED = [*"/+%&=?#;:@~*'()!$,.\\\"<>|` ", "//", "%2F", "%2e", "..", "a/b"]
UNICODE = ["é", "e\u0301", "\u2028", "𝄞", "\x01", "\n", "\x7f", "a"]
texts = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=60),
    st.lists(st.sampled_from(RESERVED + UNICODE), min_size=1, max_size=20).map("".join),
)
keys = texts.filter(lambda key: not name_issues("bucket", key))
long_keys = st.builds(
    lambda key, size: (key * 1024).encode()[:size].decode(errors="ignore"), keys, st.integers(1000, 1024)
).filter(lambda key: not name_issues("bucket", key))

access_keys = st.text(
    st.characters(min_codepoint=0x21, max_codepoint=0x7E, exclude_characters=",/"), min_size=1, max_size=40
)
secrets = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=60)
tokens = st.one_of(st.none(), st.just(""), st.just("FwoG/+=="), texts)


@st.composite
def accounts(draw, endpoints):
    host, use_ssl, region, path_style = draw(endpoints)
    return AwsAccount(
        id="x",
        access_key_id=draw(access_keys),
        secret_access_key=draw(secrets),
        session_token=draw(tokens),
        region=region,
        host=host,
        use_ssl=use_ssl,
        path_style=path_style,
    )


operations = st.sampled_from([GET_OBJECT, PUT_OBJECT, DELETE_OBJECT])


def requests(keys):
    return st.fixed_dictionaries(
        {
            "bucket": buckets,
            "key": keys,
            "at": st.one_of(st.integers(0, YEAR_2100), st.sampled_from([AT, AT + 86399, AT + 86400, 951782400])),
            "expires_in": st.one_of(st.integers(1, WEEK), st.sampled_from([1, 86400, WEEK])),
        }
    )


@pytest.mark.slow
@EXAMPLES
@given(accounts(st.sampled_from(ENDPOINTS)), operations, requests(keys))
def test_a_url_is_the_one_that_aiobotocore_presigns(presign_twice, account, operation, request):
    ours, oracles = presign_twice(account, operation, request)

    assert ours == oracles


@settings(EXAMPLES, max_examples=100)
@given(accounts(st.sampled_from(ENDPOINTS)), operations, requests(long_keys))
@pytest.mark.slow
def test_a_long_key_is_signed_as_aiobotocore_signs_it(presign_twice, account, operation, request):
    ours, oracles = presign_twice(account, operation, request)

    assert ours == oracles


async def test_prepare_loads_the_models_before_the_first_url(presigner, account, monkeypatch):
    await presigner.prepare()
    monkeypatch.setattr("service.signing.clients.Clients._open", None)

    assert await presigner.presign(account, GET_OBJECT, bucket="another", key="k", at=AT, expires_in=1)


labels = st.from_regex(r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?", fullmatch=True)
names = st.one_of(
    st.lists(labels, min_size=1, max_size=5).map(".".join),
    st.ip_addresses(v=4).map(str),
    st.ip_addresses(v=6).map(lambda address: f"[{address}]"),
    st.ip_addresses(v=6).map(lambda address: f"[{address.exploded.upper()}]"),
)
ports = st.one_of(st.just(""), st.integers(1, 65535).map(":{}".format), st.sampled_from([":80", ":443"]))
prefixes = st.from_regex(r"(/[A-Za-z0-9._~-]{0,8}){0,4}", fullmatch=True)
hosts = st.one_of(
    st.none(),
    st.builds("{}{}".format, names, ports),
    st.builds("{}{}{}{}".format, st.sampled_from(["http://", "https://", "HTTP://"]), names, ports, prefixes),
    st.text("aZ1.-_:/[]@%?# \n", min_size=1, max_size=12),
)
regions = st.one_of(
    st.from_regex(r"[a-z0-9][a-z0-9-]{0,63}", fullmatch=True),
    st.from_regex(r"[!-+\--.0-~]{1,64}", fullmatch=True),
    st.sampled_from(["us-east-1", "aws-global", "fips-us-east-1", "RegionOne"]),
)


def is_accepted(endpoint):
    host, _, region, _ = endpoint
    try:
        check_region(region)
        return bool(parse_account_host(host)) if host else check_aws_region(region) is None
    except ValueError:
        return False


endpoints = st.tuples(hosts, st.booleans(), regions, st.booleans()).filter(is_accepted)


@pytest.mark.slow
@settings(EXAMPLES, max_examples=100)
@given(accounts(endpoints), buckets)
def test_every_accepted_host_and_region_can_be_signed_for(presign_twice, account, bucket):
    if account.host and "://" in account.host:
        account = replace(account, use_ssl=None)

    ours, oracles = presign_twice(account, GET_OBJECT, {"bucket": bucket, "key": "k", "at": AT, "expires_in": 1})

    assert ours == oracles


@pytest.mark.slow
@settings(EXAMPLES, max_examples=100)
@given(accounts(st.sampled_from([it for it in ENDPOINTS if it[0]])), operations, requests(keys))
def test_a_public_host_is_signed_as_aiobotocore_signs_a_host(
    presign_twice, run, shared_presigner, account, operation, request
):
    _, oracles = presign_twice(account, operation, request)
    hidden = replace(account, host="internal.example", use_ssl=None)
    public = replace(hidden, public_host=account.host, public_use_ssl=account.use_ssl)

    assert run(shared_presigner.presign(public, operation, **request)) == oracles


@pytest.mark.heavy
@settings(EXAMPLES, max_examples=3000)
@given(accounts(endpoints | st.sampled_from(ENDPOINTS)), operations, requests(keys | long_keys))
def test_thousands_of_urls_are_those_that_aiobotocore_presigns(presign_twice, account, operation, request):
    if account.host and "://" in account.host:
        account = replace(account, use_ssl=None)

    ours, oracles = presign_twice(account, operation, request)

    assert ours == oracles


async def test_the_caller_gives_the_time(presigner, account):
    url = await presigner.presign(account, GET_OBJECT, bucket="bucket", key="k", at=AT, expires_in=60)

    assert f"&X-Amz-Date={datetime.fromtimestamp(AT, UTC):%Y%m%dT%H%M%SZ}&X-Amz-Expires=60&" in url


async def test_an_account_with_a_role_never_signs_with_its_own_keys(presigner, account):
    role = "arn:aws:iam::123456789012:role/uploads"
    request = {"bucket": "bucket", "key": "key", "at": AT, "expires_in": 60}

    with pytest.raises(RuntimeError, match="must have its keys"):
        await presigner.presign(replace(account, role_arn=role), GET_OBJECT, **request)
    assert await presigner.presign(replace(account, role_arn=role, role_session="session"), GET_OBJECT, **request)


@pytest.mark.parametrize(
    ("fields", "missing"),
    [
        ({"access_key_id": None}, ["access-key-id"]),
        ({"secret_access_key": None}, ["secret-access-key"]),
        ({"secret_access_key": ""}, ["secret-access-key"]),
        ({"access_key_id": None, "secret_access_key": None}, ["access-key-id", "secret-access-key"]),
    ],
)
async def test_an_account_without_keys_is_an_error_that_names_them(presigner, account, fields, missing):
    incomplete = replace(account, **fields)

    with pytest.raises(Invalid) as refusal:
        await presigner.presign(incomplete, GET_OBJECT, bucket="bucket", key="k", at=AT, expires_in=60)

    assert [issue.expression for issue in refusal.value.issues] == [f"AwsAccount.{name}" for name in missing]
    assert all(
        name in issue.diagnostics and "wJalr" not in issue.diagnostics
        for name, issue in zip(missing, refusal.value.issues, strict=True)
    )


@pytest.mark.parametrize("operation", OPERATIONS, ids=attrgetter("name"))
async def test_a_url_carries_what_its_operation_needs_or_an_error_names_it(presigner, account, operation):
    request = {"bucket": "bucket", "key": "k" if operation.has_key else None, "at": AT, "expires_in": 60}
    needed = [name for name, it in operation.schema().fields.items() if it.required]

    if needed or operation is UPLOAD_FORM:
        with pytest.raises(Invalid, match="is missing"):
            await presigner.presign(account, operation, **request)
    else:
        bare = await presigner.presign(account, operation, **request)
        assert bare == await presigner.presign(account, operation, **request, bound=operation.bind({}))


@pytest.mark.parametrize(
    ("operation", "changed", "field"),
    [
        (GET_OBJECT, {"key": None}, "key"),
        (LIST_OBJECTS, {"key": "k"}, "key"),
        (GET_OBJECT, {"expires_in": 0}, "expires_in"),
        (GET_OBJECT, {"expires_in": 604_801}, "expires_in"),
        (GET_OBJECT, {"expires_in": 60.0}, "expires_in"),
    ],
)
async def test_an_argument_that_s3_would_refuse_is_an_error(presigner, account, operation, changed, field):
    request = {"bucket": "bucket", "key": None if operation is LIST_OBJECTS else "k", "at": AT, "expires_in": 60}

    assert await presigner.presign(account, operation, **request)
    with pytest.raises(Invalid) as refusal:
        await presigner.presign(account, operation, **{**request, **changed})
    assert [issue.expression for issue in refusal.value.issues] == [field]


async def test_an_account_derives_its_signing_key_once_a_day(presigner, account, monkeypatch):
    derived = []
    derive = Credentials.derive_signing_key

    def counted(credentials, scope):
        derived.append((scope.date, scope.region))
        derive(credentials, scope)

    monkeypatch.setattr(Credentials, "derive_signing_key", counted)
    for at in (AT, AT + 1, AT + 86399, AT + 86400):
        await presigner.presign(account, GET_OBJECT, bucket="bucket", key="k", at=at, expires_in=60)

    assert derived == [("20130524", "us-east-1"), ("20130525", "us-east-1")]


async def test_a_changed_account_signs_with_its_new_key(presigner, account):
    request = {"bucket": "bucket", "key": "k", "at": AT, "expires_in": 60}
    before = await presigner.presign(account, GET_OBJECT, **request)
    after = await presigner.presign(replace(account, secret_access_key="another"), GET_OBJECT, **request)

    assert before != after


async def test_credentials_are_dropped_with_their_account(presigner):
    account = AwsAccount(id="x", access_key_id="AKIA", secret_access_key="s")
    await presigner.presign(account, GET_OBJECT, bucket="bucket", key="k", at=AT, expires_in=60)
    before = len(presigner._credentials)
    del account

    assert (before, len(presigner._credentials)) == (1, 0)


async def test_each_presigner_has_its_own_default_for_use_ssl(presigner, account):
    secure = Presigner(default_use_ssl=True)
    request = {"bucket": "bucket", "key": "k", "at": AT, "expires_in": 60}

    http = await presigner.presign(account, GET_OBJECT, **request)
    https = await secure.presign(account, GET_OBJECT, **request)
    await secure.close()

    assert http.startswith("http://")
    assert https == http.replace("http://", "https://")
