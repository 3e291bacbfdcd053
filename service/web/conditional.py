"""Conditional requests: If-Match, If-None-Match and If-None-Exist.

Sources: https://www.rfc-editor.org/rfc/rfc9110#section-13, https://hl7.org/fhir/http.html#ccreate
"""

from collections.abc import Collection, Mapping, Sequence

from aiohttp import ETag, hdrs, web

from service.errors import InvalidRequest
from service.resources.precondition import ALWAYS, Precondition
from service.stores.record import Resource
from service.web import target
from service.web.context import CONTEXT
from service.web.openapi.metadata import IF_NONE_EXIST, supported_conditions


def refuse_unsupported(request: web.Request) -> None:
    """Raise InvalidRequest for conditions that the route does not evaluate, because the client relies on them."""
    route, headers = request[CONTEXT].route, request.headers
    refused = [name for name in route.unsupported_conditions if name in headers]
    if refused:
        supported = " and ".join(supported_conditions(route.handler))
        advice = f"; supported: {supported}" if supported else ""
        raise InvalidRequest(*(f"{name} is not supported here{advice}" for name in refused))


def versioned(response: web.Response, resource: Resource) -> web.Response:
    """Add the ETag and Last-Modified of a resource to a response and return it.

    With them a cache may keep the response. It must ask each time whether the version is still current.
    """
    # JSON and YAML have the same ETag.
    response.headers[hdrs.VARY] = hdrs.ACCEPT
    # Without it, a cache may use Last-Modified to guess how long the response is fresh.
    # Source: https://www.rfc-editor.org/rfc/rfc9111#section-4.2.2
    response.headers.setdefault(hdrs.CACHE_CONTROL, "no-cache")
    response.etag = ETag(resource.meta.version_id, is_weak=True)
    # aiohttp would round up to an instant that may be in the future.
    response.last_modified = resource.meta.last_updated.replace(microsecond=0)
    return response


def is_known(request: web.Request, resource: Resource) -> bool:
    """Return whether If-None-Match names the version of the resource, so that the response is a 304."""
    tags = request.headers.getall(hdrs.IF_NONE_MATCH, None)
    if tags is None:
        return False
    versions = _versions(tags)
    return versions is None or resource.has_version(versions)


def precondition(request: web.Request) -> Precondition:
    """Return the condition under which the request may change or read the resource.

    Raises:
        InvalidRequest: for If-None-Match with a version, on a write, and for If-Match with ``*`` beside versions.
    """
    headers = request.headers
    reads = request.method in {hdrs.METH_GET, hdrs.METH_HEAD}
    # On a read, ``is_known`` evaluates it.
    if_none_match = () if reads else headers.getall(hdrs.IF_NONE_MATCH, ())
    if any(line.strip() != "*" for line in if_none_match):
        raise InvalidRequest("If-None-Match on a write must be *; use If-Match for a version")
    absent = bool(if_none_match)
    if_match = headers.getall(hdrs.IF_MATCH, None)
    if if_match is None:
        return Precondition(absent=True) if absent else ALWAYS
    return Precondition(_versions(if_match), exists=True, absent=absent)


def conditional_id(request: web.Request, fields: Collection[str]) -> str | None:
    """Return the id of a conditional create, from ``?_id=x`` or ``If-None-Exist: _id=x``; None for a plain create.

    ``fields`` are the fields of the body.

    Raises:
        InvalidRequest: for another search parameter, or two ids that differ.
    """
    query: Mapping[str, str] = request[CONTEXT].query
    searches: list[Mapping[str, str]] = [target.reject_unknown_parameters(query, "_id", fields=fields)]
    searches += [_search(line) for line in request.headers.getall(IF_NONE_EXIST, ())]
    ids = {search["_id"] for search in searches if "_id" in search}
    if len(ids) > 1:
        raise InvalidRequest("If-None-Exist and the query name more than one id")
    return ids.pop() if ids else None


def _search(line: str) -> Mapping[str, str]:
    search = target.header_query(line.strip().removeprefix("?"), IF_NONE_EXIST)
    if search.keys() != {"_id"}:
        raise InvalidRequest("If-None-Exist must be _id=<id>; other search parameters are not supported")
    return search


def _versions(headers: Sequence[str]) -> frozenset[str] | None:
    """Return the versions in entity tags: weak, strong or without quotes; None for ``*``, which matches any version.

    aiohttp's ``if_match`` drops versions without quotes, which FHIR clients send.

    Raises:
        InvalidRequest: for ``*`` beside versions.
    """
    tags = {tag.strip() for header in headers for tag in header.split(",")}
    if tags == {"*"}:
        return None
    if "*" in tags:
        raise InvalidRequest("If-Match and If-None-Match must be either * or a list of versions")
    return frozenset(tag.removeprefix("W/").strip('"') for tag in tags)
