import asyncio
import base64
import hashlib
import hmac

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.hashes import make_cheap
from support.logins import ROOT_CLIENT

from service.access.callers import root as access_root
from service.access.callers.root import MAX_SECONDS, PREFIX, Root, RootTokens, is_root_token


@pytest.fixture(autouse=True)
def cheap_hashes(monkeypatch):
    make_cheap(monkeypatch)


@pytest.fixture
def tokens(clock):
    return RootTokens(ROOT_CLIENT, seconds=60, clock=clock)


async def test_a_token_is_valid_until_it_expires(tokens, clock):
    token, seconds = await tokens.issue()
    clock.now += 59.99
    before = await tokens.verify(token)
    clock.now += 0.01

    assert (seconds, before, await tokens.verify(token)) == (60, True, False)


async def test_a_token_lives_fifteen_minutes_at_most(clock):
    tokens = RootTokens(ROOT_CLIENT, seconds=86_400, clock=clock)
    token, seconds = await tokens.issue()
    clock.now += MAX_SECONDS

    assert seconds == MAX_SECONDS == 15 * 60
    assert not await tokens.verify(token)


async def test_a_token_is_valid_in_every_process_with_the_same_root(tokens, clock):
    token, _ = await tokens.issue()
    others = [Root("root", "another secret"), Root("admin", "a root secret"), ROOT_CLIENT]
    valid = [await RootTokens(root, seconds=60, clock=clock).verify(token) for root in others]

    assert valid == [False, False, True]


async def test_tokens_are_unique(tokens):
    assert len({(await tokens.issue())[0] for _ in range(100)}) == 100


async def test_a_token_is_distinct_from_jwts_and_client_tokens(tokens):
    token, _ = await tokens.issue()

    assert is_root_token(token)
    assert token.count(".") == 1
    assert len(token) == 80


async def test_a_token_holds_no_fast_function_of_the_secret(tokens):
    token, _ = await tokens.issue()
    payload, signature = token[5:37], token[37:]
    fast = [ROOT_CLIENT.secret.encode(), hashlib.sha256(ROOT_CLIENT.secret.encode()).digest(), b"root:a root secret"]
    signatures = [base64.urlsafe_b64encode(hmac.digest(key, payload.encode(), "sha256")).decode()[:43] for key in fast]

    assert signature not in signatures
    assert "root secret" not in repr(tokens._root)


@given(st.data())
@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_a_changed_token_is_refused(tokens, data):
    token, _ = await tokens.issue()
    at = data.draw(st.integers(0, len(token) - 1))
    other = data.draw(st.characters(codec="utf-8") | st.sampled_from("\udcff=-_"))

    changed = token[:at] + other + token[at + 1 :]
    assert await tokens.verify(changed) is (changed == token)
    assert not await tokens.verify(token[:at])


@pytest.mark.parametrize(
    "token", ["", PREFIX, PREFIX + "A" * 75, PREFIX + "\u00e4" * 75, PREFIX + "\udcff" * 75, "x" * 10**6]
)
async def test_a_malformed_token_is_refused(tokens, token):
    assert not await tokens.verify(token)


async def test_the_key_is_derived_once(tokens, monkeypatch):
    calls, derive = [], access_root.derive_key
    monkeypatch.setattr(access_root, "derive_key", lambda *given: calls.append(given) or derive(*given))
    await asyncio.gather(*(tokens.issue() for _ in range(10)))
    await tokens.verify("x")

    assert len(calls) == 1
    assert ROOT_CLIENT.id in calls[0][1]


async def test_a_new_secret_ends_the_tokens_of_the_old_one(clock):
    root = Root("root", "the first root secret")
    tokens = RootTokens(root, seconds=60, clock=clock)
    old, _ = await tokens.issue()
    root.secret = "the second root secret"
    new, _ = await tokens.issue()

    assert [await tokens.verify(token) for token in (old, new)] == [False, True]


async def test_a_failed_derivation_is_retried(tokens, monkeypatch):
    def derive(*_):
        raise MemoryError

    with monkeypatch.context() as patched:
        patched.setattr(access_root, "derive_key", derive)
        with pytest.raises(MemoryError):
            await tokens.issue()
    token, _ = await tokens.issue()

    assert await tokens.verify(token)


@pytest.mark.parametrize(
    "secret", ["", "a root secret ", "A root secret", "a root secre", "a root secret\0", "root:a root secret"]
)
def test_root_matches_only_its_exact_id_and_secret(secret):
    assert ROOT_CLIENT.matches("root", "a root secret")
    assert not ROOT_CLIENT.matches("root", secret)
    assert not ROOT_CLIENT.matches("Root", "a root secret")


def test_the_boundary_of_id_and_secret_matters():
    assert not Root("ab", "c").matches("a", "bc")
    assert not Root("ab", "c").matches("ab:", "c")
    assert ROOT_CLIENT.secret not in repr(ROOT_CLIENT)
