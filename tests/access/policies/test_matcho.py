import contextlib
import json
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.access.policies.evaluation import Evaluation, UndecidableValue
from service.access.policies.matcho import (
    MAX_DEPTH,
    MAX_NAME,
    MAX_NODES,
    MAX_REGEXES,
    MAX_TEXT,
    MalformedPattern,
    Pattern,
    compile_pattern,
)
from service.access.policies.regex import compile_program

REQUEST = {
    "request-method": "get",
    "uri": "/aws/storage/acct/bucket/team-a/report.pdf",
    "params": {
        "account": "acct",
        "bucket": "bucket",
        "key": "team-a/report.pdf",
        "expiration": 3600,
        "resource/type": "AwsAccount",
        "twin": "acct",
    },
    "client": {"id": "acct", "grant_types": ["basic", "client_credentials"], "confidential": True},
    "jwt": None,
    "headers": {"host": "signer", "x-blank": " \t", "x-empty": ""},
    "body": {"tags": [], "parts": [{"n": 1, "ok": True}, {"n": 2, "ok": True}], "matrix": [[1, 2], [3]]},
}


@pytest.mark.parametrize(
    ("pattern", "decision"),
    [
        ({"request-method": "get"}, True),
        ({"request-method": "GET"}, False),
        ({"request-method": "put"}, False),
        ({"request-method": "get", "params": {"account": "acct"}}, True),
        ({"request-method": "get", "params": {"account": "other"}}, False),
        ({"request-method": {}}, False),
        ({"params": {}}, True),
        ({"params": {"resource/type": "AwsAccount"}}, True),
        ({"params": "present?"}, True),
        ({"params": ["acct"]}, False),
        ({"params": "acct"}, False),
        # nil
        ({"jwt": {}}, False),
        ({"absent": {}}, False),
        ({"jwt": {"sub": "nil?"}}, False),
        ({"jwt": "present?"}, False),
        ({"absent": "present?"}, False),
        ({"jwt": "nil?"}, True),
        ({"jwt": None}, True),
        ({"absent": None}, True),
        ({"params": None}, False),
        ({"params": {"absent": "nil?"}}, True),
        ({"params": {"absent": "null"}}, False),
        ({"params": {"absent": ""}}, False),
        ({"headers": {"x-empty": "present?"}}, True),
        ({"headers": {"x-empty": "nil?"}}, False),
        ({"headers": {"x-empty": ""}}, True),
        ({"headers": {"host": "not-blank?"}}, True),
        ({"headers": {"x-blank": "not-blank?"}}, False),
        ({"headers": {"x-empty": "not-blank?"}}, False),
        ({"headers": {"absent": "not-blank?"}}, False),
        ({"params": {"expiration": "not-blank?"}}, False),
        # text
        ({"params": {"expiration": 3600}}, True),
        ({"params": {"expiration": "3600"}}, True),
        ({"params": {"expiration": "03600"}}, False),
        ({"params": {"expiration": "3600.0"}}, False),
        ({"params": {"expiration": 3600.0}}, True),
        ({"params": {"expiration": "3600 "}}, False),
        ({"client": {"confidential": True}}, True),
        ({"client": {"confidential": "true"}}, True),
        ({"client": {"confidential": "True"}}, False),
        ({"client": {"confidential": 1}}, False),
        ({"client": {"confidential": "1"}}, False),
        ({"client": {"confidential": False}}, False),
        ({"params": {"bucket": "bücket"}}, False),
        ({"params": {"bucket": "bu\u0441ket"}}, False),
        ({"params": {"bucket": "ｂucket"}}, False),  # noqa: RUF001 - a full-width b
        # regular expressions
        ({"params": {"key": "#^team-a/"}}, True),
        ({"params": {"key": "#report"}}, True),
        ({"params": {"key": "#^report"}}, False),
        ({"params": {"key": "#^team-a/.*[.]pdf$"}}, True),
        ({"params": {"key": "#TEAM"}}, False),
        ({"params": {"expiration": "#^[0-9]{1,4}$"}}, True),
        ({"client": {"confidential": "#^t"}}, True),
        ({"jwt": "#.*"}, False),
        ({"absent": "#.*"}, False),
        ({"params": "#.*"}, False),
        ({"client": {"grant_types": "#basic"}}, False),
        # paths
        ({"params": {"account": ".client.id"}}, True),
        ({"params": {"account": ".params.twin"}}, True),
        ({"params": {"account": ".params.bucket"}}, False),
        ({"params": {"account": ".client"}}, False),
        ({"params": {"account": ".jwt.sub"}}, False),
        ({"params": {"absent": ".jwt.sub"}}, False),
        ({"jwt": ".jwt"}, False),
        ({"params": ".params"}, False),
        ({"client": {"grant_types": ".client.grant_types"}}, False),
        ({"params": {"account": ".client.id.more"}}, False),
        ({"params": {"resource/type": ".params.resource/type"}}, True),
        ({"params": {"expiration": ".params.expiration"}}, True),
        # lists
        ({"client": {"grant_types": ["basic"]}}, True),
        ({"client": {"grant_types": []}}, True),
        ({"client": {"grant_types": ["basic", "client_credentials"]}}, True),
        ({"client": {"grant_types": ["client_credentials"]}}, False),
        ({"client": {"grant_types": ["basic", "client_credentials", "nil?"]}}, True),
        ({"client": {"grant_types": ["basic", "client_credentials", "present?"]}}, False),
        ({"client": {"id": []}}, False),
        ({"jwt": []}, False),
        ({"body": {"parts": [{"n": 1}, {"n": "2"}]}}, True),
        ({"body": {"parts": {"0": {"n": 1}}}}, False),
        ({"body": {"matrix": [[1], [3, None]]}}, True),
        # operators
        ({"request-method": {"$enum": ["get", "put"]}}, True),
        ({"request-method": {"$enum": ["put"]}}, False),
        ({"params": {"expiration": {"$enum": ["3600"]}}}, True),
        ({"client": {"confidential": {"$enum": [True]}}}, True),
        ({"client": {"confidential": {"$enum": [1]}}}, False),
        ({"absent": {"$enum": ["nil?"]}}, False),
        ({"request-method": {"$enum": ["#get", ".request-method", "present?"]}}, False),
        ({"request-method": {"$one-of": ["put", "#^g"]}}, True),
        ({"request-method": {"$one-of": ["put"]}}, False),
        ({"params": {"$one-of": [{"account": "other"}, {"bucket": "bucket"}]}}, True),
        ({"$one-of": [{"request-method": "put"}, {"jwt": "nil?"}]}, True),
        ({"$one-of": [{"request-method": "put"}, {"jwt": {}}]}, False),
        ({"request-method": {"$not": "put"}}, True),
        ({"request-method": {"$not": "get"}}, False),
        ({"jwt": {"$not": {"sub": "eve"}}}, True),
        ({"absent": {"$not": "x"}}, True),
        ({"absent": {"$not": "nil?"}}, False),
        ({"$not": {"request-method": "put"}}, True),
        ({"client": {"grant_types": {"$contains": "client_credentials"}}}, True),
        ({"client": {"grant_types": {"$contains": "password"}}}, False),
        ({"client": {"id": {"$contains": "acct"}}}, False),
        ({"jwt": {"$contains": "nil?"}}, False),
        ({"params": {"$contains": "account"}}, False),
        ({"body": {"parts": {"$contains": {"n": 2}}}}, True),
        ({"body": {"matrix": {"$contains": {"$contains": 3}}}}, True),
        ({"body": {"parts": {"$every": {"ok": True}}}}, True),
        ({"body": {"parts": {"$every": {"n": 1}}}}, False),
        ({"body": {"tags": {"$every": "anything"}}}, False),
        ({"params": {"$every": "present?"}}, False),
        ({"absent": {"$every": "nil?"}}, False),
        # names that only look like operators
        ({"request-method": {"enum": ["get"]}}, False),
        ({"request-method": {" $enum": ["get"]}}, False),
        ({"request-method": {"＄enum": ["get"]}}, False),  # noqa: RUF001 - a full-width dollar
        ({"request-method": "$not"}, False),
        ({"request-method": "＃get"}, False),  # noqa: RUF001 - a full-width hash
        ({"request-method": " #get"}, False),
        ({"params.account": "acct"}, False),
    ],
)
def test_a_pattern_matches_a_request(pattern, decision):
    compiled = compile_pattern(pattern)

    assert compiled.matches(Evaluation(REQUEST)) is decision
    assert (compiled.mismatch(Evaluation(REQUEST)) is None) is decision


