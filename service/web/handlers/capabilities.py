"""The CapabilityStatement, which FHIR clients read first. Source: https://hl7.org/fhir/R4/capabilitystatement.html."""

from typing import Any

from aiohttp import hdrs, web

import service
from service.access.types import RESOURCE_TYPES
from service.web import target
from service.web.context import CONTEXT
from service.web.formats.media import JSON_PATCH, MERGE_PATCH, RESPONSE_TYPES
from service.web.openapi.metadata import documented
from service.web.rendering import render
from service.web.routing import Guard, Route

_INTERACTIONS = ("read", "update", "patch", "delete", "create", "search-type")
STATEMENT: dict[str, Any] = {
    "resourceType": "CapabilityStatement",
    "status": "active",
    # When this text last changed.
    "date": "2026-11-29",
    "kind": "instance",
    "software": {"name": "s3-signer", "version": service.__version__},
    "implementation": {"description": "S3 accounts and presigned URLs, in the style of Aidbox"},
    "fhirVersion": "4.0.1",
    "format": [*RESPONSE_TYPES],
    "patchFormat": [JSON_PATCH, MERGE_PATCH],
    "rest": [
        {
            "mode": "server",
            "resource": [
                {
                    "type": type_.kind,
                    "interaction": [{"code": code} for code in _INTERACTIONS],
                    "versioning": "versioned-update",
                    "updateCreate": True,
                    "conditionalCreate": True,
                    "conditionalRead": "not-match",
                    "conditionalUpdate": True,
                    "searchParam": [{"name": "_id", "type": "token"}],
                }
                for type_ in RESOURCE_TYPES
            ],
        }
    ],
}


@documented(
    "capabilities",
    "Read the capabilities",
    description="Returns the FHIR CapabilityStatement: the resource types and the interactions that clients can use.",
    response="CapabilityStatement",
)
async def capabilities(request: web.Request) -> web.Response:
    # FHIR clients ask for a part of it with ``mode``, which a server may ignore.
    target.reject_unknown_parameters(request[CONTEXT].query, "mode", "_summary", "_elements")
    return render(request, STATEMENT)


ROUTES = (Route(hdrs.METH_GET, "/metadata", capabilities, guard=Guard.PUBLIC),)
