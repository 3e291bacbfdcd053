import json
from dataclasses import asdict, fields

import pytest
import yaml
from hypothesis import assume, given
from hypothesis import strategies as st

from service.access.client import CLIENT, Client
from service.access.types import RESOURCE_TYPES
from service.errors import Invalid
from service.resources.fields import MASKED
from service.resources.repository import Repository
from service.resources.schemas import ParsedBody
from service.resources.secrets.codec import SecretCodec
from service.resources.secrets.encryption import Encryptor
from service.resources.secrets.hashing import Hasher
from service.resources.types import AWS_ACCOUNT, AwsAccount
from service.stores.memory import EmbeddedStore
from service.stores.record import Resource, compose
from service.stores.store import utc_now
from service.web.formats.codec import dump_json, dump_yaml, load_json, load_yaml

FIELDS = {
    "access-key-id": "AKIA",
    "secret-access-key": "s3cr3t",
    "session-token": "t0k3n",
    "region": "eu-west-1",
    "host": "minio:9000",
    "use-ssl": "true",
    "path-style": "false",
}


def model(resource):
    return Repository(EmbeddedStore(), SecretCodec(Encryptor(), Hasher())).model(AWS_ACCOUNT, resource)


def stored(**fields):
    record = compose(fields, expected=None, version=7, now=utc_now(), write_id="m")
    return Resource("AwsAccount", "a", record)


def test_a_resource_is_represented_in_the_schemas_order_with_secrets_masked():
    shown = AWS_ACCOUNT.represent(stored(**dict(reversed(FIELDS.items()))))

    assert list(shown) == [
        *("id", "access-key-id", "_secret-access-key", "_session-token", "region", "host", "use-ssl", "path-style"),
        *("meta", "resourceType"),
    ]
    assert shown["_secret-access-key"] == shown["_session-token"] == MASKED
    assert (shown["use-ssl"], shown["path-style"]) == (True, False)
    assert shown["meta"]["versionId"] == "7"


def test_a_missing_secret_is_not_masked():
    shown = AWS_ACCOUNT.represent(stored(region="eu-west-1"))

    assert shown.keys() == {"id", "region", "meta", "resourceType"}


def test_invalid_fields_of_an_operator_are_represented_unchanged():
    shown = AWS_ACCOUNT.represent(stored(**{"use-ssl": "yes", "region": "", "host": "\udcff", "nonsense": "x"}))

    assert (shown["use-ssl"], shown["region"], shown["host"]) == ("yes", "", "\ufffd")
    assert "nonsense" not in shown
    assert json.dumps(shown, ensure_ascii=False).encode()


@pytest.mark.parametrize(
    ("type_", "model", "lent"), [(AWS_ACCOUNT, AwsAccount, {"role_session", "keys_end"}), (CLIENT, Client, set())]
)
def test_a_model_has_an_attribute_for_each_field_of_its_schema(type_, model, lent):
    names = {name for name in type_.names if not name.startswith("_")} - {"meta", "resourceType"}
    attributes = {field.name for field in fields(model) if field.init}

    assert attributes - lent == {name.replace("-", "_") for name in names}


def test_a_resource_is_shown_with_the_id_of_its_key():
    assert AWS_ACCOUNT.represent(stored(id="b"))["id"] == "a"


@pytest.mark.parametrize("type_", RESOURCE_TYPES, ids=lambda type_: type_.kind)
@pytest.mark.parametrize("value", ["NaN", "-Infinity", "1e999", r'"\ud800"', r'{"\udfff": 1}'])
def test_json_that_no_answer_can_hold_is_shown_as_text(type_, value):
    text = f"[{value}]"
    names = type_.names - {"id", "meta", "resourceType"} - type_.secrets.keys()
    resource = Resource(type_.kind, "a", {name: text for name in names if name[0] != "_"})

    shown = type_.represent(resource)

    assert [shown[name] for name in resource.fields] == [text for _ in resource.fields]
    assert load_json(dump_json(shown))
    assert load_yaml(dump_yaml(shown))


def test_no_representation_holds_a_secret():
    resource = stored(**FIELDS)
    account = model(resource)

    for text in (repr(resource), repr(account), str(account), json.dumps(AWS_ACCOUNT.represent(resource))):
        assert "s3cr3t" not in text
        assert "t0k3n" not in text


