"""Every feature of a signed URL: what its right use has to do, and what each wrong use has to get."""

import base64
import hashlib
import re
import secrets
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from html import unescape
from types import MappingProxyType
from typing import Any, NamedTuple
from urllib.parse import quote, unquote_plus

from live.forms import post_form
from live.raw_http import Answer
from live.signer import Signer, Storage
from s3_check.uses import Use, Verdict, right, wrong

CONTENT = b"hello"
OTHER_BYTE = b"hellO"
PART = 5 * 1024 * 1024  # S3's smallest part, but for the last one

Feature = Callable[[Storage], Iterator[Use]]
FEATURES: dict[str, Feature] = {}
LIVE_CHECK = "live check of the account"

# The group in each is the one character that is changed.
TOUCHED = {
    "key": r"kept\.tx(t)\?",
    "time": r"X-Amz-Date=\d{8}T\d{5}(\d)Z",
    "expiration": r"X-Amz-Expires=\d*(\d)",
    "access key": r"X-Amz-Credential=[^&]*?([^&%])%2F\d{8}%2F",
    "date in the scope": r"X-Amz-Credential=[^&]*%2F\d{7}(\d)%2F",
    "region": r"X-Amz-Credential=[^&]*%2F\d{8}%2F[^&]*([^&])%2Fs3%2F",
    "list of signed headers": r"X-Amz-SignedHeaders=hos(t)",
    "signature": r"X-Amz-Signature=[0-9a-f]{63}([0-9a-f])",
}

KEYS = [
    *("a key with spaces.txt", "a+b+c", "a/b/c.txt", "caf\u00e9", "cafe\u0301", "smile-\U0001f600.png"),
    "\u65e5\u672c\u8a9e/\u0440\u0443\u0441\u0441\u043a\u0438\u0439/\u05e2\u05d1\u05e8\u05d9\u05ea",
    *("what?", "a?X-Amz-Expires=1&b=c", "a#b", "100%25", "100%", "a%2Fb", "%zz%4", "a;b", "a&b", "a=b", 'say "hi"'),
    *("it's", "a[0]{1}(2)<3>", "a-b_c.d~e", "!*':@,$|^`"),
]
# Some servers keep objects as files, which cannot have these names.
UNUSUAL_KEYS = {
    "double slashes": "a//b///c",
    "slash at the end": "folder/",
    "backslash": "a\\b",
    "segment that begins with dots": "..a/...",
    "segment of 300 bytes": "é" * 150,
}


class Header(NamedTuple):
    """A header that an upload binds: the field of the service, its value, and what to send instead.

    ``shown`` says whether the headers of a download show that the server has kept it. ``more`` has fields that it
    needs.
    """

    field: str
    value: Any
    name: str
    other: str
    shown: Callable[[Mapping[str, str]], bool] = lambda _: True
    more: Mapping[str, str] = MappingProxyType({})


HEADERS = [
    Header(
        *("content-type", "text/plain; charset=utf-8", "content-type", "text/html"),
        lambda headers: headers.get("content-type", "").lower() == "text/plain; charset=utf-8",
    ),
    Header(
        *("content-disposition", 'inline; filename="a b.txt"', "content-disposition", "attachment"),
        lambda headers: headers.get("content-disposition") == 'inline; filename="a b.txt"',
    ),
    Header(
        *("content-encoding", "gzip", "content-encoding", "br"),
        lambda headers: headers.get("content-encoding") == "gzip",
    ),
    Header(
        *("cache-control", "no-store", "cache-control", "max-age=60"),
        lambda headers: headers.get("cache-control") == "no-store",
    ),
    Header(
        *("metadata", {"owner": "team;a=1,  b"}, "x-amz-meta-owner", "another"),
        # Servers may keep one space of several.
        lambda headers: re.sub(" +", " ", headers.get("x-amz-meta-owner", "")) == "team;a=1, b",
    ),
    Header(
        *("tagging", {"a": "b"}, "x-amz-tagging", "a=c"),
        lambda headers: headers.get("x-amz-tagging-count") == "1",
    ),
    Header("storage-class", "STANDARD", "x-amz-storage-class", "REDUCED_REDUNDANCY"),
    Header("acl", "private", "x-amz-acl", "public-read"),
    Header(
        *("server-side-encryption", "AES256", "x-amz-server-side-encryption", "aws:kms"),
        lambda headers: headers.get("x-amz-server-side-encryption") == "AES256",
    ),
    Header(
        *("sse-kms-key-id", "a-key", "x-amz-server-side-encryption-aws-kms-key-id", "another"),
        lambda headers: headers.get("x-amz-server-side-encryption-aws-kms-key-id", "").endswith("a-key"),
        {"server-side-encryption": "aws:kms"},
    ),
]

