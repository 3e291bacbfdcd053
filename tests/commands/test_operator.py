"""The commands sign, verify, check and account, on a real Redis, as an operator runs them."""

import base64
import io
import json
import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
import requests
import yaml
from processes import clean_environment
from redis import Redis
from support.accounts import KEYS
from support.operator import BODY, COMMANDS, SIGNED_URL, Operator
from support.service import running

from service.commands import sign
from service.commands.arguments import EXIT_STATUSES
from service.errors import Invalid, InvalidRequest, MalformedBody, ResourceNotFound, StoreUnavailable
from service.resources.types import AWS_ACCOUNT
from service.serving.binding import StartError
from service.settings import SettingsError
from service.signing.presigned_url import parse
from service.stores import index

pytestmark = pytest.mark.heavy  # it starts many processes

JWT = {
    "SIGNER_ROOT_CLIENT_ID": "root",
    "SIGNER_ROOT_CLIENT_SECRET": "correct-horse-battery-staple",
    "SIGNER_JWT_ISSUER": "https://issuer.example",
    "SIGNER_JWT_AUDIENCE": "s3-signer",
}


@pytest.fixture
def operator(capfd, redis_url, monkeypatch):
    with suppress(KeyError):
        for name in [name for name in os.environ if name.startswith("SIGNER_")]:
            monkeypatch.delenv(name)
    return Operator(capfd, SIGNER_STORE_URL=redis_url)


@pytest.fixture
def body_file(tmp_path):
    path = tmp_path / "account.yaml"
    path.write_text(yaml.safe_dump(BODY))
    return str(path)


@pytest.fixture
def url(operator, body_file):
    """A URL of a stored account."""
    operator.run("account", "put", "my-account", body_file)
    return operator.run("sign", "GET", "my-account", "my-bucket", "a/b c.txt")[1].strip()