def test_a_stored_account_becomes_a_model():
    expected = AwsAccount(
        id="a",
        access_key_id="AKIA",
        secret_access_key="s3cr3t",
        session_token="t0k3n",
        region="eu-west-1",
        host="minio:9000",
        use_ssl=True,
        path_style=False,
    )

    assert asdict(model(stored(**FIELDS))) == asdict(expected)


@given(st.sets(st.sampled_from(sorted(FIELDS))), st.booleans(), st.booleans())
def test_a_validated_resource_becomes_the_same_model_without_validation(names, use_ssl, path_style):
    flags = {"use-ssl": json.dumps(use_ssl), "path-style": json.dumps(path_style)}
    record = stored(**{name: text for name, text in {**FIELDS, **flags}.items() if name in names}).record
    validated, unvalidated = (Resource("AwsAccount", "a", record, validated=flag) for flag in (True, False))
    # The two keys are required together.
    assume(("access-key-id" in names) == ("secret-access-key" in names))

    assert asdict(model(validated)) == asdict(model(unvalidated))


def test_a_field_of_a_later_version_is_refused_though_that_version_validated_it():
    later = Resource("AwsAccount", "a", {**stored(**FIELDS).record, "later-field": "x"}, validated=True)

    with pytest.raises(Invalid, match="later-field is not known here"):
        model(later)


def test_an_empty_account_has_the_defaults_of_the_contract():
    account = model(stored())

    assert (account.region, account.host, account.use_ssl, account.path_style) == ("us-east-1", None, None, None)


def test_a_model_is_memoized_with_its_resource():
    resource = stored(**FIELDS)

    assert model(resource) is model(resource)


def test_an_error_names_each_invalid_stored_field():
    with pytest.raises(Invalid) as refusal:
        model(stored(**{**FIELDS, "region": "a b", "use-ssl": "yes", "nonsense": "x"}))

    assert {issue.expression for issue in refusal.value.issues} == {
        *("AwsAccount.region", "AwsAccount.use-ssl", "AwsAccount.nonsense")
    }


@pytest.mark.parametrize("text", [False, True], ids=["json", "text"])
def test_the_values_of_a_body_are_stored_unchanged(text):
    document = {
        name: value if text or value not in {"true", "false"} else value == "true" for name, value in FIELDS.items()
    }
    values = AWS_ACCOUNT.read(ParsedBody({"id": "a", **document, "meta": {}, "resourceType": "AwsAccount"}, text))

    assert AWS_ACCOUNT.fields(values) == FIELDS


def test_a_representation_is_a_valid_body():
    shown = AWS_ACCOUNT.represent(stored(**FIELDS))
    as_yaml = yaml.load(yaml.safe_dump(shown), Loader=yaml.BaseLoader)  # noqa: S506 - BaseLoader makes only text
    from_json, from_yaml = (
        AWS_ACCOUNT.read(ParsedBody(shown, text=False)),
        AWS_ACCOUNT.read(ParsedBody(as_yaml, text=True)),
    )

    assert AWS_ACCOUNT.fields(from_json) == AWS_ACCOUNT.fields(from_yaml)
    assert AWS_ACCOUNT.fields(from_json).items() <= FIELDS.items()


@pytest.mark.parametrize("id_", ["a", "A.b_c-0", "a" * 64])
def test_an_id_has_no_faults(id_):
    assert AWS_ACCOUNT.id_faults(id_) == []


@pytest.mark.parametrize("id_", ["", "a\n", "-", "a" * 65, "\udcff", "a\0"])
def test_an_id_has_a_fault_under_its_name(id_):
    assert [issue.expression for issue in AWS_ACCOUNT.id_faults(id_)] == ["AwsAccount.id"]
    assert [issue.expression for issue in AWS_ACCOUNT.id_faults(id_, "_id")] == ["_id"]


def test_an_error_names_the_invisible_character_of_an_id():
    (issue,) = AWS_ACCOUNT.id_faults("a\u00a0", "_id")

    assert issue.diagnostics.endswith("begin with a letter or digit; it has U+00A0 NO-BREAK SPACE")


def test_secrets_and_their_owners_are_fields_of_the_type():
    for type_ in RESOURCE_TYPES:
        owners = {secret.owner for secret in type_.secrets.values() if secret.owner}
        assert type_.names >= {*type_.secrets, *owners, *(f"_{secret}" for secret in type_.secrets)}