# What a form can carry besides the fields that its own feature tries: the field, its value, and the name in the form.
FORM_FIELDS = {
    "content-encoding": ("gzip", "Content-Encoding"),
    "content-disposition": ("attachment", "Content-Disposition"),
    "cache-control": ("no-store", "Cache-Control"),
    "storage-class": ("STANDARD", "x-amz-storage-class"),
    "acl": ("private", "acl"),
}
ANSWER = {
    "content-language": "de",
    "content-encoding": "identity",
    "cache-control": "no-store",
    "expires": "Wed, 21 Oct 2026 07:28:00 GMT",
}

# Of CONTENT, in base64.
CHECKSUMS = {
    "content-md5": base64.b64encode(hashlib.md5(CONTENT, usedforsecurity=False).digest()).decode(),
    "checksum-sha256": base64.b64encode(hashlib.sha256(CONTENT).digest()).decode(),
    "checksum-sha1": base64.b64encode(hashlib.sha1(CONTENT, usedforsecurity=False).digest()).decode(),
    "checksum-crc32": base64.b64encode(zlib.crc32(CONTENT).to_bytes(4, "big")).decode(),
    "checksum-crc32c": "mnG7TA==",
    "checksum-crc64nvme": "M3eFcAZSQlc=",
}


def feature(name: str) -> Callable[[Feature], Feature]:
    def add(run: Feature) -> Feature:
        FEATURES[name] = run
        return run

    return add


def run(name: str, s3: Storage) -> Iterator[Use]:
    """Run a feature, up to the first right use that the server does not accept: the rest would prove nothing."""
    uses = FEATURES[name](s3)
    for use in uses:
        yield use
        if use.expected is Verdict.ACCEPTED and use.verdict is not Verdict.ACCEPTED:
            uses.close()


def another_secret(account: str) -> str:
    """Return the id of an account that has all of ``account`` but its secret."""
    return f"{account}-another-secret"


def of_public_host(account: str) -> str:
    """Return the id of an account for the same server, which has it as its public host."""
    return f"{account}-public-host"


def storage(signer: Signer, server: Any, account: dict[str, Any], bucket: str) -> Storage:
    """Store the accounts that features use, and return the bucket with a prefix of its own."""
    signer.put_account(account)
    signer.put_account({**account, "id": another_secret(account["id"]), "secret-access-key": "not-the-secret"})
    public = {"host": "s3.invalid", "public-host": account["host"], "public-use-ssl": account.get("use-ssl")}
    signer.put_account({**account, "id": of_public_host(account["id"]), **public})
    return Storage(signer, server, account["id"], bucket, prefix=f"s3-signer-check-{secrets.token_hex(4)}/")


@feature(LIVE_CHECK)
def _check(s3):
    failed, shown = _checked(s3, s3.account)
    yield Use("right keys", Verdict.ACCEPTED, Verdict.WRONG if failed else Verdict.ACCEPTED, shown)
    failed, shown = _checked(s3, another_secret(s3.account))
    yield Use("another secret", Verdict.REFUSED, Verdict.REFUSED if failed else Verdict.WRONG, shown)


