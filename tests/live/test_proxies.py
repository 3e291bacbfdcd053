"""Behind the proxies of deploy/proxies, paths arrive as sent, links lead back, and clients keep their address."""

import http.client
import json
from urllib.parse import urlsplit

import pytest
from live.proxies import PREFIX, PROXIES, running_proxy
from live.raw_http import send
from support.accounts import KEYS
from support.waiting import eventually

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(300)]

BUCKET = "/aws/storage/shared/bucket"
KEYS_AS_SENT = {
    "two slashes": "a//b",
    "a slash in front": "/a",
    "a slash at the end": "a/",
    "an encoded slash": "a%2Fb",
    "an encoded slash, in lower case": "a%2fb",
    "two encoded slashes": "a%2F%2Fb",
    "an encoded percent sign": "a%252Fb",
    "a dot segment": "a/./b",
    "a parent": "a/../b",
    "an encoded parent": "a/%2e%2e/b",
    "a parent with a parameter": "a/..;/b",
    "a line feed": "a%0Ab",
    "a carriage return": "a%0D%0Ab",
    "a space and a plus": "a%20b+c",
    "unicode": "%E2%82%AC/e%CC%81",
    "bytes that are not UTF-8": "a%FFb",
    "a malformed escape": "a%zzb",
    "an escape of a letter": "%61%7e~",
    "a question mark and a number sign": "a%3Fb%23c",
    "a query": "a//b?expiration=60",
    "a URL": "http://u:p@h/",
    "reserved characters": "!$&'()*,;=:@",
    "other delimiters": "a%5Cb%7C%22%3C%3E%5E%60%7B%7D",
    "the prefix": "signer/a/signer/b",
    "3072 bytes": "%E2%82%AC" * 341 + "a",
    "3078 bytes, a key that is too long": "%E2%82%AC" * 342,
}
TRAPS = {
    "nginx with a path behind the address": ("nginx", "http://replicas$as_sent;", "http://replicas/;"),
    "envoy with normalize_path": ("envoy", "normalize_path: false", "normalize_path: true"),
    "caddy with strip_prefix": ("caddy", "uri path_regexp ^/signer/ /", "uri strip_prefix /signer"),
}


@pytest.fixture(scope="module", params=PROXIES)
def proxy(request, replicas, tmp_path_factory):
    with running_proxy(request.param, tmp_path_factory.mktemp("proxy"), replicas) as url:
        yield url


@pytest.mark.parametrize("prefix", ["", PREFIX], ids=["a host of its own", "under a path"])
def test_paths_arrive_as_sent(replicas, proxy, prefix):
    direct = {name: signed(replicas[0].url, key) for name, key in KEYS_AS_SENT.items()}
    forwarded = {name: signed(proxy + prefix, key) for name, key in KEYS_AS_SENT.items()}

    assert forwarded == direct
    assert {status for status, _ in direct.values()} == {200, 400, 422}


@pytest.mark.parametrize(("name", "right", "wrong"), TRAPS.values(), ids=TRAPS)
def test_a_trap_changes_the_key(replicas, tmp_path, name, right, wrong):
    with running_proxy(name, tmp_path, replicas, change=(right, wrong)) as url:
        assert signed(replicas[0].url, "a/../b") == (422, None)
        assert signed(url, "a/../b") == (200, "http://bucket.s3.amazonaws.com/b")


def signed(base, key):
    """The status, and what is signed, without the instant and the signature."""
    answer = send(f"{base}{BUCKET}/{key}", "GET")
    # Some proxies refuse a malformed escape themselves, with the same status.
    return answer.status, answer.json()["url"].partition("?")[0] if answer.status == 200 else None


def test_caddy_answers_an_unmatched_host_with_an_empty_200(replicas, tmp_path):
    with running_proxy("caddy", tmp_path, replicas, change=("\n:8000 {", "\nhttp://s3.example.com:8000 {")) as url:
        answer = send(f"{url}{BUCKET}/k", "GET")

        assert (answer.status, answer.body) == (200, b"")


def test_links_lead_back_through_the_prefix(proxy):
    host = {"Host": "s3.example.com"}
    created = send(f"{proxy}{PREFIX}/AwsAccount", "POST", json.dumps(KEYS).encode(), host)
    bundle = send(f"{proxy}{PREFIX}/AwsAccount?_count=1", "GET", headers=host).json()
    root = send(f"{proxy}{PREFIX}/", "GET", headers={**host, "Accept": "application/json"}).json()
    links = [
        created.headers["location"],
        bundle["entry"][0]["fullUrl"],
        bundle["link"][0]["url"],
        *root["links"].values(),
    ]

    assert {link: send(proxy + link, "GET", headers=host).status for link in links} == dict.fromkeys(links, 200)
    assert all(link.startswith(f"{PREFIX}/") for link in links)


def test_the_audit_log_has_the_clients_address_whatever_it_sends(proxy, audit_log_of_replicas, request):
    key = f"address/{request.node.callspec.id}"
    address = urlsplit(proxy)
    # The proxy is trusted, the client is not.
    connection = http.client.HTTPConnection(address.hostname, address.port, source_address=("127.0.0.2", 0), timeout=10)
    forged = {"X-Forwarded-For": "6.6.6.6", "Forwarded": "for=6.6.6.6", "X-Real-IP": "6.6.6.6"}
    connection.request("GET", f"{BUCKET}/{key}", headers=forged)
    assert connection.getresponse().status == 200
    connection.close()

    assert eventually(lambda: key in audit_log_of_replicas.read_text())
    lines = [json.loads(line) for line in audit_log_of_replicas.read_text().splitlines()]
    assert [line["address"] for line in lines if line.get("key") == key] == ["127.0.0.2"]