def read_from(monkeypatch, text):
    """Make ``text`` the standard input."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode(errors="surrogateescape"))))


def names(report, status="fail"):
    return [it["name"] for it in report["findings"] if it["status"] == status]


def test_an_account_is_put_read_listed_and_deleted(operator, body_file):
    created, shown = operator.data("account", "put", "my-account", body_file)
    (change,) = operator.audit
    operator.run("account", "put", "another", body_file)
    _, read = operator.data("account", "get", "my-account")
    _, listed = operator.data("account", "list", "--format", "json")
    deleted, last = operator.data("account", "delete", "my-account")
    (deletion,) = operator.audit

    assert (created, deleted) == (0, 0)
    assert shown == read == last
    assert "secret-access-key" not in shown
    assert [it["id"] for it in listed] == ["another", "my-account"]
    assert (change["event"], change["operation"], change["caller"]) == ("changed", "create", f"operator:{os.getuid()}")
    assert (deletion["operation"], deletion["resource"]) == ("delete", "AwsAccount/my-account")
    with pytest.raises(ResourceNotFound):
        operator.run("account", "get", "my-account")
    with pytest.raises(ResourceNotFound):
        operator.run("account", "delete", "my-account")


@pytest.mark.parametrize(
    ("content", "error"),
    [("access-key-id: AKIA\n", Invalid), ("[", MalformedBody), ('{"regio": "x"}', Invalid), ("", MalformedBody)],
)
def test_a_wrong_body_is_refused_as_by_the_service(operator, tmp_path, content, error):
    path = tmp_path / "body"
    path.write_text(content)

    with pytest.raises(error):
        operator.run("account", "put", "my-account", str(path))
    with pytest.raises(MalformedBody, match="cannot be read"):
        operator.run("account", "put", "my-account", str(tmp_path / "missing"))
    assert operator.data("account", "list") == (0, [])


def test_a_url_has_its_audit_line_and_its_limits(operator, tmp_path):
    path = tmp_path / "body"
    path.write_text(yaml.safe_dump({**BODY, "max-expiration": 60, "max-size": 10}))
    operator.run("account", "put", "limited", str(path))
    status, text = operator.run("sign", "put", "limited", "my-bucket", "k", "--field", "content-length=9")
    (line,) = operator.audit

    assert (status, "X-Amz-Expires=60&X-Amz-SignedHeaders=content-length%3Bhost" in text) == (0, True)
    assert (line["event"], line["account"], line["key"], line["expiration"]) == ("signed", "limited", "k", 60)
    for more in (["--expiration", "61"], ["--expiration", "x"], ["--field", "content-length=11"], ["--field", "x"], []):
        with pytest.raises(Invalid):
            operator.run("sign", "PUT", "limited", "my-bucket", "k", *more)
        assert operator.audit == [line]


@pytest.mark.parametrize("unwritable", ["2>&-", "2>/dev/full"])
def test_without_standard_error_there_is_no_url(body_file, redis_url, operator, unwritable):
    """Each URL has an audit line, which goes there."""
    operator.run("account", "put", "my-account", body_file)

    def command(arguments):
        return subprocess.run(
            ["bash", "-c", f"{sys.executable} -m service {arguments} {unwritable}"],
            env={**clean_environment(), "SIGNER_STORE_URL": redis_url},
            capture_output=True,
            text=True,
            check=False,
        )

    signed = command("sign GET my-account my-bucket a.txt")
    changed = command(f"account put my-account {body_file}")
    read = command("account get my-account")

    assert (signed.returncode, signed.stdout) == (1, "")
    assert (changed.returncode, changed.stdout) == (1, "")
    assert (read.returncode, read.stdout[:4]) == (0, "id: ")


def test_a_field_that_is_given_twice_is_refused(operator, body_file):
    operator.run("account", "put", "my-account", body_file)

    with pytest.raises(Invalid, match="--field content-type is given twice"):
        operator.run(
            *("sign", "PUT", "my-account", "my-bucket", "k"),
            *("--field", "content-type=text/html", "--field", "content-type=text/plain"),
        )


def test_a_url_is_that_of_the_service(operator, body_file, redis_url, monkeypatch):
    operator.run("account", "put", "my-account", body_file)
    storage = "aws/storage/my-account/my-bucket"
    with running(SIGNER_STORE_URL=redis_url) as process:
        get = requests.get(f"{process.url}/{storage}/a%20b?expiration=60&response-content-type=x", timeout=5)
        put = requests.post(f"{process.url}/{storage}", json={"filename": "é", "content-type": "text/plain"}, timeout=5)

    def signed(answer, *arguments):
        url = answer.json()["url"]
        monkeypatch.setattr(sign, "time", lambda: parse(url).at)
        return url, operator.run("sign", *arguments)[1].strip()

    asked, printed = signed(
        get,
        *("GET", "my-account", "my-bucket", "a b", "--expiration", "60", "--field", "response-content-type=x"),
    )
    assert printed == asked
    asked, printed = signed(put, "PUT", "my-account", "my-bucket", "é", "--field", "content-type=text/plain")
    assert printed == asked


@pytest.mark.parametrize("arguments", [("no/id", "my-bucket", "k"), ("a", "x", "k"), ("a", "my-bucket", "..")])
def test_a_name_that_cannot_be_signed_is_refused(operator, arguments):
    with pytest.raises(Invalid):
        operator.run("sign", "GET", *arguments)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("sign", "GET", "a", "my-bucket", "k", "--field", "version-id=a", "--field", "version-id=b"), "twice"),
        (("sign", "PUT", "a", "my-bucket", "k", "--field", "expiration=60"), "write --expiration SECONDS"),
        (("verify", "https://a/", "--header", "a: b", "--header", "A: c"), "twice"),
        (("check", "--live", ""), "bucket must be"),
    ],
)
def test_an_argument_that_would_have_no_effect_is_refused(operator, arguments, reason):
    with pytest.raises((Invalid, InvalidRequest), match=reason):
        operator.run(*arguments)


def test_a_url_is_valid_also_from_standard_input(operator, url, monkeypatch):
    status, report = operator.data("verify", url)
    read_from(monkeypatch, f"{url}\n")
    from_input, _ = operator.data("verify", "-")

    assert (status, from_input, report["status"]) == (0, 0, "valid")
    assert report["account"] == "my-account"
    assert report["url"]["path"] == "/a/b c.txt"
    assert "check --live" in report["advice"]


@pytest.mark.parametrize(
    "answer",
    [
        "url: {}\n",
        'url: "{}"\nmethod: GET\n',
        '{{"url": "{}", "method": "GET"}}',
        "items:\n- url: {}\n- outcome:\n    id: invalid\n",
        '{{"items": [{{"url": "{}"}}]}}',
    ],
)
def test_a_url_is_found_in_an_answer_and_standard_input_is_the_default(operator, url, monkeypatch, answer):
    read_from(monkeypatch, answer.format(url))
    status, report = operator.data("verify")

    assert (status, report["status"]) == (0, "valid")


def test_of_several_urls_in_an_answer_none_is_chosen(operator, url, monkeypatch):
    read_from(monkeypatch, f"items:\n- url: {url}\n- url: {url}\n")
    with pytest.raises(InvalidRequest, match="The answer has 2 URLs; give one of them"):
        operator.run("verify")


@pytest.mark.parametrize("change", [("/a/", "/a\udcff/"), ("X-Amz-Date=20", "X-Amz-Date=99991231T235959Z&a=")])
def test_a_url_that_no_server_reads_has_a_finding(operator, url, monkeypatch, change):
    read_from(monkeypatch, url.replace(*change))
    status, report = operator.data("verify")

    assert (status, names(report)) == (3, ["form"])


@pytest.mark.parametrize(
    "answer", ["items: text\n", "items:\n- text\n", '{"items": [{"url": 5}]}', "url:\n- a\n", "[]"]
)
def test_an_answer_without_a_url_is_no_url(operator, monkeypatch, answer):
    read_from(monkeypatch, answer)
    status, report = operator.data("verify")

    assert (status, names(report)) == (3, ["form"])


def test_a_terminal_is_not_read_unless_it_is_named(operator, monkeypatch):
    read_from(monkeypatch, "")
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    with pytest.raises(SettingsError, match="Give a URL"):
        operator.run("verify")


@pytest.mark.parametrize("arguments", [("verify", "-"), ("account", "put", "a", "-")])
def test_a_standard_input_that_is_closed_or_cannot_be_read_is_named(operator, monkeypatch, arguments):
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(SettingsError, match="standard input: it is closed"):
        operator.run(*arguments)
    with Path(os.devnull).open("wb") as writable, os.fdopen(writable.fileno(), closefd=False) as unreadable:
        monkeypatch.setattr(sys, "stdin", unreadable)
        with pytest.raises(SettingsError, match="standard input: Bad file descriptor"):
            operator.run(*arguments)


@pytest.mark.parametrize(
    ("change", "arguments", "finding"),
    [
        (lambda it: it, ["--method", "PUT"], "method"),
        (lambda it: it, ["--header", "x-amz-acl: private"], "headers"),
        (lambda it: it, ["--header", "Host: proxy.internal"], "signature"),
        (lambda it: it.replace("my-bucket.s3.", "proxy.", 1), [], "signature"),
        (lambda it: it.replace("us-east-1", "eu-west-1"), [], "region"),
        (lambda it: f"{it}&utm=x", [], "parameter"),
        (lambda it: it.replace("86400", "604800"), [], "parameter"),
        (lambda it: it.replace("b%20c", "b%2520c"), [], "path"),
        (lambda it: it[:-1], [], "form"),
    ],
)
def test_a_refused_url_has_the_reason_and_status_3(operator, url, change, arguments, finding):
    status, report = operator.data("verify", change(url), *arguments)

    assert (status, report["status"], names(report)) == (3, "refused", [finding])


def test_the_secret_of_another_account_is_found(operator, url, tmp_path):
    other = tmp_path / "other"
    other.write_text(yaml.safe_dump({**BODY, "access-key-id": "AKIAOTHER", "secret-access-key": "another-secret"}))
    operator.run("account", "put", "other", str(other))
    other.write_text(yaml.safe_dump({**BODY, "secret-access-key": "another-secret"}))
    operator.run("account", "put", "my-account", str(other))
    wrong = operator.run("sign", "GET", "my-account", "my-bucket", "k")[1]
    other.write_text(yaml.safe_dump(BODY))
    operator.run("account", "put", "my-account", str(other))
    status, report = operator.data("verify", wrong)

    assert (status, names(report)) == (3, ["secret"])
    assert "AwsAccount/other" in str(report)


def test_a_url_of_an_unknown_access_key_is_unknown(operator, url):
    status, report = operator.data("verify", url.replace("AKIAIOSFODNN7EXAMPLE", "AKIANOBODY"))

    assert (status, report["status"], names(report, "unknown")) == (3, "unknown", ["account"])


@pytest.mark.parametrize(
    ("secret", "reason"),
    [("a secret ", "it has U+0020 SPACE"), ("${SECRET}", "no placeholder"), ("sealed:v1:lost:AAAA", "lost")],
)
def test_a_url_of_an_account_with_an_unusable_secret_names_the_account_and_the_reason(
    operator, url, redis_url, secret, reason
):
    with Redis.from_url(redis_url) as client:
        client.hset("AwsAccount:my-account", "secret-access-key", secret)
    status, report = operator.data("verify", url)
    (unknown,) = [it for it in report["findings"] if it["status"] == "unknown"]

    assert (status, unknown["name"], unknown["advice"]) == (3, "account", "s3-signer check my-account")
    assert "AwsAccount/my-account" in unknown["output"]
    assert reason in unknown["output"]


def put_accounts_that_share_keys(operator, tmp_path):
    """Two accounts with the same keys, in another region and with another host than the third one, ``my-account``."""
    for name, fields in {"a-region": {"region": "eu-west-1"}, "a-server": {"host": "s3.internal:9000"}}.items():
        path = tmp_path / name
        path.write_text(yaml.safe_dump({**BODY, "path-style": True, **fields}))
        operator.run("account", "put", name, str(path))


@pytest.mark.parametrize("name", ["a-region", "a-server", "my-account"])
def test_of_accounts_that_share_keys_the_one_with_the_host_and_region_is_named(operator, url, tmp_path, name):
    put_accounts_that_share_keys(operator, tmp_path)
    signed = operator.run("sign", "GET", name, "my-bucket", "k")[1]
    status, report = operator.data("verify", signed)
    prolonged = operator.data("verify", signed.replace("86400", "604800"))[1]

    assert (status, report["account"], names(report, "warn")) == (0, name, [])
    assert (prolonged["account"], names(prolonged)) == (name, ["parameter"])


@pytest.mark.parametrize("bucket", ["my-bucket", "my.bucket", "a.b.c.d"])
def test_the_bucket_in_a_host_may_have_dots(operator, url, tmp_path, bucket):
    (tmp_path / "dotted").write_text(yaml.safe_dump({**BODY, "host": "http://s3.internal:9000", "use-ssl": False}))
    operator.run("account", "put", "dotted", str(tmp_path / "dotted"))
    signed = operator.run("sign", "GET", "dotted", bucket, "k")[1]
    status, report = operator.data("verify", signed)

    assert signed.startswith(f"http://{bucket}.s3.internal:9000/k?")
    assert (status, report["account"], names(report, "warn")) == (0, "dotted", [])


@pytest.mark.parametrize("name", ["a-region", "a-server"])
def test_a_changed_host_is_found_if_accounts_share_keys(operator, url, tmp_path, name):
    put_accounts_that_share_keys(operator, tmp_path)
    signed = operator.run("sign", "GET", name, "my-bucket", "k")[1]
    host = signed.split("/")[2]
    for other in {"proxy.example", "s3.internal:9000", "s3.eu-west-1.amazonaws.com"} - {host}:
        status, report = operator.data("verify", signed.replace(host, other, 1))
        (failure,) = [it for it in report["findings"] if it["status"] == "fail"]

        assert (status, failure["name"]) == (3, "host")
        assert f"is signed for {host}" in failure["output"]


def test_a_url_with_signed_headers_needs_their_values(operator, url):
    upload = operator.run("sign", "PUT", "my-account", "my-bucket", "k", "--field", "content-type=text/plain")[1]
    without, report = operator.data("verify", upload)
    with_it, _ = operator.data("verify", upload, "--header", "Content-Type: text/plain")
    in_answer, _ = operator.data("verify", f"url: {upload.strip()}\nheaders:\n  Content-Type: text/plain\n")
    changed = f'{{"url": "{upload.strip()}", "headers": {{"content-type": "text/html"}}}}'

    assert in_answer == 0
    assert operator.data("verify", changed)[1]["status"] == "refused"
    assert operator.data("verify", changed, "--header", "Content-Type: text/plain")[0] == 0
    assert (without, report["status"], names(report, "unknown")) == (3, "unknown", ["signature"])
    assert with_it == 0


def test_the_report_shows_no_secret_and_no_signature(operator, url):
    _, out = operator.run("verify", f"{url}&x=1", "--format", "json")

    assert KEYS["secret-access-key"] not in out
    assert url.partition("X-Amz-Signature=")[2] not in out


def test_check_names_what_is_wrong_with_an_account(operator, url, redis_url):
    right, _ = operator.data("check")
    with Redis.from_url(redis_url) as client:
        client.hset("AwsAccount:broken", mapping={**KEYS, "host": "http://"})
        client.hset("AwsAccount:lost", mapping={**KEYS, "secret-access-key": "sealed:v1:lost:AAAA"})
        client.hset("AwsAccount:bare", mapping={"region": "us-east-1", "use-ssl": "true"})
    status, report = operator.data("check")
    failing = {it["name"] for it in report["checks"] if it["status"] == "fail"}
    one, _ = operator.data("check", "my-account")
    missing, _ = operator.data("check", "nobody")

    assert (right, status, one, missing) == (0, 3, 0, 3)
    assert failing == {"AwsAccount/broken", "AwsAccount/lost", "AwsAccount/bare credentials"}
    assert report["accounts"] == {"checked": 4, "right": 1}
    assert all(it["advice"] for it in report["checks"] if it["status"] == "fail")


def test_check_says_how_to_replace_a_key_that_holds_no_account(operator, redis_url, tmp_path):
    body = tmp_path / "account.yaml"
    body.write_text(yaml.safe_dump(BODY))
    with Redis.from_url(redis_url) as client:
        client.set("AwsAccount:text", "text")
        _, report = operator.data("check", "text")
        (failure,) = [it for it in report["checks"] if it["status"] == "fail"]
        with pytest.raises(Invalid):
            operator.run("account", "put", "text", str(body))
        client.delete("AwsAccount:text")

    assert operator.run("account", "put", "text", str(body))[0] == 0
    assert failure["advice"] == "delete the key in Redis, then store the account again"


@pytest.mark.parametrize("known", [(), ("my-account", "-complete")])
def test_an_account_that_another_program_has_stored_is_found_by_a_scan_of_any_length(
    operator, url, redis_url, monkeypatch, known
):
    for name in ("WAIT_SECONDS", "BUILD_SECONDS"):
        monkeypatch.setattr(index, name, 0)
    with Redis.from_url(redis_url) as client:
        client.rename("AwsAccount:my-account", "AwsAccount:moved")

        def forget():
            client.delete("_index:AwsAccount")
            if known:
                client.zadd("_index:AwsAccount", dict.fromkeys(known, 0))

        forget()
        _, listed = operator.data("account", "list")
        forget()
        _, checked = operator.data("check")
        forget()
        _, verified = operator.data("verify", url)

    assert [it["id"] for it in listed] == ["moved"]
    assert checked["accounts"] == {"checked": 1, "right": 1}
    assert verified["status"] == "valid"


@pytest.mark.parametrize("change", ["create", "delete"])
def test_a_change_during_a_listing_moves_no_other_account(operator, redis_url, monkeypatch, change):
    represent, stored = type(AWS_ACCOUNT).represent, {f"a{number:03}" for number in range(600)}
    with Redis.from_url(redis_url) as client:
        for id_ in stored:
            client.hset(f"AwsAccount:{id_}", mapping=KEYS)
        operator.run("account", "list")

        def change_first(self, resource, **shown):
            if change == "delete":
                client.delete("AwsAccount:a000")
                client.zrem("_index:AwsAccount", "a000")
            else:
                client.hset("AwsAccount:0", mapping=KEYS)
                client.zadd("_index:AwsAccount", {"0": 0})
            return represent(self, resource, **shown)

        monkeypatch.setattr(type(AWS_ACCOUNT), "represent", change_first)
        _, listed = operator.data("account", "list", "--format", "json")

    assert [it["id"] for it in listed] == sorted(stored)


@pytest.mark.parametrize("limit", ["scan", "zadd"])
@pytest.mark.parametrize("is_listed", [False, True])
def test_an_incomplete_listing_is_no_success(capfd, own_redis, limit, is_listed):
    with Redis.from_url(own_redis.url) as client:
        client.hset("AwsAccount:a", mapping={**KEYS, "use-ssl": "true"})
        operator = Operator(capfd, SIGNER_STORE_URL=own_redis.url)
        _, signed = operator.run("sign", "GET", "a", "my-bucket", "key")
        operator.run("account", "list")
        if not is_listed:
            client.zrem("_index:AwsAccount", "a")
        client.execute_command("ACL", "SETUSER", "limited", "on", ">hush", "~*", "+@all", f"-{limit}")
        operator = Operator(capfd, SIGNER_STORE_URL=own_redis.url.replace("//", "//limited:hush@"))
        listing, accounts = operator.data("account", "list")
        problems = operator.err
        checking, report = operator.data("check")
        verifying, verified = operator.data("verify", signed.strip())
    is_complete = is_listed and limit == "zadd"
    problem = "Redis refuses to list every AwsAccount; those that other programs have stored may be missing"

    assert (listing, checking, verifying) == (0 if is_complete else 1, 0 if is_complete else 3, 0 if is_listed else 3)
    assert [it["id"] for it in accounts] == (["a"] if is_listed else [])
    assert (problem in problems) is not is_complete
    assert [it["output"] for it in report["checks"] if it["status"] == "fail"] == ([] if is_complete else [problem])
    assert [f"'{limit}'" in it["output"] for it in report["checks"] if it["status"] == "warn"] == [True]
    assert verified["status"] == ("valid" if is_listed else "unknown")
    assert (problem in str(verified["findings"])) is not is_listed


@pytest.mark.parametrize(
    "command",
    [
        ("account", "list"),
        ("account", "get", "a"),
        ("account", "delete", "a"),
        ("sign", "GET", "a", "my-bucket", "key"),
        ("verify", SIGNED_URL),
        ("check",),
        ("check", "a"),
        ("rekey",),
    ],
    ids=" ".join,
)
def test_a_replica_that_was_never_in_sync_says_nothing_about_accounts(capfd, own_redis, command, tmp_path):
    with Redis.from_url(own_redis.url) as client:
        client.execute_command("REPLICAOF", "127.0.0.1", "1")
    keys = tmp_path / "keys"
    keys.write_text(f"k1: {base64.b64encode(bytes(32)).decode()}\n")
    operator = Operator(capfd, SIGNER_STORE_URL=own_redis.url, SIGNER_ENCRYPTION_KEYS_FILE=str(keys))
    if command[0] != "check":
        with pytest.raises((StoreUnavailable, StartError), match="The account store cannot be reached"):
            operator.run(*command)
        return
    status, report = operator.data(*command)

    assert (status, report["accounts"]) == (3, {"checked": 0, "right": 0})
    assert [it["name"] for it in report["checks"] if it["status"] == "fail"] == ["store", "accounts"]


def test_check_names_doubtful_settings_and_a_store_that_is_unavailable(capfd, monkeypatch):
    monkeypatch.setenv("SIGNER_PROT", "80")
    status, report = Operator(capfd, SIGNER_STORE_URL="redis://127.0.0.1:1/0").data("check")

    assert status == 3
    assert [(it["name"], it["status"]) for it in report["checks"] if it["status"] != "pass"] == [
        ("settings", "warn"),
        ("store", "fail"),
        ("accounts", "fail"),
    ]


@pytest.mark.parametrize(
    ("settings", "fault"),
    [
        ({"SIGNER_TLS_CERT": "/missing", "SIGNER_TLS_KEY": "/missing"}, "SIGNER_TLS_CERT names a file"),
        ({**JWT, "SIGNER_JWT_JWKS": "https:/one.slash"}, "SIGNER_JWT_JWKS must be"),
    ],
)
def test_check_refuses_what_the_service_does_not_start_with(capfd, settings, fault):
    with pytest.raises(SettingsError, match=fault):
        Operator(capfd, **settings).run("check")


@pytest.mark.usefixtures("operator")
def test_check_refuses_variables_of_opentelemetry_that_the_service_does_not_start_with(capfd, monkeypatch):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "no-url")
    with pytest.raises(SettingsError, match="OTEL_EXPORTER_OTLP_ENDPOINT must be a URL"):
        Operator(capfd).run("check")


@pytest.mark.parametrize(
    ("content", "status", "found", "fault"),
    [
        (None, 3, "fail", "No such file"),
        ("{}", 3, "fail", "it is not a JWK set"),
        ('{"keys": []}', 0, "warn", "it has no key"),
    ],
)
def test_check_names_a_key_set_that_accepts_no_token(capfd, tmp_path, content, status, found, fault):
    path = tmp_path / "jwks.json"
    if content is not None:
        path.write_text(content)
    exit_status, report = Operator(capfd, **JWT, SIGNER_JWT_JWKS=str(path)).data("check")
    (key_set,) = [it for it in report["checks"] if it["name"] == "key set"]

    assert (exit_status, key_set["status"]) == (status, found)
    assert fault in key_set["output"]


def test_accounts_in_the_memory_of_the_service_cannot_be_reached(capfd, body_file, tmp_path):
    operator = Operator(capfd)
    for arguments in (["account", "list"], ["account", "put", "a", body_file], ["sign", "GET", "a", "my-bucket", "k"]):
        with pytest.raises(SettingsError, match="memory"):
            operator.run(*arguments)
    assert operator.run("check")[0] == 0


def test_verify_names_the_settings_that_give_it_the_accounts(capfd, url):
    status, report = Operator(capfd).data("verify", url)

    assert (status, names(report, "unknown")) == (3, ["account"])
    assert "SIGNER_INIT_BUNDLE" in str(report["findings"])


def test_the_accounts_of_a_bundle_can_be_used_and_not_changed(capfd, body_file, tmp_path):
    bundle = tmp_path / "bundle.yaml"
    entry = {
        "resource": {"resourceType": "AwsAccount", "id": "a", **BODY},
        "request": {"method": "PUT", "url": "/AwsAccount/a"},
    }
    bundle.write_text(yaml.safe_dump({"resourceType": "Bundle", "type": "batch", "entry": [entry]}))
    operator = Operator(capfd, SIGNER_INIT_BUNDLE=str(bundle))
    status, text = operator.run("sign", "GET", "a", "my-bucket", "k")

    assert (status, [it["event"] for it in operator.audit]) == (0, ["signed"])
    assert operator.data("verify", text)[1]["account"] == "a"
    with pytest.raises(SettingsError):
        operator.run("account", "delete", "a")


@pytest.mark.parametrize("shell", ["bash", "zsh", "tcsh"])
def test_a_shell_gets_a_completion_script(capfd, shell):
    status, out = Operator(capfd).run("completion", shell)

    assert (status, all(command in out for command in (*COMMANDS, "serve", "put"))) == (0, True)


def test_bash_completes_a_command(capfd, tmp_path):
    script = tmp_path / "completion"
    script.write_text(Operator(capfd).run("completion", "bash")[1])
    words = subprocess.run(
        [
            "bash",
            "-c",
            f"source {script}; COMP_WORDS=(s3-signer ver); COMP_CWORD=1; _shtab_s3_signer; echo ${{COMPREPLY[@]}}",
        ],
        capture_output=True,
        text=True,
        check=True,
    ).stdout

    assert words.strip() == "verify"


def run(*arguments, stdin="", **settings):
    """The command line in a process of its own: exit status, output, lines of errors."""
    done = subprocess.run(
        [sys.executable, "-m", "service", *arguments],
        env={**clean_environment(), **settings},
        input=stdin,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr.splitlines()


def test_each_exit_status_is_as_documented(redis_url):
    store = {"SIGNER_STORE_URL": redis_url}
    put = run("account", "put", "a", "-", stdin=yaml.safe_dump(BODY), **store)
    missing = run("account", "get", "b", **store)
    usage = run("account", "frobnicate", "b", **store)
    refused = run("verify", "-", stdin="https://example.com/", **store)

    assert [put[0], missing[0], usage[0], refused[0]] == [*EXIT_STATUSES]
    assert missing[1:] == ("", ["s3-signer: Resource AwsAccount/b not found"])


def test_the_format_of_the_output_is_chosen(redis_url, tmp_path):
    keys = tmp_path / "keys"
    keys.write_text("k1: " + "A" * 43 + "=\n")
    keys.chmod(0o600)
    settings = {"SIGNER_STORE_URL": redis_url, "SIGNER_ENCRYPTION_KEYS_FILE": str(keys)}
    document = json.loads(run("openapi")[1])

    assert yaml.safe_load(run("openapi", "--format", "yaml")[1]) == document
    assert run("rekey", **settings)[1] == "re-encrypted: 0\nfailed: 0\n"
    assert json.loads(run("rekey", "--format", "json", **settings)[1]) == {"re-encrypted": 0, "failed": 0}


def test_help_imports_no_command_and_no_server():
    code = "import sys\nfrom service.__main__ import main\nmain(['--help'])\nprint(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], env=clean_environment(), capture_output=True, text=True, check=True
    )
    loaded = done.stdout.splitlines()[-1].split()

    assert not {"aiohttp", "redis", "botocore", "marshmallow", "shtab", "service.app"} & {*loaded}


def test_colours_are_only_on_a_terminal(redis_url):
    code = "import pty, sys\nsys.exit(pty.spawn(sys.argv[1:]) >> 8)"
    environment = {name: text for name, text in clean_environment().items() if name != "NO_COLOR"}
    command = [sys.executable, "-c", code, sys.executable, "-m", "service", "verify", "https://example.com/"]

    def shown(**settings):
        return subprocess.run(
            command,
            env={**environment, **settings},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        ).stdout

    assert "\x1b[31mrefused\x1b[0m" in shown()
    assert "\x1b" not in shown(NO_COLOR="1")
    assert "\x1b" not in run("verify", "https://example.com/")[1]