def _checked(s3, account):
    answer = s3.signer.check(account, s3.bucket)
    advice = [it["advice"] for it in answer["checks"] if it.get("advice")]
    return answer["status"] == "fail", ": ".join([answer["status"], *advice])


@feature("upload, download, delete")
def _objects(s3):
    key, content = s3.key("plain.txt"), bytes(range(256)) * 4096
    up, down = s3.upload(key, content), s3.download(key)
    yield right("an object of a megabyte", up, down, kept=down.body == content)
    away, gone = s3.delete(key), s3.download(key)
    yield right("a deletion", away, kept=gone.status in {403, 404})


@feature("keys")
def _keys(s3):
    answers, kept = [], True
    for name in KEYS:
        up, down = _round_trip(s3, name)
        kept = kept and down.body == name.encode()
        answers += [up, down]
    yield right("spaces, reserved characters, other scripts", *answers, kept=kept)


def _unusual_key(name):
    def run(s3):
        up, down = _round_trip(s3, name)
        yield right("an object", up, down, kept=down.body == name.encode())

    return run


for _what, _name in UNUSUAL_KEYS.items():
    feature(f"key with a {_what}".replace("a double", "double"))(_unusual_key(_name))


def _round_trip(s3, name):
    key = s3.key(f"keys/{name}")
    return s3.upload(key, name.encode()), s3.download(key)


@feature("URL of a download")
def _download(s3):
    key = s3.key("kept.txt")
    up, url = s3.upload(key, CONTENT), s3.download_url(key)
    yield right("as it was signed", up, s3.server.send(url, "GET"))
    for what, pattern in TOUCHED.items():
        yield wrong(f"another {what}", s3.server.send(_with_another_character(url, pattern), "GET"))
    yield wrong("no signature", s3.server.send(re.sub("&X-Amz-Signature=[0-9a-f]{64}", "", url), "GET"))
    yield wrong("no query", s3.server.send(url.partition("?")[0], "GET"))
    yield wrong("signed with another secret", s3.server.send(_with_another_secret(s3).download_url(key), "GET"))


@feature("expiration of two seconds")
def _expiration(s3):
    key, lifetime = s3.key("short"), "expiration=2"
    s3.upload(key, CONTENT)
    _wait_for_the_next_second()
    down = s3.download_url(key, f"?{lifetime}")
    early = s3.server.send(down, "GET")
    form = s3.details("POST", f"/$upload-form?{lifetime}", {"filename": key})
    early_form = post_form(s3.server, form, CONTENT)
    up = s3.details("POST", f"?{lifetime}", {"filename": key})["url"]
    time.sleep(3)
    yield right("a download at once", early)
    yield wrong("a download after it", s3.server.send(down, "GET"))
    yield wrong("an upload after it", s3.server.send(up, "PUT", CONTENT))
    yield right("a form at once", early_form)
    yield wrong("a form after it", post_form(s3.server, form, CONTENT))


@feature("method of a URL")
def _methods(s3):
    key = s3.key("method.txt")
    s3.upload(key, CONTENT)
    urls = {"GET": s3.download_url(key), "PUT": s3.upload_url(key), "DELETE": s3.delete_url(key)}
    for signed, url in urls.items():
        others = [method for method in (*urls, "HEAD") if method != signed]
        answers = [s3.server.send(url, method, b"changed" if method == "PUT" else None) for method in others]
        yield wrong(f"{signed} sent as {', '.join(others)}", *answers)
    looked = s3.server.send(s3.download_url(key, "?method=HEAD"), "HEAD")
    yield right("HEAD", looked, kept=looked.headers.get("content-length") == "5")
    yield wrong("HEAD sent as GET", s3.server.send(s3.download_url(key, "?method=HEAD"), "GET"))


