"""Each operation of the table, with all that its URLs can carry, equals aiobotocore's URL."""

import base64
from contextlib import suppress
from xml.etree import ElementTree as ET

import pytest
from hypothesis import HealthCheck, given, reject, settings
from hypothesis import strategies as st

from service.errors import Invalid
from service.resources.schemas import MAX_UPLOAD_BYTES
from service.resources.signing_schemas.queries import attachment
from service.resources.signing_schemas.uploads import CHECKSUM_BYTES
from service.resources.types import AwsAccount
from service.signing.operations import (
    ABORT_MULTIPART_UPLOAD,
    COMPLETE_MULTIPART_UPLOAD,
    CREATE_MULTIPART_UPLOAD,
    DELETE_OBJECT,
    GET_OBJECT,
    HEAD_OBJECT,
    LIST_OBJECTS,
    LIST_PARTS,
    OPERATIONS,
    PUT_OBJECT,
    UPLOAD_FORM,
    UPLOAD_PART,
)

AT = 1369353600
EXAMPLES = settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.too_slow])

# What a careless encoder changes: separators, quotes, percent signs, spaces to fold, unicode.
PIECES = [*"=,;:&+%/?#\"'<>", "  ", "   ", "a", "Z", "é", "e\u0301", "日本", "\U0001f600", "%20", "a=b", "; x"]
lines = st.one_of(
    st.lists(st.sampled_from(PIECES), min_size=1, max_size=12).map("".join),
    st.text(st.characters(exclude_categories=["C", "Z"], include_characters=" "), min_size=1, max_size=40),
)
ascii_lines = st.one_of(
    st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=30),
    st.lists(st.sampled_from([it for it in PIECES if it.isascii()]), max_size=12).map("".join),
).map(str.strip)
names = st.text("abcdefgh0123456789-_.!#$%&'*+^`|~", min_size=1, max_size=10)
tokens = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=30)


def base64_of(size):
    return st.binary(min_size=size, max_size=size).map(lambda digest: base64.b64encode(digest).decode())


OBJECT = {
    "content-type": lines,
    "content-encoding": lines,
    "content-disposition": lines,
    "cache-control": lines,
    "metadata": st.dictionaries(names, ascii_lines, max_size=5),
    "tagging": st.dictionaries(lines, lines, max_size=4),
    "storage-class": st.sampled_from(["STANDARD", "GLACIER_IR", "cold-tier"]),
    "acl": st.sampled_from(["private", "bucket-owner-full-control"]),
}
KEY_ID = "arn:aws:kms:eu-west-1:1:key/a=b,c+d"
ENCRYPTION = st.one_of(
    st.fixed_dictionaries({}, optional={"server-side-encryption": st.sampled_from(["AES256", "aws:kms"])}),
    st.fixed_dictionaries(
        {
            "server-side-encryption": st.sampled_from(["aws:kms", "aws:kms:dsse"]),
            # The key id of KMS needs a server-side-encryption beside it.
            "sse-kms-key-id": st.one_of(st.just(KEY_ID), tokens),
        }
    ),
)
CHECKSUM = st.sampled_from([*CHECKSUM_BYTES.items()]).flatmap(
    lambda item: base64_of(item[1]).map(lambda text: {f"checksum-{item[0]}": text})
)
CONTENT = {"content-length": st.integers(0, MAX_UPLOAD_BYTES), "content-md5": base64_of(16)}
DOWNLOAD = {
    "version-id": tokens,
    "response-content-type": lines,
    "response-content-disposition": lines,
    "response-content-language": lines,
    "response-content-encoding": lines,
    "response-cache-control": lines,
    "response-expires": st.just("Wed, 21 Oct 2026 07:28:00 GMT"),
}
LIST = {
    "prefix": st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20),
    "delimiter": st.one_of(st.just("/"), tokens),
    "max-keys": st.integers(1, 1000),
    "continuation-token": lines,
    "start-after": lines,
}


def some_of(values, *more):
    chosen = st.fixed_dictionaries({}, optional=values)
    return st.tuples(chosen, *more).map(lambda parts: {name: it for part in parts for name, it in part.items()})


uploads = some_of(
    {**OBJECT, **CONTENT, "if-none-match": st.just("*")},
    ENCRYPTION,
    st.one_of(st.just({}), CHECKSUM),
)
UPLOAD_ID = {"upload-id": tokens}
CARRIED = {
    PUT_OBJECT: uploads,
    GET_OBJECT: some_of(DOWNLOAD),
    HEAD_OBJECT: some_of(DOWNLOAD),
    DELETE_OBJECT: some_of({"version-id": tokens}),
    LIST_OBJECTS: some_of(LIST),
    CREATE_MULTIPART_UPLOAD: some_of(
        {**OBJECT, "checksum-algorithm": st.sampled_from([it.upper() for it in CHECKSUM_BYTES])}, ENCRYPTION
    ),
    UPLOAD_PART: st.builds(
        lambda content, part: {**content, **part},
        some_of(CONTENT, st.one_of(st.just({}), CHECKSUM)),
        st.fixed_dictionaries({**UPLOAD_ID, "part-number": st.integers(1, 10_000)}),
    ),
    LIST_PARTS: st.fixed_dictionaries(UPLOAD_ID),
    COMPLETE_MULTIPART_UPLOAD: st.fixed_dictionaries(UPLOAD_ID),
    ABORT_MULTIPART_UPLOAD: st.fixed_dictionaries(UPLOAD_ID),
}
ACCOUNTS = [
    AwsAccount(id="x", access_key_id="AKIA", secret_access_key="s", session_token=token, host=host, path_style=style)
    for token in (None, "to/ken+==")
    for host, style in (
        (None, False),
        (None, True),
        ("http://gateway.example/s3/", False),
        ("http://gateway.example/s3", False),
        ("http://gateway.example/s3", True),
        ("10.0.0.1:9000", True),
    )
]


