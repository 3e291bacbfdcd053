import asyncio
import os
import socket
from contextlib import nullcontext
from dataclasses import replace

import pytest
from aiobotocore.client import AioBaseClient
from aiobotocore.config import AioConfig
from aiobotocore.session import AioSession
from support.waiting import PerTurn

from service.endpoints import check_aws_region
from service.errors import Invalid
from service.resources.types import AwsAccount
from service.signing import clients as clients_module
from service.signing import endpoint as endpoint_module
from service.signing.endpoint import Endpoint, Endpoints
from service.stores import pacing


@pytest.fixture
async def make_endpoints():
    made = []

    def make():
        made.append(Endpoints(default_use_ssl=False))
        return made[-1]

    yield make
    for endpoints in made:
        await endpoints.close()


@pytest.fixture
def endpoints(make_endpoints):
    return make_endpoints()


@pytest.fixture
def opened(monkeypatch):
    """Return the options of every client that is opened. Opening one lets other tasks run, as a real session can."""
    opened = []
    open_ = clients_module.Clients._open

    async def counted(self, options):
        opened.append(options)
        await asyncio.sleep(0)
        return await open_(self, options)

    monkeypatch.setattr(clients_module.Clients, "_open", counted)
    return opened


@pytest.fixture
def closed(monkeypatch):
    closed = []
    close = AioBaseClient.close

    async def counted(self):
        closed.append(self)
        await close(self)

    monkeypatch.setattr(AioBaseClient, "close", counted)
    return closed


def account(**fields):
    return AwsAccount(id="x", **fields)


@pytest.mark.parametrize(
    ("fields", "bucket", "expected"),
    [
        ({}, "b-b", ("http://b-b.s3.amazonaws.com", "", "b-b.s3.amazonaws.com")),
        ({"use_ssl": True}, "b-b", ("https://b-b.s3.amazonaws.com", "", "b-b.s3.amazonaws.com")),
        ({"path_style": True}, "b-b", ("http://s3.amazonaws.com", "/b-b", "s3.amazonaws.com")),
        ({}, "b.b", ("http://s3.amazonaws.com", "/b.b", "s3.amazonaws.com")),
        ({"host": "h:9000"}, "b-b", ("http://b-b.h:9000", "", "b-b.h:9000")),
        ({"host": "h:80"}, "b-b", ("http://b-b.h", "", "b-b.h")),
        ({"host": "h:443"}, "b-b", ("http://b-b.h:443", "", "b-b.h:443")),
        ({"host": "https://h:443"}, "b-b", ("https://b-b.h", "", "b-b.h")),
        ({"host": "[::80]"}, "b-b", ("http://[::80]", "/b-b", "[::80]")),
        ({"host": "h:80", "use_ssl": True}, "b-b", ("https://b-b.h:80", "", "b-b.h:80")),
        ({"host": "[::1]:80"}, "b.b", ("http://[::1]", "/b.b", "[::1]")),
        ({"host": "[0:0:0:0:0:0:0:1]:9000"}, "b-b", ("http://[::1]:9000", "/b-b", "[::1]:9000")),
        ({"host": "[FE80::ABCD]"}, "b-b", ("http://[fe80::abcd]", "/b-b", "[fe80::abcd]")),
        ({"host": "127.0.0.1:9000"}, "b.b", ("http://127.0.0.1:9000", "/b.b", "127.0.0.1:9000")),
        ({"host": "H.Example"}, "b.b", ("http://b.b.h.example", "", "b.b.h.example")),
        ({"host": "H.Example"}, "B_B", ("http://h.example", "/B_B", "h.example")),
        ({"host": "h", "use_ssl": True}, "b.b", ("https://h", "/b.b", "h")),
        ({"host": "http://h/p/"}, "b-b", ("http://b-b.h", "/p", "b-b.h")),
        ({"host": "http://h/p/"}, "B_B", ("http://h", "/p/B_B", "h")),
        ({"host": "http://h/p//"}, "b-b", ("http://b-b.h", "/p/", "b-b.h")),
        ({"host": "s3.amazonaws.com", "region": "eu-central-1"}, "b-b", ("http://b-b.s3.amazonaws.com", "", None)),
        ({"region": "eu-central-1"}, "b-b", ("http://b-b.s3.eu-central-1.amazonaws.com", "", None)),
        ({"region": "cn-north-1"}, "b-b", ("http://b-b.s3.cn-north-1.amazonaws.com.cn", "", None)),
        (
            {"region": "us-gov-west-1", "path_style": True},
            "b-b",
            ("http://s3.us-gov-west-1.amazonaws.com", "/b-b", None),
        ),
        ({"region": "garage", "host": "garage:3900"}, "b-b", ("http://b-b.garage:3900", "", "b-b.garage:3900")),
        ({"region": "RegionOne", "host": "swift"}, "b-b", ("http://b-b.swift", "", "b-b.swift")),
        ({"region": "fips-a_b:c", "host": "s3.example"}, "b-b", ("http://b-b.s3.example", "", None)),
    ],
)
async def test_a_bucket_has_an_endpoint(endpoints, fields, bucket, expected):
    endpoint = await endpoints.get(account(**fields), bucket)

    origin, prefix, host = expected
    assert endpoint == Endpoint(origin, prefix, host or origin.partition("//")[2], fields.get("region", "us-east-1"))


