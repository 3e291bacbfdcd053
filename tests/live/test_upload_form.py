"""A form uploads what it allows, and a real S3 server refuses everything else."""

import pytest
from live.s3_servers import Gap, xfail_for
from live.signer import Storage

pytestmark = pytest.mark.timeout(300)  # the first test may install the servers

FORM = {"filename": "form/one", "content-type": "text/plain", "max-size": 5, "min-size": 2, "metadata": {"owner": "a"}}


@pytest.fixture(params=["path", "virtual"])
def storage(request, signer, s3_server, bucket):
    xfail_for(Gap.POST_FORMS, s3_server, request)
    account = s3_server.account(f"{s3_server.name}-form-{request.param}", request.param)
    return Storage(signer, s3_server, signer.put_account(account), bucket)


def test_a_form_uploads_what_it_allows(storage, post_form):
    form = storage.details("POST", "/$upload-form", FORM)
    accepted = post_form(storage.server, form, b"hello")
    down = storage.download("form/one")

    assert accepted.status in {200, 201, 204}
    assert (down.body, down.headers["content-type"].partition(";")[0]) == (b"hello", "text/plain")
    assert down.headers["x-amz-meta-owner"] == "a"


@pytest.mark.parametrize(
    ("content", "changes"),
    [
        (b"hello!", {}),
        (b"h", {}),
        (b"hello", {"key": "form/two"}),
        (b"hello", {"Content_Type": "text/html"}),
        (b"hello", {"x_amz_meta_owner": "b"}),
        (b"hello", {"x_amz_signature": "0" * 64}),
    ],
    ids=str,
)
def test_a_form_that_differs_is_refused(storage, post_form, content, changes):
    form = storage.details("POST", "/$upload-form", FORM)
    right = post_form(storage.server, form, b"hello")
    wrong = post_form(storage.server, form, content, **changes)

    assert right.status in {200, 201, 204}
    assert wrong.status in {400, 403}


def test_a_form_takes_a_key_with_its_prefix_alone(storage, post_form):
    form = storage.details("POST", "/$upload-form", {"starts-with": "form/any/"})
    accepted = post_form(storage.server, form, b"hello", key="form/any/of it")
    named = post_form(storage.server, form, b"the name of the file")
    refused = post_form(storage.server, form, b"hello", key="form/other")

    assert {accepted.status, named.status} <= {200, 201, 204}
    assert storage.download("form/any/of it").body == b"hello"
    assert refused.status in {400, 403}