@pytest.mark.parametrize(
    ("pattern", "key", "decision"),
    [
        ("#^team-a/", "team-a/x", True),
        ("#^team-a/", "team-ab/x", False),
        ("#^team-a/", "team-a", False),
        ("#^team-a/", "x/team-a/", False),
        ("#^team-a/", "\nteam-a/", False),
        ("#^team-a/", "team-a\u2215x", False),
        ("#^team-a/", "Team-a/x", False),
        ("#^team-a/", "te\u0430m-a/x", False),
        ("#^team-a/", "team-a/\udcff", False),
        ("#^team-a/.", "team-a/\udcff", False),
        ("#[.]pdf$", "a.pdf", True),
        ("#[.]pdf$", "a.pdf\n", False),
        ("#^a.pdf$", "x\na.pdf\ny", False),
        ("#^[a-z]+$", "é", False),
        ("é", "e\u0301", False),
        ("é", "é", True),
        ("ß", "ss", False),
        ("K", "\u212a", False),
        ("true", True, True),
        ("true", "true", True),
        ("true", 1, False),
        (1, True, False),
        (0, False, False),
        (0, None, False),
        (False, None, False),
        ("", None, False),
        ("None", None, False),
    ],
)
def test_similar_keys_are_distinguished(pattern, key, decision):
    assert compile_pattern({"params": {"key": pattern}}).matches(Evaluation({"params": {"key": key}})) is decision


