import logging

import pytest

from service.endpoints import parse_host
from service.resources.types import AwsAccount
from service.signing import exposure
from service.signing.exposure import ExposureLog, is_private
from service.signing.operations import GET_OBJECT
from service.signing.presigner import Presigner

PRIVATE = [
    *("localhost:9000", "LOCALHOST", "s3.localhost", "minio", "minio:9000", "garage.local", "minio.my-ns.svc"),
    *("minio.my-ns.svc.cluster.local", "s3.corp.internal", "nas.home.arpa"),
    *("127.0.0.1:9000", "127.8.8.8", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "169.254.1.1"),
    *("100.64.0.1", "[::1]:9000", "[0:0:0:0:0:0:0:1]", "[fd00::1]", "[fc00::1]", "[FE80::1]"),
]
PUBLIC = [
    *("s3.amazonaws.com", "minio.example.com:9000", "localhost.example.com", "svc.example", "10.0.0.1.nip.io"),
    *("8.8.8.8", "172.32.0.1", "192.169.0.1", "11.0.0.1", "100.128.0.1", "203.0.113.7", "[2001:db8::1]", "[fe00::1]"),
]


@pytest.fixture
def warnings(caplog):
    """Return a function that returns the accounts and hosts of all warnings."""
    caplog.set_level(logging.WARNING, logger="service.signing")
    return lambda: [record.args[:2] for record in caplog.records if record.name == "service.signing.exposure"]


@pytest.fixture
def sign(presigner):
    async def sign(account, bucket="bucket"):
        return await presigner.presign(account, GET_OBJECT, bucket=bucket, key="k", at=0, expires_in=1)

    return sign


def account(id="a", **fields):
    return AwsAccount(id=id, access_key_id="AKIA", secret_access_key="s3cr3t", **fields)


@pytest.mark.parametrize("host", PRIVATE)
def test_a_host_is_private(host):
    assert is_private(parse_host(host))


@pytest.mark.parametrize("host", PUBLIC)
def test_a_host_is_public(host):
    assert not is_private(parse_host(host))


@pytest.mark.parametrize(
    ("fields", "host", "advice"),
    [
        ({}, "bucket.s3.amazonaws.com", "set use-ssl to true"),
        ({"region": "eu-west-1", "path_style": True}, "s3.eu-west-1.amazonaws.com", "set use-ssl to true"),
        ({"host": "S3.Example.COM:80"}, "bucket.s3.example.com", "set use-ssl to true"),
        ({"host": "http://8.8.8.8:9000"}, "8.8.8.8:9000", "begin host with https://"),
        (
            {"host": "minio", "use_ssl": True, "public_host": "s3.example"},
            "bucket.s3.example",
            "set public-use-ssl to true",
        ),
        ({"public_host": "HTTP://s3.example"}, "bucket.s3.example", "begin public-host with https://"),
    ],
)
async def test_an_account_that_signs_http_for_a_public_host_is_warned_of(warnings, sign, caplog, fields, host, advice):
    await sign(account(**fields))

    assert warnings() == [("a", host)]
    assert f"AwsAccount/a signs http:// URLs for {host}, which is neither loopback nor private" in caplog.text
    assert caplog.text.rstrip().endswith(advice)
    assert "s3cr3t" not in caplog.text


@pytest.mark.parametrize(
    "fields", [{"use_ssl": True}, {"host": "https://s3.example.com"}, {"host": "minio:9000"}, {"host": "10.0.0.1"}]
)
async def test_an_account_with_https_or_a_private_host_is_not_warned_of(warnings, sign, fields):
    await sign(account(**fields))

    assert warnings() == []


async def test_an_account_with_https_by_default_is_not_warned_of(warnings):
    presigner = Presigner(default_use_ssl=True)
    for fields in ({}, {"use_ssl": False}):
        await presigner.presign(account(**fields), GET_OBJECT, bucket="b-b", key="k", at=0, expires_in=1)
    await presigner.close()

    assert warnings() == [("a", "b-b.s3.amazonaws.com")]


async def test_an_account_is_warned_of_once(warnings, sign):
    for bucket in ("first", "second"):
        # Each change of an account makes a new model, and without a cache each request does.
        await sign(account(), bucket)
        await sign(account(region="eu-west-1"), bucket)
    await sign(account("other"))

    assert [id_ for id_, _ in warnings()] == ["a", "other"]


async def test_an_account_is_warned_of_again_after_a_change_of_host_or_use_ssl(warnings, sign):
    for fields in ({}, {"host": "s3.example.com"}, {"use_ssl": True}, {"host": "s3.example.com"}, {}):
        await sign(account(**fields))

    assert [host for _, host in warnings()] == [
        *("bucket.s3.amazonaws.com", "bucket.s3.example.com", "bucket.s3.example.com", "bucket.s3.amazonaws.com")
    ]


def test_the_number_of_warned_accounts_is_bounded(warnings, monkeypatch):
    monkeypatch.setattr(exposure, "MAX_ACCOUNTS", 2)
    log = ExposureLog()
    for id_ in ("first", "second", "third", "first", "second", "third"):
        log.report(account(id_), "s3.example.com", is_exposed=True)
    log.report(account("first"), "s3.example.com", is_exposed=False)
    log.report(account("third"), "s3.example.com", is_exposed=True)

    assert [id_ for id_, _ in warnings()] == ["first", "second", "third"]
