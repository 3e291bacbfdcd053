import pytest

from service.signing.names import name_issues


@pytest.mark.parametrize(
    "bucket",
    [
        "ab",
        "my-bucket",
        "My_Bucket.2",
        "0bucket",
        "bucket-",
        "bucket.",
        "a.b.c",
        "192.168.0.1",
        "a" * 255,
        "arn",
        "b-s3alias",
        "x-s3",
        "b--op-s3",
        "b" * 43 + "op-s3--",
        "arn-aws-s3",
    ],
)
def test_a_bucket_name_is_valid(bucket):
    assert name_issues(bucket, "k") == []


@pytest.mark.parametrize(
    "bucket",
    [
        "",
        "a",
        "a" * 256,
        ".bucket",
        "-bucket",
        "_bucket",
        "..",
        "a..b",
        "bucket\n",
        "bucket ",
        " bucket",
        "bu/cket",
        "bu%63ket",
        "bücket",
        "bucket\0",
        "bucket\udcff",
        "arn:aws:s3:us-east-1:123456789012:accesspoint/x",
        "arn:aws:s3:::bucket",
        "bucket--use1-az4--x-s3",
        "b--x-s3",
        "point--use1-az4--xa-s3",
        "a" * 43 + "--op-s3",
    ],
)
def test_a_bucket_name_is_invalid(bucket):
    issues = name_issues(bucket, "k")

    assert [issue.expression for issue in issues] == ["bucket"]
    assert issues[0].diagnostics.startswith("bucket must")


@pytest.mark.parametrize(
    "key",
    [
        "k",
        "/",
        "//",
        "/leading",
        "trailing/",
        "a//b",
        "...",
        ".hidden",
        "a/.hidden/b",
        "a/...",
        "a./b",
        "a../b",
        "..a",
        " ",
        "+",
        "%2F",
        "%2e%2e",
        "$sign",
        "a\nb",
        "\x01\x7f",
        "\u2028",
        "e\u0301",
        "𝄞",
        "back\\..\\slash",
        "a" * 1024,
        "é" * 512,
    ],
)
def test_a_key_is_valid(key):
    assert name_issues("bucket", key) == []


@pytest.mark.parametrize(
    "key",
    [
        "",
        "a" * 1025,
        "é" * 512 + "a",
        "𝄞" * 257,
        "a\0b",
        "\0",
        ".",
        "..",
        "../a",
        "./a",
        "a/..",
        "a/.",
        "a/../b",
        "a/./b",
        "/..",
        "//./",
        ".hidden/..",
        "\ud800",
        "a\udcffb",
    ],
)
def test_a_key_is_invalid(key):
    issues = name_issues("bucket", key)

    assert [issue.expression for issue in issues] == ["key"]
    assert issues[0].diagnostics.startswith("key must")


def test_the_key_of_an_upload_is_named_by_its_field():
    (issue,) = name_issues("bucket", "..", key_expression="filename")

    assert issue.expression == "filename"
    assert issue.diagnostics.startswith("filename must")


def test_all_faults_are_reported_at_once():
    assert [issue.expression for issue in name_issues("..", "..")] == ["bucket", "key"]


def test_a_message_about_a_lone_surrogate_can_be_encoded():
    issues = name_issues("b\ud800", "\ud800")

    assert all(issue.diagnostics.encode() for issue in issues)


def test_a_message_names_the_invisible_character_of_a_bucket():
    (issue,) = name_issues("bucket\u200b", "key")

    assert issue.diagnostics.endswith("; it has U+200B ZERO WIDTH SPACE")
