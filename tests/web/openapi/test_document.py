"""The OpenAPI document has every route and schema of the service, and valid examples."""

import functools
import json
import re
import subprocess
import sys
from urllib.parse import unquote

import pytest
import yaml
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator
from processes import clean_environment
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012
from support.accounts import KEYS

import service
from service import app
from service.access.access_policy import REQUEST_NAMES
from service.access.types import RESOURCE_TYPES
from service.errors import Invalid
from service.resources.types import AWS_ACCOUNT
from service.settings import load
from service.web.handlers import pages
from service.web.openapi.parameters import PATH_PARAMETERS
from service.web.openapi.schemas import reference
from service.web.routing import Guard

ROUTES = app.routes(load({}))
DOCUMENT = json.loads(pages.document(ROUTES, "json"))
SCHEMAS = DOCUMENT["components"]["schemas"]
OPERATIONS = [
    pytest.param(method, path, operation, id=operation["operationId"])
    for path, item in DOCUMENT["paths"].items()
    for method, operation in item.items()
]
EVERYWHERE = {"400", "403", "500"}
OF_CALLERS = {"401", "429"}
OF_BODIES = {"413", "415"}
WITHOUT_EXAMPLE = [{"$ref": f"#/components/schemas/{name}"} for name in ("Text", "OpenApi", "OAuthError")]


def validator(schema):
    resource = Resource.from_contents(DOCUMENT, default_specification=DRAFT202012)
    registry = Registry().with_resource("urn:document", resource)
    return Draft202012Validator({"$id": "urn:document:local", **_absolute(schema)}, registry=registry)


def _absolute(schema):
    return json.loads(json.dumps(schema).replace('"#/', '"urn:document#/'))


def nodes(value):
    yield value
    for child in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from nodes(child)


def responses(path, method="get"):
    return DOCUMENT["paths"][path][method]["responses"]


@pytest.mark.slow
def test_the_document_is_valid_openapi_3_1():
    assert DOCUMENT["openapi"].startswith("3.1.")
    assert [*OpenAPIV31SpecValidator(DOCUMENT).iter_errors()] == []


def test_every_reference_resolves():
    targets = [node["$ref"].split("/")[1:] for node in nodes(DOCUMENT) if isinstance(node, dict) and "$ref" in node]

    assert targets
    assert all(functools.reduce(dict.__getitem__, path, DOCUMENT) for path in targets)


def test_the_document_has_exactly_the_routes_and_each_operation_once():
    documented = {(method.upper(), path) for path, item in DOCUMENT["paths"].items() for method in item}
    routed = {(route.method, route.pattern) for route in ROUTES if route.in_document}

    aliases = {(method, f"/fhir{path}") for method, path in routed} & routed

    assert aliases
    assert documented == routed - aliases


@pytest.mark.slow
def test_the_running_service_serves_the_same_document(service):
    answer = service.exchange(b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")

    assert json.loads(answer.partition(b"\r\n\r\n")[2]) == DOCUMENT


def test_without_metrics_on_the_main_port_the_document_omits_them():
    made = json.loads(pages.document(app.routes(load({"SIGNER_OPS_PORT": "1"})), "json"))

    assert DOCUMENT["paths"].keys() - made["paths"].keys() == {"/metrics"}


def test_the_document_has_the_services_version():
    assert DOCUMENT["info"]["version"] == service.__version__


@pytest.mark.slow
def test_json_and_yaml_documents_are_equal():
    assert yaml.safe_load(pages.document(ROUTES, "yaml")) == DOCUMENT


@pytest.mark.slow
def test_the_command_line_prints_the_document():
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "service", "openapi"],
        env=clean_environment(),
        capture_output=True,
        check=True,
        timeout=20,
    )

    assert (json.loads(done.stdout), done.stderr) == (DOCUMENT, b"")


