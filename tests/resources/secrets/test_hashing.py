import asyncio
import base64
import subprocess
import sys
import threading

import pytest
from argon2 import PasswordHasher, extract_parameters
from support.hashes import SALT, make_cheap, scrypt_text

from service.errors import Throttled
from service.resources.secrets import hashing
from service.resources.secrets.hashing import MAX_WAITING, THREADS, derive_key, is_current
from service.resources.secrets.stored_secret import HashedSecret, StoredSecret

SCRYPT = scrypt_text("h\u00fcsh")


def hashed(*texts):
    return [HashedSecret(f"fingerprint {n}", text) for n, text in enumerate(texts)]


@pytest.fixture
def held(monkeypatch):
    """Block hashing until the gate is set."""
    gate = threading.Event()
    begun = threading.Semaphore(0)

    def argon2(_, __):
        begun.release()
        assert gate.wait(10)
        return "$argon2id$"

    monkeypatch.setattr(hashing, "_argon2", argon2)
    yield begun, gate
    gate.set()


async def test_a_secret_matches_only_its_own_hash(hasher):
    (own,) = hashed(await hasher.hash("hush"))

    assert await hasher.verify("hush", [own]) is own
    for other in ("Hush", "", own.hash):
        assert await hasher.verify(other, [own]) is None


async def test_a_hash_has_the_parameters_that_owasp_recommends(hasher):
    text = await hasher.hash("hush")
    parameters = extract_parameters(text)

    assert text.startswith("$argon2id$")
    assert (parameters.memory_cost, parameters.time_cost, parameters.parallelism) == (19 * 1024, 2, 1)
    assert (parameters.salt_len, parameters.hash_len) == (16, 32)
    assert PasswordHasher().verify(text, "hush")


async def test_a_hash_of_an_earlier_version_still_matches(hasher):
    (old,) = hashed(SCRYPT)

    assert await hasher.verify("h\u00fcsh", [old]) is old
    assert await hasher.verify("hush", [old]) is None
    assert not is_current(SCRYPT)
    assert is_current(await hasher.hash("hush"))


async def test_two_hashes_of_a_secret_differ(hasher):
    first, second = await hasher.hash("hush"), await hasher.hash("hush")

    assert first != second
    assert "hush" not in first


@pytest.mark.parametrize(
    "text",
    [
        "",
        "h\u00fcsh",
        "\udcff",
        "scrypt:16384:8:1",
        "scrypt:16384:8:1:",
        "scrypt:16384:8:1::",
        scrypt_text("h\u00fcsh", salt=SALT[:-1]),
        SCRYPT[:-4],
        f"{SCRYPT[:-1]}*",
        f"{SCRYPT}:",
        scrypt_text("h\u00fcsh", scheme="scrypt:2:8:1"),
        scrypt_text("h\u00fcsh", scheme="plain"),
        scrypt_text("another"),
        "$argon2id$v=19$m=19456,t=2,p=1$",
        "$argon2id$v=19$m=19456,t=2,p=1$$",
        "$argon2id$v=19$m=19456,t=2,p=1$AAAA$AAAA",
        # Parameters of an intruder must not take gigabytes.
        "$argon2id$v=19$m=4194304,t=9,p=1$c2FsdHNhbHRzYWx0c2FsdA$AAAA",
        PasswordHasher(1, 8, 1).hash("h\u00fcsh", salt=SALT),
    ],
)
@pytest.mark.slow
async def test_no_secret_matches_an_invalid_hash(hasher, text):
    assert await hasher.verify("h\u00fcsh", hashed(text)) is None
    assert await hasher.verify("", hashed(text)) is None


@pytest.fixture
def computed(monkeypatch):
    """Return the salts of all computed hashes."""
    salts = []

    def argon2(_, salt):
        salts.append(salt)
        return "$argon2id$"

    monkeypatch.setattr(hashing, "_argon2", argon2)
    return salts


@pytest.mark.parametrize("texts", [[], ["nonsense"], [f"$argon2id$v=19$m=19456,t=2,p=1${'A' * 22}$x"]])
async def test_every_refusal_computes_one_hash(hasher, computed, texts):
    await hasher.verify("wrong", hashed(*texts))

    assert computed == [bytes(16)]


async def test_a_refusal_computes_one_hash_while_two_secrets_are_valid(hasher, monkeypatch):
    old = HashedSecret("old", await hasher.hash("old secret"))
    new = HashedSecret("new", await hasher.hash("new secret", beside=StoredSecret(old)))
    calls, argon2 = [], hashing._argon2
    monkeypatch.setattr(hashing, "_argon2", lambda *given: calls.append(given) or argon2(*given))
    matches = [await hasher.verify(secret, [new, old]) for secret in ("new secret", "old secret", "wrong")]

    assert matches == [new, old, None]
    assert len(calls) == 3


async def test_the_event_loop_runs_while_threads_hash(hasher, held):
    _, gate = held
    hash_ = asyncio.create_task(hasher.hash("hush"))
    await asyncio.sleep(0.01)
    waited = not hash_.done()
    gate.set()

    assert waited
    assert await hash_


async def test_a_caller_that_would_wait_too_long_is_refused_immediately(hasher, held):
    _, gate = held
    waiting = [asyncio.create_task(hasher.verify("hush", [])) for _ in range(MAX_WAITING)]
    await asyncio.sleep(0.01)
    with pytest.raises(Throttled):
        await hasher.hash("hush")
    with pytest.raises(Throttled):
        hasher.check_capacity()
    gate.set()
    await asyncio.gather(*waiting)

    assert await hasher.hash("hush")


async def test_the_number_of_concurrent_hashes_is_bounded(hasher, held):
    begun, gate = held
    waiting = [asyncio.create_task(hasher.verify("hush", [])) for _ in range(THREADS + 3)]
    await asyncio.sleep(0.05)
    at_once = sum(begun.acquire(blocking=False) for _ in range(THREADS + 3))
    gate.set()
    await asyncio.gather(*waiting)

    assert at_once == THREADS


def test_a_derived_key_depends_on_its_secret_and_its_purpose(monkeypatch):
    make_cheap(monkeypatch)
    keys = [derive_key(*given) for given in (("a", "x"), ("a", "x"), ("a", "y"), ("b", "x"))]

    assert keys[0] == keys[1]
    assert len(set(keys)) == 3
    assert len(keys[0]) == 32


def test_deriving_a_key_takes_longer_than_a_hash():
    assert hashing.KEY_PASSES > hashing.PASSES


@pytest.mark.slow
def test_without_authentication_argon2_is_not_loaded():
    code = "import sys, service.app; sys.exit('argon2' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_salts_are_as_long_as_rfc_9106_recommends():
    assert len(base64.b64decode(SCRYPT.split(":")[4])) == hashing.SALT_BYTES == 16
