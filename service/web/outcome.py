"""Convert an error to plain data: a FHIR OperationOutcome and the members of an OAuth error.

Sources: https://hl7.org/fhir/operationoutcome.html, https://www.rfc-editor.org/rfc/rfc6749#section-5.2
"""

import re
from collections.abc import Mapping
from html import escape
from http import HTTPStatus
from typing import Any

from service.errors import Issue, ServiceError

# Characters that error_description must not contain.
_FORBIDDEN = re.compile(r"[^\x20\x21\x23-\x5b\x5d-\x7e]")
_OAUTH_ERRORS: Mapping[int, str] = {
    HTTPStatus.UNAUTHORIZED: "invalid_client",
    HTTPStatus.TOO_MANY_REQUESTS: "temporarily_unavailable",
    HTTPStatus.INTERNAL_SERVER_ERROR: "server_error",
    HTTPStatus.SERVICE_UNAVAILABLE: "temporarily_unavailable",
}
_XHTML = "http://www.w3.org/1999/xhtml"


def outcome(error: ServiceError) -> dict[str, Any]:
    """Return an OperationOutcome with an issue for each fault. The text for people is that of the first fault."""
    first = error.issues[0].diagnostics
    return {
        "resourceType": "OperationOutcome",
        "id": error.code,
        "text": {"status": "generated", "div": f'<div xmlns="{_XHTML}">{escape(_unicode(first), quote=False)}</div>'},
        "issue": [_issue(error.code, issue) for issue in error.issues],
    }


def oauth_error(error: ServiceError) -> dict[str, str]:
    """Return ``error`` and ``error_description``, as OAuth libraries expect them."""
    code = error.oauth_error or _OAUTH_ERRORS.get(error.status, "invalid_request")
    return {"error": code, "error_description": _FORBIDDEN.sub("'", error.issues[0].diagnostics)}


def _issue(code: str, issue: Issue) -> dict[str, Any]:
    entry: dict[str, Any] = {"severity": "fatal", "code": code, "diagnostics": _unicode(issue.diagnostics)}
    if issue.expression is not None:
        entry["expression"] = [_unicode(issue.expression)]
    return entry


def _unicode(text: str) -> str:
    # A name in Redis that is not UTF-8 is decoded with surrogates, which a response cannot contain.
    return text.encode(errors="backslashreplace").decode()
