import hashlib

import pytest
from support.hashes import scrypt_text
from support.logins import SECRET

from service.access.callers.tokens import TOKEN_LENGTH, AccessTokens
from service.access.client import CLIENT
from service.errors import Invalid, StoreUnavailable, TokenOfAnotherClient, Unauthenticated
from service.resources.schemas import ParsedBody

GRANTS = ["client_credentials"]


@pytest.fixture
def tokens(store, repository, clock):
    return AccessTokens(store, repository, seconds=60, clock=clock)


@pytest.fixture
async def issue(tokens, repository):
    """Return a function that writes a Client and issues a token for it."""

    async def issue(client="team"):
        await repository.put(CLIENT, client, ParsedBody({"secret": SECRET, "grant_types": GRANTS}, text=False))
        token, seconds = await tokens.issue(client, await fingerprint(repository, client))
        assert seconds == 60
        return token

    return issue


async def fingerprint(repository, client="team"):
    """Return the fingerprint of the client's current secret."""
    return repository.model(CLIENT, await repository.find(CLIENT, client)).secret.current.fingerprint


async def client_of(tokens, token):
    """Return the id of the token's client, or None if the token is refused."""
    try:
        return await tokens.verify(token)
    except Unauthenticated:
        return None


async def test_a_token_identifies_its_client(tokens, issue):
    token = await issue()

    assert await client_of(tokens, token) == "team"
    assert len(token) == TOKEN_LENGTH


async def test_tokens_are_unique(tokens):
    assert len({(await tokens.issue("team", ""))[0] for _ in range(100)}) == 100


async def test_only_the_hash_of_a_token_is_stored(tokens, store, issue):
    token = await issue()
    stored = await store.get("Session", hashlib.sha256(token.encode()).hexdigest())

    assert token not in str(store._kinds)
    assert token not in str(dict(stored.record))
    assert "hush" not in str(dict(stored.record))


async def test_no_stored_field_is_a_function_of_the_secret(store, repository, issue):
    await issue()
    (stored,) = await store.all("Session")
    before = await fingerprint(repository)
    await issue()

    assert stored.fields["proof"] == before
    # Fingerprints are random: the same secret has another one.
    assert await fingerprint(repository) != before


async def test_a_token_expires(tokens, issue, clock):
    token = await issue()
    clock.now += 59.9
    before = await client_of(tokens, token)
    clock.now += 0.1

    assert (bool(before), await client_of(tokens, token)) == (True, None)


@pytest.mark.parametrize("change", ["deleted", "recreated", "another secret", "no secret", "no grant", "broken"])
async def test_a_token_ends_with_its_client(tokens, repository, store, issue, change):
    token = await issue()
    before = await client_of(tokens, token)
    if change in {"deleted", "recreated"}:
        await repository.delete(CLIENT, "team")
    if change == "recreated":
        await issue()
    stored = await store.get("Client", "team")
    if change == "another secret":
        await repository.patch(CLIENT, "team", ParsedBody({"secret": "another secret, longer"}, text=False))
    elif change == "no secret":
        await repository.patch(CLIENT, "team", ParsedBody({"secret": None}, text=False))
    elif change == "no grant":
        await repository.patch(CLIENT, "team", ParsedBody({"grant_types": ["basic"]}, text=False))
    elif change == "broken":
        await store.replace("Client", "team", {**stored.fields, "grant_types": "x"}, expected=stored)

    assert (before, await client_of(tokens, token)) == ("team", None)


async def test_the_oldest_token_ends_despite_a_stale_cache(tokens, store, monkeypatch):
    monkeypatch.setattr("service.access.callers.tokens.MAX_TOKENS_OF_CLIENT", 1)
    first, _ = await tokens.issue("team", "hash")
    stored = await store.get("Session", hashlib.sha256(first.encode()).hexdigest())
    read = store.get

    async def read_through_a_cache(kind, id, *, bypass_cache=False):
        """Return a stale miss unless the cache is bypassed."""
        return await read(kind, id, bypass_cache=bypass_cache) if bypass_cache else None

    monkeypatch.setattr(store, "get", read_through_a_cache)
    await tokens.issue("team", "hash")

    assert stored
    assert await store.get("Session", stored.id) is None


async def test_a_token_survives_other_changes_of_its_client(tokens, repository, issue):
    token = await issue()
    await repository.patch(CLIENT, "team", ParsedBody({"description": "x"}, text=False))

    assert await client_of(tokens, token) == "team"


