"""Create, read, update and delete over HTTP: one set of handlers for every resource type."""

from collections.abc import Mapping
from email.utils import format_datetime
from functools import partial
from http import HTTPStatus
from typing import Any
from urllib.parse import urlencode

from aiohttp import hdrs

from service.errors import Duplicate, Invalid, Issue, ResourceNotFound, StoreUnavailable, VersionConflict
from service.resources.repository import ALWAYS, Precondition, Repository
from service.resources.resource import Resource
from service.resources.schemas import DeleteQuery, NewQuery, SearchQuery
from service.resources.store import Page
from service.resources.types import ResourceType
from service.web import target
from service.web.access import permitted
from service.web.answer import NO_HEADERS, Answer, head_of, respond
from service.web.context import Exchange
from service.web.description import described
from service.web.routing import Guard, Handler, Route

_SEARCH = SearchQuery(text=True)
_DELETE = DeleteQuery(text=True)

# Each id is looked up; more of them belong into a listing.
MAX_SELECTED = 1000

_VERSIONED = (hdrs.ETAG, hdrs.LAST_MODIFIED)
_answers = partial(described, answer="{kind}", headers=_VERSIONED)
_WRITE_ERRORS = (VersionConflict, StoreUnavailable)


class ResourceHandlers:
    """The handlers of one resource type."""

    def __init__(self, type_: ResourceType) -> None:
        self._type = type_

    def routes(self, base: str) -> list[Route]:
        collection, member = f"{base}/{self._type.kind}", f"{base}/{self._type.kind}/{{id}}"
        answers: list[tuple[str, str, Handler, str]] = [
            (hdrs.METH_GET, collection, self.search, "search"),
            (hdrs.METH_PUT, collection, self.put_by_body, "update"),
            (hdrs.METH_POST, collection, self.create, "create"),
            (hdrs.METH_GET, member, self.read, "read"),
            (hdrs.METH_PUT, member, self.put, "update"),
            (hdrs.METH_PATCH, member, self.patch, "update"),
            (hdrs.METH_DELETE, member, self.delete, "delete"),
        ]
        return [
            Route(method, path, handler, guard=Guard.HANDLER, operation=operation)
            for method, path, handler, operation in answers
        ]

    def _tell(self, exchange: Exchange, operation: str, resource: Resource) -> None:
        exchange.shared.audit.changed(
            caller=exchange.caller.name,
            policy=exchange.policy,
            operation=operation,
            method=exchange.request.method,
            resource=f"{resource.kind}/{resource.id}",
            request_id=exchange.request_id,
        )

    async def _permit(self, exchange: Exchange, id: str | None) -> None:
        if exchange.request.method not in {hdrs.METH_GET, hdrs.METH_HEAD}:
            exchange.shared.audit.check()
        await permitted(exchange, {"resource/type": self._type.kind, "resource/id": id})

    @_answers(
        "read{kind}",
        "Read one",
        statuses=(200, 304),
        heeds=(hdrs.IF_NONE_MATCH,),
        errors=(ResourceNotFound, StoreUnavailable),
    )
    async def read(self, exchange: Exchange) -> Answer:
        target.only(exchange.query)
        id_ = self._id(exchange)
        await self._permit(exchange, id_)
        resource = await self._repository(exchange).read(self._type, id_)
        if (tags := exchange.request.headers.getall(hdrs.IF_NONE_MATCH, None)) is not None:
            known = _versions(tags)
            if known is None or resource.meta.version_id in known:
                return Answer(head_of(HTTPStatus.NOT_MODIFIED, _headers(resource)), status=HTTPStatus.NOT_MODIFIED)
        return self._answer(exchange, resource)

    @_answers(
        "put{kind}ByBody",
        "Create or replace by the body's id",
        statuses=(200, 201),
        body="{kind}WithId",
        heeds=(hdrs.IF_MATCH, hdrs.IF_NONE_MATCH),
        errors=_WRITE_ERRORS,
    )
    async def put_by_body(self, exchange: Exchange) -> Answer:
        id_ = exchange.body.values.get("id")
        if id_ is None:
            raise Invalid(Issue(f"{self._type.kind}.id is missing", f"{self._type.kind}.id"))
        return await self._put(exchange, id_)

    @_answers(
        "put{kind}",
        "Create or replace; the body's id does not matter",
        statuses=(200, 201),
        body="{kind}Replacement",
        heeds=(hdrs.IF_MATCH, hdrs.IF_NONE_MATCH),
        errors=_WRITE_ERRORS,
    )
    async def put(self, exchange: Exchange) -> Answer:
        return await self._put(exchange, self._id(exchange))

    @_answers(
        "create{kind}",
        "Create under the body's id or a new one; with _id, only where there is none",
        statuses=(200, 201),
        query=NewQuery,
        body="{kind}New",
        errors=(Duplicate, StoreUnavailable),
    )
    async def create(self, exchange: Exchange) -> Answer:
        query = target.only(exchange.query, "_id")
        given = exchange.body.values.get("id")
        if "_id" in query:
            self._check_id(query["_id"], "_id")
            # What exists may be read under one id, and what does not be created under the other.
            await self._permit(exchange, query["_id"])
        if given is not None or "_id" not in query:
            await self._permit(exchange, given)
        if "_id" in query:
            resource, created = await self._repository(exchange).find_or_create(self._type, query["_id"], exchange.body)
        else:
            resource, created = await self._repository(exchange).create(self._type, exchange.body), True
        if created:
            self._tell(exchange, "create", resource)
        return self._answer(exchange, resource, created=created)

    @_answers(
        "patch{kind}",
        "Change by a merge patch (RFC 7396); null removes",
        body="{kind}Patch",
        heeds=(hdrs.IF_MATCH, hdrs.IF_NONE_MATCH),
        errors=(ResourceNotFound, *_WRITE_ERRORS),
    )
    async def patch(self, exchange: Exchange) -> Answer:
        target.only(exchange.query)
        id_ = self._id(exchange)
        await self._permit(exchange, id_)
        resource = await self._repository(exchange).patch(self._type, id_, exchange.body, _precondition(exchange))
        self._tell(exchange, "update", resource)
        return self._answer(exchange, resource)

    @_answers(
        "delete{kind}",
        "Delete; the answer is the last resource",
        statuses=(200, 204),
        query=DeleteQuery,
        heeds=(hdrs.IF_MATCH, hdrs.IF_NONE_MATCH),
        errors=_WRITE_ERRORS,
    )
    async def delete(self, exchange: Exchange) -> Answer:
        no_content = _DELETE.read(target.only(exchange.query, "_no-content"))["_no-content"]
        id_ = self._id(exchange)
        await self._permit(exchange, id_)
        resource = await self._repository(exchange).delete(self._type, id_, _precondition(exchange))
        if resource is not None:
            self._tell(exchange, "delete", resource)
        if resource is None or no_content:
            return Answer(head_of(HTTPStatus.NO_CONTENT, NO_HEADERS), status=HTTPStatus.NO_CONTENT)
        return self._answer(exchange, resource)

    @described(
        "search{kind}",
        "List by id; parameters that begin with _ and are unknown are ignored",
        answer="{kind}Bundle",
        query=SearchQuery,
        errors=(StoreUnavailable,),
    )
    async def search(self, exchange: Exchange) -> Answer:
        await self._permit(exchange, None)
        given = exchange.query
        # FHIR clients send control parameters that change nothing here.
        target.only({name: value for name, value in given.items() if not name.startswith("_")})
        query = _SEARCH.read({name: given[name] for name in ("_id", "_count", "_page") if name in given})
        count, page = query["_count"], query["_page"]
        offset = (page - 1) * count
        if "_id" in query:
            found = await self._repository(exchange).select(self._type, _ids(query["_id"]), offset=offset, count=count)
        else:
            found = await self._repository(exchange).page(self._type, offset=offset, count=count)
        return respond(exchange, self._bundle(exchange, found, count=count, page=page))

    async def _put(self, exchange: Exchange, id_: str) -> Answer:
        target.only(exchange.query)
        await self._permit(exchange, id_)
        resource, created = await self._repository(exchange).put(
            self._type, id_, exchange.body, _precondition(exchange)
        )
        self._tell(exchange, "create" if created else "update", resource)
        return self._answer(exchange, resource, created=created)

    @staticmethod
    def _repository(exchange: Exchange) -> Repository:
        return exchange.shared.repository

    def _id(self, exchange: Exchange) -> str:
        id_ = target.segments(exchange.path, 8)[-1]
        self._check_id(id_, f"{self._type.kind}.id")
        return id_

    def _check_id(self, id_: str, field: str) -> None:
        if faults := self._type.id_faults(id_, field):
            raise Invalid(*faults)

    def _answer(self, exchange: Exchange, resource: Resource, *, created: bool = False) -> Answer:
        headers = _headers(resource)
        if created:
            headers[hdrs.LOCATION] = f"/{self._type.kind}/{resource.id}"
        return respond(exchange, self._type.represent(resource), status=201 if created else 200, headers=headers)

    def _bundle(self, exchange: Exchange, found: Page, *, count: int, page: int) -> dict[str, Any]:
        return {
            "resourceType": "Bundle",
            "type": "searchset",
            "total": found.total,
            "link": _links(exchange, found.total, count=count, page=page),
            "entry": [
                {"fullUrl": f"/{self._type.kind}/{resource.id}", "resource": self._type.represent(resource)}
                for resource in found.resources
            ],
        }


