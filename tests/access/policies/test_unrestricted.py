import pytest

from service.access.policies.matcho import compile_pattern
from service.access.policies.unrestricted import unrestricted_faults
from service.resources.schemas import MAX_ISSUES

UNRESTRICTED = [
    {"uri": "present?"},
    {"uri": "not-blank?", "request-method": "present?"},
    {"uri": {"$not": "nil?"}},
    {"uri": {"$not": None}, "headers": "present?", "params": "present?", "body": "present?"},
    {"uri": {"$not": {"$not": "present?"}}},
    {"params": {"$one-of": ["present?", {"key": "x"}]}},
    {"$one-of": [{"uri": "present?"}, {"params": {"account": "a"}}]},
    {"$one-of": [{"uri": "/x"}, {"$not": {"uri": "nil?"}}]},
    {"$not": {"uri": "nil?"}},
    {"$not": {"uri": None, "jwt": {"sub": "x"}}},
    {"$not": {"$one-of": [{"params": "nil?"}, {"headers": "nil?"}]}},
    {"$not": {"params": "nil?"}},
]

RESTRICTED = [
    {"uri": "/x"},
    {"uri": "nil?"},
    {"uri": "present?", "params": {"account": "a"}},
    {"client": "present?"},
    {"jwt": "present?", "uri": "present?"},
    {"jwt": {"$not": "nil?"}},
    {"params": {"key": "present?"}},
    {"params": {"$one-of": [{"key": "x"}, {"key": "y"}]}},
    {"$one-of": [{"uri": "/x"}, {"jwt": "present?"}]},
    {"$not": {"uri": "present?"}},
    {"$not": {"uri": "/x"}},
    {"$not": {"jwt": {"sub": "eve"}}},
    {"jwt": {"aud": []}},
]


@pytest.mark.parametrize("pattern", UNRESTRICTED)
def test_a_pattern_that_matches_every_request_has_a_fault(pattern):
    compile_pattern(pattern)

    assert [fault.path for fault in unrestricted_faults(pattern)] == [""]


@pytest.mark.parametrize("pattern", RESTRICTED)
def test_a_restricting_pattern_has_no_fault(pattern):
    assert list(unrestricted_faults(pattern)) == []


def test_each_empty_mapping_is_a_fault():
    pattern = {"params": {}, "jwt": {"aud": ["a", {}], "x": {"$not": {}}}, "uri": {"$one-of": ["/y", {}]}}

    assert [fault.path for fault in unrestricted_faults(pattern)] == [
        "params",
        "jwt.aud[1]",
        "jwt.x.$not",
        "uri.$one-of[1]",
    ]


@pytest.mark.parametrize("text", ["a\u200b", "\ufeffa", "a\u00a0b", "a ", " a", "a\n", "#^a\u200b$"])
@pytest.mark.parametrize(
    ("pattern", "path"),
    [
        (lambda text: {"params": {"bucket": {"$not": text}}}, "params.bucket.$not"),
        (
            lambda text: {"params": {"operation": {"$not": {"$enum": ["upload", text]}}}},
            "params.operation.$not.$enum[1]",
        ),
        (lambda text: {"$not": {"params": {"account": text}}}, "$not.params.account"),
        (lambda text: {"params": {"$one-of": [{"resource/id": text}]}}, "params.$one-of[0].resource/id"),
        (lambda text: {"request-method": text}, "request-method"),
        (lambda text: {"client": {"id": text}}, "client.id"),
        (lambda text: {"params": {"acl": {"$not": text}}}, "params.acl.$not"),
        (lambda text: {"params": {"storage-class": text}}, "params.storage-class"),
        (lambda text: {"params": {"version-id": text}}, "params.version-id"),
        (lambda text: {"params": {"expiration": {"$not": text}}}, "params.expiration.$not"),
    ],
)
def test_a_text_pasted_with_an_invisible_character_is_a_fault_where_no_value_has_one(pattern, path, text):
    (fault,) = unrestricted_faults(pattern(text))

    assert fault.path == path
    assert fault.problem.startswith("must have no invisible character, and no space at an end; it has U+")


