"""The service conforms to its document: schemathesis runs all its checks on a process of the service."""

import base64
import json

import pytest
import requests
import schemathesis
from hypothesis import strategies as st
from processes import ServiceProcess
from schemathesis.config import SchemathesisConfig
from schemathesis.core.parameters import ParameterLocation
from schemathesis.specs.openapi.checks import (
    allow_header_conformance,
    negative_data_rejection,
    positive_data_acceptance,
    unsupported_method,
)
from support.accounts import KEYS
from watching import WATCH

from service import app
from service.access.types import RESOURCE_TYPES
from service.settings import load
from service.web.handlers import pages

pytestmark = pytest.mark.heavy

ROOT = {"SIGNER_ROOT_CLIENT_ID": "root", "SIGNER_ROOT_CLIENT_SECRET": "a root secret, long enough"}

MARKERS = {f"_{secret}" for type_ in RESOURCE_TYPES for secret in type_.secrets}

# Statuses that valid and invalid requests may both get: another version is stored than the expected one.
ACCEPTED = ["2xx", "3xx", "401", "403", "404", "409", "412", "413", "429"]
REFUSED = ["400", "401", "403", "404", "405", "406", "409", "412", "413", "415", "422", "429"]


def _config(*, examples, boundaries):
    """Return a configuration for this number of random examples per operation, with or without boundary values."""
    return SchemathesisConfig.from_dict(
        {
            "seed": 1,
            "generation": {"max-examples": examples},
            "phases": {"coverage": {"enabled": boundaries}, "stateful": {"enabled": False}},
            "checks": {
                "positive_data_acceptance": {"expected-statuses": ACCEPTED},
                "negative_data_rejection": {"expected-statuses": REFUSED},
            },
        }
    )


schemathesis.openapi.format("s3-host", st.sampled_from(["s3.amazonaws.com", "minio:9000", "10.0.0.1", "[::1]:9000"]))


def _document():
    """Return the document with one media type per format in each body."""
    made = json.loads(pages.document(app.routes(load({})), "json"))
    for operation in [operation for path in made["paths"].values() for operation in path.values()]:
        if content := operation.get("requestBody", {}).get("content"):
            operation["requestBody"]["content"] = {name: content[name] for name in ("application/json", "text/yaml")}
    return made


thorough = schemathesis.openapi.from_dict(_document(), config=_config(examples=5, boundaries=True))
brief = schemathesis.openapi.from_dict(_document(), config=_config(examples=2, boundaries=False))
# Both prefixes have the same handlers.
EXCLUDED = "^/fhir/"


CREDENTIALS = {"Authorization": f"Basic {base64.b64encode(':'.join(ROOT.values()).encode()).decode()}"}

# The settings of a service, and the headers of each request.
ANONYMOUS = "without credentials"
OPEN, AUTHENTICATED = "open", "asked who calls"
ACCESS = {OPEN: ({}, {}), AUTHENTICATED: (ROOT, CREDENTIALS), ANONYMOUS: (ROOT, {})}


@pytest.fixture(scope="session")
def access(request):
    """A key of ``ACCESS``: the configuration of the service and of the requests."""
    return request.param


@pytest.fixture(scope="session")
def headers(access):
    return ACCESS[access][1]


@pytest.fixture(scope="session")
def base_url(access):
    """A service that has an account under the document's example id."""
    process = ServiceProcess(measured=access == OPEN, **ACCESS[access][0])
    answer = requests.put(f"{process.url}/AwsAccount/my-account", json=KEYS, headers=CREDENTIALS, timeout=5)
    assert answer.status_code == 201
    yield process.url
    assert process.stop() == 0


@pytest.fixture(scope="session")
def session():
    """One session for all requests. Otherwise each would open a connection and read the environment for a proxy."""
    with requests.Session() as session:
        session.trust_env = False
        yield session


@pytest.mark.parametrize("access", [OPEN], indirect=True)
@thorough.exclude(path_regex=EXCLUDED).parametrize()
def test_an_operation_conforms_to_the_document(case, base_url, session, access, headers):
    _validate(case, base_url, session, access, headers)


# Bodies and parameters are the same, so their boundary values are not repeated.
@pytest.mark.parametrize("access", [AUTHENTICATED, ANONYMOUS], indirect=True)
@brief.exclude(path_regex=EXCLUDED).parametrize()
def test_an_operation_with_credentials_conforms_to_the_document(case, base_url, session, access, headers):
    _validate(case, base_url, session, access, headers)


def _validate(case, base_url, session, access, headers):
    answer = case.call_and_validate(
        base_url=base_url, session=session, headers=headers, excluded_checks=[*_excused(case, access)]
    )
    WATCH.look("answer", answer.content)


def _excused(case, access):
    if access == ANONYMOUS:
        # A caller without credentials does not learn the methods.
        yield unsupported_method
    if "{bucket}/$" in case.path:
        # The path is also that of a key to download.
        yield allow_header_conformance
    body = case.meta.components.get(ParameterLocation.BODY)
    # Every scalar of YAML is text, and most text is valid where false and 5 of JSON are not.
    if body and body.mode.is_negative and "yaml" in str(case.media_type):
        yield negative_data_rejection
    # OpenAPI cannot describe query parameters that contradict each other.
    if {"download", "redirect"} & (case.query or {}).keys():
        yield positive_data_acceptance
    # With _id in the query, the body of a PUT may have no id or the same one.
    if "_id" in (case.query or {}) or "If-None-Exist" in (case.headers or {}):
        yield positive_data_acceptance
        if case.method == "PUT":
            yield negative_data_rejection
    # A schema cannot compare two numbers.
    if isinstance(case.body, dict) and any(
        pair <= case.body.keys() for pair in ({"default-expiration", "max-expiration"}, {"min-size", "max-size"})
    ):
        yield positive_data_acceptance
    # The validity of a merge patch, or of a marker for a secret, depends on the store.
    # A schema cannot describe the language of patterns, or that credentials are in the body or in a header.
    if (
        case.method == "PATCH"
        or case.path.endswith(("$sign-request", "$check"))
        or case.path in {"/auth/token", "/auth/revoke"}
        or "AccessPolicy" in case.path
        or (isinstance(case.body, dict) and MARKERS & case.body.keys())
    ):
        yield positive_data_acceptance