async def test_a_token_of_a_rotated_secret_ends_with_it(tokens, repository, issue, clock):
    token = await issue()
    await repository.rotate(CLIENT, "team", "secret", "another secret, longer", previous_expires=1010, now=clock.now)
    new, _ = await tokens.issue("team", await fingerprint(repository))
    before = [await client_of(tokens, text) for text in (token, new)]
    clock.now = 1010.0

    assert before == ["team", "team"]
    assert [await client_of(tokens, text) for text in (token, new)] == [None, "team"]


async def test_a_token_of_an_earlier_version_stays_valid(tokens, repository, store):
    """Its fingerprint is the SHA-256 of the scrypt hash."""
    old = scrypt_text(SECRET)
    await store.replace("Client", "team", {"secret": old, "grant_types": '["client_credentials"]'}, expected=None)
    token = "t" * TOKEN_LENGTH
    fields = {"client": "team", "proof": hashlib.sha256(old.encode()).hexdigest(), "ends": "1060"}
    await store.put_with_ttl("Session", hashlib.sha256(token.encode()).hexdigest(), fields, seconds=60)
    before = await client_of(tokens, token)
    secret = repository.model(CLIENT, await repository.find(CLIENT, "team")).secret
    await repository.rewrite(CLIENT, "team", "secret", lambda _: str(secret.with_hash(secret.current, "$argon2id$x")))

    assert [before, await client_of(tokens, token)] == ["team", "team"]


async def test_a_client_without_a_secret_has_no_tokens(tokens, repository):
    await repository.put(CLIENT, "bare", ParsedBody({"grant_types": GRANTS}, text=False))
    token, _ = await tokens.issue("bare", "hash")

    assert await client_of(tokens, token) is None


async def test_the_oldest_token_above_the_limit_ends(tokens, store, repository, issue, monkeypatch):
    monkeypatch.setattr("service.access.callers.tokens.MAX_TOKENS_OF_CLIENT", 3)
    other = await issue("other")
    await issue()
    proof = await fingerprint(repository)
    issued = [(await tokens.issue("team", proof))[0] for _ in range(5)]

    assert [bool(await client_of(tokens, token)) for token in issued] == [False, False, True, True, True]
    assert await client_of(tokens, other) == "other"
    assert (await store.page("Session", offset=0, count=0)).total == 4


async def test_a_token_that_cannot_be_stored_ends_no_other_token(tokens, store, repository, issue, monkeypatch):
    monkeypatch.setattr("service.access.callers.tokens.MAX_TOKENS_OF_CLIENT", 3)
    await issue()
    proof = await fingerprint(repository)
    issued = [(await tokens.issue("team", proof))[0] for _ in range(3)]
    with monkeypatch.context() as outage:
        outage.setattr(store, "put_with_ttl", refuse)
        for _ in range(3):
            with pytest.raises(StoreUnavailable):
                await tokens.issue("team", proof)

    assert [bool(await client_of(tokens, token)) for token in issued] == [True] * 3
    assert await client_of(tokens, (await tokens.issue("team", proof))[0])
    assert [bool(await client_of(tokens, token)) for token in issued] == [False, True, True]


async def test_tokens_that_were_stored_in_vain_are_the_first_to_end(tokens, store, repository, issue, monkeypatch):
    """The write is executed, but its answer is lost or too few replicas confirm it."""
    monkeypatch.setattr("service.access.callers.tokens.MAX_TOKENS_OF_CLIENT", 3)
    await issue("team")
    proof = await fingerprint(repository)
    issued = [(await tokens.issue("team", proof))[0]]
    put = store.put_with_ttl

    async def put_in_vain(*args, **options):
        await put(*args, **options)
        raise StoreUnavailable("in doubt")

    with monkeypatch.context() as outage:
        outage.setattr(store, "put_with_ttl", put_in_vain)
        for _ in range(10):
            with pytest.raises(StoreUnavailable):
                await tokens.issue("team", proof)
            assert (await store.page("Session", offset=0, count=0)).total <= 3
    issued.append((await tokens.issue("team", proof))[0])

    assert [await client_of(tokens, token) for token in issued] == ["team"] * 2
    assert (await store.page("Session", offset=0, count=0)).total == 3