@pytest.mark.parametrize(
    ("pattern", "path", "problem"),
    [
        ({}, "", "must not be empty"),
        (None, "", "must be a mapping"),
        ([], "", "must be a mapping"),
        ("present?", "", "must be a mapping"),
        ({"$one-of": [{"a": "b"}, {}]}, "$one-of[1]", "must not be empty"),
        ({"$one-of": ["present?"]}, "$one-of[0]", "must be a mapping"),
        ({"$not": "nil?"}, "$not", "must be a mapping"),
        ({"$not": {"$not": {}}}, "$not.$not", "must not be empty"),
        ({"$enum": ["a"]}, "$enum", "must be under a name"),
        ({"$not": {"$contains": "a"}}, "$not.$contains", "must be under a name"),
        ({"$every": "a"}, "$every", "must be under a name"),
        ({"a": "#"}, "a", "must have a regular expression of 1 to 1024 characters"),
        ({"a": "#" + "x" * 1025}, "a", "must have a regular expression of 1 to 1024 characters"),
        ({"a": "#^" + "x" * 1024}, "a", "must have a regular expression of 1 to 1024 characters"),
        ({"a": "#(?!b)"}, "a", "must be a regular expression that RE2 takes; it says: invalid perl operator: (?!"),
        ({"a": "presnt?"}, "a", "must be one of present?, nil?, not-blank? if it ends in ?"),
        ({"a": "Nil?"}, "a", "must be one of"),
        ({"a": "present?\n"}, "a", "must be one of"),
        ({"a": "?"}, "a", "must be one of"),
        ({"a": "."}, "a", "must be a path"),
        ({"a": ".."}, "a", "must be a path"),
        ({"a": ".a."}, "a", "must be a path"),
        ({"a": ".a..b"}, "a", "must be a path"),
        ({"a": ".a b"}, "a", "must be a path"),
        ({"a": ".a\n"}, "a", "must be a path"),
        ({"a": ".é"}, "a", "must be a path"),
        ({"a": ".a[0]"}, "a", "must be a path"),
        ({"a": "." + "a" * 1024}, "a", "must be a path of at most 1024 characters"),
        ({"a": {"$length": 1}}, "a", "must not have '$length': the operators are"),
        ({"a": {"$": 1}}, "a", "must not have '$'"),
        ({"a": {"$Enum": ["b"]}}, "a", "must not have '$Enum'"),
        ({"a": {"$one_of": ["b"]}}, "a", "must not have '$one_of'"),
        ({"a": {"b": 1, "$reference": {}}}, "a", "must not have '$reference'"),
        ({"a": {"$enum": ["b"], "c": "d"}}, "a", "must have nothing beside $enum"),
        ({"a": {"c": "d", "$not": "b"}}, "a", "must have nothing beside $not"),
        ({"a": {"$not": "b", "$enum": ["c"]}}, "a", "must have nothing beside $not"),
        ({"a": "b", "$not": {"c": "d"}}, "", "must have nothing beside $not"),
        ({"a": {"$enum": []}}, "a.$enum", "must be a list with at least one item"),
        ({"a": {"$enum": "b"}}, "a.$enum", "must be a list"),
        ({"a": {"$enum": {"b": "c"}}}, "a.$enum", "must be a list"),
        ({"a": {"$enum": ["b", None]}}, "a.$enum[1]", "must be Unicode text, a number, true or false"),
        ({"a": {"$enum": [["b"]]}}, "a.$enum[0]", "must be Unicode text"),
        ({"a": {"$one-of": []}}, "a.$one-of", "must be a list with at least one item"),
        ({"a": {"$one-of": {"b": "c"}}}, "a.$one-of", "must be a list"),
        ({"a": {"$one-of": ".b.c"}}, "a.$one-of", "must be a list"),
        ({"a": {"$not": {"$every": ["b", "#("]}}}, "a.$not.$every[1]", "must be a regular expression"),
        ({"a": {"$contains": "b?"}}, "a.$contains", "must be one of"),
        ({"a": "\ud800"}, "a", "must be Unicode text"),
        ({"a": "#\ud800"}, "a", "must be Unicode text"),
        ({"a": {"$enum": ["\ud800"]}}, "a.$enum[0]", "must be Unicode text"),
        ({"a": {"\ud800": "b"}}, "a", "must have names of Unicode text"),
        ({"\ud800": "b"}, "", "must have names of Unicode text"),
        ({1: "b"}, "", "must have names of Unicode text"),
        ({"a": b"b"}, "a", "must be Unicode text"),
        ({"a": 10**5000}, "a", "must be Unicode text"),
    ],
)
def test_an_invalid_pattern_is_refused_with_the_path(pattern, path, problem):
    with pytest.raises(MalformedPattern) as caught:
        compile_pattern(pattern)

    (fault,) = caught.value.faults
    assert fault.path == path
    assert fault.problem.startswith(problem)
    assert fault.problem.encode()


