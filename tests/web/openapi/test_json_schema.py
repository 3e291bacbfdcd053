import pytest
from jsonschema import Draft202012Validator
from marshmallow import fields, validate

from service.errors import Invalid
from service.resources.fields import Flag, Number, Text
from service.resources.schemas import ParsedBody, ResourceSchema, WireSchema
from service.resources.types import AWS_ACCOUNT, ResourceType, Secret
from service.web.openapi import json_schema


class Inner(WireSchema):
    reference = Text(required=True)


class ThingSchema(ResourceSchema):
    kind = "Thing"
    required_together = ("name", "word")
    id = Text("[a-z]+", "must be lower case", required=True, metadata={"examples": ["x"]})
    name = Text("[^\\x00\\ud800-\\udfff]*", "must be fit")
    word = Text()
    links = fields.List(fields.Nested(Inner))
    engine = fields.String(validate=validate.OneOf(["allow", "matcho"]))
    pattern = fields.Dict()
    whatever = fields.Raw()


THING = ResourceType(ThingSchema, model=dict, secrets={"word": Secret("name")})


@pytest.mark.parametrize(
    ("field", "schema"),
    [
        (Text(), {"type": "string"}),
        (
            Text("[a-z]+", "must be lower case"),
            {"type": "string", "pattern": "^[a-z]+$", "description": "Must be lower case."},
        ),
        (Text("(?s:.){0,9}", "must be short"), {"type": "string", "maxLength": 9, "description": "Must be short."}),
        (Text(metadata={"examples": ["a"]}), {"type": "string", "examples": ["a"]}),
        (Number(1, 9), {"type": "integer", "minimum": 1, "maximum": 9}),
        (Number(1, 9, load_default=3), {**json_schema.of_field(Number(1, 9)), "description": "The default is 3."}),
        (
            Flag(load_default=False, metadata={"description": "f"}),
            {"type": "boolean", "description": "F. The default is false."},
        ),
        (Flag(load_default=False), {"type": "boolean", "description": "The default is false."}),
        (Flag(), {"type": "boolean"}),
        (fields.String(validate=validate.OneOf(["a", "b"])), {"type": "string", "enum": ["a", "b"]}),
        (fields.List(Text()), {"type": "array", "items": {"type": "string"}}),
        (fields.Dict(), {"type": "object"}),
        (fields.Raw(), {}),
    ],
)
def test_a_field_has_a_schema(field, schema):
    assert json_schema.of_field(field) == schema


def test_an_optional_field_may_be_null_or_absent():
    body = json_schema.of_body(ThingSchema)

    assert body["required"] == ["id"]
    assert body["properties"]["id"]["type"] == "string"
    assert body["properties"]["word"]["type"] == ["string", "null"]
    assert body["properties"]["engine"] == {"type": ["string", "null"], "enum": ["allow", "matcho", None]}
    assert body["properties"]["links"]["items"]["required"] == ["reference"]
    assert body["additionalProperties"] is False


def test_a_pattern_has_no_characters_that_some_dialects_lack():
    account = json_schema.of_request(AWS_ACCOUNT)["properties"]["secret-access-key"]["pattern"]

    assert max(account) <= "\uffff"


def test_a_pattern_has_no_surrogates():
    assert json_schema.of_field(ThingSchema().fields["name"])["pattern"] == "^[^\\x00]*$"


def test_requests_have_secrets_and_responses_do_not():
    sent, read = json_schema.of_request(THING), json_schema.of_response(THING)

    assert sent["properties"]["word"]["writeOnly"] is True
    assert "word" not in read["properties"]
    assert "null" not in read["properties"]["name"]["type"]


def test_with_id_adds_the_rule_of_ids():
    sent = json_schema.of_request(THING)

    assert sent["properties"]["id"] == {}
    assert json_schema.with_id(sent, required=True)["required"] == ["id"]
    assert json_schema.with_id(sent, required=False)["properties"]["id"]["type"] == ["string", "null"]


def test_fields_come_together_or_as_a_marker():
    rule = json_schema.complete(THING, json_schema.of_request(THING))["then"]

    assert [choice.get("required") for choice in rule["anyOf"]] == [["name", "word"], ["name", "_word"], None]


def test_conditions_are_where_generators_of_clients_skip_them():
    body = json_schema.complete(AWS_ACCOUNT, json_schema.of_request(AWS_ACCOUNT))

    assert body["if"] == {}
    assert not body.keys() & {"anyOf", "allOf", "oneOf", "not"}
    assert not [name for name in body["properties"] if name.startswith("_")]


def test_a_schema_without_conditions_is_unchanged():
    class Single(ResourceSchema):
        kind = "Single"
        id = Text(required=True)

    type_ = ResourceType(Single, model=dict, secrets={})
    body = json_schema.of_request(type_)

    assert json_schema.complete(type_, body) == body


def test_an_example_consists_of_the_examples_of_fields():
    assert json_schema.example(THING) == {"id": "x"}


@pytest.mark.parametrize(
    ("values", "valid"),
    [
        ({"region": "eu-west-1"}, True),
        ({"region": "RegionOne"}, False),
        ({"region": "RegionOne", "host": None}, False),
        ({"region": "RegionOne", "host": "minio"}, True),
        ({"region": "fips-us-east-1", "host": "minio"}, True),
        ({"region": "a" * 65, "host": "minio"}, False),
        ({"region": "a b", "host": "minio"}, False),
        ({"region": None}, True),
        ({"session-token": "   "}, True),
        ({"session-token": "t "}, False),
        ({"access-key-id": "a", "secret-access-key": "s\u00a0"}, False),
        ({"access-key-id": "a", "secret-access-key": "\u00e9\U0001d11e"}, True),
        ({"access-key-id": "a", "secret-access-key": "sealed:s"}, False),
    ],
    ids=ascii,
)
def test_the_schema_of_accounts_accepts_the_same_as_the_service(values, valid):
    schema = json_schema.complete(AWS_ACCOUNT, json_schema.of_request(AWS_ACCOUNT))
    try:
        AWS_ACCOUNT.read(ParsedBody({"id": "a", **values}, text=False))
        accepted = True
    except Invalid:
        accepted = False

    assert (Draft202012Validator(schema).is_valid(values), accepted) == (valid, valid)


def test_a_pattern_of_alternatives_matches_the_whole_value():
    schema = json_schema.of_field(Text("allow|matcho", "must be allow or matcho"))

    assert [Draft202012Validator(schema).is_valid(text) for text in ("allow", "matcho", "allowed", "no matcho")] == [
        *(True, True, False, False)
    ]
