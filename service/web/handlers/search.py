"""List resources of one type as a page of a FHIR Bundle. Source: https://hl7.org/fhir/http.html#search."""

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

from aiohttp import web

from service.errors import Invalid, Issue
from service.resources.queries import SearchQuery
from service.resources.types import ResourceType
from service.stores.pacing import take_turn
from service.stores.record import Resource
from service.web import target
from service.web.context import CONTEXT
from service.web.links import base_path, own_path
from service.web.rendering import render, render_list

_QUERY = SearchQuery(text=True)

# Each id costs one look-up; larger selections should use the listing.
MAX_SELECTED = 1000
# A larger page would block the event loop: a hundred accounts with all fields, or policies, take 20 to 40 ms to encode.
LARGE_PAGE, LARGE_PAGE_TEXT = 20, 20_000


async def search_response(request: web.Request, type_: ResourceType) -> web.Response:
    """Return the page that the query selects. The caller must be authorized already."""
    context = request[CONTEXT]
    query = _QUERY.read(target.reject_unknown_parameters(context.query, *_QUERY.names))
    count, number = 0 if "_summary" in query else query["_count"], query["_page"]
    part = {"offset": (number - 1) * count, "count": count, "descending": query["_sort"] == "-_id"}
    repository = context.app.repository
    if "_id" in query:
        found = await repository.select(type_, _ids(query["_id"]), **part)
    else:
        found = await repository.page(type_, **part)

    # The links repeat all that the query has.
    await take_turn()
    bundle = {
        "resourceType": "Bundle",
        "type": "searchset",
        "total": found.total,
        "link": _links(request, found.total, count=count, number=number),
    }
    # A count of 0 asks for the total only. Source: https://hl7.org/fhir/search.html#count
    if not count:
        return render(request, bundle)
    entries = (_entry(request, type_, resource) for resource in found.resources)
    return await render_list(request, bundle, "entry", entries, is_long=_is_large(found.resources))


def resource_path(request: web.Request, resource: Resource) -> str:
    """Return the path of a resource. It is the same for requests under ``/fhir``."""
    return f"{base_path(request)}/{resource.kind}/{resource.id}"


def _ids(text: str) -> list[str]:
    ids = [id_ for id_ in text.split(",") if id_]
    if len(ids) > MAX_SELECTED:
        raise Invalid(Issue(f"_id must be at most {MAX_SELECTED} ids", "_id"))
    return ids


def _is_large(resources: Sequence[Resource]) -> bool:
    # A policy with many links or a long pattern can be as large as twenty accounts.
    if len(resources) > LARGE_PAGE:
        return True
    return sum(len(text) for resource in resources for text in resource.fields.values()) > LARGE_PAGE_TEXT


def _entry(request: web.Request, type_: ResourceType, resource: Resource) -> dict[str, Any]:
    return {"fullUrl": resource_path(request, resource), "resource": type_.represent(resource)}


def _links(request: web.Request, total: int, *, count: int, number: int) -> list[dict[str, str]]:
    last = max(1, -(-total // count)) if count else 1
    pages: Mapping[str, int] = {
        "first": 1,
        "self": number,
        **({"next": number + 1} if number < last else {}),
        **({"previous": min(number - 1, last)} if number > 1 else {}),
        "last": last,
    }
    query = {name: value for name, value in request[CONTEXT].query.items() if name != "_page"}
    url = f"{own_path(request)}?{urlencode({**query, '_page': ''})}"
    return [{"relation": relation, "url": f"{url}{page}"} for relation, page in pages.items()]
