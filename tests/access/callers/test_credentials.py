import asyncio
import gc
from contextlib import suppress

import pytest
from support.logins import ROOT_CLIENT, SECRET, basic, outcome

from service.access.callers import rate_limiter
from service.access.callers.authenticator import Authenticator
from service.access.callers.credentials import (
    MAX_CACHED,
    ROOT_CREDENTIAL,
    CredentialVerifier,
    VerifiedCredential,
    parse_basic,
)
from service.access.callers.principals import ROOT
from service.access.callers.rate_limiter import MAX_OF_ADDRESS, MAX_OF_PAIR, LoginRateLimiter
from service.access.callers.root import Root, RootTokens
from service.access.callers.tokens import AccessTokens
from service.access.client import CLIENT
from service.errors import StoreUnavailable, Throttled, Unauthenticated
from service.resources.secrets.stored_secret import StoredSecret

# Each character has four bytes.
LONG = "\N{GRINNING FACE}" * 500


async def test_verified_credentials_are_cached(authenticator, hasher, write):
    names = [(await authenticator.authenticate(basic("team", SECRET), address="here")).name for _ in range(3)]

    assert names == ["Client/team"] * 3
    assert hasher.verified == 1


@pytest.mark.parametrize(
    "other",
    [("here", basic("team", SECRET.upper())), ("there", basic("team", SECRET)), ("here", basic("teams", SECRET))],
)
async def test_other_credentials_or_another_address_are_a_cache_miss(authenticator, hasher, write, other):
    await authenticator.authenticate(basic("team", SECRET), address="here")
    address, authorization = other
    await outcome(authenticator, authorization, address)

    assert hasher.verified == 2


async def test_root_logs_in_without_the_store(authenticator, store, monkeypatch):
    monkeypatch.setattr(store, "get", None)

    assert await authenticator.login(ROOT_CLIENT.id, ROOT_CLIENT.secret, grant="basic", address="") is ROOT


async def test_a_cached_login_of_root_ends_with_its_secret(repository, hasher):
    root = Root("root", "the first root secret")
    verifier = CredentialVerifier(root, repository, hasher)

    async def logs_in(secret):
        with suppress(Unauthenticated):
            return await verifier.verify("root", secret, grant="basic", address="here") is ROOT_CREDENTIAL
        return False

    before = [await logs_in("the first root secret") for _ in range(2)]
    root.secret = "the second root secret"
    after = [await logs_in(secret) for secret in ("the first root secret", "the second root secret")]

    assert (before, after) == ([True, True], [False, True])


async def test_a_failed_login_is_not_cached(authenticator, credentials, hasher, write):
    for _ in range(3):
        assert await outcome(authenticator, basic("team", "wrong")) == "Unauthenticated"

    assert hasher.verified == 3
    assert not credentials._cache


@pytest.mark.parametrize("id_", ["absent", "", "../team", "a:b"])
async def test_an_unknown_client_takes_as_long_as_a_known_one(authenticator, hasher, write, id_):
    assert await outcome(authenticator, basic(id_, SECRET)) == "Unauthenticated"
    assert hasher.verified == 1


@pytest.mark.parametrize("change", ["another secret", "no grants", "deleted", "unreadable"])
async def test_a_change_of_the_client_invalidates_its_cache_entry(authenticator, store, repository, write, change):
    await authenticator.authenticate(basic("team", SECRET), address="here")
    if change == "another secret":
        await write(secret="another secret, longer")
    elif change == "no grants":
        await write(grants=())
    elif change == "deleted":
        await repository.delete(CLIENT, "team")
    else:
        stored = await store.get("Client", "team")
        await store.replace("Client", "team", {**stored.fields, "grant_types": "basic"}, expected=stored)

    assert await outcome(authenticator, basic("team", SECRET)) == (
        "GrantNotAllowed" if change == "no grants" else "Unauthenticated"
    )


async def test_a_replaced_secret_is_refused(authenticator, hasher, write):
    await authenticator.authenticate(basic("team", SECRET), address="here")
    await write(secret="another secret, longer")
    refused = await outcome(authenticator, basic("team", SECRET))
    await authenticator.authenticate(basic("team", "another secret, longer"), address="here")

    assert refused == "Unauthenticated"
    assert hasher.verified == 3