@feature("options of a download")
def _options(s3):
    key = s3.key("asked")
    s3.upload(key, CONTENT)
    url = s3.download_url(key, f"?download={quote('naïve.pdf')}&response-content-type=application/pdf")
    down = s3.server.send(url, "GET")
    type_kept = down.headers.get("content-type", "").partition(";")[0] == "application/pdf"
    name_kept = down.headers.get("content-disposition", "").endswith("filename*=UTF-8''na%C3%AFve.pdf")
    yield right("a type and the name of a file", down, kept=type_kept and name_kept)
    yield wrong("another type", s3.server.send(url.replace("application%2Fpdf", "text%2Fhtml"), "GET"))
    yield wrong("no type", s3.server.send(re.sub("response-content-type=[^&]*&", "", url), "GET"))
    query = "&".join(f"response-{name}={quote(text)}" for name, text in ANSWER.items())
    down = s3.server.send(s3.download_url(key, f"?{query}"), "GET")
    yield right("other headers", down, kept=ANSWER.items() <= down.headers.items())
    down = s3.server.send(s3.redirect(key), "GET")
    yield right("by a redirect of the service", down, kept=down.body == CONTENT)


@feature("`version-id`")
def _version(s3):
    key = s3.key("version")
    # Objects of a bucket without versions have the version null.
    version = s3.upload(key, CONTENT).headers.get("x-amz-version-id", "null")
    query = f"?version-id={quote(version, safe='')}"
    urls = {"GET": s3.download_url(key, query), "DELETE": s3.delete_url(key, query)}
    down = s3.server.send(urls["GET"], "GET")
    yield right("a download of it", down, kept=down.body == CONTENT)
    for method, url in urls.items():
        yield wrong(f"another version, with {method}", s3.server.send(_with_another_version(url), method))
    away, gone = s3.server.send(urls["DELETE"], "DELETE"), s3.download(key)
    yield right("a deletion of it", away, kept=gone.status == 404)


@feature("upload without bound fields")
def _unbound(s3):
    typed = s3.upload(s3.key("typed"), b"{}", {"Content-Type": "application/json"})
    down = s3.download(s3.key("typed"))
    yield right("a type of the client", typed, down, kept=down.headers.get("content-type") == "application/json")
    more = {"x-amz-meta-owner": "b"}
    yield wrong("metadata that is not signed", s3.upload(s3.key("more"), b"", more))
    copy = {"x-amz-copy-source": quote(f"/{s3.bucket}/{s3.key('typed')}")}
    yield wrong("turned into a copy of another object", s3.upload(s3.key("copy"), b"", copy))


def _bound_header(header):
    def run(s3):
        fields = {header.field: header.value, **header.more}
        up = _upload(s3, CONTENT, fields)
        yield right(
            "an upload with it", up, kept=up.status >= 300 or header.shown(s3.download(s3.key("bound")).headers)
        )
        yield wrong("another value", _upload(s3, CONTENT, fields, **{header.name: header.other}))
        yield wrong("left out", _upload(s3, CONTENT, fields, **{header.name: None}))

    return run


for _header in HEADERS:
    feature(f"`{_header.field}`")(_bound_header(_header))


@feature("`content-length`")
def _content_length(s3):
    fields = {"content-length": len(CONTENT)}
    yield right("an upload of this length", _upload(s3, CONTENT, fields))
    lengths = {"shorter": b"hell", "longer": b"hello!", "empty": b""}
    for what, content in lengths.items():
        yield wrong(what, _upload(s3, content, fields, **{"content-length": str(len(content))}))


def _checksum(field, value):
    header = field if field == "content-md5" else f"x-amz-{field}"

    def run(s3):
        yield right("an upload with it", _upload(s3, CONTENT, {field: value}))
        yield wrong("one other byte", _upload(s3, OTHER_BYTE, {field: value}), signed=False)
        yield wrong("left out", _upload(s3, OTHER_BYTE, {field: value}, **{header: None}))

    return run