@pytest.mark.parametrize("text", ["a\u200b", "a ", " a", "a\n"])
@pytest.mark.parametrize(
    ("pattern", "path"),
    [
        (lambda text: {"params": {"content-type": {"$not": text}}}, "params.content-type.$not"),
        (lambda text: {"params": {"response-content-disposition": text}}, "params.response-content-disposition"),
        (lambda text: {"params": {"metadata": {"owner": {"$not": text}}}}, "params.metadata.owner.$not"),
    ],
)
def test_a_header_has_spaces_only_inside_where_a_regular_expression_may_end(pattern, path, text):
    (fault,) = unrestricted_faults(pattern(text))

    assert fault.path == path
    assert list(unrestricted_faults(pattern("#^a; "))) == []


@pytest.mark.parametrize("name", ["key", "key-prefix", "prefix", "start-after"])
def test_a_text_may_have_any_character_where_values_have_them(name):
    params = {name: {"$not": "a\u200b "}, "tagging": {"a": {"$not": "a\u200b "}}}

    assert list(unrestricted_faults({"params": params, "jwt": {"sub": "a "}})) == []


@pytest.mark.parametrize(
    ("pattern", "path", "hint"),
    [
        ({"request-method": {"$not": "DELETE"}}, "request-method.$not", "; did you mean delete?"),
        ({"request-method": {"$not": {"$enum": ["get", "GET"]}}}, "request-method.$not.$enum[1]", ""),
        ({"params": {"operation": {"$not": "donwload"}}}, "params.operation.$not", "; did you mean download?"),
        ({"$not": {"params": {"resource/type": "Clients"}}}, "$not.params.resource/type", "; did you mean Client?"),
        ({"params": {"$one-of": [{"operation": "sign"}]}}, "params.$one-of[0].operation", ""),
        ({"client": {"resourceType": "User"}}, "client.resourceType", ""),
    ],
)
def test_a_word_that_no_request_has_is_a_fault(pattern, path, hint):
    (fault,) = unrestricted_faults(pattern)

    assert fault.path == path
    assert fault.problem.startswith("must be one of ")
    assert fault.problem.endswith(hint)


@pytest.mark.parametrize("text", ["#^up", ".params.key", "present?", "nil?", "not-blank?", "upload"])
def test_a_pattern_that_can_match_a_word_is_no_fault(text):
    assert list(unrestricted_faults({"params": {"operation": {"$not": text}}})) == []


@pytest.mark.parametrize(
    "text",
    ["\u200b#^secret/", " #^secret/", "\ufeff.jwt.tenant", "nil?\u200b", "present?\u00a0", "\uff03^a", "nil\uff1f"],
)
@pytest.mark.parametrize(
    ("pattern", "path"),
    [
        (lambda text: {"params": {"key": {"$not": text}}}, "params.key.$not"),
        (lambda text: {"jwt": {"aud": {"$contains": {"$one-of": ["a", text]}}}}, "jwt.aud.$contains.$one-of[1]"),
        (lambda text: {"jwt": {"aud": [text]}}, "jwt.aud[0]"),
    ],
)
def test_a_text_that_only_looks_like_an_operator_is_a_fault(pattern, path, text):
    (fault,) = unrestricted_faults(pattern(text))

    assert fault.path == path
    assert fault.problem.startswith("must begin with its # or . and end with its ?, in ASCII")


@pytest.mark.parametrize("name", ["\u200b$not", " $enum", "\uff04not"])
def test_a_name_that_only_looks_like_an_operator_is_a_fault(name):
    (fault,) = unrestricted_faults({"params": {"key": {name: "a"}}})

    assert fault.path == "params.key"
    assert fault.problem.startswith("must not have a name with an invisible character in front of its $")


@pytest.mark.parametrize("text", ["#\u200b?\u200b", "a\u200b#", "\u200ba", "a.", "?a", "\u00e9"])
def test_another_text_is_no_operator_in_disguise(text):
    assert list(unrestricted_faults({"params": {"key": {"$not": text}}})) == []


def test_an_enumeration_takes_each_text():
    texts = ["\u200b#a", "nil?\u200b", "\uff03a"]

    assert list(unrestricted_faults({"params": {"key": {"$not": {"$enum": texts}}}})) == []


