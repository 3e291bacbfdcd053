"""Keys that other tests do not reach: with a slash at the beginning, and of letters that are written in two ways."""

import pytest
from live.s3_servers import Gap, xfail_for
from live.signer import Storage

pytestmark = pytest.mark.timeout(300)  # the first test may install the servers


@pytest.fixture(scope="module", params=["path", "virtual"])
def style(request):
    return request.param


@pytest.fixture(scope="module")
def storage(signer, s3_server, bucket, style):
    account = s3_server.account(f"{s3_server.name}-{style}", style)
    return Storage(signer, s3_server, signer.put_account(account), bucket)


def test_a_key_may_begin_with_a_slash(storage, s3_server, style, request):
    if style == "virtual":
        xfail_for(Gap.LEADING_SLASH, s3_server, request)
    up, down = storage.upload("/absolute", b"content"), storage.download("/absolute")
    away, gone = storage.delete("/absolute"), storage.download("/absolute")

    assert (up.status, down.status, down.body) == (200, 200, b"content")
    assert (away.status, gone.status) == (204, 404)


@pytest.mark.parametrize("key", ["a/b/c.txt", "a//b///c", "folder/"])
def test_a_slash_may_be_sent_raw_or_encoded(storage, key):
    storage.upload(key, b"here")
    raw, encoded = storage.download(key, safe="/"), storage.download(key)
    away, gone = storage.delete(key, safe="/"), storage.download(key)

    assert (raw.body, encoded.body) == (b"here", b"here")
    assert (away.status, gone.status) == (204, 404)


def test_composed_and_decomposed_letters_are_different_objects(storage):
    storage.upload("caf\u00e9", b"one letter")
    storage.upload("cafe\u0301", b"a letter and its accent")

    assert storage.download("caf\u00e9").body == b"one letter"
    assert storage.download("cafe\u0301").body == b"a letter and its accent"
