"""A presigned URL is taken apart, and a text that is none is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.signing.presigned_url import NotPresigned, parse

URL = (
    "https://my-bucket.s3.amazonaws.com/k?X-Amz-Algorithm=AWS4-HMAC-SHA256"
    "&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2Faws4_request&X-Amz-Date=20130524T000000Z"
    f"&X-Amz-Expires=300&X-Amz-SignedHeaders=host&X-Amz-Security-Token=token%2Fwith&X-Amz-Signature={'0f' * 32}"
)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda it: it.replace("&", "&amp;"), "HTML"),
        (lambda it: it[:-3], "64 digits"),
        (lambda it: it.replace("&X-Amz-Expires=300", ""), "X-Amz-Expires"),
        (lambda it: f"{it}&X-Amz-Expires=5", "more than once"),
        (lambda it: it.replace("%2Fs3%2F", "%2Fsts%2F"), "X-Amz-Credential"),
        (lambda it: it.replace("AWS4-HMAC-SHA256", "AWS4-ECDSA-P256-SHA256"), "X-Amz-Algorithm"),
        (lambda it: f"{it[:60]}\n{it[60:]}", "white space"),
        (lambda it: f"{it[:60]}\u200b{it[60:]}", "U[+]200B ZERO WIDTH SPACE"),
        (lambda it: it.encode("utf-16").decode(errors="surrogateescape"), "not UTF-8"),
        (lambda it: it.encode("utf-16-le").decode(), "U[+]0000 NULL"),
        (lambda it: it.replace("https://", "s3://"), "http"),
        (lambda it: it.replace("my-bucket.s3", "my-bucket.S3"), "capital letters"),
        (lambda it: it.replace("X-Amz-Date=2013", "X-Amz-Date=9913x"), "no time"),
        (lambda it: it.replace("X-Amz-Date=2013", "X-Amz-Date=\u0662013"), "no time"),
        (lambda it: it.replace("%", "%25"), "encoded twice"),
        (lambda it: it.replace("=AKIA", "=AK+IA"), "write %2B"),
        (lambda _: "https://b.s3.amazonaws.com/k?AWSAccessKeyId=a&Signature=b&Expires=1", "Version 2"),
        (lambda it: it.replace("/k?", "/k\udcff?"), "not UTF-8"),
        (lambda it: it.replace("=20130524T000000Z", "=99991231T235959Z"), "year 9999"),
        (lambda _: "https://[::1/k?x", "no URL"),
        (lambda _: "", "http"),
    ],
)
def test_a_text_that_is_no_presigned_url_is_refused_with_the_reason(change, message):
    with pytest.raises(NotPresigned, match=message):
        parse(change(URL))


@pytest.mark.parametrize(
    "around", [" '{}'\n", "\ufeff{}\r\n", "\u201c{}\u201d", "`{}`", "<{}>", "\u00a0{}\u200b", '"{}"']
)
def test_quotes_and_space_around_a_url_are_ignored(around):
    assert parse(around.format(URL)) == parse(URL)


@given(st.text(max_size=80))
def test_any_text_is_read_or_refused(text):
    try:
        parse(f"https://h/{text}")
    except NotPresigned:
        return


def test_a_query_is_read_as_servers_read_it():
    read = parse(f"{URL}&&response-content-disposition=a+b%2Bc%20d&")

    assert read.query[-1] == ("response-content-disposition", "a b+c d")
    assert len(read.query) == len(parse(URL).query) + 1


def test_a_parsed_url_shows_no_signature_and_no_token():
    shown = repr(parse(URL))

    assert parse(URL).signature not in shown
    assert "token/with" not in shown
