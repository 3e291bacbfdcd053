import json

import pytest

from service import errors
from service.errors import Issue
from service.web.outcome import outcome


def test_an_outcome_matches_the_documented_contract():
    assert outcome(errors.ResourceNotFound("AwsAccount", "x")) == {
        "resourceType": "OperationOutcome",
        "id": "not-found",
        "text": {
            "status": "generated",
            "div": '<div xmlns="http://www.w3.org/1999/xhtml">Resource AwsAccount/x not found</div>',
        },
        "issue": [{"severity": "fatal", "code": "not-found", "diagnostics": "Resource AwsAccount/x not found"}],
    }


def test_an_outcome_has_an_issue_for_each_fault():
    data = outcome(errors.Invalid(Issue("a is bad", "T.a"), "all is bad", Issue("b is bad", "b")))

    assert data["issue"] == [
        {"severity": "fatal", "code": "invalid", "diagnostics": "a is bad", "expression": ["T.a"]},
        {"severity": "fatal", "code": "invalid", "diagnostics": "all is bad"},
        {"severity": "fatal", "code": "invalid", "diagnostics": "b is bad", "expression": ["b"]},
    ]
    assert ">a is bad<" in data["text"]["div"]


def test_the_text_is_escaped():
    data = outcome(errors.RouteNotFound('/<script>&"'))

    assert data["text"]["div"].endswith('>Route /&lt;script&gt;&amp;" not found</div>')
    assert data["issue"][0]["diagnostics"] == 'Route /<script>&" not found'


def test_any_diagnostics_can_be_encoded():
    data = outcome(errors.Invalid(Issue("\udcff is bad", "\udcff")))

    assert json.dumps(data, ensure_ascii=False).encode()
    assert data["issue"][0]["expression"] == ["\\udcff"]


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (errors.MalformedBody("x", 1, 2), 400, "structure"),
        (errors.InvalidRequest("x"), 400, "invalid"),
        (errors.Forbidden("x"), 403, "forbidden"),
        (errors.RouteNotFound("/x"), 404, "not-found"),
        (errors.ResourceNotFound("T", "x"), 404, "not-found"),
        (errors.MethodNotAllowed("PUT", "/x", {"GET"}), 405, "not-supported"),
        (errors.NotAcceptable("x"), 406, "not-supported"),
        (errors.Duplicate("T", "x"), 409, "duplicate"),
        (errors.VersionConflict("T", "x", "3"), 412, "conflict"),
        (errors.VersionConflict("T", "x", None), 412, "conflict"),
        (errors.BodyTooLarge(1), 413, "too-long"),
        (errors.UnsupportedMediaType("x"), 415, "not-supported"),
        (errors.Invalid("x"), 422, "invalid"),
        (errors.Internal("id"), 500, "exception"),
        (errors.StoreUnavailable("x"), 503, "transient"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_each_error_has_its_status_and_code(error, status, code):
    data = outcome(error)

    assert (error.status, data["id"], data["issue"][0]["code"]) == (status, code, code)


def test_a_malformed_body_is_reported_with_line_and_column():
    assert str(errors.MalformedBody("x", 3, 7)) == "Malformed body: x at line 3, column 7"
