"""Plain data to a response, in the format that was negotiated."""

from collections.abc import Mapping
from typing import Any

from aiohttp import hdrs, web

from service.web import codec
from service.web.context import ANSWER_TYPE, QUERY


def respond(
    request: web.Request, data: Mapping[str, Any], *, status: int = 200, headers: Mapping[str, str] | None = None
) -> web.Response:
    answer = request[ANSWER_TYPE]
    body = (
        codec.dump_yaml(data)
        if answer.format == "yaml"
        else codec.dump_json(data, pretty=request[QUERY].get("_pretty") == "true")
    )
    return web.Response(body=body, status=status, headers={hdrs.CONTENT_TYPE: answer.content_type, **(headers or {})})
