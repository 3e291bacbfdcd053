"""The request context and the application context."""

from service.access.callers.principals import Principal
from service.app import create_app
from service.resources.schemas import ParsedBody
from service.settings import load
from service.web.context import APP, RequestContext
from service.web.routing import UNMATCHED_ROUTE

SECRETS = ("s3cr3t", "t0k3n", "hush")


async def test_representations_of_contexts_contain_no_secret(audit_log):
    settings = load(
        {
            "SIGNER_STORE_URL": "redis://alice:hush@127.0.0.1:1",
            "SIGNER_ROOT_CLIENT_ID": "root",
            "SIGNER_ROOT_CLIENT_SECRET": "hush-0123456789abcdef",
        }
    )
    shared = create_app(settings, audit=audit_log)[APP]
    context = RequestContext(shared, UNMATCHED_ROUTE, "id")
    context.body = ParsedBody({"secret-access-key": "s3cr3t", "session-token": "t0k3n"}, text=False)
    context.caller = Principal("jwt:x", jwt={"sub": "s3cr3t"})

    for shown in (settings, shared, shared.access, shared.store, context, context.body, context.caller):
        assert not any(secret in repr(shown) + str(shown) for secret in SECRETS)