async def test_a_full_cache_takes_a_new_client(authenticator, credentials, hasher, write):
    for n in range(MAX_CACHED):
        credentials._cache[str(n).encode()] = VerifiedCredential("team", SECRET)
    for _ in range(3):
        await authenticator.authenticate(basic("team", SECRET), address="here")

    assert hasher.verified == 1
    assert len(credentials._cache) == MAX_CACHED


async def test_concurrent_logins_share_one_verification(authenticator, credentials, hasher, write):
    hasher.open.clear()
    logins = [asyncio.create_task(outcome(authenticator, basic("team", SECRET))) for _ in range(5 * MAX_OF_PAIR)]
    await asyncio.sleep(0.01)
    logins[0].cancel()
    hasher.open.set()
    names = await asyncio.gather(*logins[1:])

    assert set(names) == {"Client/team"}
    assert hasher.verified == 1
    assert not credentials._in_flight


async def test_concurrent_guesses_are_limited(authenticator, hasher, write):
    hasher.open.clear()
    guesses = [asyncio.create_task(outcome(authenticator, basic("team", f"guess-{n}"))) for n in range(3 * MAX_OF_PAIR)]
    await asyncio.sleep(0.01)
    hasher.open.set()
    outcomes = await asyncio.gather(*guesses)

    assert sorted(outcomes) == ["Throttled"] * 2 * MAX_OF_PAIR + ["Unauthenticated"] * MAX_OF_PAIR
    assert hasher.verified == MAX_OF_PAIR


async def test_a_login_refused_for_capacity_is_no_failure(authenticator, hasher, write):
    hasher.busy = True
    busy = [await outcome(authenticator, basic("team", SECRET)) for _ in range(2 * MAX_OF_PAIR)]
    hasher.busy = False

    assert set(busy) == {"Throttled"}
    assert await outcome(authenticator, basic("team", SECRET)) == "Client/team"


@pytest.mark.filterwarnings("error")
async def test_a_refusal_after_all_logins_are_cancelled_is_not_logged(
    authenticator, credentials, hasher, write, caplog, monkeypatch
):
    async def refuse(*_):
        await hasher.open.wait()
        raise Throttled("Too many logins at once")

    monkeypatch.setattr(hasher, "verify", refuse)
    hasher.open.clear()
    login = asyncio.create_task(outcome(authenticator, basic("team", SECRET)))
    await asyncio.sleep(0.01)
    login.cancel()
    await asyncio.sleep(0.01)
    hasher.open.set()
    await asyncio.sleep(0.01)
    # asyncio logs an unretrieved exception when the task is collected; a traceback would keep the task alive.
    del login
    gc.collect()

    assert not credentials._in_flight
    assert caplog.text == ""


@pytest.mark.parametrize("guessed", ["team", "root"])
async def test_guesses_are_limited_for_a_client_and_for_root(authenticator, write, guessed):
    right = basic(guessed, ROOT_CLIENT.secret if guessed == "root" else SECRET)
    outcomes = [await outcome(authenticator, basic(guessed, str(n))) for n in range(MAX_OF_PAIR + 1)]

    assert outcomes == ["Unauthenticated"] * MAX_OF_PAIR + ["Throttled"]
    assert await outcome(authenticator, right) == "Throttled"
    assert await outcome(authenticator, right, "there") != "Throttled"


async def test_an_outage_of_the_store_is_not_reported_as_wrong_credentials(authenticator, store, write, monkeypatch):
    async def get(*_, **__):
        raise StoreUnavailable("unavailable")

    monkeypatch.setattr(store, "get", get)

    assert await outcome(authenticator, basic("new", SECRET)) == "StoreUnavailable"
    assert await outcome(authenticator, f"Bearer {'a' * 43}") == "StoreUnavailable"


async def test_guesses_at_the_root_secret_count_during_an_outage(authenticator, store, monkeypatch):
    async def get(*_, **__):
        raise StoreUnavailable("unavailable")

    monkeypatch.setattr(store, "get", get)
    outcomes = [await outcome(authenticator, basic("root", str(n))) for n in range(MAX_OF_PAIR)]

    assert outcomes == ["Unauthenticated"] * MAX_OF_PAIR
    assert await outcome(authenticator, basic("root", ROOT_CLIENT.secret)) == "Throttled"