@pytest.mark.parametrize(
    ("fields", "bucket", "style"),
    [
        ({}, "b-b", "virtual-hosted"),
        ({"path_style": True}, "b-b", "path"),
        ({}, "b.b", "path"),
        ({}, "B_B", "path"),
        ({"host": "h"}, "b-b", "virtual-hosted"),
        ({"host": "b-b.h", "path_style": True}, "b-b", "path"),
        ({"host": "127.0.0.1"}, "b-b", "path"),
        ({"host": "http://h/b-b"}, "b-b", "virtual-hosted"),
        ({"host": "http://h/b-b", "path_style": True}, "b-b", "path"),
        ({"host": "http://h/p/"}, "b-b", "virtual-hosted"),
        ({"host": "http://h/"}, "b-b", "virtual-hosted"),
        ({"host": "http://h/p/", "path_style": True}, "b-b", "path"),
    ],
)
async def test_an_endpoint_has_an_addressing_style(endpoints, fields, bucket, style):
    endpoint = await endpoints.get(account(**fields), bucket)

    assert endpoint.style == style
    assert (f"{bucket}." in endpoint.origin) is (style == "virtual-hosted" or fields.get("host") == f"{bucket}.h")


async def test_the_default_scheme_decides_which_port_is_the_default():
    endpoints = Endpoints(default_use_ssl=True)
    resolved = [await endpoints.get(account(host=host), "bucket") for host in ("h:443", "h:80", "http://h:80")]
    await endpoints.close()

    assert [endpoint.origin for endpoint in resolved] == ["https://bucket.h", "https://bucket.h:80", "http://bucket.h"]


async def test_accounts_of_one_host_share_a_client_across_regions(endpoints, opened):
    resolved = [await endpoints.get(account(host="h", region=region), "bucket") for region in ("a", "RegionOne")]

    assert [endpoint.region for endpoint in resolved] == ["a", "RegionOne"]
    assert len(opened) == 1


async def test_accounts_without_use_ssl_get_the_default():
    endpoints = Endpoints(default_use_ssl=True)
    default = await endpoints.get(account(host="h"), "bucket")
    aws = await endpoints.get(account(), "bucket")
    plain = await endpoints.get(account(host="h", use_ssl=False), "bucket")
    scheme = await endpoints.get(account(host="http://h"), "bucket")
    await endpoints.close()

    assert [e.origin.partition(":")[0] for e in (default, aws, plain, scheme)] == ["https", "https", "http", "http"]


