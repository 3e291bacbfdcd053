from contextlib import suppress

import pytest
from support.steps import steps_of

from service.access.access_policy import AccessPolicy
from service.access.policies import evaluation as evaluation_module
from service.access.policies.evaluation import Evaluation, TooMuchTime, TooMuchWork, UndecidableValue
from service.access.policies.matcho import compile_pattern
from service.access.policies.policy_set import PolicySet
from service.access.policies.regex import Program


class Engine:
    """Matches every text and counts its searches."""

    def __init__(self):
        self.searches = 0

    def find(self, text):
        self.searches += 1
        return text


@pytest.fixture
def engine():
    return Engine()


def test_a_search_that_may_take_too_long_is_not_started(engine):
    small, large = Program(engine.find, 1, 1), Program(engine.find, 1_000_000_000, 1)
    evaluation = Evaluation({}, seconds=60)

    assert evaluation.search("small", small, "a" * 1000)
    with pytest.raises(TooMuchTime):
        evaluation.search("large", large, "a" * 1000)
    assert engine.searches == 1


def test_the_result_of_a_search_is_reused(engine):
    evaluation = Evaluation({}, seconds=60)
    found = [evaluation.search("x", Program(engine.find, instructions, 1), "a" * 1000) for instructions in (1, 10**9)]

    assert found == [True, True]
    assert engine.searches == 1


def test_without_a_time_limit_every_search_is_made(engine):
    assert Evaluation({}).search("large", Program(engine.find, 1_000_000_000, 1), "a" * 8000)


@pytest.mark.parametrize("operator", ["$every", "$contains"])
def test_the_time_limit_is_checked_for_each_element(operator):
    pattern = compile_pattern({"body": {"names": {operator: "#a"}}})
    request = {"body": {"names": ["a"] * 1000}}

    with pytest.raises(TooMuchTime):
        pattern.matches(Evaluation(request, seconds=0))
    assert pattern.matches(Evaluation(request))


def test_the_time_limit_is_checked_for_each_search_of_plain_text_in_a_long_text():
    pattern = compile_pattern({"params": {"key": {"$one-of": ["#a.+b", "present?"]}}})
    short, long = {"params": {"key": "x" * 500}}, {"params": {"key": "x" * 8000}}

    assert pattern.matches(Evaluation(short, seconds=0))
    with pytest.raises(TooMuchTime):
        pattern.matches(Evaluation(long, seconds=0))
    assert pattern.matches(Evaluation(long))


@pytest.mark.parametrize(
    ("word", "text", "reads"),
    [
        pytest.param("not-blank?", "\xa0" * 4000, "strip", id="blank"),
        pytest.param("not-blank?", " x ", "strip", id="not blank"),
        pytest.param("#a.+b", "\xa0" * 4000, "encode", id="not ASCII"),
        pytest.param("#a.+b", "\xa0" * 5000, "encode", id="too many bytes"),
    ],
)
def test_a_text_is_read_once_for_all_conditions(word, text, reads):
    calls = []

    class Text(str):
        __slots__ = ()

        def __getattribute__(self, name):
            calls.append(name)
            return super().__getattribute__(name)

    evaluation = Evaluation({"headers": {"x": Text(text)}})
    for _ in range(30):
        with suppress(UndecidableValue):
            compile_pattern({"headers": {"x": word}}).matches(evaluation)

    assert calls.count(reads) == 1


async def test_the_time_limit_is_checked_for_each_policy():
    policies = await PolicySet.of([AccessPolicy(id="a", engine="matcho", pattern=compile_pattern({"uri": "/x"}))])

    with pytest.raises(TooMuchTime):
        policies.first_match({"uri": "/x"}, seconds=0)
    assert policies.first_match({"uri": "/x"}, seconds=60) == "a"


class CountedList(list):
    reads = 0

    def __iter__(self):
        type(self).reads += 1
        return super().__iter__()


def test_the_texts_of_a_list_are_read_once():
    groups = CountedList(f"group-{number}" for number in range(2000))
    evaluation = Evaluation({"jwt": {"groups": groups}})
    patterns = [compile_pattern({"jwt": {"groups": {"$contains": f"group-{number}"}}}) for number in range(1000, 3000)]

    assert sum(pattern.matches(evaluation) for pattern in patterns) == 1000
    assert CountedList.reads == 1