for _field, _value in CHECKSUMS.items():
    feature(f"`{_field}`")(_checksum(_field, _value))


@feature("`if-none-match`")
def _if_none_match(s3):
    fields, key = {"if-none-match": "*"}, "only once"
    s3.delete(s3.key(key))
    yield right("the first upload of a key", _upload(s3, CONTENT, fields, key))
    yield wrong("the second", _upload(s3, CONTENT, fields, key), signed=False)
    yield wrong("left out", _upload(s3, CONTENT, fields, key, **{"if-none-match": None}))


@feature("listing")
def _listing(s3):
    keys = [s3.key(f"listed/{name}") for name in ("a", "b c", "é", "z")]
    for key in keys:
        s3.upload(key, b"")
    pages = [*_pages(s3, "listed/", 2)]
    found = [key for page in pages for key in _keys_of(page)]
    yield right("page by page", *pages, kept=len(pages) == 2 and found == sorted(keys))
    url = s3.list_url({"prefix": s3.key("listed/")})
    yield wrong("another prefix", s3.server.send(url.replace("listed", "others"), "GET"))
    yield wrong("no prefix", s3.server.send(re.sub("prefix=[^&]*&", "", url), "GET"))
    s3.upload(s3.key("listed/in/a"), b"")
    asked = {"prefix": s3.key("listed/"), "delimiter": "/", "start-after": s3.key("listed/a")}
    page = s3.server.send(s3.list_url(asked), "GET")
    folders = re.findall("<CommonPrefixes><Prefix>(.*?)</Prefix>", page.body.decode())
    shown = [unquote_plus(unescape(it)) for it in folders] == [s3.key("listed/in/")]
    shown = shown and _keys_of(page) == sorted(keys)[1:]
    yield right("a folder, and what comes after a key", page, kept=shown)


@feature("upload in parts")
def _parts(s3):
    key, contents = "parts", [b"1" * PART, b"the end"]
    bound = {"content-type": "text/plain", "metadata": {"owner": "a"}}
    created = _step(s3, key, "POST", b"", **bound)
    yield right("begun", created)
    signed = _sign(s3, key, "POST", **bound)
    other = {**signed["headers"], "content-type": "text/html"}
    yield wrong("begun with another type", s3.server.send(signed["url"], "POST", b"", other))
    upload = {"upload-id": _upload_id(created)}
    try:
        sent = [_step(s3, key, "PUT", it, **upload, **{"part-number": n}) for n, it in enumerate(contents, 1)]
        yield right("its parts", *sent)
        listed = _step(s3, key, "GET", **upload)
        numbers = re.findall(rb"<PartNumber>(\d+)</PartNumber>", listed.body)
        yield right("a listing of them", listed, kept=numbers == [b"1", b"2"])
        completed = _step(s3, key, "POST", _completion(sent), **upload)
        down = s3.download(s3.key(key))
        kept = down.headers.get("content-type") == "text/plain" and down.headers.get("x-amz-meta-owner") == "a"
        yield right("completed", completed, down, kept=kept and down.body == b"".join(contents))
    finally:
        _step(s3, key, "DELETE", **upload)


@feature("part of an upload")
def _part(s3):
    key = "part"
    upload = {"upload-id": _upload_id(_step(s3, key, "POST", b""))}
    bound = {**upload, "part-number": 1, "content-length": 5}
    try:
        sent = _step(s3, key, "PUT", CONTENT, **bound)
        yield right("with a length", sent)
        url = _sign(s3, key, "PUT", **bound)["url"]
        other = url.replace("partNumber=1", "partNumber=2")
        yield wrong("another number", s3.server.send(other, "PUT", CONTENT, {"content-length": "5"}))
        yield wrong("another length", s3.server.send(url, "PUT", b"hello!", {"content-length": "6"}))
        summed = {**upload, "part-number": 1, "content-md5": CHECKSUMS["content-md5"]}
        yield wrong("one other byte than `content-md5`", _step(s3, key, "PUT", OTHER_BYTE, **summed), signed=False)
        yield right("aborted", _step(s3, key, "DELETE", **upload))
        yield wrong("completed after that", _step(s3, key, "POST", _completion([sent]), **upload))
    finally:
        _step(s3, key, "DELETE", **upload)