@pytest.mark.parametrize(
    ("pattern", "path", "problem"),
    [
        ({"params": {"acl": {"$not": "PUBLIC-READ"}}}, "params.acl.$not", "must be one of private, public-read, "),
        ({"params": {"acl": {"$enum": ["private", "public"]}}}, "params.acl.$enum[1]", "must be one of private, "),
        ({"params": {"server-side-encryption": "aes256"}}, "params.server-side-encryption", "must be one of AES256, "),
        ({"params": {"if-none-match": {"$not": '"*"'}}}, "params.if-none-match.$not", "must be *"),
        ({"params": {"expiration": {"$not": "60s"}}}, "params.expiration.$not", "must be a whole number of seconds"),
        ({"params": {"expiration": {"$not": "060"}}}, "params.expiration.$not", "must be a whole number of seconds"),
        ({"params": {"expiration": {"$enum": [60, 604801]}}}, "params.expiration.$enum[1]", "must be a whole number"),
        ({"params": {"content-length": 5.5}}, "params.content-length", "must be a whole number of bytes"),
        ({"params": {"storage-class": {"$not": "S3 Standard"}}}, "params.storage-class.$not", "must be 1 to 64 of"),
        ({"params": {"account": {"$not": "AwsAccount/acme"}}}, "params.account.$not", "must be 1 to 64 of"),
        ({"params": {"resource/id": {"$not": "AwsAccount/a"}}}, "params.resource/id.$not", "must be 1 to 64 of"),
        ({"client": {"id": {"$not": "Client/a"}}}, "client.id.$not", "must be 1 to 64 of"),
        ({"params": {"bucket": {"$not": "s3://secret"}}}, "params.bucket.$not", "must be the name of a bucket"),
        ({"params": {"bucket": {"$not": "#^secret/"}}}, "params.bucket.$not", "must begin as an id or the name of a"),
        ({"client": {"id": {"$not": "#^Client/a"}}}, "client.id.$not", "must begin as an id or the name of a bucket"),
        ({"uri": {"$not": "aws/storage/acme"}}, "uri.$not", "must begin with a slash"),
        ({"uri": {"$not": "#^aws/storage/acme"}}, "uri.$not", "must begin with a slash"),
        ({"request-method": {"$not": "#^DELETE$"}}, "request-method.$not", "must match one of get, "),
        ({"params": {"operation": {"$not": "#^Del"}}}, "params.operation.$not", "must match one of upload, "),
        ({"params": {"acl": {"$not": "#public_"}}}, "params.acl.$not", "must match one of private, "),
    ],
)
def test_a_value_that_no_request_has_is_a_fault(pattern, path, problem):
    (fault,) = unrestricted_faults(pattern)

    assert fault.path == path
    assert fault.problem.startswith(problem)


@pytest.mark.parametrize(
    ("pattern", "path", "hint"),
    [
        ({"params": {"bucket": {"$not": {"enum": ["secret"]}}}}, "params.bucket.$not", "; did you mean $enum?"),
        ({"params": {"key": {"$not": {"oneOf": ["#^secret/"]}}}}, "params.key.$not", "; did you mean $one-of?"),
        ({"params": {"key": {"$one-of": ["a", {"regex": "^b/"}]}}}, "params.key.$one-of[1]", " here"),
        ({"headers": {"x-role": {"$not": {"Enum": ["a"]}}}}, "headers.x-role.$not", "; did you mean $enum?"),
        ({"client": {"id": {"$not": {"enum": ["a"]}}}}, "client.id.$not", "; did you mean $enum?"),
        ({"uri": {"$not": {"enum": ["/a"], "x": "b"}}}, "uri.$not", " here"),
        ({"$not": {"request-method": {"enum": ["delete"]}}}, "$not.request-method", "; did you mean $enum?"),
        ({"params": {"tagging": {"a": {"$not": {"enum": ["b"]}}}}}, "params.tagging.a.$not", "; did you mean $enum?"),
    ],
)
def test_a_mapping_where_requests_have_a_text_is_a_fault(pattern, path, hint):
    compile_pattern(pattern)

    fault, *_ = unrestricted_faults(pattern)

    assert fault.path == path
    assert fault.problem.startswith("must be a text or have an operator, because no request has a mapping")
    assert fault.problem.endswith(hint)


