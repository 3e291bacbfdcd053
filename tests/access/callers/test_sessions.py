import hashlib

import pytest
from support.hashes import make_cheap, scrypt_text

from service.access.callers.sessions import TOKEN_LENGTH, Sessions
from service.access.types import CLIENT
from service.errors import Invalid, TokenOfAnotherClient, Unauthenticated
from service.resources.repository import Repository
from service.resources.schemas import ParsedBody
from service.resources.secrets.codec import SecretCodec
from service.resources.secrets.encryption import Encryptor
from service.resources.secrets.hashing import Hasher
from service.stores.store import EmbeddedStore

HUSH = "hush, sixteen letters"
GRANTS = ["client_credentials"]


@pytest.fixture
def store():
    return EmbeddedStore()


@pytest.fixture
def repository(store, monkeypatch):
    make_cheap(monkeypatch)
    hasher = Hasher()
    yield Repository(store, SecretCodec(Encryptor(), hasher))
    hasher.close()


@pytest.fixture
def sessions(store, repository, clock):
    return Sessions(store, repository, seconds=60, clock=clock)


@pytest.fixture
async def opened(sessions, repository):
    """Opens a session of a client, who is written first."""

    async def opened(client="team"):
        await repository.put(CLIENT, client, ParsedBody({"secret": HUSH, "grant_types": GRANTS}, text=False))
        token, seconds = await sessions.open(client, await fingerprint(repository, client))
        assert seconds == 60
        return token

    return opened


async def fingerprint(repository, client="team"):
    """That of the client's current secret."""
    return repository.model(CLIENT, await repository.find(CLIENT, client)).secret.current.fingerprint


async def found(sessions, token):
    """The client's id; None for nobody."""
    try:
        return await sessions.find(token)
    except Unauthenticated:
        return None


async def test_a_token_finds_its_client(sessions, opened):
    token = await opened()

    assert await found(sessions, token) == "team"
    assert len(token) == TOKEN_LENGTH


async def test_no_two_tokens_are_alike(sessions):
    assert len({(await sessions.open("team", ""))[0] for _ in range(100)}) == 100


async def test_a_token_is_stored_as_its_hash_alone(sessions, store, opened):
    token = await opened()
    stored = await store.get("Session", hashlib.sha256(token.encode()).hexdigest())

    assert token not in str(store._kinds)
    assert token not in str(dict(stored.record))
    assert "hush" not in str(dict(stored.record))


async def test_nothing_that_is_stored_is_a_function_of_the_secret(store, repository, opened):
    await opened()
    (session,) = await store.all("Session")
    before = await fingerprint(repository)
    await opened()

    assert session.fields["proof"] == before
    # The same secret again, and another fingerprint: it is random.
    assert await fingerprint(repository) != before


async def test_a_token_ends_with_its_time(sessions, opened, clock):
    token = await opened()
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
        await repository.patch(CLIENT, "team", ParsedBody({"secret": "another secret, longer"}, text=False))
    elif change == "no secret":
        await repository.patch(CLIENT, "team", ParsedBody({"secret": None}, text=False))
    elif change == "no grant":
        await repository.patch(CLIENT, "team", ParsedBody({"grant_types": ["basic"]}, text=False))
    elif change == "broken":
        await store.replace("Client", "team", {**seen.fields, "grant_types": "x"}, expected=seen)

    assert (before, await found(sessions, token)) == ("team", None)


async def test_the_oldest_of_too_many_tokens_ends_though_a_cache_knows_it_otherwise(sessions, store, monkeypatch):
    monkeypatch.setattr("service.access.callers.sessions.MOST_OPEN", 1)
    first, _ = await sessions.open("team", "hash")
    stored = await store.get("Session", hashlib.sha256(first.encode()).hexdigest())
    read = store.get

    async def read_through_a_cache(kind, id, *, bypass_cache=False):
        """As it was before it was stored, unless the cache is bypassed."""
        return await read(kind, id, bypass_cache=bypass_cache) if bypass_cache else None

    monkeypatch.setattr(store, "get", read_through_a_cache)
    await sessions.open("team", "hash")

    assert stored
    assert await store.get("Session", stored.id) is None


async def test_a_token_lives_through_other_changes_of_its_client(sessions, repository, opened):
    token = await opened()
    await repository.patch(CLIENT, "team", ParsedBody({"description": "x"}, text=False))

    assert await found(sessions, token) == "team"


async def test_a_token_of_a_rotated_secret_ends_with_it(sessions, repository, opened, clock):
    token = await opened()
    await repository.rotate(CLIENT, "team", "secret", "another secret, longer", previous_expires=1010, now=clock.now)
    new, _ = await sessions.open("team", await fingerprint(repository))
    before = [await found(sessions, text) for text in (token, new)]
    clock.now = 1010.0

    assert before == ["team", "team"]
    assert [await found(sessions, text) for text in (token, new)] == [None, "team"]


