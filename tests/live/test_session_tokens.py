"""A real S3 server accepts URLs and forms of temporary credentials, and refuses them without their session token."""

import re

import pytest
from botocore.auth import SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from live.forms import post_form
from live.signer import Storage

pytestmark = pytest.mark.timeout(300)  # the first test may install the server

CONTENT = b"hello"
BOUND = {"filename": "temporary", "content-type": "text/plain", "content-length": len(CONTENT)}
REFUSED = {400, 403}


@pytest.fixture(scope="module")
def temporary(ministack):
    """The fields of an account with temporary credentials of the server's STS."""
    request = AWSRequest("GET", f"http://{ministack.http}/?Action=GetSessionToken&Version=2011-06-15")
    credentials = Credentials(ministack.access_key_id, ministack.secret_access_key)
    SigV4QueryAuth(credentials, "sts", ministack.region, expires=60).add_auth(request)
    answer = ministack.send(request.url, "GET")
    assert answer.status == 200, answer
    given = dict(re.findall(r"<(\w+)>([^<]+)</\1>", answer.body.decode()))
    return {
        "access-key-id": given["AccessKeyId"],
        "secret-access-key": given["SecretAccessKey"],
        "session-token": given["SessionToken"],
    }


@pytest.fixture(params=["path", "virtual"])
def storage_with(request, signer, ministack):
    """Return a function that makes a storage for an account with some more fields."""
    bucket = ministack.make_bucket("temporary-uploads")

    def storage_with(fields):
        account = ministack.account(f"temporary-{request.param}", request.param) | fields
        return Storage(signer, ministack, signer.put_account(account), bucket)

    return storage_with


def upload(storage):
    signed = storage.details("POST", "", BOUND)
    return storage.server.send(signed["url"], signed["method"], CONTENT, signed["headers"])


def test_an_upload_with_a_session_token_is_accepted_and_kept(storage_with, temporary):
    storage = storage_with(temporary)

    assert upload(storage).status == 200
    assert storage.download("temporary").body == CONTENT
    assert storage.delete("temporary").status == 204


def test_a_url_without_the_session_token_is_refused(storage_with, temporary):
    without = {name: text for name, text in temporary.items() if name != "session-token"}
    storage = storage_with(without)

    assert upload(storage).status in REFUSED
    assert storage.download("temporary").status in REFUSED


def test_a_url_with_another_session_token_is_refused(storage_with, temporary):
    storage = storage_with({**temporary, "session-token": temporary["session-token"][::-1]})

    assert upload(storage).status in REFUSED


def test_a_form_with_a_session_token_is_accepted_and_refused_without_it(storage_with, temporary):
    storage = storage_with(temporary)
    form = storage.details("POST", "/$upload-form", {"filename": "form", "max-size": len(CONTENT)})
    accepted = post_form(storage.server, form, CONTENT)
    refused = post_form(storage.server, form, CONTENT, **{"x-amz-security-token": None})

    assert accepted.status in {200, 201, 204}
    assert storage.download("form").body == CONTENT
    assert refused.status in REFUSED