@pytest.mark.parametrize(("method", "path", "operation"), OPERATIONS)
def test_an_operation_lists_its_responses(method, path, operation):
    statuses = operation["responses"].keys()
    route = next(route for route in ROUTES if (route.method.lower(), route.pattern) == (method, path))

    assert statuses >= EVERYWHERE
    assert any(status < "400" for status in statuses)
    assert (operation.get("security") == [{}]) == (route.guard is Guard.PUBLIC)
    assert statuses >= OF_CALLERS or route.guard is Guard.PUBLIC
    assert (statuses >= OF_BODIES) == ("requestBody" in operation)
    assert ({"406", "422"} <= statuses) == (not route.fixed_media_type)


@pytest.mark.parametrize(("method", "path", "operation"), OPERATIONS)
def test_an_operation_describes_each_path_parameter(method, path, operation):
    places = [given["name"] for given in operation["parameters"] if given.get("in") == "path"]

    assert places == re.findall(r"\{(\w+)\}", path)
    assert operation["summary"]


@pytest.mark.parametrize(("method", "path", "operation"), OPERATIONS)
def test_an_operation_is_described_in_sentences_and_belongs_to_a_group(method, path, operation):
    texts = [operation["description"], *(given["description"] for given in _resolved(operation["parameters"]))]
    texts += [response["description"] for response in _resolved(operation["responses"].values())]

    assert re.match(r"[A-Z][a-z]+ ", operation["summary"])
    assert [text for text in texts if not re.fullmatch(r"[A-Z$_].*\.", text)] == []
    assert operation["tags"][0] in {tag["name"] for tag in DOCUMENT["tags"]}


def test_each_group_has_operations_and_a_description():
    used = {operation["tags"][0] for *_, operation in (given.values for given in OPERATIONS)}

    assert {tag["name"] for tag in DOCUMENT["tags"]} == used
    assert all(tag["description"] for tag in DOCUMENT["tags"])


def _resolved(items):
    return [
        functools.reduce(dict.__getitem__, item["$ref"].split("/")[1:], DOCUMENT) if "$ref" in item else item
        for item in items
    ]


def test_fields_are_described_in_sentences():
    fields = {
        f"{name}.{field}": rule["description"]
        for name, schema in SCHEMAS.items()
        for field, rule in schema.get("properties", {}).items()
        if "description" in rule
    }

    assert {field: text for field, text in fields.items() if not re.fullmatch(r"[A-Z].*\.", text)} == {}
    assert "AwsAccountReplacement.host" in fields


def test_every_body_has_an_example_that_is_valid_by_its_schema():
    bodies = [
        content
        for *_, operation in (given.values for given in OPERATIONS)
        for body in [operation.get("requestBody"), *_resolved(operation["responses"].values())]
        for type_, content in (body or {}).get("content", {}).items()
        if content["schema"] not in WITHOUT_EXAMPLE and type_ in {"application/json", "text/yaml"}
    ]

    assert bodies
    for schema, example in {(body["schema"]["$ref"], body["examples"]["example"]["$ref"]) for body in bodies}:
        (value,) = [given["value"] for given in _resolved([{"$ref": example}])]
        assert [*validator({"$ref": schema}).iter_errors(value)] == [], example


def test_an_operation_leads_to_the_console_with_a_request_that_the_service_can_read():
    links = {
        operation["operationId"]: operation["externalDocs"]["url"] for *_, operation in (g.values for g in OPERATIONS)
    }
    base, _, text = links["putAwsAccount"].partition("#/requests?text=")
    line, _, body = unquote(text).partition("\n\n")

    assert (base, line) == ("/", "PUT /AwsAccount/my-account")
    assert yaml.safe_load(body) == DOCUMENT["components"]["examples"]["AwsAccountReplacement"]["value"]
    assert len({*links.values()}) == len(links)


def test_links_to_the_console_have_the_address_of_the_service():
    made = json.loads(pages.document(ROUTES, "json", server="https://s3.example.com/team"))

    assert made["paths"]["/live"]["get"]["externalDocs"]["url"] == (
        "https://s3.example.com/team/#/requests?text=GET%20%2Flive"
    )