async def test_right_and_wrong_root_secrets_are_refused_alike_at_full_capacity(authenticator, hasher):
    hasher.busy = True
    busy = [await outcome(authenticator, basic("root", secret)) for secret in ("wrong", ROOT_CLIENT.secret)]
    hasher.busy = False

    assert busy == ["Throttled", "Throttled"]
    assert await outcome(authenticator, basic("root", ROOT_CLIENT.secret)) == "root"


async def test_a_guess_at_the_root_secret_counts_if_hashing_fails(authenticator, hasher, monkeypatch):
    async def fail(*_):
        raise MemoryError

    monkeypatch.setattr(hasher, "verify", fail)
    for n in range(MAX_OF_PAIR):
        with pytest.raises(MemoryError):
            await outcome(authenticator, basic("root", str(n)))

    assert await outcome(authenticator, basic("root", ROOT_CLIENT.secret)) == "Throttled"


async def test_a_stored_client_with_the_root_id_cannot_log_in(authenticator, write):
    await write(ROOT_CLIENT.id)

    assert await outcome(authenticator, basic(ROOT_CLIENT.id, SECRET)) == "Unauthenticated"


async def test_a_moved_colon_is_another_client(authenticator, write):
    await write("a", "b:c, sixteen letters")
    before = await outcome(authenticator, basic("a", "b:c, sixteen letters"))
    with pytest.raises(Unauthenticated):
        await authenticator.login("a:b", "c, sixteen letters", grant="basic", address="here")

    assert before == "Client/a"


async def test_a_client_with_the_longest_secret_logs_in(authenticator, write):
    await write(secret=LONG)

    assert await outcome(authenticator, basic("team", LONG)) == "Client/team"
    assert await outcome(authenticator, basic("team", LONG + "x")) == "Unauthenticated"


@pytest.mark.parametrize(
    ("header", "parsed"),
    [
        ("Basic YTpi", ("a", "b")),
        ("basic YTpi", ("a", "b")),
        ("Basic   YTpi  ", ("a", "b")),
        ("Basic YTpiOmM=", ("a", "b:c")),
        ("Basic Og==", ("", "")),
    ],
)
def test_a_basic_header_is_parsed(header, parsed):
    assert parse_basic(header) == parsed


@pytest.mark.parametrize(
    "header", ["Basic", "Basic ", "Basic YQ==", "Basic /w==", "Basic YTpi YTpi", "Basic ä", "x", ""]
)
def test_a_malformed_basic_header_is_refused(header):
    with pytest.raises(Unauthenticated):
        parse_basic(header)


@pytest.fixture
async def earlier(store):
    """Store a Client whose secret was hashed by an earlier version."""
    await store.replace("Client", "team", {"secret": f"old_{SECRET}", "grant_types": '["basic"]'}, expected=None)
    return await store.get("Client", "team")


async def test_a_login_upgrades_an_old_hash(authenticator, store, earlier):
    name = await outcome(authenticator, basic("team", SECRET))
    found = await store.get("Client", "team")
    secret = StoredSecret.parse(found.fields["secret"])

    assert name == "Client/team"
    assert secret.current.hash.startswith("$argon2id$")
    assert secret.current.fingerprint == StoredSecret.parse(earlier.fields["secret"]).current.fingerprint
    assert found.meta == earlier.meta


async def test_an_upgraded_hash_keeps_its_cache_entry(authenticator, hasher, earlier):
    names = [await outcome(authenticator, basic("team", SECRET)) for _ in range(3)]

    assert names == ["Client/team"] * 3
    assert hasher.verified == 1


async def test_a_wrong_secret_upgrades_no_hash(authenticator, store, earlier):
    assert await outcome(authenticator, basic("team", "wrong")) == "Unauthenticated"
    assert await store.get("Client", "team") is earlier


async def test_concurrent_upgrades_by_replicas_agree(store, repository, hasher, earlier):
    hasher.open.clear()
    tokens, root_tokens = AccessTokens(store, repository, seconds=60), RootTokens(ROOT_CLIENT, seconds=60)
    replicas = [
        Authenticator(CredentialVerifier(ROOT_CLIENT, repository, hasher), tokens, root_tokens) for _ in range(5)
    ]
    logins = [asyncio.create_task(outcome(replica, basic("team", SECRET))) for replica in replicas]
    await asyncio.sleep(0.01)
    hasher.open.set()
    first = await asyncio.gather(*logins)
    again = [await outcome(replica, basic("team", SECRET)) for replica in replicas]

    assert [*first, *again] == ["Client/team"] * 10
    assert hasher.verified == 5
    assert (await store.get("Client", "team")).meta == earlier.meta


