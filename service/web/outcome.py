"""An error to a FHIR OperationOutcome. Source: https://hl7.org/fhir/operationoutcome.html."""

from html import escape
from typing import Any

from service.errors import Issue, ServiceError

_XHTML = "http://www.w3.org/1999/xhtml"


def outcome(error: ServiceError) -> dict[str, Any]:
    """One issue per fault; the text is the first fault's, for people."""
    first = error.issues[0].diagnostics
    return {
        "resourceType": "OperationOutcome",
        "id": error.code,
        "text": {"status": "generated", "div": f'<div xmlns="{_XHTML}">{escape(_unicode(first), quote=False)}</div>'},
        "issue": [_issue(error.code, issue) for issue in error.issues],
    }


def _issue(code: str, issue: Issue) -> dict[str, Any]:
    entry: dict[str, Any] = {"severity": "fatal", "code": code, "diagnostics": _unicode(issue.diagnostics)}
    if issue.expression is not None:
        entry["expression"] = [_unicode(issue.expression)]
    return entry


def _unicode(text: str) -> str:
    # A name that an operator stored need not be UTF-8, and is kept with surrogates, which no answer can hold.
    return text.encode(errors="backslashreplace").decode()
