import asyncio

from support.logins import ROOT_CLIENT, SECRET, basic, outcome

from service.access.callers.principals import ROOT
from service.access.client import CLIENT


async def test_a_client_and_root_log_in_with_their_secrets(authenticator, write):
    assert await authenticator.authenticate(basic(ROOT_CLIENT.id, ROOT_CLIENT.secret), address="") is ROOT
    principal = await authenticator.authenticate(basic("team", SECRET), address="")

    assert (principal.name, principal.client, principal.unlimited, principal.jwt) == ("Client/team", "team", False, {})


async def test_a_token_ends_with_the_secret_that_was_verified(authenticator, hasher, write):
    hasher.open.clear()
    asking = asyncio.create_task(authenticator.issue_token("team", SECRET, address="here"))
    await asyncio.sleep(0.01)
    await write(secret="another secret, longer")
    hasher.open.set()
    _, token, _ = await asking

    assert await outcome(authenticator, f"Bearer {token}") == "Unauthenticated"


async def test_a_client_deleted_during_login_gets_no_valid_token(authenticator, hasher, repository, write):
    hasher.open.clear()
    asking = asyncio.create_task(authenticator.issue_token("team", SECRET, address="here"))
    await asyncio.sleep(0.01)
    await repository.delete(CLIENT, "team")
    hasher.open.set()
    _, token, _ = await asking
    before = await outcome(authenticator, f"Bearer {token}")
    await write()

    assert before == "Unauthenticated"