@pytest.mark.parametrize("value", ["eve", "#^eve$", ".params.account", "not-blank?", 5, True])
@pytest.mark.parametrize(
    ("pattern", "path"),
    [
        *[({part: ...}, part) for part in ("client", "params", "jwt", "headers", "body")],
        ({"params": {"metadata": ...}}, "params.metadata"),
        ({"params": {"tagging": ...}}, "params.tagging"),
    ],
)
def test_a_text_where_requests_have_a_mapping_is_a_fault(pattern, path, value):
    (fault,) = unrestricted_faults(replaced(pattern, {"$not": value}))

    assert fault.path == f"{path}.$not"
    assert fault.problem.startswith("must be a mapping, because no request has a text")


def replaced(pattern, value):
    """The pattern with ``value`` for ``...``."""
    return {name: value if part is ... else replaced(part, value) for name, part in pattern.items()}


@pytest.mark.parametrize("value", [["eve"], [{"id": "eve"}], [], {"$contains": "eve"}, {"$every": {"id": "eve"}}])
@pytest.mark.parametrize(
    ("pattern", "path"),
    [
        ({"uri": ...}, "uri"),
        ({"request-method": ...}, "request-method"),
        ({"params": {"bucket": ...}}, "params.bucket"),
        ({"params": {"metadata": ...}}, "params.metadata"),
        ({"params": {"metadata": {"owner": ...}}}, "params.metadata.owner"),
        ({"client": ...}, "client"),
        ({"client": {"id": ...}}, "client.id"),
        ({"headers": {"x-role": ...}}, "headers.x-role"),
        ({"body": ...}, "body"),
    ],
)
def test_a_list_where_no_request_has_one_is_a_fault(pattern, path, value):
    pattern = replaced(pattern, {"$not": {"$one-of": [value, "nil?"]}})
    compile_pattern(pattern)

    (fault,) = unrestricted_faults(pattern)

    assert fault.path == f"{path}.$not.$one-of[0]"
    assert fault.problem.startswith("must not be a list or have $contains or $every, because no request has a list")


def test_an_enumeration_where_requests_have_a_mapping_is_a_fault():
    faults = unrestricted_faults({"client": {"$not": {"$enum": ["eve", "nil?"]}}})

    assert [fault.path for fault in faults] == ["client.$not.$enum[0]", "client.$not.$enum[1]"]


@pytest.mark.parametrize(
    "pattern",
    [
        {"request-method": "#(?i)^DELETE$", "uri": "#^/aws/"},
        {"request-method": "#^(get|post)$", "uri": "#/secret(/|$)"},
        {"uri": "/a\nb"},
        {"params": {"operation": "#load$", "acl": {"$not": "#^public-"}, "account": "#^a", "bucket": ".jwt.tenant"}},
        {"params": {"expiration": {"$enum": [60, "300", 5.0]}, "content-length": "#^[0-9]{1,6}$"}},
        {"params": {"metadata": {"owner": "x y"}, "tagging": {"a b": "c d"}, "key": " ", "prefix": ""}},
        {"params": {"response-content-disposition": "a" * 2000, "version-id": "null", "bucket": "#[.]logs$"}},
        {"client": {"$one-of": ["nil?", {"id": "a"}]}, "jwt": {"$not": {"sub": {"enum": "a"}}}, "body": "present?"},
        {"params": {"metadata": {"$not": {"enum": "a"}}, "key": {"$not": "nil?"}}, "headers": "present?"},
        {"jwt": {"aud": ["a"], "roles": {"$every": {"uri": "a"}}}, "body": {"items": {"$contains": {"params": "a"}}}},
        {"body": {"acl": {"$not": "PUBLIC"}}, "jwt": {"account": "a/b"}, "headers": {"content-length": "x"}},
    ],
)
def test_a_value_that_a_request_can_have_is_no_fault(pattern):
    compile_pattern(pattern)

    assert list(unrestricted_faults(pattern)) == []


def test_the_faults_of_a_pattern_are_bounded():
    assert len(unrestricted_faults({"params": {"operation": {"$enum": ["a"] * 900}}})) == MAX_ISSUES