@feature("checksum of a part")
def _part_checksum(s3):
    key, digest = "checksum of a part", CHECKSUMS["checksum-sha256"]
    created = _step(s3, key, "POST", b"", **{"checksum-algorithm": "SHA256"})
    upload = {"upload-id": _upload_id(created)}
    part = {**upload, "part-number": 1, "checksum-sha256": digest}
    try:
        sent = _step(s3, key, "PUT", CONTENT, **part)
        yield right("of an upload with this algorithm", created, sent)
        yield wrong("one other byte", _step(s3, key, "PUT", OTHER_BYTE, **{**part, "part-number": 2}), signed=False)
        completed = _step(s3, key, "POST", _completion([sent], f"<ChecksumSHA256>{digest}</ChecksumSHA256>"), **upload)
        down = s3.download(s3.key(key))
        yield right("completed", completed, down, kept=down.body == CONTENT)
    finally:
        _step(s3, key, "DELETE", **upload)


@feature("upload form")
def _form(s3):
    asked = {"filename": s3.key("form/one"), "content-type": "text/plain", "metadata": {"owner": "a"}}
    form = s3.details("POST", "/$upload-form", {**asked, "min-size": 2, "max-size": 5})
    sent, down = post_form(s3.server, form, CONTENT), s3.download(s3.key("form/one"))
    yield right("a file that it allows", sent, down, kept=down.body == CONTENT and "x-amz-meta-owner" in down.headers)
    yield wrong("a larger file", post_form(s3.server, form, b"hello!"))
    yield wrong("a smaller file", post_form(s3.server, form, b"h"))
    changes = {"key": s3.key("form/two"), "Content-Type": "text/html", "x-amz-meta-owner": "b"}
    for name, value in changes.items():
        yield wrong(f"another {name.lower()}", post_form(s3.server, form, CONTENT, **{name: value}))
    yield wrong("another signature", post_form(s3.server, form, CONTENT, **{"x-amz-signature": "0" * 64}))
    form = s3.details("POST", "/$upload-form", {"starts-with": s3.key("form/any/")})
    sent, named = post_form(s3.server, form, CONTENT, key=s3.key("form/any/of it")), post_form(s3.server, form, CONTENT)
    yield right("a key of the browser", sent, named, kept=s3.download(s3.key("form/any/photo.png")).body == CONTENT)
    yield wrong("a key with another beginning", post_form(s3.server, form, CONTENT, key=s3.key("form/other")))


@feature("other fields of an upload form")
def _form_fields(s3):
    key = s3.key("form/fields")
    form = s3.details(
        "POST", "/$upload-form", {"filename": key, **{it: value for it, (value, _) in FORM_FIELDS.items()}}
    )
    sent, down = post_form(s3.server, form, CONTENT), s3.download(key)
    shown = ("content-encoding", "content-disposition", "cache-control")
    yield right("all", sent, down, kept=all(down.headers.get(it) == FORM_FIELDS[it][0] for it in shown))
    for what, value in {"another value of one": "other", "one left out": None}.items():
        yield wrong(what, *(post_form(s3.server, form, CONTENT, **{name: value}) for _, name in FORM_FIELDS.values()))


@feature("`tagging` of an upload form")
def _form_tags(s3):
    key = s3.key("form/tags")
    form = s3.details("POST", "/$upload-form", {"filename": key, "tagging": {"a": "b c"}})
    sent, down = post_form(s3.server, form, CONTENT), s3.download(key)
    yield right("as it was signed", sent, down, kept=down.headers.get("x-amz-tagging-count") == "1")
    other = form["fields"]["tagging"].replace("b c", "d")
    yield wrong("another tag", post_form(s3.server, form, CONTENT, tagging=other))


