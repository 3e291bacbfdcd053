"""The parts of a store URL."""

from urllib.parse import urlsplit

import pytest

from service.stores.url import Address, StoreUrl

SENTINELS = (
    "rediss+sentinel://u:p%40@h1,[::1]:1/accounts/3?sentinel-username=s%3A&sentinel-password=%26&ssl_ca_path=%2Fc"
)
CLUSTER = "redis+cluster://:p@h1:7000,h2?socket_keepalive=true"


def test_the_servers_have_the_default_port_of_their_kind():
    assert StoreUrl(SENTINELS).servers == [Address("h1", 26379), Address("::1", 1)]
    assert StoreUrl(CLUSTER).servers == [Address("h1", 7000), Address("h2", 6379)]


def test_the_url_of_a_redis_has_credentials_database_and_options():
    assert StoreUrl(SENTINELS).at(Address("::2", 5)) == "rediss://u:p%40@[::2]:5/3?ssl_ca_path=%2Fc"
    assert StoreUrl(CLUSTER).at(Address("h3", 5)) == "redis://:p@h3:5/0?socket_keepalive=true"


def test_the_url_of_a_sentinel_has_credentials_of_its_own_and_the_options_of_tls():
    assert StoreUrl(SENTINELS).sentinel_at(Address("h", 5)) == "rediss://s%3A:%26@h:5?ssl_ca_path=%2Fc"


@pytest.mark.parametrize(
    ("url", "description"),
    [
        (SENTINELS, "rediss+sentinel://h1:26379,[::1]:1/accounts/3"),
        (CLUSTER, "redis+cluster://h1:7000,h2:6379"),
        ("redis://u:p@h", "redis://h:6379/0"),
        ("redis://h/?db=2", "redis://h:6379/2"),
        ("unix://u:p@/run/redis.sock?db=1", "unix:///run/redis.sock?db=1"),
    ],
)
def test_the_description_has_no_credentials(url, description):
    assert StoreUrl(url).description == description


@pytest.mark.parametrize("host", ["10.0.0.1", "::1", "fe80::1%eth0", "redis_1.accounts", "redis.", "rédis.example"])
def test_an_address_names_a_host(host):
    assert Address(host, 6379).names_host
    assert urlsplit(StoreUrl(CLUSTER).at(Address(host, 6379))).hostname == host


@pytest.mark.parametrize(
    "host", ["", "x/y", "a@b", "a#b", "a?b", "a,b", "a b", "x%41", "10.0.0.1:6379", "[::1]", "fe80::1%a/b", ".."]
)
def test_an_address_names_no_host(host):
    assert not Address(host, 6379).names_host


@pytest.mark.parametrize("url", [SENTINELS, CLUSTER, "redis://u:p@h", "unix://u:p@/run/s?db=1", "redis://h?password=p"])
def test_credentials_can_be_left_out(url):
    without = StoreUrl(url).without_credentials

    assert without.credentials == ("", "")
    assert without.description == StoreUrl(url).description
