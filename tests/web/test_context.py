from service.app import create_app
from service.resources.schemas import Document
from service.settings import load
from service.web.context import SHARED, Exchange

SECRETS = ("s3cr3t", "t0k3n", "hush")


async def test_what_requests_carry_and_share_shows_no_secret():
    shared = create_app(load({"SIGNER_STORE_URL": "redis://alice:hush@127.0.0.1:1"}))[SHARED]
    exchange = Exchange(shared, "id")
    exchange.body = Document({"secret-access-key": "s3cr3t", "session-token": "t0k3n"}, text=False)

    for shown in (shared, shared.store, shared.repository, exchange, exchange.body):
        assert not any(secret in repr(shown) + str(shown) for secret in SECRETS)