@pytest.mark.parametrize(
    ("fields", "bucket", "expression"),
    [
        ({"region": "fips-us-east-1"}, "bucket", "AwsAccount.region"),
        ({"region": "-foo"}, "bucket", "AwsAccount.region"),
        ({"region": "RegionOne"}, "bucket", "AwsAccount.region"),
        ({"region": "a/b", "host": "h"}, "bucket", "AwsAccount.region"),
        ({"host": "h."}, "bucket", "AwsAccount.host"),
        ({"host": "127.1:9000"}, "bucket", "AwsAccount.host"),
        ({"host": "[::ffff:1.2.3.4]"}, "bucket", "AwsAccount.host"),
        ({"host": "my_minio:9000"}, "bucket", "AwsAccount.host"),
        ({"host": "h:99999"}, "bucket", "AwsAccount.host"),
        ({"host": ""}, "bucket", "AwsAccount.host"),
        ({"host": "https://h", "use_ssl": False}, "bucket", "AwsAccount.use-ssl"),
        ({}, "bucket--x-s3", "bucket"),
        ({}, "b ucket", "bucket"),
        ({}, "", "bucket"),
        ({}, "a" * 43 + "--op-s3", "bucket"),
        ({}, "ec2" + "a" * 10 + "o" + "b" * 42 + "--op-s3", "bucket"),
        ({}, "e" * 40 + "op-" + "o" * 7 + "--op-s3", "bucket"),
    ],
)
async def test_an_account_or_bucket_that_cannot_be_signed_for_is_an_error(endpoints, fields, bucket, expression):
    with pytest.raises(Invalid) as refusal:
        await endpoints.get(account(**fields), bucket)

    assert [issue.expression for issue in refusal.value.issues] == [expression]


async def test_every_pseudo_region_of_botocore_is_refused():
    session = AioSession()
    for partition in session.get_available_partitions():
        own = await session.get_available_regions("s3", partition)
        for region in await session.get_available_regions("s3", partition, allow_non_regional=True):
            refusal = pytest.raises(ValueError, match="must be a region of its own")
            with nullcontext() if region in own else refusal:
                check_aws_region(region)


@pytest.mark.parametrize("host", ["s3-accelerate.amazonaws.com", "https://s3-accelerate.dualstack.amazonaws.com"])
@pytest.mark.parametrize("bucket", ["my.bucket", "My-Bucket", "my_bucket", "ab", "a" * 64])
async def test_a_bucket_that_is_no_label_is_refused_for_transfer_acceleration(endpoints, host, bucket):
    for use_ssl in (True, None):
        with pytest.raises(Invalid, match="bucket must be 3 to 63 of a-z, 0-9 and - for s3-accelerate"):
            await endpoints.get(account(host=host, use_ssl=use_ssl), bucket)
    accepted = await endpoints.get(account(host=host, use_ssl=True), "my-bucket")

    assert accepted.host == f"my-bucket.{host.removeprefix('https://')}"


@pytest.fixture
def probed(monkeypatch):
    """Return the buckets that aiobotocore was asked for."""
    probed = []
    presigned_url = clients_module.Clients.presigned_url

    async def counted(self, options, bucket, key):
        probed.append(bucket)
        return await presigned_url(self, options, bucket, key)

    monkeypatch.setattr(clients_module.Clients, "presigned_url", counted)
    return probed


async def test_an_endpoint_is_cached(endpoints, probed):
    first = await endpoints.get(account(), "bucket")
    second = await endpoints.get(account(), "bucket")

    assert first is second
    assert probed == ["bucket"]


@pytest.mark.parametrize(
    "other", [{"region": "eu-west-1"}, {"host": "h"}, {"use_ssl": True}, {"path_style": True}, {"bucket": "other"}]
)
async def test_an_endpoint_is_cached_by_settings_and_bucket(endpoints, probed, other):
    await endpoints.get(account(), "bucket")
    await endpoints.get(account(**{k: v for k, v in other.items() if k != "bucket"}), other.get("bucket", "bucket"))

    assert len(probed) == 2


async def test_accounts_with_different_credentials_share_clients_and_endpoints(endpoints, opened, probed):
    first = account(access_key_id="first-id", secret_access_key="first-secret", session_token="first-token")
    await endpoints.get(first, "bucket")
    await endpoints.get(account(access_key_id="second-id", secret_access_key="second-secret"), "bucket")

    assert (len(opened), len(probed)) == (1, 1)
    assert "first" not in repr(opened) + repr(endpoints._cache)


async def test_the_cache_of_endpoints_is_bounded_and_evicts_the_oldest(make_endpoints, probed, monkeypatch):
    monkeypatch.setattr(endpoint_module, "MAX_ENDPOINTS", 3)
    endpoints = make_endpoints()
    for bucket in ("first", "second", "third", "fourth", "second", "third", "fourth", "first"):
        await endpoints.get(account(), bucket)

    assert probed == ["first", "second", "third", "fourth", "first"]


