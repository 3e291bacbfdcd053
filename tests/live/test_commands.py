"""The commands of an operator beside a real S3 server: what verify says of a URL is what the server does with it."""

import json
import subprocess
import sys

import pytest
import yaml
from processes import clean_environment

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


def test_check_names_the_wrong_secret_of_an_account(run, ministack):
    bucket = ministack.make_bucket("commands-wrong")
    account = {**ministack.account("wrong"), "secret-access-key": "another-secret-0123456789"}
    run("account", "put", "wrong", "-", stdin=json.dumps(account))
    status, report = run("check", "--live", bucket)
    failing = [it["name"] for it in yaml.safe_load(report)["checks"] if it["status"] == "fail"]

    assert (status, failing) == (3, ["AwsAccount/wrong credentials"])
