"""Hostile requests: the service always answers with an outcome, never with a 500 or a secret."""

import json
import os
import re

import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from service import app
from service.settings import load

pytestmark = pytest.mark.slow

SECRET = "c0rrect-h0rse-battery-staple"
TOKEN = "a-t0ken"
MARKER = {"extension": [{"url": "http://hl7.org/fhir/StructureDefinition/data-absent-reason", "valueCode": "masked"}]}

METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND", "LINK", "CONNECT", "QUERY"]
NAMES = {"account": "hostile", "bucket": "bucket", "key": "key", "id": "hostile", "file": "main.js"}
ROUTES = [
    *(re.sub(r"{(\w+)}", lambda found: NAMES[found[1]], route.pattern) for route in app.routes(load({}))),
    *("/AwsAccount/", "/aws/storage/hostile/bucket/", "/aws/storage/hostile/", "/aws/storage/", "/Client/x"),
    *("*", "http://localhost/AwsAccount", "//", ""),
]
# A request line may contain any visible ASCII character.
VISIBLE = st.characters(min_codepoint=0x21, max_codepoint=0x7E)
PIECES = st.one_of(
    st.sampled_from(
        ["%", "%2F", "%2f", "%25", "%00", "%0A", "%C3%A9", "%C3", "%ED%A0%80", "..", ".", "/", "//", "+", "#"]
    ),
    st.sampled_from(
        ["%2e%2e", "%252F", "$", ";", "&", "=", "?", "a", "hostile", "bucket", "%7F", "%E2%80%A8", "\\", "["]
    ),
    st.text(VISIBLE, max_size=4),
    st.binary(max_size=3).map(lambda octets: "".join(f"%{octet:02x}" for octet in octets)),
)
TAILS = st.lists(PIECES, max_size=6).map("".join)
PARAMETERS = st.sampled_from(
    [
        *("_format=json", "_format=yaml", "_format=x", "_pretty=true", "_pretty=x", "expiration=60", "expiration=x"),
        *("_id=hostile", "_id=", "_count=0", "_count=1", "_count=x", "_page=2", "_page=999999999", "_no-content=true"),
        *("x=%", "%FF=1", "a=1&a=2", "&&", "=", "_sort=-x"),
    ]
)
QUERIES = st.lists(PARAMETERS | TAILS, max_size=3).map(lambda pairs: f"?{'&'.join(pairs)}" if pairs else "")
TYPES = [
    "application/json",
    "text/yaml",
    "application/merge-patch+json",
    "text/plain",
    "",
    "application/json; charset=x",
]
HEADERS = {
    "Accept": [
        "application/json",
        "text/yaml",
        "application/fhir+json",
        "*/*",
        "image/png",
        "",
        "x",
        "text/*;q=0.1",
        ";;,",
    ],
    "Content-Encoding": ["identity", "gzip", "x"],
    "If-Match": ["*", "1", 'W/"1"', "", ",", '"'],
    "If-None-Match": ["*", "1", 'W/"1"', "x"],
    "If-Modified-Since": ["Fri, 24 May 2013 00:00:00 GMT", "", "\xff"],
    "If-Unmodified-Since": ["Fri, 24 May 2013 00:00:00 GMT", "\xff"],
    "If-None-Exist": ["_id=hostile", "?_id=x", "", "_id=\xff", "a=b"],
    "X-Request-Id": ["mine", "", "a b", "\xff"],
    "Origin": ["http://localhost", "https://evil.example", "null", "", "\xff"],
    "Host": [
        "localhost",
        "127.0.0.1:1",
        "[::1]",
        "[",
        "[]",
        "evil.example",
        "",
        "\xff",
        "a:b:c",
        "localhost:99999",
        "%",
        "@",
    ],
    "Range": ["bytes=0-0"],
    "Cookie": ["a=b"],
    "Forwarded": ["for=x"],
}

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=5),
    st.sampled_from(["true", "no", "us-east-1", "minio:9000", "http://h", "[::1]", "a/../b", "", "1e10"]),
)
VALUES = st.one_of(
    SCALARS, st.lists(SCALARS, max_size=2), st.dictionaries(st.text(max_size=3), SCALARS, max_size=2), st.just(MARKER)
)
FIELDS = [
    *("id", "access-key-id", "secret-access-key", "session-token", "region", "host", "use-ssl", "path-style", "meta"),
    *("resourceType", "_secret-access-key", "_session-token", "filename", "x", "secret", "grant_types", "link"),
    *("engine", "matcho", "request-method", "params", "jwt", "grant_type", "client_id", "client_secret"),
]
DOCUMENTS = st.dictionaries(st.sampled_from(FIELDS), VALUES, max_size=6).map(
    lambda fields: {**fields, "secret-access-key": SECRET} if "access-key-id" in fields else fields
)
BODY_TYPES = st.one_of(
    st.just(b""),
    DOCUMENTS.map(lambda data: json.dumps(data).encode()),
    DOCUMENTS.map(lambda data: yaml.safe_dump(data, allow_unicode=True).encode()),
    st.binary(max_size=40),
    st.sampled_from(
        [
            *(
                b"a: &x 1\nb: *x",
                b"a: !!python/object:os.system x",
                b"[" * 30,
                b"{" * 30,
                b"a: 1\na: 2",
                b"--- a\n--- b",
            ),
            *(
                b'{"a": NaN}',
                b'{"a": 1e999}',
                b'{"filename": "\\ud800"}',
                b"%TAG ! x",
                b"<<: {a: b}",
                b"? a",
                b"\xef\xbb\xbf{}",
            ),
            *(b'{"id": "hostile", "id": "x"}', b"\x00", b"- a", b"null", b"filename: k", b'{"filename": "k"}'),
        ]
    ),
)