def test_operation_ids_are_unique():
    names = [operation["operationId"] for item in DOCUMENT["paths"].values() for operation in item.values()]

    assert len(set(names)) == len(names)
    assert all(re.fullmatch("[a-zA-Z]+", name) for name in names)


@pytest.mark.parametrize(
    ("path", "method", "statuses"),
    [
        ("/AwsAccount/{id}", "get", {"200", "304", "404", "412", "503"}),
        ("/AwsAccount/{id}", "put", {"200", "201", "412", "503"}),
        ("/AwsAccount/{id}", "patch", {"200", "404", "412", "503"}),
        ("/AwsAccount/{id}", "delete", {"200", "204", "412", "503"}),
        ("/AwsAccount", "post", {"200", "201", "409", "503"}),
        ("/aws/storage/{account}/{bucket}/{key}", "get", {"200", "302", "404", "503"}),
        ("/", "get", {"200", "304"}),
    ],
)
def test_specific_responses_are_listed(path, method, statuses):
    of_all = EVERYWHERE | OF_CALLERS | OF_BODIES | {"406", "422"}

    assert responses(path, method).keys() - of_all == statuses


def test_responses_list_their_headers():
    created = responses("/AwsAccount", "post")["201"]["headers"]
    errors = DOCUMENT["components"]["responses"]

    assert created.keys() == {"X-Request-Id", "X-Duration", "ETag", "Last-Modified", "Location", "Cache-Control"}
    assert "Retry-After" in errors["StoreUnavailable"]["headers"]
    assert "Retry-After" in errors["Throttled"]["headers"]
    assert "WWW-Authenticate" in errors["Unauthenticated"]["headers"]


def test_a_patch_also_accepts_the_types_of_patches():
    bodies = {
        method: set(DOCUMENT["paths"]["/AwsAccount/{id}"][method]["requestBody"]["content"])
        for method in ("put", "patch")
    }

    assert bodies["put"] == {"application/json", "text/yaml"}
    assert bodies["patch"] - bodies["put"] == {"application/merge-patch+json", "application/json-patch+json"}


def test_every_error_response_is_an_outcome():
    schemas = [
        content["schema"]
        for response in DOCUMENT["components"]["responses"].values()
        for content in response["content"].values()
    ]

    assert schemas
    assert all(schema == reference("schemas", "OperationOutcome") for schema in schemas)


@pytest.mark.parametrize("name", [name for name, schema in SCHEMAS.items() if "examples" in schema])
def test_an_example_is_valid_by_its_schema(name):
    for example in SCHEMAS[name]["examples"]:
        assert [*validator(SCHEMAS[name]).iter_errors(example)] == []


def test_the_examples_of_single_fields_and_parameters_are_valid():
    single = [(node, example) for node in nodes(SCHEMAS) if isinstance(node, dict) for example in _examples(node)]
    parameters = [
        (given["schema"], given["example"])
        for *_, operation in (param.values for param in OPERATIONS)
        for given in operation["parameters"]
        if "example" in given
    ]

    assert single
    assert parameters
    assert [example for schema, example in single + parameters if not validator(schema).is_valid(example)] == []


def _examples(node):
    found = node.get("examples", [])
    return found if isinstance(found, list) else []


@pytest.mark.parametrize("type_", RESOURCE_TYPES, ids=lambda type_: type_.kind)
def test_the_service_accepts_the_examples_of_the_document(type_):
    example = SCHEMAS[f"{type_.kind}WithId"]["examples"][0]
    stored = type_.read(_document(example))

    assert stored == example


def _document(values):
    from service.resources.schemas import ParsedBody  # noqa: PLC0415

    return ParsedBody(values, text=False)


MARKER = {
    "extension": [{"url": "http://hl7.org/fhir/StructureDefinition/data-absent-reason", "valueCode": "masked"}],
}