async def test_a_token_of_an_earlier_version_lives_on(sessions, repository, store):
    """Its proof is the SHA-256 of the hash, which scrypt made of the secret."""
    old = scrypt_text(HUSH)
    await store.replace("Client", "team", {"secret": old, "grant_types": '["client_credentials"]'}, expected=None)
    token = "t" * TOKEN_LENGTH
    fields = {"client": "team", "proof": hashlib.sha256(old.encode()).hexdigest(), "ends": "1060"}
    await store.put_with_ttl("Session", hashlib.sha256(token.encode()).hexdigest(), fields, seconds=60)
    before = await found(sessions, token)
    secret = repository.model(CLIENT, await repository.find(CLIENT, "team")).secret
    await repository.rewrite(CLIENT, "team", "secret", lambda _: str(secret.with_hash(secret.current, "$argon2id$x")))

    assert [before, await found(sessions, token)] == ["team", "team"]


async def test_a_client_without_a_secret_has_no_tokens(sessions, repository):
    await repository.put(CLIENT, "bare", ParsedBody({"grant_types": GRANTS}, text=False))
    token, _ = await sessions.open("bare", "hash")

    assert await found(sessions, token) is None


async def test_the_oldest_of_too_many_tokens_ends(sessions, store, repository, opened, monkeypatch):
    monkeypatch.setattr("service.access.callers.sessions.MOST_OPEN", 3)
    other = await opened("other")
    await opened()
    proof = await fingerprint(repository)
    tokens = [(await sessions.open("team", proof))[0] for _ in range(5)]

    assert [bool(await found(sessions, token)) for token in tokens] == [False, False, True, True, True]
    assert await found(sessions, other) == "other"
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
    await store.put_with_ttl("Session", hashlib.sha256(token.encode()).hexdigest(), fields, seconds=60)

    assert await found(sessions, token) is None


async def test_a_session_that_ends_at_no_number_is_nobodys(sessions, store, opened):
    token = await opened()
    id_ = hashlib.sha256(token.encode()).hexdigest()
    session = await store.get("Session", id_)
    await store.remove(session)
    await store.put_with_ttl("Session", id_, {**session.fields, "ends": "nan"}, seconds=60)

    assert await found(sessions, token) is None


@pytest.mark.parametrize("kind", ["Session", "Client"])
async def test_what_is_no_resource_under_the_key_of_a_session_or_client_lets_nobody_in(
    sessions, store, opened, monkeypatch, kind
):
    token = await opened()
    get = store.get

    async def get_or_refuse(of, id_, *, bypass_cache=False):
        if of == kind:
            raise Invalid(f"{of}/{id_} is no hash in Redis")
        return await get(of, id_, bypass_cache=bypass_cache)

    monkeypatch.setattr(store, "get", get_or_refuse)

    assert await found(sessions, token) is None
    assert await sessions.revoke(token, client="other" if kind == "Session" else "team") == (
        None if kind == "Session" else "team"
    )


async def test_a_session_of_the_roots_that_somebody_writes_is_nobodys(sessions, store, opened):
    await opened()
    token = "t" * TOKEN_LENGTH
    for client in ("", "root"):
        fields = {"client": client, "proof": "", "ends": "99999"}
        await store.put_with_ttl("Session", hashlib.sha256(token.encode()).hexdigest(), fields, seconds=60)

        assert await found(sessions, token) is None


@pytest.mark.parametrize("client", ["team", None])
async def test_a_token_is_revoked_by_its_client_and_by_the_root(sessions, opened, client):
    token = await opened()
    before = await found(sessions, token)
    owner = await sessions.revoke(token, client=client)

    assert (before, owner, await found(sessions, token)) == ("team", "team", None)
    assert await sessions.revoke(token, client=client) is None


async def test_a_token_of_another_client_is_not_revoked(sessions, opened):
    token = await opened()
    with pytest.raises(TokenOfAnotherClient):
        await sessions.revoke(token, client="other")

    assert await found(sessions, token) == "team"


@pytest.mark.parametrize("token", ["", "a" * 42, "a" * 43, "\u00e4" * 43, "\udcff" * 43])
async def test_a_token_that_is_unknown_has_ended(sessions, opened, token):
    await opened()

    assert await sessions.revoke(token, client="team") is None


async def test_a_token_ends_though_a_cache_knows_it_otherwise(sessions, store, opened, monkeypatch):
    token = await opened()
    read = store.get

    async def read_through_a_cache(kind, id, *, bypass_cache=False):
        return await read(kind, id, bypass_cache=bypass_cache) if bypass_cache else None

    with monkeypatch.context() as patched:
        patched.setattr(store, "get", read_through_a_cache)
        owner = await sessions.revoke(token, client="team")

    assert (owner, await found(sessions, token)) == ("team", None)
