import hashlib

import pytest

from service.access.callers import ROOT, Root
from service.access.sessions import TOKEN_LENGTH, Sessions
from service.access.types import CLIENT
from service.errors import Unauthenticated
from service.resources import hashing
from service.resources.hashing import Hasher
from service.resources.keeper import Keeper
from service.resources.repository import Repository
from service.resources.schemas import Document
from service.resources.sealing import Sealer
from service.resources.store import EmbeddedStore

OWN = Root("root", "a root secret")
GRANTS = ["client_credentials"]


@pytest.fixture
def store():
    return EmbeddedStore()


@pytest.fixture
def repository(store, monkeypatch):
    monkeypatch.setattr(hashing, "COST", 2)
    hasher = Hasher()
    yield Repository(store, Keeper(Sealer(), hasher))
    hasher.close()


@pytest.fixture
def sessions(store, repository, clock):
    return Sessions(store, repository, OWN, seconds=60, clock=clock)


@pytest.fixture
async def opened(sessions, repository):
    """Opens a session of a client, who is written first."""

    async def opened(client="team"):
        resource, _ = await repository.put(
            CLIENT, client, Document({"secret": "hush", "grant_types": GRANTS}, text=False)
        )
        token, _ = await sessions.open(client, resource.fields["secret"])
        return token

    return opened


async def found(sessions, token):
    """The caller's name; None for nobody."""
    try:
        return (await sessions.find(token)).name
    except Unauthenticated:
        return None


async def test_a_token_finds_its_client(sessions, opened):
    token = await opened()

    assert await found(sessions, token) == "Client/team"
    assert len(token) == TOKEN_LENGTH


async def test_the_roots_token_is_the_roots(sessions):
    token, seconds = await sessions.open("", "")

    assert await sessions.find(token) is ROOT
    assert seconds == 60


async def test_no_two_tokens_are_alike(sessions):
    assert len({(await sessions.open("", ""))[0] for _ in range(100)}) == 100


async def test_a_token_is_stored_as_its_hash_alone(sessions, store, opened):
    token = await opened()
    stored = await store.get("Session", hashlib.sha256(token.encode()).hexdigest())

    assert token not in str(store._kinds)
    assert token not in str(dict(stored.record))
    assert "hush" not in str(dict(stored.record))


@pytest.mark.parametrize("secret", ["team", ""])
async def test_a_token_ends_with_its_time(sessions, opened, clock, secret):
    token = await opened() if secret else (await sessions.open("", ""))[0]
    clock.now += 59.9
    before = await found(sessions, token)
    clock.now += 0.1

    assert (bool(before), await found(sessions, token)) == (True, None)


@pytest.mark.parametrize("change", ["deleted", "made anew", "another secret", "no secret", "no grant", "broken"])
async def test_a_token_ends_with_its_client(sessions, repository, store, opened, change):
    token = await opened()
    before = await found(sessions, token)
    if change in {"deleted", "made anew"}:
        await repository.delete(CLIENT, "team")
    if change == "made anew":
        await opened()
    seen = await store.get("Client", "team")
    if change == "another secret":
        await repository.patch(CLIENT, "team", Document({"secret": "another"}, text=False))
    elif change == "no secret":
        await repository.patch(CLIENT, "team", Document({"secret": None}, text=False))
    elif change == "no grant":
        await repository.patch(CLIENT, "team", Document({"grant_types": ["basic"]}, text=False))
    elif change == "broken":
        await store.replace("Client", "team", {**seen.fields, "grant_types": "x"}, seen=seen)

    assert (before, await found(sessions, token)) == ("Client/team", None)


async def test_the_oldest_of_too_many_tokens_ends_though_a_cache_knows_it_otherwise(sessions, store, monkeypatch):
    monkeypatch.setattr("service.access.sessions.MOST_OPEN", 1)
    first, _ = await sessions.open("team", "hash")
    stored = await store.get("Session", hashlib.sha256(first.encode()).hexdigest())
    read = store.get

    async def read_through_a_cache(kind, id, *, fresh=False):
        """As it was before it was stored, unless the cache is bypassed."""
        return await read(kind, id, fresh=fresh) if fresh else None

    monkeypatch.setattr(store, "get", read_through_a_cache)
    await sessions.open("team", "hash")

    assert stored
    assert await store.get("Session", stored.id) is None


async def test_a_token_lives_through_other_changes_of_its_client(sessions, repository, opened):
    token = await opened()
    await repository.patch(CLIENT, "team", Document({"description": "x"}, text=False))

    assert await found(sessions, token) == "Client/team"


async def test_a_root_of_another_secret_has_no_tokens(sessions, store, repository, clock):
    token, _ = await sessions.open("", "")
    others = Sessions(store, repository, Root("root", "another secret"), seconds=60, clock=clock)

    assert await found(others, token) is None


async def test_a_client_without_a_secret_has_no_tokens_of_the_root(sessions, repository):
    await repository.put(CLIENT, "bare", Document({"grant_types": GRANTS}, text=False))
    token, _ = await sessions.open("bare", "hash")

    assert await found(sessions, token) is None


async def test_the_oldest_of_too_many_tokens_ends(sessions, store, opened, monkeypatch):
    monkeypatch.setattr("service.access.sessions.MOST_OPEN", 3)
    other = await opened("other")
    await opened()
    secret = (await store.get("Client", "team")).fields["secret"]
    tokens = [(await sessions.open("team", secret))[0] for _ in range(5)]

    assert [bool(await found(sessions, token)) for token in tokens] == [False, False, True, True, True]
    assert await found(sessions, other) == "Client/other"
    assert (await store.page("Session", offset=0, count=0)).total == 4


@pytest.mark.parametrize("clients", [1, 100])
async def test_nothing_is_held_of_tokens_that_have_ended(sessions, clock, clients):
    for n in range(100):
        await sessions.open(f"c{n % clients}", "hash")
        clock.now += 1

    assert sum(map(len, sessions._opened.values())) == 60


@pytest.mark.parametrize(
    "token", ["", "a" * 42, "a" * 44, "a" * 43, "ä" * 43, "\udcff" * 43, "team", "Session:x", "a" * 100_000]
)
async def test_what_is_no_token_finds_nobody(sessions, opened, token):
    await opened()

    assert await found(sessions, token) is None


async def test_the_hash_of_a_token_is_none(sessions, opened):
    token = await opened()

    assert await found(sessions, hashlib.sha256(token.encode()).hexdigest()) is None


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"client": "team"},
        {"client": "", "proof": "", "ends": "99999"},
        {"client": "team", "proof": "", "ends": "99999"},
        {"client": "team", "proof": "x", "ends": "never"},
        {"client": "", "proof": "x", "ends": "inf"},
    ],
)
async def test_a_session_that_is_not_as_it_was_written_is_nobodys(sessions, store, opened, fields):
    await opened()
    token = "t" * TOKEN_LENGTH
    await store.keep("Session", hashlib.sha256(token.encode()).hexdigest(), fields, seconds=60)

    assert await found(sessions, token) is None