async def test_each_region_has_the_endpoint_of_a_client_of_its_own(endpoints):
    session = AioSession()
    config = AioConfig(signature_version="s3v4", s3={"addressing_style": "virtual"})
    for partition in session.get_available_partitions():
        for region in await session.get_available_regions("s3", partition):
            async with session.create_client(
                "s3", region, aws_access_key_id="x", aws_secret_access_key="x", config=config
            ) as client:
                url = await client.generate_presigned_url("get_object", Params={"Bucket": "bucket", "Key": "k"})
            endpoint = await endpoints.get(account(region=region, use_ssl=True), "bucket")

            assert url.startswith(f"{endpoint.origin}/k?")


async def test_all_accounts_share_a_few_clients(endpoints, opened, closed):
    hosts = ["a", "http://b:444", "http://c:81/p", "1.2.3.4:5", "s3.eu-west-1.amazonaws.com", "http://d/q/r"]
    accelerated = [
        "s3-accelerate.amazonaws.com",
        "s3-accelerate.amazonaws.com:81",
        "http://s3-accelerate.amazonaws.com",
    ]
    accounts = [account(region=f"r{number}") for number in range(5)]
    accounts += [account(host=host, region=region) for host in hosts for region in ("eu-west-1", "eu-west-2")]
    for each in [*accounts, *(replace(each, path_style=True) for each in accounts)]:
        await endpoints.get(each, "bucket")
    for host in accelerated:
        await endpoints.get(account(host=host), "bucket")
    open_at_the_end = len(opened) - len(closed)
    await endpoints.close()

    # AWS' own endpoints, custom hosts and Transfer Acceleration; the first two in each style.
    assert open_at_the_end == len(opened) == 5
    assert len(closed) == len(set(map(id, closed))) == 5


@pytest.mark.parametrize("many", ["regions", "buckets"])
async def test_many_endpoints_are_resolved_without_holding_the_event_loop(endpoints, monkeypatch, many):
    resolved = PerTurn()
    presigned_url = clients_module.Clients.presigned_url

    async def counted(self, options, bucket, key):
        resolved.count()
        return await presigned_url(self, options, bucket, key)

    await endpoints.get(account(), "first")
    monkeypatch.setattr(clients_module.Clients, "presigned_url", counted)
    monkeypatch.setattr(pacing, "MAX_BLOCK_SECONDS", 0)
    texts = [f"r{number}" for number in range(5)]
    wanted = [(account(region=text), "bucket") if many == "regions" else (account(), text * 2) for text in texts]
    await resolved.during(asyncio.gather(*(endpoints.get(*each) for each in wanted)))

    assert resolved.total == 5
    assert resolved.most == 1


async def test_a_hundred_concurrent_misses_open_one_client(endpoints, opened):
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(endpoints.get(account(), f"bucket-{n % 10}")) for n in range(100)]

    assert len(opened) == 1
    assert {task.result().origin for task in tasks} == {f"http://bucket-{n}.s3.amazonaws.com" for n in range(10)}


async def test_a_waiter_for_a_client_survives_the_cancellation_of_its_opener(endpoints, opened):
    opener = asyncio.create_task(endpoints.get(account(), "bucket"))
    waiter = asyncio.create_task(endpoints.get(account(), "bucket"))
    await asyncio.sleep(0)
    opener.cancel()

    endpoint = await waiter

    assert endpoint.origin == "http://bucket.s3.amazonaws.com"
    assert opener.cancelled()
    assert len(opened) == 2


