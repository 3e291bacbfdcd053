"""Create, read, update and delete over HTTP: one set of handlers for every resource type."""

from collections.abc import Mapping
from functools import partial
from http import HTTPStatus
from typing import Any

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler

from service.access.client import CLIENT
from service.access.policies.policy_set import warn_of_links_to
from service.errors import Duplicate, Invalid, Issue, ResourceNotFound, StoreUnavailable, VersionConflict
from service.resources.queries import DeleteQuery, IdQuery, SearchQuery
from service.resources.types import NO_TEXTS, ResourceType
from service.stores.pacing import take_turn
from service.stores.record import Resource
from service.web import target
from service.web.access import require_permission
from service.web.audit import audit_change
from service.web.conditional import conditional_id, is_known, precondition, versioned
from service.web.context import CONTEXT
from service.web.handlers.search import resource_path, search_response
from service.web.openapi.metadata import IF_ABSENT, IF_NONE_EXIST, documented
from service.web.rendering import NO_STORE, render
from service.web.routing import Guard, Route

_DELETE = DeleteQuery(text=True)

# aiohttp would match this path for other methods of the literal path, too.
_ID = r"{id:(?!\$explain$)[^/]+}"

# A placeholder for the id that a create without one generates.
_ANY_ID = "id"

_document = partial(documented, response="{kind}", response_headers=(hdrs.ETAG, hdrs.LAST_MODIFIED, hdrs.CACHE_CONTROL))
_VERSION_ERRORS = (VersionConflict, StoreUnavailable)