@feature("`server-side-encryption` of an upload form")
def _form_encryption(s3):
    key = s3.key("form/encrypted")
    form = s3.details("POST", "/$upload-form", {"filename": key, "server-side-encryption": "AES256"})
    sent, down = post_form(s3.server, form, CONTENT), s3.download(key)
    kept = down.headers.get("x-amz-server-side-encryption") == "AES256"
    yield right("as it was signed", sent, down, kept=kept)
    yield wrong("left out", post_form(s3.server, form, CONTENT, **{"x-amz-server-side-encryption": None}))


@feature("`public-host`")
def _public_host(s3):
    public, key = replace(s3, account=of_public_host(s3.account)), s3.key("public")
    up, down = public.upload(key, CONTENT), public.download(key)
    yield right("an account whose own host cannot be reached", up, down, kept=down.body == CONTENT)


def clean(s3: Storage) -> list[str]:
    """Delete all objects below the prefix. Return the keys that are still there."""
    for page in _pages(s3, "", 1000):
        for key in _keys_of(page):
            s3.delete(key)
    return [key for page in _pages(s3, "", 1000) for key in _keys_of(page)]


def _upload(s3, content, fields, key="bound", **changes) -> Answer:
    """Upload with the headers that the service names; ``changes`` replace some, and None leaves one out."""
    signed = s3.details("POST", "", {"filename": s3.key(key), **fields})
    headers = {name: text for name, text in {**signed["headers"], **changes}.items() if text is not None}
    return s3.server.send(signed["url"], signed["method"], content, headers)


def _sign(s3, key, method, **fields) -> dict[str, Any]:
    item = {"method": method, "filename": s3.key(key), **fields}
    return s3.details("POST", "/$sign", {"items": [item]})["items"][0]


def _step(s3, key, method, content=None, **fields) -> Answer:
    signed = _sign(s3, key, method, **fields)
    return s3.server.send(signed["url"], method, content, signed["headers"])


def _upload_id(created: Answer) -> str:
    found = re.search("<UploadId>(.*?)</UploadId>", created.body.decode())
    return found[1] if found else "none"


def _completion(parts: list[Answer], checksum: str = "") -> bytes:
    rows = (
        f"<Part><PartNumber>{number}</PartNumber><ETag>{part.headers['etag']}</ETag>{checksum}</Part>"
        for number, part in enumerate(parts, 1)
    )
    return f"<CompleteMultipartUpload>{''.join(rows)}</CompleteMultipartUpload>".encode()


def _pages(s3, prefix, size) -> Iterator[Answer]:
    token = ""
    while token is not None:
        query = {"prefix": s3.key(prefix), "max-keys": str(size)} | ({"continuation-token": token} if token else {})
        page = s3.server.send(s3.list_url(query), "GET")
        yield page
        found = re.search("<NextContinuationToken>(.*?)</NextContinuationToken>", page.body.decode())
        token = found and unescape(found[1])


def _keys_of(page: Answer) -> list[str]:
    return [unquote_plus(unescape(key)) for key in re.findall("<Key>(.*?)</Key>", page.body.decode())]


def _with_another_secret(s3) -> Storage:
    return replace(s3, account=another_secret(s3.account))


def _wait_for_the_next_second() -> None:
    # A signature's time has whole seconds: one made late in a second would end too early.
    time.sleep(1.02 - time.time() % 1)


def _with_another_version(url: str) -> str:
    return re.sub("versionId=[^&]*", "versionId=another", url)


def _with_another_character(url: str, pattern: str) -> str:
    at = re.search(pattern, url).start(1)
    return url[:at] + ("2" if url[at] != "2" else "3") + url[at + 1 :]