def _headers(resource: Resource) -> dict[str, str]:
    return {
        hdrs.ETAG: f'W/"{resource.meta.version_id}"',
        hdrs.LAST_MODIFIED: format_datetime(resource.meta.last_updated, usegmt=True),
    }


def _precondition(exchange: Exchange) -> Precondition:
    if_match = exchange.request.headers.getall(hdrs.IF_MATCH, None)
    # RFC 9110: `If-None-Match: *` on a write asks that nothing be there yet.
    absent = exchange.request.headers.get(hdrs.IF_NONE_MATCH, "").strip() == "*"
    if if_match is None:
        return Precondition(absent=True) if absent else ALWAYS
    return Precondition(_versions(if_match), exists=True, absent=absent)


def _versions(headers: list[str]) -> frozenset[str] | None:
    """The versions that entity tags name, weak, strong or bare; None for ``*``, which means any."""
    tags = [tag.strip() for header in headers for tag in header.split(",")]
    if "*" in tags:
        return None
    return frozenset(tag.removeprefix("W/").strip('"') for tag in tags)


def _ids(text: str) -> list[str]:
    ids = [id_ for id_ in text.split(",") if id_]
    if len(ids) > MAX_SELECTED:
        raise Invalid(Issue(f"_id must be at most {MAX_SELECTED} ids", "_id"))
    return ids


def _links(exchange: Exchange, total: int, *, count: int, page: int) -> list[dict[str, str]]:
    last = max(1, -(-total // count)) if count else 1
    pages: Mapping[str, int] = {
        "first": 1,
        "self": page,
        **({"next": page + 1} if page < last else {}),
        **({"previous": min(page - 1, last)} if page > 1 else {}),
        "last": last,
    }
    query = {name: value for name, value in exchange.query.items() if name != "_page"}
    return [
        {"relation": relation, "url": f"{exchange.request.path}?{urlencode({**query, '_page': number})}"}
        for relation, number in pages.items()
    ]