@pytest.mark.parametrize("operator", ["$contains", "$every"])
def test_the_number_of_list_elements_is_limited(monkeypatch, operator):
    monkeypatch.setattr(evaluation_module, "MAX_ELEMENTS", 10)
    pattern = compile_pattern({"body": {"x": {operator: "#^a"}}})
    evaluation = Evaluation({"body": {"x": ["b"] * 6}})

    assert not pattern.matches(evaluation)
    with pytest.raises(TooMuchWork, match=r"10 list elements \(a large pattern counts each several times\) for it"):
        pattern.matches(evaluation)


@pytest.mark.parametrize("operator", ["$contains", "$every"])
def test_an_explanation_reads_a_list_once(monkeypatch, operator):
    monkeypatch.setattr(evaluation_module, "MAX_ELEMENTS", 10)
    pattern = compile_pattern({"body": {"x": {operator: "#^a"}, "y": [{operator: "#^b"}]}})
    evaluation = Evaluation({"body": {"x": ["a"] * 5, "y": [["c"] * 5]}})

    assert pattern.mismatch(evaluation).startswith("body.y[0] is not a list")


def test_an_explanation_of_another_reason_than_the_pattern_reads_a_list_once(monkeypatch):
    monkeypatch.setattr(evaluation_module, "MAX_ELEMENTS", 10)
    pattern = compile_pattern({"body": {"x": {"$every": "#^a"}}})
    policy = AccessPolicy(id="a", engine="matcho", pattern=pattern, max_expiration=60)
    evaluation = Evaluation({"params": {"expiration": 61}, "body": {"x": ["a"] * 6}})

    assert policy.mismatch(evaluation) == "params.expiration is more than max-expiration, 60"


@pytest.mark.parametrize("operator", ["$contains", "$every"])
@pytest.mark.parametrize(
    "part",
    [
        {"$one-of": ["present?"] * 15},
        {"$one-of": [{"$enum": ["b"]}] * 10},
        {"$one-of": ["#^b"] * 10},
        {"$not": {"$one-of": ["present?"] * 15}},
        {f"n{number}": "b" for number in range(15)},
        ["b"] * 15,
        {"$contains": {"$one-of": ["present?"] * 15}},
        {"$every": {"$one-of": ["present?"] * 15}},
        ".body" + ".a" * 15,
    ],
)
def test_an_element_with_a_large_pattern_counts_as_several(monkeypatch, operator, part):
    monkeypatch.setattr(evaluation_module, "MAX_ELEMENTS", 10)
    pattern = compile_pattern({"body": {"x": {operator: part}}})

    pattern.matches(Evaluation({"body": {"x": ["b"] * 2}}))
    with pytest.raises(TooMuchWork):
        pattern.matches(Evaluation({"body": {"x": ["b"] * 3}}))


@pytest.mark.parametrize("operator", ["$one-of", "$enum"])
def test_an_element_is_compared_with_many_texts_at_once(monkeypatch, operator):
    monkeypatch.setattr(evaluation_module, "MAX_ELEMENTS", 10)
    few, many = (
        compile_pattern({"body": {"x": {"$contains": {operator: [f"b{number}" for number in range(count)]}}}})
        for count in (2, 900)
    )
    request = {"body": {"x": ["a", None] * 5}}

    assert steps_of(many.matches, Evaluation(request)).lines == steps_of(few.matches, Evaluation(request)).lines


class CountedFloat(float):
    writes = 0

    def __str__(self):
        type(self).writes += 1
        return super().__str__()


# Each part is compared with another number, as numbers are remembered.
@pytest.mark.parametrize(
    ("part", "number"),
    [("c", 9.15), ("#^c", 9.25), ({"$enum": ["c"]}, 9.35), ({"$not": "c"}, 9.45), (".body.y", 9.55)],
)
def test_a_number_is_written_once_for_all_comparisons(monkeypatch, part, number):
    monkeypatch.setattr(CountedFloat, "writes", 0)
    pattern = compile_pattern({"body": {"x": {"$contains": {"$one-of": [{"n": part}] * 30}}}})

    pattern.matches(Evaluation({"body": {"x": [{"n": CountedFloat(number)}]}}))
    assert CountedFloat.writes == 1
