"""The commands of an operator beside a real S3 server: what verify says of a URL is what the server does with it."""

import json
import subprocess
import sys

import pytest
import yaml
from documents import ROOT, blocks
from processes import clean_environment
from support.tools import tool

pytestmark = pytest.mark.timeout(300)  # the first test may install the servers


@pytest.fixture
def run(redis_url):
    """Returns the exit status and the output of a command."""

    def run(*arguments, stdin=""):
        done = subprocess.run(
            [sys.executable, "-m", "service", *arguments],
            env={**clean_environment(), "SIGNER_STORE_URL": redis_url},
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout

    return run


def test_verify_agrees_with_the_server(run, ministack):
    bucket = ministack.make_bucket("commands")
    run("account", "put", "live", "-", stdin=json.dumps(ministack.account("live")))
    checked, report = run("check", "--live", bucket)
    _, upload = run("sign", "PUT", "live", bucket, "a b.txt", "--field", "content-type=text/plain")
    _, download = run("sign", "GET", "live", bucket, "a b.txt")
    headers = {"Content-Type": "text/plain"}
    changed = f"{download.strip()}&response-content-type=text/html"

    assert (checked, yaml.safe_load(report)["accounts"]) == (0, {"checked": 1, "right": 1})
    assert ministack.send(upload.strip(), "PUT", b"content", headers).status == 200
    assert run("verify", "-", "--method", "PUT", "--header", "content-type: text/plain", stdin=upload)[0] == 0
    assert ministack.send(download.strip(), "GET").body == b"content"
    assert run("verify", "-", stdin=download)[0] == 0
    assert ministack.send(changed, "GET").status == 403
    status, report = run("verify", "-", stdin=changed)
    assert (status, yaml.safe_load(report)["findings"][-1]["output"]) == (
        3,
        "response-content-type was added after signing",
    )


@pytest.mark.parametrize(
    ("change", "is_valid"),
    [
        (lambda it: it.replace("%20", "+"), True),
        (lambda it: it.replace("%2B", "+"), False),
        (lambda it: f"{it}&", True),
    ],
    ids=["+ for a space", "+ for a plus", "empty pair"],
)
def test_verify_reads_a_query_as_the_server_does(run, s3_server, change, is_valid):
    bucket = s3_server.make_bucket("commands-query")
    run("account", "put", "live", "-", stdin=json.dumps(s3_server.account("live")))
    _, upload = run("sign", "PUT", "live", bucket, "a.txt")
    disposition = "response-content-disposition=attachment;filename=x y+z"
    _, download = run("sign", "GET", "live", bucket, "a.txt", "--field", disposition)
    changed = change(download.strip())

    assert s3_server.send(upload.strip(), "PUT", b"content").status == 200
    assert (s3_server.send(changed, "GET").status == 200) is is_valid
    assert (run("verify", "-", stdin=changed)[0] == 0) is is_valid


def test_check_names_the_wrong_secret_of_an_account(run, ministack):
    bucket = ministack.make_bucket("commands-wrong")
    account = {**ministack.account("wrong"), "secret-access-key": "another-secret-0123456789"}
    run("account", "put", "wrong", "-", stdin=json.dumps(account))
    status, report = run("check", "--live", bucket)
    failing = [it["name"] for it in yaml.safe_load(report)["checks"] if it["status"] == "fail"]

    assert (status, failing) == (3, ["AwsAccount/wrong credentials"])


@pytest.fixture
def follow(redis_url, tmp_path):
    """Returns the exit status and all output of a command of the guide on refused URLs, which reads ``url.txt``."""

    def follow(command, bucket, url):
        tool("curl", package="curl")
        (tmp_path / "url.txt").write_text(f"url: {url}\nmethod: PUT\nheaders:\n  content-type: text/csv\n")
        (tmp_path / "report.csv").write_text("a,b\n")
        command = command.replace(".venv/bin/s3-signer", f"{sys.executable} -m service").replace("BUCKET", bucket)
        environment = {**clean_environment(), "SIGNER_STORE_URL": redis_url, "url": url, "NO_PROXY": "*"}
        environment["PYTHONPATH"] = str(ROOT)
        done = subprocess.run(
            ["bash", "-euc", command], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        return done.returncode, done.stdout + done.stderr

    return follow


GUIDE = [block for _, block in blocks("docs/how-to/debug-signature-does-not-match.md")]


def test_the_guide_on_refused_urls_finds_each_cause(run, follow, ministack):
    commands, with_curl, _ = GUIDE
    check, verify = commands.splitlines()
    bucket = ministack.make_bucket("commands-guide")
    account = ministack.account("guide")
    run("account", "put", "guide", "-", stdin=json.dumps({**account, "secret-access-key": "cut-off-0123456789"}))
    refused = run("sign", "PUT", "guide", bucket, "report.csv", "--field", "content-type=text/csv")[1].strip()
    wrong_secret = follow(check, bucket, refused), follow(verify, bucket, refused), follow(with_curl, bucket, refused)
    run("account", "put", "guide", "-", stdin=json.dumps(account))
    accepted = run("sign", "PUT", "guide", bucket, "report.csv", "--field", "content-type=text/csv")[1].strip()
    sent = follow(with_curl, bucket, accepted)
    changed = follow(verify, bucket, accepted.replace("report.csv", "reports.csv"))

    assert wrong_secret[0][0] == 3
    assert "S3 answers SignatureDoesNotMatch" in wrong_secret[0][1]
    assert "check --live BUCKET" in wrong_secret[1][1]
    assert "SignatureDoesNotMatch" in wrong_secret[2][1]
    assert "200" in sent[1]
    assert (changed[0], "status: refused" in changed[1]) == (3, True)


def test_the_guide_on_refused_urls_sends_a_file_for_a_key_that_ends_in_a_slash(run, follow, s3_server):
    bucket = s3_server.make_bucket("commands-slash")
    run("account", "put", "slash", "-", stdin=json.dumps(s3_server.account("slash")))
    url = run("sign", "PUT", "slash", bucket, "folder/")[1].strip()
    refused, sent = follow('curl -T report.csv "$url"', bucket, url), follow(f"{GUIDE[-1].strip()} --fail", bucket, url)
    down = s3_server.send(run("sign", "GET", "slash", bucket, "folder/")[1].strip(), "GET")

    assert "SignatureDoesNotMatch" in refused[1]
    assert (sent[0], down.body) == (0, b"a,b\n")