@pytest.mark.parametrize(
    ("values", "valid"),
    [
        (KEYS, True),
        ({}, True),
        ({"access-key-id": None, "secret-access-key": None}, True),
        ({"access-key-id": KEYS["access-key-id"], "_secret-access-key": MARKER}, True),
        ({"access-key-id": KEYS["access-key-id"]}, False),
        ({"secret-access-key": KEYS["secret-access-key"]}, False),
        ({"access-key-id": "a b", "secret-access-key": "s"}, False),
        ({"secret-access-key": "a\x00", "access-key-id": "a"}, False),
        ({"region": "us-east-1"}, True),
        ({"region": "0123"}, False),
        ({"region": "fips-us-east-1"}, False),
        ({"region": "aws-global"}, False),
        ({"region": "garage"}, True),
        ({"use-ssl": "true"}, False),
        ({"path_style": True}, False),
        ({"resourceType": "Patient"}, False),
        ({"resourceType": "AwsAccount", "meta": {"versionId": "3"}}, True),
    ],
    ids=repr,
)
def test_the_document_and_the_service_accept_the_same_accounts(values, valid):
    # Only the store knows whether a marker stands for a secret.
    given = {**values, "id": "a"}
    assert validator(SCHEMAS["AwsAccountWithId"]).is_valid(given) is valid

    try:
        AWS_ACCOUNT.read(_document(given))
        accepted = True
    except Invalid:
        accepted = False
    assert accepted is valid


@pytest.mark.parametrize(
    ("name", "valid", "invalid"),
    [
        ("bucket", ["ab", "a.b-c_d"], ["a", "a..b", "x--x-s3", "x--xa-s3", "arn:aws:s3", "a" * 50 + "--op-s3", "a/b"]),
        ("key", ["a", "a/b", "/a//", "..a", "a b", "ä"], ["", ".", "a/../b", "./a", "a/..", "a\0"]),
        ("filename", ["a", "a/b", "ä"], ["", ".", "a/../b", "a\0"]),
        ("account", ["a", "A.b_c-D"], ["", "-a", "a" * 65, "a/b"]),
    ],
)
def test_the_document_and_the_service_accept_the_same_names(name, valid, invalid):
    rule = SCHEMAS["Upload"]["properties"]["filename"] if name == "filename" else PATH_PARAMETERS[name]["schema"]
    rule_validator = validator(rule)

    assert [text for text in valid if not rule_validator.is_valid(text)] == []
    assert [text for text in invalid if rule_validator.is_valid(text)] == []


async def test_responses_match_the_document(client, account):
    read = await (await client.get("/AwsAccount/my-account")).json()
    listed = await (await client.get("/AwsAccount?_count=1")).json()
    counted = await (await client.get("/AwsAccount?_summary=count")).json()
    refused = await (await client.get("/AwsAccount/of-nobody")).json()

    assert [*validator(SCHEMAS["AwsAccount"]).iter_errors(read)] == []
    assert [*validator(SCHEMAS["AwsAccountBundle"]).iter_errors(listed)] == []
    assert [*validator(SCHEMAS["AwsAccountBundle"]).iter_errors(counted)] == []
    assert [*validator(SCHEMAS["OperationOutcome"]).iter_errors(refused)] == []


def test_secrets_are_write_only():
    for type_ in RESOURCE_TYPES:
        for secret in type_.secrets:
            assert secret not in SCHEMAS[type_.kind]["properties"]
            for variant in ("Patch", "Replacement", "New", "WithId"):
                assert SCHEMAS[f"{type_.kind}{variant}"]["properties"][secret]["writeOnly"] is True


def test_the_document_contains_only_example_keys():
    text = json.dumps(DOCUMENT)

    assert set(re.findall(r"AKIA[A-Z0-9]{16}", text)) == {"AKIAIOSFODNN7EXAMPLE"}
    assert set(re.findall(r'"secret-access-key": "([^"]+)"', text)) == {"<secret-access-key>"}


def test_a_described_request_has_the_parts_that_policies_can_name():
    assert SCHEMAS["DescribedRequest"]["properties"].keys() == REQUEST_NAMES
