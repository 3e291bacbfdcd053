import asyncio
import base64
import hashlib
import threading

import pytest

from service.errors import Throttled
from service.resources import hashing
from service.resources.hashing import MOST_WAITING, SCHEME, THREADS

SALT = bytes(range(16))
DERIVED = hashlib.scrypt("hüsh".encode(), salt=SALT, n=2**14, r=8, p=1, dklen=32)


def written(salt=SALT, derived=DERIVED, scheme="scrypt:16384:8:1"):
    return f"{scheme}:{base64.b64encode(salt).decode()}:{base64.b64encode(derived).decode()}"


@pytest.fixture
def held(monkeypatch):
    """Hashing that goes on when it is let go."""
    gate = threading.Event()
    begun = threading.Semaphore(0)

    def scrypt(secret, salt):
        begun.release()
        assert gate.wait(10)
        return bytes(32)

    monkeypatch.setattr(hashing, "_scrypt", scrypt)
    yield begun, gate
    gate.set()


async def test_a_secret_fits_its_own_hash_alone(hasher):
    kept = await hasher.hash("hush")

    assert await hasher.verify("hush", kept)
    assert not await hasher.verify("Hush", kept)
    assert not await hasher.verify("", kept)
    assert not await hasher.verify(kept, kept)


async def test_a_hash_is_scrypts_with_its_cost_beside_it(hasher):
    assert await hasher.verify("hüsh", written())


async def test_no_two_hashes_are_alike(hasher):
    first, second = await hasher.hash("hush"), await hasher.hash("hush")

    assert first != second
    assert "hush" not in first
    assert len(first) <= 512


@pytest.mark.parametrize(
    "kept",
    [
        None,
        "",
        "hüsh",
        SCHEME,
        f"{SCHEME}:",
        f"{SCHEME}::",
        written(salt=b"", derived=b""),
        written(salt=SALT[:-1]),
        written(derived=DERIVED[:-1]),
        written(derived=DERIVED + b"\0"),
        written(scheme="scrypt:2:8:1"),
        written(scheme="plain"),
        written().replace("=", "*"),
        f"{written()}:",
        written(derived=bytes(32)),
    ],
)
async def test_nothing_fits_what_is_no_hash_of_it(hasher, kept):
    assert not await hasher.verify("hüsh", kept)
    assert not await hasher.verify("", kept)


@pytest.mark.parametrize("kept", [None, "nonsense", written()])
async def test_every_refusal_takes_a_hash(hasher, kept, monkeypatch):
    taken = []
    monkeypatch.setattr(hashing, "_scrypt", lambda _, salt: taken.append(len(salt)) or bytes(32))
    await hasher.verify("wrong", kept)

    assert taken == [16]


async def test_the_loop_turns_while_threads_hash(hasher, held):
    _, gate = held
    hashed = asyncio.create_task(hasher.hash("hush"))
    await asyncio.sleep(0.01)
    waited = not hashed.done()
    gate.set()

    assert waited
    assert (await hashed).startswith(SCHEME)


async def test_who_would_wait_too_long_is_told_at_once(hasher, held):
    _, gate = held
    waiting = [asyncio.create_task(hasher.verify("hush", None)) for _ in range(MOST_WAITING)]
    await asyncio.sleep(0.01)
    with pytest.raises(Throttled):
        await hasher.hash("hush")
    gate.set()
    await asyncio.gather(*waiting)

    assert (await hasher.hash("hush")).startswith(SCHEME)


async def test_so_many_hash_at_a_time(hasher, held):
    begun, gate = held
    waiting = [asyncio.create_task(hasher.verify("hush", None)) for _ in range(THREADS + 3)]
    await asyncio.sleep(0.05)
    at_once = sum(begun.acquire(blocking=False) for _ in range(THREADS + 3))
    gate.set()
    await asyncio.gather(*waiting)

    assert at_once == THREADS