def test_all_faults_are_reported():
    pattern = {"a": "#(", "b": {"$size": 1}, "c": {"$one-of": ["x?", {"d": "..", "e": "fine"}]}}

    with pytest.raises(MalformedPattern, match=r"a must .*; b must .*; c\.\$one-of\[0\] must ") as caught:
        compile_pattern(pattern)

    assert [fault.path for fault in caught.value.faults] == ["a", "b", "c.$one-of[0]", "c.$one-of[1].d"]


@pytest.mark.parametrize("literal", ["#x", ".hidden", "why?", "present?", "#", "$not"])
def test_an_enum_takes_text_literally(literal):
    pattern = compile_pattern({"key": {"$enum": [literal]}})

    assert pattern.matches(Evaluation({"key": literal}))
    assert not pattern.matches(Evaluation({"key": "x"}))


def nested(depth, *, by=dict):
    pattern = "leaf"
    for _ in range(depth):
        pattern = {"a": pattern} if by is dict else {"a": [pattern]}
    return pattern


def test_a_pattern_may_be_as_deep_as_a_body():
    assert compile_pattern(nested(MAX_DEPTH)).matches(Evaluation(nested(MAX_DEPTH)))


@pytest.mark.parametrize("pattern", [nested(MAX_DEPTH + 1), nested(9, by=list), nested(100_000)])
def test_the_depth_of_a_pattern_is_limited(pattern):
    with pytest.raises(MalformedPattern, match="must be nested at most 16 deep"):
        compile_pattern(pattern)