@pytest.mark.parametrize("change", ["another secret", "gone"])
async def test_an_upgrade_does_not_overwrite_a_concurrent_change(
    authenticator, hasher, repository, write, store, change
):
    stored = await store.get("Client", "team")
    await store.replace("Client", "team", {**stored.fields, "secret": f"old_{SECRET}"}, expected=stored)
    hasher.open.clear()
    login = asyncio.create_task(outcome(authenticator, basic("team", SECRET)))
    await asyncio.sleep(0.01)
    if change == "gone":
        await repository.delete(CLIENT, "team")
    else:
        await write(secret="another secret, longer")
    changed = await store.get("Client", "team")
    hasher.open.set()
    await login

    assert await store.get("Client", "team") is changed


async def test_a_failed_upgrade_does_not_fail_the_login(authenticator, store, earlier, monkeypatch):
    async def rewrite(*_):
        raise StoreUnavailable("read-only")

    monkeypatch.setattr(store, "rewrite", rewrite)

    assert await outcome(authenticator, basic("team", SECRET)) == "Client/team"


async def test_a_short_old_secret_works_with_one_warning(authenticator, store, caplog):
    await store.replace("Client", "team", {"secret": "old_short-secret", "grant_types": '["basic"]'}, expected=None)
    names = [await outcome(authenticator, basic("team", "short-secret"), str(n)) for n in range(3)]

    assert names == ["Client/team"] * 3
    assert [record.getMessage() for record in caplog.records] == [
        "The secret of Client/team has fewer than 16 characters; replace it with POST /Client/team/$rotate-secret"
    ]


async def test_an_attempt_refused_for_capacity_evicts_no_counter(
    authenticator, credentials, hasher, write, monkeypatch
):
    monkeypatch.setattr(rate_limiter, "MAX_COUNTERS", 3)
    credentials._limiter = LoginRateLimiter()
    for n in range(MAX_OF_PAIR - 1):
        await outcome(authenticator, basic("team", str(n)))
    hasher.busy = True
    for n in range(100):
        await outcome(authenticator, basic(f"other-{n}", "x"), f"there-{n}")
    hasher.busy = False
    outcomes = [await outcome(authenticator, basic("team", "x")), await outcome(authenticator, basic("team", "y"))]

    assert outcomes == ["Unauthenticated", "Throttled"]


async def test_a_failed_hash_is_no_guess(authenticator, hasher, write, monkeypatch):
    async def fail(*_):
        raise MemoryError

    with monkeypatch.context() as patched:
        patched.setattr(hasher, "verify", fail)
        for n in range(MAX_OF_PAIR):
            with pytest.raises(MemoryError):
                await outcome(authenticator, basic("team", str(n)))

    assert await outcome(authenticator, basic("team", SECRET)) == "Client/team"


async def test_a_known_client_logs_in_from_an_address_at_its_limit(authenticator, repository, write):
    await outcome(authenticator, basic("team", SECRET))
    for n in range(MAX_OF_ADDRESS):
        await outcome(authenticator, basic(f"other-{n}", "x"))
    # The new secret is not cached.
    await write(secret="another secret, longer")

    assert await outcome(authenticator, basic("stranger", "x")) == "Throttled"
    assert await outcome(authenticator, basic("team", "another secret, longer")) == "Client/team"


async def test_a_cached_login_is_known_for_another_day(authenticator, credentials, write, clock):
    credentials._limiter = LoginRateLimiter(clock)
    for _ in range(2):
        await outcome(authenticator, basic("team", SECRET))
        clock.now += rate_limiter.KNOWN_SECONDS - 1
    for n in range(MAX_OF_ADDRESS):
        await outcome(authenticator, basic(f"other-{n}", "x"))

    assert await outcome(authenticator, basic("stranger", "x")) == "Throttled"
    assert await outcome(authenticator, basic("team", "x")) == "Unauthenticated"
