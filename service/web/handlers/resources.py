"""Create, read, update and delete over HTTP: one set of handlers for every resource type."""

from collections.abc import Mapping
from functools import partial
from http import HTTPStatus
from typing import Any
from urllib.parse import urlencode

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler

from service.access.policies.policy_set import warn_of_links_to
from service.access.types import CLIENT
from service.errors import Duplicate, Invalid, Issue, ResourceNotFound, StoreUnavailable, VersionConflict
from service.resources.queries import DeleteQuery, IdQuery, SearchQuery
from service.resources.repository import Repository
from service.resources.types import NO_TEXTS, ResourceType
from service.stores.record import Resource
from service.stores.store import Page
from service.web import target
from service.web.access import client_address, require_permission
from service.web.background import in_background
from service.web.conditional import conditional_id, is_known, precondition, replaced_id, versioned
from service.web.context import CONTEXT
from service.web.openapi.metadata import IF_ABSENT, IF_NONE_EXIST, documented
from service.web.rendering import NO_HEADERS, NO_STORE, render
from service.web.routing import Guard, Route, mount_prefix

_SEARCH = SearchQuery(text=True)
_DELETE = DeleteQuery(text=True)

# Each id is looked up; more of them belong into a listing.
MAX_SELECTED = 1000
LARGE_PAGE = 100

# aiohttp would try this path for other methods of the literal path, too.
_ID = r"{id:(?!\$explain$)[^/]+}"

_METHODS_WITH_BODY = frozenset({hdrs.METH_POST, hdrs.METH_PUT, hdrs.METH_PATCH})
# It stands for the one that is made for a new resource.
_ANY_ID = "id"

_VERSIONED = (hdrs.ETAG, hdrs.LAST_MODIFIED)
_answers = partial(documented, answer="{kind}", headers=_VERSIONED)
_VERSION_ERRORS = (VersionConflict, StoreUnavailable)