def test_a_cyclic_pattern_is_too_deep():
    pattern = {}
    pattern["a"] = pattern

    with pytest.raises(MalformedPattern, match="deep"):
        compile_pattern(pattern)


def test_the_nodes_of_a_pattern_are_limited():
    # The pattern, the operand of $enum, and the items.
    pattern = {"a": {"$enum": ["b"] * (MAX_NODES - 3)}}
    larger = {"a": {"$enum": ["b"] * (MAX_NODES - 2)}}

    assert compile_pattern(pattern).matches(Evaluation({"a": "b"}))
    with pytest.raises(MalformedPattern, match="at most 1000 nodes"):
        compile_pattern(larger)


def test_the_regular_expressions_of_a_pattern_are_limited():
    pattern = {f"a{number}": "#x." for number in range(MAX_REGEXES)}
    pattern |= {f"b{number}": "#^x" for number in range(MAX_REGEXES)}

    assert isinstance(compile_pattern(pattern), Pattern)
    with pytest.raises(MalformedPattern, match="a pattern has at most 32"):
        compile_pattern(pattern | {"c": "#y."})


@pytest.mark.parametrize(
    "pattern",
    [
        {"uri": "x" * MAX_TEXT},
        {"body": {"x" * 250 + str(number): "y" for number in range(400)}},
        {"params": {"key": {"$enum": [f"{number:03}{'é' * 57}" for number in range(900)]}}},
    ],
    ids=["a text", "many names", "many texts"],
)
def test_the_text_of_a_pattern_is_limited(pattern):
    with pytest.raises(MalformedPattern, match="must have at most 100000 bytes in names and texts"):
        compile_pattern(pattern)
    assert isinstance(compile_pattern(pattern, stored=True), Pattern)


@pytest.mark.parametrize("stored", [True, False])
def test_a_name_is_limited(stored):
    name = "x" * MAX_NAME

    assert isinstance(compile_pattern({"body": {name: {name: "y"}}}, stored=stored), Pattern)
    for pattern in ({f"{name}x": "y"}, {"body": {name: {f"{name}x": "y"}}}):
        with pytest.raises(MalformedPattern, match="must have at most 256 characters in each name"):
            compile_pattern(pattern, stored=stored)


def test_the_faults_of_a_pattern_are_limited():
    with pytest.raises(MalformedPattern) as caught:
        compile_pattern({"body": {f"a{number}": "b?" for number in range(900)}})

    assert [fault.path for fault in caught.value.faults] == [f"body.a{number}" for number in range(100)]


def test_a_pattern_can_have_text_up_to_the_limit():
    assert isinstance(compile_pattern({"uri": "x" * (MAX_TEXT - len("uri"))}), Pattern)


def test_the_instructions_of_a_pattern_are_limited():
    pattern = {"a": "#[^/]{1,255}a$", "b": "#[^/]{1,255}b$"}

    assert isinstance(compile_pattern(pattern), Pattern)
    with pytest.raises(MalformedPattern, match=r"^c must be a smaller regular .* at most 6000 instr") as caught:
        compile_pattern(pattern | {"c": "#[^/]{1,255}c$", "d": "#x.", "e": "#^prefix"})
    assert [fault.path for fault in caught.value.faults] == ["c", "d"]
    assert isinstance(compile_pattern(pattern | {"c": "#[^/]{1,255}c$"}, stored=True), Pattern)


def test_only_some_oversized_programs_are_compiled():
    with pytest.raises(MalformedPattern) as caught:
        compile_pattern({f"a{number:02}": rf"#\pL{{1000}}{number}" for number in range(MAX_REGEXES)})
    problems = [fault.problem for fault in caught.value.faults]

    assert len(problems) == MAX_REGEXES
    assert ["pattern too large" in problem for problem in problems] == [True] * 2 + [False] * (MAX_REGEXES - 2)


def test_merged_classes_of_a_regular_expression_count():
    source = r"\pL|" * 20
    pattern = {f"a{number}": f"#{source}{number}" for number in range(3)}

    assert compile_program(f"{source}1").instructions < 1500
    with pytest.raises(MalformedPattern, match=r"^a1 must be a smaller regular expression"):
        compile_pattern(pattern)