@st.composite
def requests(draw):
    """Return a request with correct framing and hostile content."""
    target = draw(st.sampled_from(ROUTES)) + draw(st.just("") | TAILS) + draw(QUERIES)
    headers = {"Host": "localhost", "Connection": "close"}
    for name in draw(st.lists(st.sampled_from(sorted(HEADERS)), max_size=3, unique=True)):
        headers[name] = draw(st.sampled_from(HEADERS[name]))
    if (type_ := draw(st.none() | st.sampled_from(TYPES))) is not None:
        headers["Content-Type"] = type_
    return draw(st.sampled_from(METHODS)), target, headers, draw(BODY_TYPES), draw(st.booleans())


def encoded(method, target, headers, body, chunked):
    if chunked:
        framing = {"Transfer-Encoding": "chunked"}
        body = (b"%x\r\n" % len(body) + body + b"\r\n" if body else b"") + b"0\r\n\r\n"
    else:
        framing = {"Content-Length": str(len(body))}
    lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in {**headers, **framing}.items())]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def last_answer(answer):
    head, _, body = answer.removeprefix(b"HTTP/1.1 100 Continue\r\n\r\n").partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    return int(first.split()[1]), dict(line.lower().split(": ", 1) for line in lines), body


@pytest.fixture(scope="module")
def target(service):
    keys = {"access-key-id": "AKIA", "secret-access-key": SECRET, "session-token": TOKEN}
    body = json.dumps(keys).encode()
    put = encoded("PUT", "/AwsAccount/hostile", {"Host": "localhost", "Connection": "close"}, body, chunked=False)
    assert last_answer(service.exchange(put))[0] in {200, 201}
    return service


@settings(
    max_examples=int(os.environ.get("FUZZ_EXAMPLES", "400")),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(requests())
@example(("GET", "/live", {"Host": "[", "Connection": "close"}, b"", False))
@example(("GET", "/AwsAccount/\x7f%FF", {"Host": "localhost", "Connection": "close"}, b"", False))
@example(("PATCH", "/AwsAccount/hostile", {"Host": "localhost", "Connection": "close"}, b'{"x": null}', True))
def test_every_hostile_request_gets_an_answer(target, request_):
    method, _, headers, _, _ = request_
    status, response_headers, body = last_answer(target.exchange(encoded(*request_)))

    assert 200 <= status < 500
    assert SECRET.encode() not in body
    # A URL signed with temporary credentials needs the token.
    assert TOKEN.encode() not in body or body.startswith((b'{"url":', b"url:", b'{\n  "url":'))
    if "x-request-id" not in response_headers:
        # aiohttp's parser refused it.
        assert (status, response_headers["content-type"]) == (400, "text/plain; charset=utf-8")
    elif status >= 400 and method != "HEAD":
        type_ = response_headers["content-type"].removesuffix("; charset=utf-8")
        outcome = yaml.safe_load(body) if "yaml" in type_ else json.loads(body)
        assert outcome["resourceType"] == "OperationOutcome"
        assert outcome["issue"][0]["code"] == outcome["id"]
        if status not in {400, 406} and headers.get("Accept") in {"application/json", "text/yaml"}:
            assert type_ == headers["Accept"] or "_format=" in request_[1]


def test_no_unexpected_error_is_logged(target):
    """This test runs last: a traceback would come from the service."""
    entries = [
        entry for entry in target.log if "exc_info" in entry or entry.get("logger") == "service.web.error_response"
    ]

    assert entries == []
    assert SECRET not in str(target.log)
    assert TOKEN not in str(target.log)