async def test_resolving_an_endpoint_sends_nothing(endpoints, monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("an endpoint was looked up over the network")

    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(AioSession, "get_credentials", refuse)

    endpoint = await endpoints.get(account(), "bucket")

    assert endpoint.host == "bucket.s3.amazonaws.com"


CONFIG_FILE = """
[default]
region = ap-south-1
endpoint_url = http://elsewhere
use_fips_endpoint = true
use_dualstack_endpoint = true
defaults_mode = standard
parameter_validation = nonsense
s3 =
  addressing_style = auto
  signature_version = s3
  use_accelerate_endpoint = true
  use_dualstack_endpoint = true
  us_east_1_regional_endpoint = regional
services = mine

[services mine]
s3 =
  endpoint_url = http://elsewhere
"""

ENVIRONMENTS = [
    {"AWS_ENDPOINT_URL": "http://elsewhere"},
    {"AWS_ENDPOINT_URL_S3": "http://elsewhere"},
    {"AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "false", "AWS_ENDPOINT_URL": "http://elsewhere"},
    {"AWS_USE_FIPS_ENDPOINT": "true"},
    {"AWS_USE_DUALSTACK_ENDPOINT": "true"},
    {"AWS_DEFAULTS_MODE": "standard"},
    {"AWS_DEFAULTS_MODE": "auto"},
    {"AWS_DEFAULTS_MODE": "nonsense"},
    {"AWS_S3_US_EAST_1_REGIONAL_ENDPOINT": "regional"},
    {"AWS_S3_US_EAST_1_REGIONAL_ENDPOINT": "nonsense"},
    {"AWS_S3_DISABLE_EXPRESS_SESSION_AUTH": "nonsense"},
    {"AWS_PROFILE": "nope"},
    {"AWS_DEFAULT_PROFILE": "nope"},
    {"AWS_DEFAULT_REGION": "ap-south-1", "AWS_REGION": "ap-south-1"},
    {"AWS_AUTH_SCHEME_PREFERENCE": "sigv4a"},
    {"AWS_REQUEST_MIN_COMPRESSION_SIZE_BYTES": "nonsense"},
    {"AWS_MAX_ATTEMPTS": "nonsense"},
    {"AWS_RETRY_MODE": "adaptive"},
    {"AWS_CSM_ENABLED": "true"},
    {"AWS_BEARER_TOKEN_S3": "token"},
    {"AWS_CA_BUNDLE": ""},
    {"REQUESTS_CA_BUNDLE": ""},
    {"AWS_CONFIG_FILE": "{home}/config"},
    {"AWS_SHARED_CREDENTIALS_FILE": "{home}/config"},
    {"AWS_CONFIG_FILE": "{home}/broken"},
    {"AWS_SHARED_CREDENTIALS_FILE": "{home}/broken"},
    {"AWS_DATA_PATH": "{home}/models"},
    {"HOME": "{home}/config-home"},
    {"HOME": "{home}/credentials-home"},
    {"HTTP_PROXY": "http://proxy", "HTTPS_PROXY": "http://proxy"},
]


@pytest.fixture
def home(tmp_path):
    (tmp_path / "config").write_text(CONFIG_FILE)
    (tmp_path / "broken").write_text("no section\n")
    for name in ("config", "credentials"):
        (tmp_path / f"{name}-home" / ".aws").mkdir(parents=True)
        (tmp_path / f"{name}-home" / ".aws" / name).write_text("no section\n")
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "endpoints.json").write_text('{"version": 3, "partitions": []}')
    (tmp_path / "models" / "partitions.json").write_text('{"version": "1.1", "partitions": []}')
    return tmp_path


@pytest.mark.parametrize("environment", ENVIRONMENTS, ids=lambda names: "+".join(f"{k}={v}" for k, v in names.items()))
@pytest.mark.slow
async def test_endpoints_do_not_depend_on_the_environment(make_endpoints, environment, home, monkeypatch):
    accounts = [
        account(),
        account(path_style=True),
        account(region="eu-central-1", use_ssl=True),
        account(host="h:9000"),
    ]
    for name, value in environment.items():
        monkeypatch.setenv(name, value.format(home=home))

    endpoints = make_endpoints()
    resolved = [await endpoints.get(each, "bucket") for each in accounts]

    assert [each.origin + each.prefix for each in resolved] == [
        "http://bucket.s3.amazonaws.com",
        "http://s3.amazonaws.com/bucket",
        "https://bucket.s3.eu-central-1.amazonaws.com",
        "http://bucket.h:9000",
    ]
    assert [each.region for each in resolved] == [each.region for each in accounts]


async def test_models_in_the_home_directory_are_not_used(make_endpoints, home, monkeypatch):
    # A later version of the API takes precedence over botocore's in any search path.
    (home / "models" / "s3" / "2099-01-01").mkdir(parents=True)
    (home / "models" / "s3" / "2099-01-01" / "service-2.json").write_text("{}")
    monkeypatch.setattr("botocore.loaders.Loader.CUSTOMER_DATA_PATH", str(home / "models"))

    endpoint = await make_endpoints().get(account(region="cn-north-1"), "bucket")

    assert endpoint.host == "bucket.s3.cn-north-1.amazonaws.com.cn"
