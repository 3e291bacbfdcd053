"""Texts of the OpenAPI document: its introduction, the groups of operations, and names of resources. Pure data."""

import re
from typing import NamedTuple

INTRODUCTION = """\
s3-signer keeps S3 accounts and returns presigned URLs, in the style of Aidbox. A client uploads, downloads and deletes\
 files with these URLs, and never sees the secret keys.

**Formats.** Requests and responses are YAML or JSON. In YAML every scalar is text, and the field determines its type. \
A null field is an absent field. `_format`, `Accept` or the body of the request chooses the format of the response; \
without them it is JSON.

**Errors.** Every response of 400 or more is a FHIR OperationOutcome with one issue for each fault.

**FHIR clients.** The routes of resources, such as `/AwsAccount`, exist under `/fhir` too and answer likewise. Every \
GET route supports HEAD. A method that a path does not support is a 405."""


class Tag(NamedTuple):
    """A group of operations, by the task of their users. ``paths`` matches the paths of its routes as a whole."""

    name: str
    description: str
    paths: re.Pattern[str]


_TAGS = (
    ("Accounts", "Store the keys of your S3, and check that they work.", r"/AwsAccount.*"),
    (
        "Sign URLs",
        "Get a presigned URL to upload, download, delete or list objects. The service sends nothing to S3.",
        r"/aws/storage/[^$]*(\$sign)?",
    ),
    (
        "Uploads from browsers",
        "Let a web page upload files, by a form or by a widget such as Uppy.",
        r"/aws/storage/.*",
    ),
    (
        "Access",
        "Decide who may do what: Clients, the policies that allow their requests, and access tokens.",
        r"/(Client|AccessPolicy|auth)\b.*",
    ),
    ("Operations", "Observe the service: probes, metrics, its version and this document.", r".*"),
)
TAGS = tuple(Tag(name, description, re.compile(paths)) for name, description, paths in _TAGS)

NOUNS = {
    "AwsAccount": {"one": "an account", "many": "accounts"},
    "Client": {"one": "a Client", "many": "Clients"},
    "AccessPolicy": {"one": "a policy", "many": "policies"},
}
"""The names of each resource type in sentences."""


def tag_of(pattern: str) -> str:
    """Return the name of the group to which a path belongs."""
    return next(tag.name for tag in TAGS if tag.paths.fullmatch(pattern))