class ResourceHandlers:
    """The handlers of one resource type."""

    def __init__(self, type_: ResourceType) -> None:
        self._type = type_

    def routes(self, base: str) -> list[Route]:
        collection, member = f"{base}/{self._type.kind}", f"{base}/{self._type.kind}/{_ID}"
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

    def _audit(self, request: web.Request, operation: str, resource: Resource) -> None:
        request[CONTEXT].app.audit.changed(
            caller=request[CONTEXT].caller.name,
            address=client_address(request),
            policy=request[CONTEXT].policy,
            operation=operation,
            method=request.method,
            resource=f"{resource.kind}/{resource.id}",
            fields=None if operation == "delete" else resource.changed,
            host=resource.fields.get("host"),
            request_id=request[CONTEXT].request_id,
        )

    async def _require(self, request: web.Request, id: str | None) -> None:
        if request.method not in {hdrs.METH_GET, hdrs.METH_HEAD}:
            request[CONTEXT].app.audit.check()
        if request.method in _METHODS_WITH_BODY and await self._policies_read_body(request):
            self._check_body(request, id)
        # An id in a body may be as long as the body. What has no valid one is refused after the policies.
        named = id if isinstance(id, str) and self._type.is_id(id) else None
        await require_permission(request, {"resource/type": self._type.kind, "resource/id": named})

    @staticmethod
    async def _policies_read_body(request: web.Request) -> bool:
        access, caller = request[CONTEXT].app.access, request[CONTEXT].caller
        return (
            access is not None
            and not caller.unlimited
            and "body" in (await access.policies.for_principal(caller)).names
        )

    def _check_body(self, request: web.Request, id: str | None) -> None:
        """Raise Invalid for a body that is not valid, whatever is stored. A policy must see none of these.

        Compiling a pattern takes time, so callers whose policies do not read bodies are not answered so far.
        """
        body = request[CONTEXT].body
        if request.method == hdrs.METH_PATCH:
            self._type.check_patch(body)
        else:
            self._type.read(body.with_id(_ANY_ID if id is None else id))

    @_answers(
        "read{kind}",
        "Read one",
        statuses=(200, 304),
        heeds=(hdrs.IF_MATCH, hdrs.IF_NONE_MATCH),
        errors=(ResourceNotFound, *_VERSION_ERRORS),
    )
    async def read(self, request: web.Request) -> web.Response:
        target.reject_unknown_parameters(request[CONTEXT].query)
        id_ = self._id(request)
        await self._require(request, id_)
        resource = await self._repository(request).read(self._type, id_)
        precondition(request).check(self._type.kind, id_, resource)
        if is_known(request, resource):
            return versioned(web.Response(status=HTTPStatus.NOT_MODIFIED), resource)
        return self._answer(request, resource)

    @_answers(
        "put{kind}ByBody",
        "Create or replace by the body's id, or by _id, which the body's id must not contradict",
        statuses=(200, 201),
        query=IdQuery,
        body="{kind}WithId",
        heeds=(hdrs.IF_MATCH, IF_ABSENT),
        errors=_VERSION_ERRORS,
    )
    async def put_by_body(self, request: web.Request) -> web.Response:
        id_ = self._body_id(request, wanted=replaced_id(request, self._type.names))
        if id_ is None:
            raise Invalid(Issue(f"{self._type.kind}.id is missing", f"{self._type.kind}.id"))
        return await self._put(request, id_)

    @_answers(
        "put{kind}",
        "Create or replace; the body's id does not matter",
        statuses=(200, 201),
        body="{kind}Replacement",
        heeds=(hdrs.IF_MATCH, IF_ABSENT),
        errors=_VERSION_ERRORS,
    )
    async def put(self, request: web.Request) -> web.Response:
        target.reject_unknown_parameters(request[CONTEXT].query, fields=self._type.names)
        return await self._put(request, self._id(request))

    @_answers(
        "create{kind}",
        "Create under the body's id or a new one; with _id, or If-None-Exist: _id=..., only if that id does not exist,"
        " which the body's id must not contradict",
        answer="{kind}Created",
        statuses=(200, 201),
        query=IdQuery,
        body="{kind}New",
        heeds=(IF_NONE_EXIST,),
        errors=(Duplicate, StoreUnavailable),
    )
    async def create(self, request: web.Request) -> web.Response:
        wanted = conditional_id(request, self._type.names)
        body, generated = self._type.with_generated_secrets(request[CONTEXT].body)
        await self._require(request, self._body_id(request, wanted=wanted))
        if wanted is None:
            resource, created = await self._repository(request).create(self._type, body), True
        else:
            resource, created = await self._repository(request).find_or_create(self._type, wanted, body)
        if created:
            self._audit(request, "create", resource)
        return self._answer(request, resource, created=created, generated=generated if created else NO_TEXTS)

    @_answers(
        "patch{kind}",
        "Change by a merge patch (RFC 7396); null removes",
        body="{kind}Patch",
        heeds=(hdrs.IF_MATCH, IF_ABSENT),
        errors=(ResourceNotFound, *_VERSION_ERRORS),
    )
    async def patch(self, request: web.Request) -> web.Response:
        target.reject_unknown_parameters(request[CONTEXT].query, fields=self._type.names)
        id_ = self._id(request)
        await self._require(request, id_)
        context = request[CONTEXT]
        resource = await self._repository(request).patch(
            self._type, id_, context.body, precondition(request), may_redirect=context.caller.unlimited
        )
        self._audit(request, "update", resource)
        return self._answer(request, resource)

    @_answers(
        "delete{kind}",
        "Delete; the answer is the last resource",
        statuses=(200, 204),
        query=DeleteQuery,
        heeds=(hdrs.IF_MATCH, IF_ABSENT),
        errors=_VERSION_ERRORS,
    )
    async def delete(self, request: web.Request) -> web.Response:
        no_content = _DELETE.read(target.reject_unknown_parameters(request[CONTEXT].query, "_no-content"))[
            "_no-content"
        ]
        id_ = self._id(request)
        await self._require(request, id_)
        resource = await self._repository(request).delete(self._type, id_, precondition(request))
        if resource is not None:
            self._audit(request, "delete", resource)
            if self._type is CLIENT:
                await warn_of_links_to(id_, self._repository(request))
        if resource is None or no_content:
            return web.Response(status=HTTPStatus.NO_CONTENT)
        return self._answer(request, resource)

    @documented(
        "search{kind}",
        "List resources, sorted by id",
        answer="{kind}Bundle",
        query=SearchQuery,
        errors=(StoreUnavailable,),
    )
    async def search(self, request: web.Request) -> web.Response:
        await self._require(request, None)
        query = _SEARCH.read(target.reject_unknown_parameters(request[CONTEXT].query, *_SEARCH.names))
        count, page = 0 if "_summary" in query else query["_count"], query["_page"]
        part = {"offset": (page - 1) * count, "count": count, "descending": query["_sort"] == "-_id"}
        repository = self._repository(request)
        if "_id" in query:
            found = await repository.select(self._type, _ids(query["_id"]), **part)
        else:
            found = await repository.page(self._type, **part)

        def response() -> web.Response:
            return render(request, self._bundle(request, found, count=count, page=page))

        if len(found.resources) <= LARGE_PAGE:
            return response()
        # A thousand resources take 30 ms to write, and other requests would have to wait.
        return await in_background(response)

    async def _put(self, request: web.Request, id_: str) -> web.Response:
        await self._require(request, id_)
        resource, created = await self._repository(request).put(
            self._type,
            id_,
            request[CONTEXT].body,
            precondition(request),
            may_redirect=request[CONTEXT].caller.unlimited,
        )
        self._audit(request, "create" if created else "update", resource)
        return self._answer(request, resource, created=created)

    def _body_id(self, request: web.Request, *, wanted: str | None) -> Any:
        """The id that is ``wanted`` by the query or a condition, else the body's; Invalid where they differ."""
        given = request[CONTEXT].body.values.get("id")
        if wanted is None:
            return given
        self._check_id(wanted, "_id")
        if given is not None and given != wanted:
            raise Invalid(Issue(f"{self._type.kind}.id is another one than _id", f"{self._type.kind}.id"))
        return wanted

    @staticmethod
    def _repository(request: web.Request) -> Repository:
        return request[CONTEXT].app.repository

    def _id(self, request: web.Request) -> str:
        id_ = request.match_info["id"]
        self._check_id(id_, f"{self._type.kind}.id")
        return id_

    def _check_id(self, id_: str, field: str) -> None:
        if faults := self._type.id_faults(id_, field):
            raise Invalid(*faults)

    def _answer(
        self,
        request: web.Request,
        resource: Resource,
        *,
        created: bool = False,
        generated: Mapping[str, str] = NO_TEXTS,
    ) -> web.Response:
        """The resource, and the secrets that were ``generated`` for it, which nothing shows again."""
        data = self._type.represent(resource, shown=generated)
        response = render(request, data, status=201 if created else 200, headers=NO_STORE if generated else NO_HEADERS)
        if created:
            response.headers[hdrs.LOCATION] = self._url(request, resource)
        return versioned(response, resource)

    def _url(self, request: web.Request, resource: Resource) -> str:
        """The path of a resource, the same for requests under ``/fhir``."""
        base = mount_prefix(request, request[CONTEXT].route)
        return f"{base}/{self._type.kind}/{resource.id}"

    def _bundle(self, request: web.Request, found: Page, *, count: int, page: int) -> dict[str, Any]:
        bundle = {
            "resourceType": "Bundle",
            "type": "searchset",
            "total": found.total,
            "link": _links(request, found.total, count=count, page=page),
        }
        # Who asks for no entry wants the total alone.
        # Source: https://hl7.org/fhir/search.html#count
        if count:
            bundle["entry"] = [
                {"fullUrl": self._url(request, resource), "resource": self._type.represent(resource)}
                for resource in found.resources
            ]
        return bundle


def _ids(text: str) -> list[str]:
    ids = [id_ for id_ in text.split(",") if id_]
    if len(ids) > MAX_SELECTED:
        raise Invalid(Issue(f"_id must be at most {MAX_SELECTED} ids", "_id"))
    return ids


def _links(request: web.Request, total: int, *, count: int, page: int) -> list[dict[str, str]]:
    last = max(1, -(-total // count)) if count else 1
    pages: Mapping[str, int] = {
        "first": 1,
        "self": page,
        **({"next": page + 1} if page < last else {}),
        **({"previous": min(page - 1, last)} if page > 1 else {}),
        "last": last,
    }
    query = {name: value for name, value in request[CONTEXT].query.items() if name != "_page"}
    return [
        {"relation": relation, "url": f"{request.path}?{urlencode({**query, '_page': number})}"}
        for relation, number in pages.items()
    ]