@pytest.mark.parametrize(
    ("pattern", "mismatch"),
    [
        ({"request-method": "put"}, "request-method is not put"),
        ({"request-method": "get", "params": {"key": "#^team-b/"}}, "params.key does not match #^team-b/"),
        ({"params": {"account": ".jwt.sub"}}, "params.account is not what .jwt.sub is"),
        ({"params": {"bucket": {"$enum": ["a", 5]}}}, "params.bucket is none of a, 5"),
        ({"jwt": {"sub": "nil?"}}, "jwt is not a mapping"),
        ({"client": {"id": ["a"]}}, "client.id is not a list"),
        ({"jwt": "present?"}, "jwt is nil"),
        ({"params": {"key": None}}, "params.key is not nil"),
        ({"headers": {"x-blank": "not-blank?"}}, "headers.x-blank is blank, or no text"),
        ({"body": {"parts": [{}, {"n": 3}]}}, "body.parts[1].n is not 3"),
        ({"body": {"parts": [{}, {}, "present?"]}}, "body.parts[2] is nil"),
        ({"params": {"$one-of": [{"key": "a"}]}}, "params matches none of what $one-of lists"),
        ({"$one-of": [{"uri": "a"}]}, "the request matches none of what $one-of lists"),
        ({"params": {"key": {"$not": "present?"}}}, "params.key matches what $not excludes"),
        ({"body": {"tags": {"$contains": "a"}}}, "body.tags is not a list with an element that $contains asks for"),
        ({"body": {"tags": {"$every": "a"}}}, "body.tags is not a list whose elements are all what $every asks for"),
    ],
)
def test_a_mismatch_has_the_path_and_the_pattern(pattern, mismatch):
    assert compile_pattern(pattern).mismatch(Evaluation(REQUEST)) == mismatch


LONG, NOT_UTF_8 = "a" * 8193, "adm\udcffin"


@pytest.mark.parametrize(
    "pattern",
    [
        "#a",
        "#^a",
        {"$not": "#b"},
        {"$not": "#^b"},
        {"$not": {"$not": "#a"}},
        {"$one-of": ["#b", "present?"]},
        {"$one-of": ["present?", "#b"]},
        {"$not": {"$one-of": ["x", "#b"]}},
    ],
)
@pytest.mark.parametrize("value", [LONG, NOT_UTF_8], ids=["too long", "not UTF-8"])
def test_with_an_undecidable_value_the_whole_pattern_does_not_match(pattern, value):
    compiled = compile_pattern({"$one-of": [{"uri": "/x"}, {"headers": {"x": pattern}}]})
    evaluation = Evaluation({"uri": "/x", "headers": {"x": value}})

    assert not compiled.matches(evaluation)
    assert "headers.x" in compiled.mismatch(evaluation)
    assert "cannot be decided: the value" in compiled.mismatch(evaluation)


@pytest.mark.parametrize(
    "part",
    [
        {"$not": {"a": "x", "b": "#y"}},
        {"$not": {"b": "#y", "a": "x"}},
        {"$one-of": [{"a": "present?"}, {"b": "#y"}]},
        {"list": {"$contains": "#z"}},
        {"list": {"$not": {"$every": "#z"}}},
        {"list": {"$not": ["#a", "#b"]}},
    ],
)
def test_an_undecidable_value_is_found_in_any_order(part):
    request = {"headers": {"a": "1", "b": LONG, "list": ["z", LONG]}}

    assert not compile_pattern({"headers": part}).matches(Evaluation(request))


def test_other_values_may_be_undecidable():
    pattern = compile_pattern({"headers": {"a": "#1", "b": {"$not": "x"}, "c": "present?"}})

    assert pattern.matches(Evaluation({"headers": {"a": "1", "b": LONG, "c": NOT_UTF_8}}))


