"""What an HTTP client sends is what was signed, however the account's host is spelt."""

import os
import shutil
from urllib.parse import parse_qsl, urlsplit

import pytest
from botocore.auth import S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.compat import get_current_datetime
from botocore.credentials import Credentials
from live.http_clients import CLIENTS, PROGRAMS, Call
from live.recorder import recording
from live.s3_servers import DOMAIN

pytestmark = pytest.mark.timeout(300)  # the first test may install the servers

SECRET = "testsecretkey/with+chars"
KEY = "a/b-c_d.e~f"

# As an operator may write a host.
HOSTS = {
    "upper case": "LOCALHOST:18110",
    "mixed case, virtual": f"S3.{DOMAIN}:18110",
    "default port": f"{DOMAIN}:80",
    "default port of a base URL": f"HTTP://{DOMAIN.upper()}:80/",
    "default port of https": f"https://{DOMAIN}:443",
    "no port, https": f"https://{DOMAIN}",
    "port of https on http": f"{DOMAIN}:443",
    "port of http on https": f"https://{DOMAIN}:80",
    "long IPv6": "[0:0:0:0:0:0:0:1]:9000",
    "upper case IPv6": "[FE80::ABCD]",
    "IPv6 with one zero group shortened": "[::2:3:4:5:6:7:8]:9000",
    "IPv6 with an IPv4 address in it": "[64:ff9b::1.2.3.4]:9000",
    "IPv6 with its default port": "[::1]:80",
    "IPv4": "127.0.0.1:9000",
    "IPv4 with its default port": "127.0.0.1:80",
    "prefix": "http://Gateway.Example:80/S3//a~b/",
    "international name": "XN--BCHER-KVA.example",
}


@pytest.fixture(params=CLIENTS)
def send(request):
    program = PROGRAMS.get(request.param)
    if program and not shutil.which(program):
        give_up = pytest.fail if os.environ.get("CI") == "true" else pytest.skip
        give_up(f"install {program}: what it sends is not known without it")
    return CLIENTS[request.param]


@pytest.fixture(scope="module")
def recorders(certificates):
    with recording() as http, recording(certificates) as https:
        yield {"http": http, "https": https}


@pytest.fixture(scope="module", params=HOSTS.values(), ids=HOSTS.keys())
def url(request, signer):
    """A signed URL of an account with this host."""
    account = signer.put_account(
        {
            "id": f"clients-{[*HOSTS.values()].index(request.param)}",
            "access-key-id": "AKIAIOSFODNN7EXAMPLE",
            "secret-access-key": SECRET,
            "region": "RegionOne",
            "host": request.param,
        }
    )
    return signer.signed_url("GET", f"{account}/my-bucket/{KEY}")


def test_what_a_client_sends_is_what_is_signed(url, send, recorders, certificates, monkeypatch):
    parts = urlsplit(url)
    recorder = recorders[parts.scheme]
    status, _ = send(Call("GET", url, recorder.port, certificates.ca))
    sent = recorder.next()
    path, _, query = sent.target.partition("?")
    parameters = dict(parse_qsl(query))

    assert (status, sent.host, path) == (200, parts.netloc, parts.path)
    # aiohttp writes a query anew, which means the same.
    assert parameters == dict(parse_qsl(parts.query))
    assert parameters["X-Amz-Signature"] == _signature(sent.host, path, parameters, monkeypatch)


def _signature(host, path, given, monkeypatch):
    """The signature of what was sent, as botocore computes it for the Host header that was sent."""
    instant = get_current_datetime().strptime(given["X-Amz-Date"], "%Y%m%dT%H%M%SZ")
    monkeypatch.setattr("botocore.auth.get_current_datetime", lambda: instant)
    credentials = Credentials("AKIAIOSFODNN7EXAMPLE", SECRET)
    request = AWSRequest("GET", f"http://{host}{path}", headers={"host": host})
    S3SigV4QueryAuth(credentials, "s3", "RegionOne", expires=int(given["X-Amz-Expires"])).add_auth(request)
    return dict(parse_qsl(urlsplit(request.url).query))["X-Amz-Signature"]


SPELLINGS = {
    "upper case": ("LOCALHOST:{http}", "path"),
    "upper case, virtual": (DOMAIN.upper() + ":{http}", "virtual"),
    "default port": (f"{DOMAIN}:80", "path"),
    "default port of https": (f"https://{DOMAIN}:443", "path"),
    "long IPv6": ("[0:0:0:0:0:0:0:1]:{http}", "path"),
}


@pytest.mark.parametrize(("spelling", "style"), SPELLINGS.values(), ids=SPELLINGS.keys())
def test_a_server_takes_what_a_client_sends(signer, s3_server, bucket, send, spelling, style):
    ports = {scheme: address.rpartition(":")[2] for scheme, address in _addresses(s3_server).items()}
    number = [*SPELLINGS.values()].index((spelling, style))
    account = s3_server.account(f"{s3_server.name}-clients-{number}", style) | {"host": spelling.format(**ports)}
    del account["use-ssl"]
    target = f"{signer.put_account(account)}/{bucket}"
    up = signer.signed_url("POST", target, {"filename": KEY})
    down = signer.signed_url("GET", f"{target}/{KEY}")
    port = int(ports[urlsplit(up).scheme])

    stored, _ = send(Call("PUT", up, port, s3_server.ca, b"content"))

    assert stored == 200
    assert send(Call("GET", down, port, s3_server.ca)) == (200, b"content")


def _addresses(server):
    return {"http": server.http, "https": server.https}