@st.composite
def carried(draw):
    """An operation and values that its schema accepts."""
    operation = draw(st.sampled_from([*CARRIED]))
    values = draw(CARRIED[operation])
    try:
        accepted = operation.schema().read(values)
    except Invalid:
        # A space at an end cannot be sent.
        values = {name: value.strip(" ") if isinstance(value, str) else value for name, value in values.items()}
        values = {name: value for name, value in values.items() if value != ""}
        with suppress(Invalid):
            return operation, operation.bound_fields(operation.schema().read(values))
        reject()
    return operation, operation.bound_fields(accepted)


@pytest.mark.slow
@EXAMPLES
@given(carried(), st.sampled_from(ACCOUNTS))
def test_a_url_that_carries_more_is_the_one_that_aiobotocore_presigns(presign_twice, carried, account):
    operation, values = carried
    key = "a key/é" if operation.has_key else None

    ours, oracles = presign_twice(
        account, operation, {"bucket": "bucket", "key": key, "at": AT, "expires_in": 60}, values
    )

    assert ours == oracles


FORM_FIELDS = {
    "content-type": "Content-Type",
    "content-encoding": "Content-Encoding",
    "content-disposition": "Content-Disposition",
    "cache-control": "Cache-Control",
    "storage-class": "x-amz-storage-class",
    "acl": "acl",
    "server-side-encryption": "x-amz-server-side-encryption",
    "sse-kms-key-id": "x-amz-server-side-encryption-aws-kms-key-id",
}
SIZES = {"min-size": st.integers(0, 100), "max-size": st.integers(100, MAX_UPLOAD_BYTES)}
KEYS = st.one_of(lines, st.tuples(st.none(), st.one_of(st.just(""), lines)))


def xml_of(tags):
    root = ET.Element("Tagging")
    tag_set = ET.SubElement(root, "TagSet")
    for name, text in tags.items():
        tag = ET.SubElement(tag_set, "Tag")
        ET.SubElement(tag, "Key").text = name
        ET.SubElement(tag, "Value").text = text
    return ET.tostring(root, encoding="unicode", short_empty_elements=False)


@pytest.mark.slow
@EXAMPLES
@given(
    some_of({**OBJECT, **SIZES}, ENCRYPTION),
    KEYS,
    st.sampled_from(ACCOUNTS),
    st.integers(1, 604800),
)
def test_a_form_is_the_one_that_aiobotocore_presigns(run, shared_presigner, oracle, values, key, account, seconds):
    key, prefix = key if isinstance(key, tuple) else (key, None)
    fields = {sent: values[name] for name, sent in FORM_FIELDS.items() if name in values}
    fields |= {f"x-amz-meta-{name}": text for name, text in values.get("metadata", {}).items()}
    if values.get("tagging"):
        fields["tagging"] = xml_of(values["tagging"])
    conditions = [{name: value} for name, value in fields.items()]
    if SIZES.keys() & values.keys():
        conditions.append(["content-length-range", values.get("min-size", 0), values.get("max-size", MAX_UPLOAD_BYTES)])

    theirs = oracle.presign_form(
        account,
        bucket="bucket",
        key=f"{prefix}${{filename}}" if key is None else key,
        fields=fields,
        conditions=conditions,
        at=AT,
        expires_in=seconds,
    )
    endpoint = run(shared_presigner.endpoint(account, "bucket"))
    if key is None:
        values = {**values, "key-prefix": prefix}
    ours = shared_presigner.sign_form(
        account, endpoint, bucket="bucket", key=key, values=values, at=AT, expires_in=seconds
    )

    assert ours == theirs
    assert list(ours[1]) == list(theirs[1])


@pytest.mark.parametrize("operation", CARRIED, ids=lambda operation: operation.name)
def test_every_field_that_a_url_carries_is_in_the_schema_and_compared(operation):
    assert CARRIED.keys() == {*OPERATIONS} - {UPLOAD_FORM}
    carried = {*operation.headers, *operation.parameters}
    compared = {
        *UPLOAD_ID,
        "part-number",
        *OBJECT,
        "server-side-encryption",
        "sse-kms-key-id",
        "if-none-match",
        "checksum-algorithm",
        *CONTENT,
        *DOWNLOAD,
        *LIST,
        *(f"checksum-{name}" for name in CHECKSUM_BYTES),
    }

    assert carried <= operation.schema().names
    assert carried <= compared


@pytest.mark.parametrize(
    ("name", "header"),
    [
        ("report.pdf", 'attachment; filename="report.pdf"'),
        ("a b; c=d.pdf", 'attachment; filename="a b; c=d.pdf"'),
        ('"q\\".pdf', "attachment; filename=\"_q__.pdf\"; filename*=UTF-8''%22q%5C%22.pdf"),
        ("naïve 日.pdf", "attachment; filename=\"na_ve _.pdf\"; filename*=UTF-8''na%C3%AFve%20%E6%97%A5.pdf"),
        ("100%.txt", "attachment; filename=\"100_.txt\"; filename*=UTF-8''100%25.txt"),
    ],
)
def test_an_attachment_has_its_name_in_both_forms(name, header):
    assert attachment(name) == header