def test_a_pattern_has_its_necessary_conditions():
    pattern = compile_pattern(
        {
            "request-method": "get",
            "params": {"account": "a", "key": "#^b", "bucket": {"$not": "c"}, "x": "present?"},
            "jwt": {"aud": ["d"], "realm": {"name": "e"}},
        }
    )

    assert [condition.path for condition in pattern.conditions] == [
        ("request-method",),
        ("params", "account"),
        ("params", "key"),
        ("jwt", "realm", "name"),
    ]


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        (
            {"request-method": "get", "params": {"account": ".client.id", "uri": "x"}},
            {"request-method", "params", "client"},
        ),
        ({"$one-of": [{"jwt": {}}, {"$not": {"headers": {"x": ".body.y"}}}]}, {"jwt", "headers", "body"}),
        ({"params": {"$one-of": [{"a": ["b", ".jwt.sub"]}]}}, {"params", "jwt"}),
        ({"params": {"a": {"$enum": [".jwt.sub"]}}}, {"params"}),
    ],
)
def test_a_pattern_has_the_names_that_it_reads(pattern, names):
    assert compile_pattern(pattern).names == names


def test_the_repr_of_a_pattern_has_no_values():
    assert "hunter2" not in repr(compile_pattern({"headers": {"x-key": "hunter2"}}))


# Regular expressions of RE2 with their equivalents in Python.
REGEXES = {
    "#^a": r"\Aa",
    "#b$": r"b\Z",
    "#a/b": "a/b",
    "#^[ab1]{2,}": r"\A[ab1]{2,}",
    "#^.*e": r"\A.*e",
    "#[^a]": "[^a]",
}
NAMES = ["a", "b", "a/b"]
TEXTS = ["a", "b", "a/b", "ba", "1", "true", "", " ", "é", "b\n"]
scalars = st.sampled_from([*TEXTS, "\udcff", 1, 0, -1, 1.5, True, False, None])
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner)
)
requests = st.dictionaries(st.sampled_from(NAMES), values)

literals = st.sampled_from([*TEXTS, 1, 0, -1, 1.5, True, False])
words = st.sampled_from(["present?", "nil?", "not-blank?", None, *REGEXES, ".a", ".b.a", ".a/b.b", ".a.a.a"])


def operators(inner):
    one_of = st.fixed_dictionaries({"$one-of": st.lists(inner, min_size=1, max_size=3)})
    return one_of | st.fixed_dictionaries({"$not": inner})


def compounds(inner):
    return st.one_of(
        st.dictionaries(st.sampled_from(NAMES), inner),
        st.lists(inner, max_size=2),
        operators(inner),
        st.fixed_dictionaries({"$enum": st.lists(literals, min_size=1, max_size=3)}),
        st.fixed_dictionaries({"$contains": inner}),
        st.fixed_dictionaries({"$every": inner}),
    )


parts = st.recursive(literals | words, compounds, max_leaves=6)
patterns = st.recursive(st.dictionaries(st.sampled_from(NAMES), parts, min_size=1), operators, max_leaves=3)


def written(scalar):
    """Return the text of a scalar in JSON."""
    return scalar if isinstance(scalar, str) else json.dumps(scalar)


def is_scalar(value):
    return value is not None and not isinstance(value, dict | list)


def at(path, value):
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return value


class Undecidable(Exception):
    """A regular expression is applied to a value that is not UTF-8."""


def holds(pattern, value, request):  # noqa: C901, PLR0911, PLR0912 - one branch for each rule
    """Evaluate a pattern by the documented rules. Raises Undecidable."""
    if isinstance(pattern, list):
        padded = [*value, *[None] * len(pattern)] if isinstance(value, list) else None
        return padded is not None and all([holds(p, v, request) for p, v in zip(pattern, padded, strict=False)])  # noqa: C419
    if isinstance(pattern, dict):
        match pattern:
            case {"$enum": items}:
                return is_scalar(value) and written(value) in [written(item) for item in items]
            case {"$one-of": items}:
                return any([holds(item, value, request) for item in items])  # noqa: C419
            case {"$not": inner}:
                return not holds(inner, value, request)
            case {"$contains": inner}:
                return isinstance(value, list) and any([holds(inner, item, request) for item in value])  # noqa: C419
            case {"$every": inner}:
                return isinstance(value, list) and value != [] and all([holds(inner, item, request) for item in value])  # noqa: C419
        return isinstance(value, dict) and all([holds(p, value.get(name), request) for name, p in pattern.items()])  # noqa: C419
    if pattern is None or pattern == "nil?":
        return value is None
    if pattern == "present?":
        return value is not None
    if pattern == "not-blank?":
        return isinstance(value, str) and re.search(r"\S", value) is not None
    if not is_scalar(value):
        return False
    if pattern in REGEXES:
        if "\udcff" in written(value):
            raise Undecidable
        return re.search(REGEXES[pattern], written(value)) is not None
    if isinstance(pattern, str) and pattern.startswith("."):
        other = at(pattern[1:].split("."), request)
        return is_scalar(other) and written(other) == written(value)
    return written(pattern) == written(value)


