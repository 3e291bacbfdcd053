"""What the application and a request carry, under typed keys."""

from collections.abc import Mapping

from aiohttp import web

from service.resources.repository import Repository
from service.resources.schemas import Document
from service.resources.store import Store
from service.signing.presigner import Presigner
from service.web.media import AnswerType


class Readiness:
    """Whether this process wants new requests; not while it drains. ``in_flight`` counts those it has begun."""

    draining = False
    in_flight = 0


STORE: web.AppKey[Store] = web.AppKey("STORE")
REPOSITORY = web.AppKey("REPOSITORY", Repository)
PRESIGNER = web.AppKey("PRESIGNER", Presigner)
READINESS = web.AppKey("READINESS", Readiness)
COMMIT = web.AppKey("COMMIT", str)
MAX_BODY = web.AppKey("MAX_BODY", int)
CORS_ORIGINS: web.AppKey[frozenset[str]] = web.AppKey("CORS_ORIGINS", frozenset)
LOOPBACK_ONLY = web.AppKey("LOOPBACK_ONLY", bool)

REQUEST_ID = web.RequestKey("REQUEST_ID", str)
ANSWER_TYPE = web.RequestKey("ANSWER_TYPE", AnswerType)
QUERY: web.RequestKey[Mapping[str, str]] = web.RequestKey("QUERY", Mapping)
BODY = web.RequestKey("BODY", Document)
