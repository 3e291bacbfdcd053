from types import SimpleNamespace

import pytest
from yarl import URL

from service.errors import InvalidRequest
from service.resources.schemas import MAX_ISSUES
from service.web import target


def request(raw):
    """The parts of a request that ``target`` reads. aiohttp does not normalise them."""
    return SimpleNamespace(rel_url=URL(raw, encoded=True), raw_path=raw)


@pytest.mark.parametrize(
    ("raw", "path"),
    [
        ("/a", "/a"),
        ("/a/b%2Fc/d", "/a/b/c/d"),
        ("/a/b//c/", "/a/b//c/"),
        ("/a/../b", "/a/../b"),
        ("/%252F/%25", "/%2F/%"),
        ("/a+b", "/a+b"),
        ("/%C3%A9", "/\u00e9"),
        ("/%41%0A", "/A\n"),
        ("http://example.com/a/b", "/a/b"),
        ("/a?b#", None),
        ("/a%", None),
        ("/%g0", None),
        ("/%C3", None),
        ("/%ED%A0%80", None),
        ("/\udcff%20", None),
        ("/\udcff", None),
        ("/a#b", None),
        ("/a#", None),
    ],
)
def test_a_path_is_decoded_once_and_strictly(raw, path):
    if path is None:
        with pytest.raises(InvalidRequest):
            target.check(target.split(request(raw))[0])
    else:
        sent, _ = target.split(request(raw))
        target.check(sent)

        assert target.decode(sent, "path") == path


@pytest.mark.parametrize(
    ("raw", "parameters"),
    [
        ("", {}),
        ("a=b", {"a": "b"}),
        ("a", {"a": ""}),
        ("a=", {"a": ""}),
        ("=b", {"": "b"}),
        ("&&a=b&", {"a": "b"}),
        ("a=b=c", {"a": "b=c"}),
        ("a=b+c", {"a": "b c"}),
        ("a=b%2Bc", {"a": "b+c"}),
        ("a+b=c", {"a b": "c"}),
        ("a=%2526", {"a": "%26"}),
        ("a=b;c=d", {"a": "b;c=d"}),
        ("a%3Db=c%26d", {"a=b": "c&d"}),
        ("%C3%A9=%0A", {"\u00e9": "\n"}),
        ("a=1&b=2", {"a": "1", "b": "2"}),
        ("a=1&a=1", None),
        ("a&%61", None),
        ("a=%", None),
        ("%C3=a", None),
        ("a=%FF", None),
    ],
)
def test_a_query_is_decoded_as_a_form_and_strictly(raw, parameters):
    asked = request(f"/x?{raw}")

    if parameters is None:
        with pytest.raises(InvalidRequest):
            target.query(target.split(asked)[1])
    else:
        assert target.query(target.split(asked)[1]) == parameters


@pytest.mark.parametrize("body", [b"a\xc3\xa9=\xe2\x82\xac", b"a%C3%A9=%E2%82%AC"])
def test_a_form_is_read_as_utf8_with_and_without_escapes(body):
    assert target.form(body) == {"a\u00e9": "\u20ac"}


@pytest.mark.parametrize("body", [b"a=\xe9", b"\xff=a", b"a=\xed\xa0\x80", b"a=%E9"])
def test_a_form_that_is_no_utf8_is_refused(body):
    with pytest.raises(InvalidRequest, match="The form is not UTF-8"):
        target.form(body)


def test_a_repeated_parameter_is_named():
    with pytest.raises(InvalidRequest) as refusal:
        target.query("a=1&a=2")

    assert [issue.expression for issue in refusal.value.issues] == ["a"]


def test_common_parameters_are_omitted():
    assert target.reject_unknown_parameters({"_format": "json", "_pretty": "true", "a": "1"}, "a", "b") == {"a": "1"}


def test_each_unknown_parameter_is_a_fault():
    with pytest.raises(InvalidRequest) as refusal:
        target.reject_unknown_parameters({"a": "1", "b": "2", "_count": "3"}, "b")

    assert [issue.expression for issue in refusal.value.issues] == ["a", "_count"]


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("filename", "; it is a field of the body"),
        ("fileName", "; filename is a field of the body"),
        ("id", "; did you mean _id?"),
        ("_ID", "; did you mean _id?"),
        ("filename\u00a0", "; it has U+00A0 NO-BREAK SPACE; filename is a field of the body"),
        ("\u200b_id", "; it has U+200B ZERO WIDTH SPACE; did you mean _id?"),
        ("nonsense", ""),
    ],
)
def test_an_unknown_parameter_is_answered_with_what_was_meant(name, advice):
    with pytest.raises(InvalidRequest) as refusal:
        target.reject_unknown_parameters({name: "1"}, "_id", fields={"id", "filename"})

    assert str(refusal.value) == f"Query parameter {name} is not known here{advice}"


def test_issues_and_advice_for_unknown_parameters_are_limited(monkeypatch):
    asked = []
    monkeypatch.setattr(target, "suggestion", lambda name, _: asked.append(name))
    names = [f"expiratio{number}" for number in range(1500)]
    with pytest.raises(InvalidRequest) as refusal:
        target.reject_unknown_parameters(dict.fromkeys(names, ""), "expiration")

    assert len(refusal.value.issues) == MAX_ISSUES + 1
    assert refusal.value.issues[-1].diagnostics == "And 1400 more are not known"
    assert asked == names[: target.MAX_SUGGESTIONS]


def test_only_short_queries_are_cached():
    target._parameters.cache_clear()
    for number in range(1000):
        target.query(f"a={number}")
    short = target._parameters.cache_info().currsize
    target._parameters.cache_clear()
    target.query("a=" + "b" * 255)

    assert short <= 256
    assert target._parameters.cache_info().currsize == 0


@pytest.mark.parametrize(("read", "part"), [(target.query, "query"), (lambda raw: target.form(raw.encode()), "form")])
def test_the_number_of_parameters_is_limited(read, part):
    most = "&".join(f"a{number}" for number in range(target.MAX_PAIRS))

    assert len(read(most)) == target.MAX_PAIRS
    with pytest.raises(InvalidRequest, match=f"The {part} has more than 100 "):
        read(f"{most}&b")


def test_only_the_first_unknown_parameters_have_a_hint():
    with pytest.raises(InvalidRequest) as caught:
        target.reject_unknown_parameters({f"a{number}\u200b": "" for number in range(7)})

    hinted = ["ZERO WIDTH SPACE" in issue.diagnostics for issue in caught.value.issues]
    assert hinted == [True] * 5 + [False] * 2