def decide(pattern, value, request):
    try:
        return holds(pattern, value, request)
    except Undecidable:
        return False


@settings(max_examples=150, deadline=None)
@given(patterns, requests)
@pytest.mark.slow
def test_requests_are_evaluated_by_the_documented_rules(pattern, request):
    compiled = compile_pattern(pattern)

    decision = decide(pattern, request, request)
    assert compiled.matches(Evaluation(request)) is decision
    assert (compiled.mismatch(Evaluation(request)) is None) is decision


class CountedEvaluation(Evaluation):
    elements = 0

    def count_elements(self, elements):
        self.elements += elements


@settings(max_examples=100, deadline=None)
@given(parts, parts, st.lists(values, max_size=3), values)
def test_an_explanation_reads_at_most_the_elements_that_the_decision_reads(element, part, items, value):
    compiled, request = compile_pattern({"a": {"$every": element}, "b": part}), {"a": items, "b": value}

    deciding, explaining = CountedEvaluation(request), CountedEvaluation(request)
    assert compiled.matches(deciding) is (compiled.mismatch(explaining) is None)
    assert explaining.elements <= deciding.elements


@settings(max_examples=100, deadline=None)
@given(patterns, requests)
@pytest.mark.slow
def test_conditions_are_necessary(pattern, request):
    compiled, evaluation = compile_pattern(pattern), Evaluation(request)

    for path, matcher in compiled.conditions:
        with contextlib.suppress(UndecidableValue):
            if matcher.test(at(path, request), evaluation):
                continue
        assert not compiled.matches(evaluation)


@settings(max_examples=100, deadline=None)
@given(patterns, requests, st.dictionaries(st.sampled_from(NAMES), values))
def test_a_decision_depends_only_on_the_names(pattern, request, others):
    compiled = compile_pattern(pattern)
    read = {name: value for name, value in request.items() if name in compiled.names}
    unread = {name: value for name, value in others.items() if name not in compiled.names}

    decisions = {compiled.matches(Evaluation(each)) for each in (read, request, read | unread)}
    assert len(decisions) == 1


@settings(max_examples=100, deadline=None)
@given(parts, values)
def test_values_are_evaluated_by_the_documented_rules(part, value):
    request = {"a": value}

    assert compile_pattern({"a": part}).matches(Evaluation(request)) is decide(part, value, request)


MARKS = ["$not", "$enum", "$one-of", "$contains", "$every", "$x", "#(", "#a+", "..", ".a.b", "presnt?", "nil?"]
anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(4990, 5000).map((10).__pow__)
    | st.floats()
    | st.text()
    | st.just("\ud800")
    | st.sampled_from(MARKS)
    | st.binary(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner)
        | st.dictionaries(st.text() | st.sampled_from([*NAMES, *MARKS]) | st.integers(), inner, max_size=3)
        | st.fixed_dictionaries({}, optional=dict.fromkeys(MARKS[:5], inner))
    ),
    max_leaves=8,
)


@settings(max_examples=150, deadline=None)
@given(anything)
def test_any_data_is_a_pattern_or_malformed(data):
    with contextlib.suppress(MalformedPattern):
        assert isinstance(compile_pattern(data), Pattern)


@settings(max_examples=100, deadline=None)
@given(patterns, st.dictionaries(st.text() | st.sampled_from(NAMES), anything))
def test_any_request_is_evaluated(pattern, request):
    compiled = compile_pattern(pattern)

    assert compiled.matches(Evaluation(request)) is (compiled.mismatch(Evaluation(request)) is None)