async def test_a_token_is_issued_although_the_oldest_one_cannot_be_removed(
    tokens, store, repository, issue, monkeypatch
):
    monkeypatch.setattr("service.access.callers.tokens.MAX_TOKENS_OF_CLIENT", 1)
    await issue()
    monkeypatch.setattr(store, "remove", refuse)

    assert await client_of(tokens, (await tokens.issue("team", await fingerprint(repository)))[0]) == "team"


async def refuse(*_, **__):
    raise StoreUnavailable("refused")


@pytest.mark.parametrize("clients", [1, 100])
async def test_expired_tokens_take_no_memory(tokens, clock, clients):
    for n in range(100):
        await tokens.issue(f"c{n % clients}", "hash")
        clock.now += 1

    assert sum(map(len, tokens._issued.values())) == 59


@pytest.mark.parametrize(
    "token", ["", "a" * 42, "a" * 44, "a" * 43, "ä" * 43, "\udcff" * 43, "team", "Session:x", "a" * 100_000]
)
async def test_a_malformed_token_is_refused(tokens, issue, token):
    await issue()

    assert await client_of(tokens, token) is None


async def test_the_hash_of_a_token_is_no_token(tokens, issue):
    token = await issue()

    assert await client_of(tokens, hashlib.sha256(token.encode()).hexdigest()) is None


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
async def test_a_malformed_stored_token_is_refused(tokens, store, issue, fields):
    await issue()
    token = "t" * TOKEN_LENGTH
    await store.put_with_ttl("Session", hashlib.sha256(token.encode()).hexdigest(), fields, seconds=60)

    assert await client_of(tokens, token) is None


async def test_a_stored_token_with_a_malformed_expiry_is_refused(tokens, store, issue):
    token = await issue()
    id_ = hashlib.sha256(token.encode()).hexdigest()
    stored = await store.get("Session", id_)
    await store.remove(stored)
    await store.put_with_ttl("Session", id_, {**stored.fields, "ends": "nan"}, seconds=60)

    assert await client_of(tokens, token) is None


@pytest.mark.parametrize("kind", ["Session", "Client"])
async def test_a_token_is_refused_if_it_or_its_client_has_another_type_in_redis(
    tokens, store, issue, monkeypatch, kind
):
    token = await issue()
    get = store.get

    async def get_or_refuse(of, id_, *, bypass_cache=False):
        if of == kind:
            raise Invalid(f"{of}/{id_} is no hash in Redis")
        return await get(of, id_, bypass_cache=bypass_cache)

    monkeypatch.setattr(store, "get", get_or_refuse)

    assert await client_of(tokens, token) is None
    assert await tokens.revoke(token, client="other" if kind == "Session" else "team") == (
        None if kind == "Session" else "team"
    )


async def test_a_forged_stored_token_of_root_is_refused(tokens, store, issue):
    await issue()
    token = "t" * TOKEN_LENGTH
    for client in ("", "root"):
        fields = {"client": client, "proof": "", "ends": "99999"}
        await store.put_with_ttl("Session", hashlib.sha256(token.encode()).hexdigest(), fields, seconds=60)

        assert await client_of(tokens, token) is None


@pytest.mark.parametrize("client", ["team", None])
async def test_a_client_and_root_revoke_a_token(tokens, issue, client):
    token = await issue()
    before = await client_of(tokens, token)
    owner = await tokens.revoke(token, client=client)

    assert (before, owner, await client_of(tokens, token)) == ("team", "team", None)
    assert await tokens.revoke(token, client=client) is None


async def test_a_token_of_another_client_is_not_revoked(tokens, issue):
    token = await issue()
    with pytest.raises(TokenOfAnotherClient):
        await tokens.revoke(token, client="other")

    assert await client_of(tokens, token) == "team"


@pytest.mark.parametrize("token", ["", "a" * 42, "a" * 43, "\u00e4" * 43, "\udcff" * 43])
async def test_revoking_an_unknown_token_succeeds(tokens, issue, token):
    await issue()

    assert await tokens.revoke(token, client="team") is None


async def test_a_token_is_revoked_despite_a_stale_cache(tokens, store, issue, monkeypatch):
    token = await issue()
    read = store.get

    async def read_through_a_cache(kind, id, *, bypass_cache=False):
        return await read(kind, id, bypass_cache=bypass_cache) if bypass_cache else None

    with monkeypatch.context() as patched:
        patched.setattr(store, "get", read_through_a_cache)
        owner = await tokens.revoke(token, client="team")

    assert (owner, await client_of(tokens, token)) == ("team", None)
