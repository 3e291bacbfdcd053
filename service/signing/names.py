"""The rules for the names of buckets and keys."""

import re

from service.errors import Issue
from service.invisible import invisible_hint
from service.resources.fields import BUCKET

MAX_KEY_BYTES = 1024

_BUCKET = re.compile(BUCKET)

# Names that are not names of buckets. Directory buckets and their access points need a session of their own. An
# Outposts alias, which aiobotocore recognizes by its length as well, is signed for another service.
# Source: https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html
_DIRECTORY_SUFFIXES = ("--x-s3", "--xa-s3")
_OUTPOSTS_SUFFIX = "--op-s3"
_OUTPOSTS_ALIAS_LENGTH = 50

# The rules below as one expression each, for the OpenAPI document.
BUCKET_PATTERN = (
    rf"(?!.*\.\.)(?!.*(?:{'|'.join(_DIRECTORY_SUFFIXES)})$)"
    rf"(?!.{{{_OUTPOSTS_ALIAS_LENGTH - len(_OUTPOSTS_SUFFIX)},}}{_OUTPOSTS_SUFFIX}$){BUCKET}"
)
KEY_PATTERN = rf"(?!(?:[\s\S]*/)?\.\.?(?:/|$))[^\x00]{{1,{MAX_KEY_BYTES}}}"


def name_issues(bucket: str, key: str | None, *, key_expression: str = "key") -> list[Issue]:
    """Return the faults of a bucket and a key, none if they are valid. ``key`` is None for a request without one.

    ``key_expression`` is the field of the key.
    """
    issues = []
    if problem := _bucket_problem(bucket):
        issues.append(Issue(problem, "bucket"))
    if key is not None and (problem := _key_problem(key)):
        issues.append(Issue(f"{key_expression} {problem}", key_expression))
    return issues


def _bucket_problem(bucket: str) -> str | None:
    if bucket.startswith("arn:"):
        return "bucket must be a name; an ARN is not supported"
    if not _BUCKET.fullmatch(bucket) or ".." in bucket:
        rule = "bucket must be 2 to 255 of A-Z, a-z, 0-9, . _ and -, begin with a letter or digit, and have no .. in it"
        return f"{rule}{invisible_hint(bucket)}"
    if bucket.endswith(_DIRECTORY_SUFFIXES):
        return "bucket must not be a directory bucket (--x-s3): it needs a session of its own"
    if bucket.endswith(_OUTPOSTS_SUFFIX) and len(bucket) >= _OUTPOSTS_ALIAS_LENGTH:
        return "bucket must not be an alias of S3 on Outposts (--op-s3)"
    return None


def _key_problem(key: str) -> str | None:
    try:
        size = len(key) if key.isascii() else len(key.encode())
    except UnicodeEncodeError:
        return "must be Unicode text; it has a lone surrogate"
    if not 0 < size <= MAX_KEY_BYTES:
        return f"must be 1 to {MAX_KEY_BYTES} bytes of UTF-8; it is {size}"
    if "\0" in key:
        return "must not have a NUL character"
    # Splitting is slow, and few keys have a segment that begins with a dot.
    if "/." in f"/{key}" and not {".", ".."}.isdisjoint(key.split("/")):
        return "must have no . or .. segment: HTTP clients rewrite such paths"
    return None