class ResourceHandlers:
    """The handlers of one resource type."""

    def __init__(self, type_: ResourceType) -> None:
        self._type = type_

    def routes(self) -> list[Route]:
        """Return the routes of the resource type.

        In this order, their examples in the OpenAPI document work one after the other, and leave a resource.
        """
        collection = f"/{self._type.kind}"
        member = f"{collection}/{_ID}"
        handlers: list[tuple[str, str, Handler, str]] = [
            (hdrs.METH_PUT, member, self.put, "update"),
            (hdrs.METH_GET, member, self.read, "read"),
            (hdrs.METH_PATCH, member, self.patch, "update"),
            (hdrs.METH_DELETE, member, self.delete, "delete"),
            (hdrs.METH_PUT, collection, self.put_by_body, "update"),
            (hdrs.METH_POST, collection, self.create, "create"),
            (hdrs.METH_GET, collection, self.search, "search"),
        ]
        return [
            Route(method, path, handler, guard=Guard.HANDLER, operation=operation)
            for method, path, handler, operation in handlers
        ]

    @documented(
        "search{kind}",
        "List {many}",
        description="Returns a page of a Bundle, sorted by id. `_id` selects some, `_count` and `_page` choose the"
        " page, and `_summary=count` asks for the total alone.",
        response="{kind}Bundle",
        query=SearchQuery,
        errors=(StoreUnavailable,),
    )
    async def search(self, request: web.Request) -> web.Response:
        await self._authorize(request, None)
        return await search_response(request, self._type)

    @_document(
        "read{kind}",
        "Read {one}",
        description="Returns the resource and its version as `ETag`. A secret is shown as a marker, never as itself.",
        statuses=(200, 304),
        request_headers=(hdrs.IF_MATCH, hdrs.IF_NONE_MATCH),
        errors=(ResourceNotFound, *_VERSION_ERRORS),
    )
    async def read(self, request: web.Request) -> web.Response:
        target.reject_unknown_parameters(request[CONTEXT].query)
        id_ = self._path_id(request)
        await self._authorize(request, id_)
        resource = await request[CONTEXT].app.repository.read(self._type, id_)
        precondition(request).check(self._type.kind, id_, resource)
        if is_known(request, resource):
            return versioned(web.Response(status=HTTPStatus.NOT_MODIFIED), resource)
        return await self._response(request, resource)

    @_document(
        "put{kind}ByBody",
        "Create or replace {one} by the id of the body",
        description="Stores the resource under the `id` of the body, or under `_id` of the query; both must agree. A"
        " marker in place of a secret keeps the stored secret. `If-Match` protects against a change by someone else.",
        statuses=(200, 201),
        query=IdQuery,
        request_body="{kind}WithId",
        request_headers=(hdrs.IF_MATCH, IF_ABSENT),
        errors=_VERSION_ERRORS,
    )
    async def put_by_body(self, request: web.Request) -> web.Response:
        # A conditional update. Source: https://hl7.org/fhir/http.html#cond-update
        query = target.reject_unknown_parameters(request[CONTEXT].query, "_id", fields=self._type.names)
        id_ = self._body_id(request, expected=query.get("_id"))
        if id_ is None:
            raise Invalid(Issue(f"{self._type.kind}.id is missing", f"{self._type.kind}.id"))
        return await self._put(request, id_)

    @_document(
        "put{kind}",
        "Create or replace {one}",
        description="Stores the resource under the id of the path; an `id` in the body is ignored. A marker in place of"
        " a secret keeps the stored secret. `If-Match` protects against a change by someone else.",
        statuses=(200, 201),
        request_body="{kind}Replacement",
        request_headers=(hdrs.IF_MATCH, IF_ABSENT),
        errors=_VERSION_ERRORS,
    )
    async def put(self, request: web.Request) -> web.Response:
        target.reject_unknown_parameters(request[CONTEXT].query, fields=self._type.names)
        return await self._put(request, self._path_id(request))

    @_document(
        "create{kind}",
        "Create {one}",
        description="Stores a new resource under the `id` of the body, or under a generated one. With `_id`, or"
        " `If-None-Exist: _id=…`, it creates only if that id does not exist, and otherwise answers with the resource"
        " that exists. Secrets that the service generates are shown in this answer alone.",
        response="{kind}Created",
        statuses=(200, 201),
        query=IdQuery,
        request_body="{kind}New",
        request_headers=(IF_NONE_EXIST,),
        errors=(Duplicate, StoreUnavailable),
    )
    async def create(self, request: web.Request) -> web.Response:
        repository, unlimited = request[CONTEXT].app.repository, request[CONTEXT].caller.unlimited
        id_ = conditional_id(request, self._type.names)
        body, generated = self._type.with_generated_secrets(request[CONTEXT].body)
        await self._authorize(request, self._body_id(request, expected=id_))
        if id_ is None:
            resource, created = await repository.create(self._type, body, may_move_secret=unlimited), True
        else:
            resource, created = await repository.find_or_create(self._type, id_, body, may_move_secret=unlimited)
        if created:
            self._audit(request, "create", resource)
        return await self._response(request, resource, created=created, generated=generated if created else NO_TEXTS)

    @_document(
        "patch{kind}",
        "Change {one}",
        description="Applies a merge patch (RFC 7396): a field that is sent replaces the stored one, and `null` removes"
        " it. All other fields stay. A JSON Patch (RFC 6902) is a list of operations instead.",
        request_body="{kind}Patch",
        request_headers=(hdrs.IF_MATCH, IF_ABSENT),
        errors=(ResourceNotFound, *_VERSION_ERRORS),
    )
    async def patch(self, request: web.Request) -> web.Response:
        context = request[CONTEXT]
        target.reject_unknown_parameters(context.query, fields=self._type.names)
        id_ = self._path_id(request)
        await self._authorize(request, id_)
        resource = await context.app.repository.patch(
            self._type, id_, context.body, precondition(request), may_move_secret=context.caller.unlimited
        )
        self._audit(request, "update", resource)
        return await self._response(request, resource)

    @_document(
        "delete{kind}",
        "Delete {one}",
        description="Deletes the resource. The answer is its last state, or 204 without content if there was none or"
        " with `_no-content=true`.",
        statuses=(200, 204),
        query=DeleteQuery,
        request_headers=(hdrs.IF_MATCH, IF_ABSENT),
        errors=_VERSION_ERRORS,
    )
    async def delete(self, request: web.Request) -> web.Response:
        context = request[CONTEXT]
        query = _DELETE.read(target.reject_unknown_parameters(context.query, "_no-content"))
        id_ = self._path_id(request)
        await self._authorize(request, id_)
        resource = await context.app.repository.delete(self._type, id_, precondition(request))
        if resource is not None:
            self._audit(request, "delete", resource)
            if self._type is CLIENT:
                await warn_of_links_to(id_, context.app.repository)
        if resource is None or query["_no-content"]:
            return web.Response(status=HTTPStatus.NO_CONTENT)
        return await self._response(request, resource)

    async def _put(self, request: web.Request, id_: str) -> web.Response:
        context = request[CONTEXT]
        await self._authorize(request, id_)
        resource, created = await context.app.repository.put(
            self._type, id_, context.body, precondition(request), may_move_secret=context.caller.unlimited
        )
        self._audit(request, "create" if created else "update", resource)
        return await self._response(request, resource, created=created)

    async def _authorize(self, request: web.Request, id_: Any) -> None:
        if request.method not in {hdrs.METH_GET, hdrs.METH_HEAD}:
            request[CONTEXT].app.audit.check()
        # An id in a body may be as long as the body. An invalid one is refused after the policies.
        id_param = id_ if isinstance(id_, str) and self._type.is_id(id_) else None
        params = {"resource/type": self._type.kind, "resource/id": id_param}
        await require_permission(request, params, validate_body=partial(self._validate_body, request, id_))

    async def _validate_body(self, request: web.Request, id_: Any) -> None:
        """Raise Invalid for a body that is invalid, whatever is stored."""
        context = request[CONTEXT]
        body = context.body
        if body.operations is not None:
            raise Invalid("Policies of the caller read the body, and cannot read a JSON Patch; send a merge patch")
        if request.method == hdrs.METH_PATCH:
            await take_turn()
            self._type.check_patch(body)
        elif request.method in {hdrs.METH_POST, hdrs.METH_PUT}:
            await context.app.repository.read_values(self._type, body.with_id(_ANY_ID if id_ is None else id_))

    def _path_id(self, request: web.Request) -> str:
        id_ = request.match_info["id"]
        self._check_id(id_, f"{self._type.kind}.id")
        return id_

    def _body_id(self, request: web.Request, *, expected: str | None) -> Any:
        """Return the id that the query or a condition names, else the body's. Raise Invalid if they differ."""
        given = request[CONTEXT].body.values.get("id")
        if expected is None:
            return given
        self._check_id(expected, "_id")
        if given is not None and given != expected:
            raise Invalid(Issue(f"{self._type.kind}.id differs from _id", f"{self._type.kind}.id"))
        return expected

    def _check_id(self, id_: str, field: str) -> None:
        if faults := self._type.id_faults(id_, field):
            raise Invalid(*faults)

    async def _response(
        self,
        request: web.Request,
        resource: Resource,
        *,
        created: bool = False,
        generated: Mapping[str, str] = NO_TEXTS,
    ) -> web.Response:
        """Return the resource with its ``generated`` secrets, which no other response shows."""
        await take_turn()
        data = self._type.represent(resource, shown=generated)
        response = render(
            request, data, status=201 if created else 200, headers=NO_STORE if generated else target.NOTHING
        )
        if created:
            response.headers[hdrs.LOCATION] = resource_path(request, resource)
        return versioned(response, resource)

    @staticmethod
    def _audit(request: web.Request, operation: str, resource: Resource) -> None:
        audit_change(
            request,
            operation,
            f"{resource.kind}/{resource.id}",
            fields=None if operation == "delete" else resource.changed,
            host=resource.fields.get("host"),
        )
