"""The one way in which a hash in Redis changes: whole, if it is as expected, under a version that Redis gives."""

import hashlib
from collections.abc import Collection, Iterator, Mapping, Sequence

from redis.asyncio import Redis
from redis.exceptions import BusyLoadingError, NoScriptError, OutOfMemoryError, RedisError

from service.errors import StoreUnavailable
from service.stores.record import VERSION, VERSION_COPY
from service.stores.retry import CircuitBreaker, WrongType
from service.stores.store import NothingWritten
from service.stores.topology import is_demotion

# The new fields go in before the old ones go out, and nothing is deleted whole: were one command refused half way
# (an ACL, say), what was there is still there. A hash without fields is gone by itself.
# ARGV: the least version, or "" for the same one; the number of expected fields, and each with its text; the new fields
# with theirs.
COMPARE_AND_SET = """
local expected = tonumber(ARGV[2])
if redis.call('HLEN', KEYS[1]) ~= expected then return '' end
for i = 3, 2 * expected + 1, 2 do
  if redis.call('HGET', KEYS[1], ARGV[i]) ~= ARGV[i + 1] then return '' end
end
local version, kept = ARGV[1], {}
if version == '' then
  version, kept['_version'], kept['_versionCopy'] = '0', true, true
elseif #ARGV > 2 * expected + 2 then
  local now = redis.call('TIME')
  version = string.format('%.0f', math.max(tonumber(version), now[1] * 1000000 + now[2]))
  redis.call('HSET', KEYS[1], '_version', version, '_versionCopy', version)
  kept['_version'], kept['_versionCopy'] = true, true
end
for i = 2 * expected + 3, #ARGV, 2 do
  redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1])
  kept[ARGV[i]] = true
end
for i = 3, 2 * expected + 1, 2 do
  if not kept[ARGV[i]] then redis.call('HDEL', KEYS[1], ARGV[i]) end
end
return version
"""
COMPARE_AND_SET_SHA = hashlib.sha1(COMPARE_AND_SET.encode(), usedforsecurity=False).hexdigest()

# Redis checks these before the first write of a script.
UNWRITTEN = (OutOfMemoryError, NoScriptError, BusyLoadingError)


async def swap(
    client: Redis,
    reach: CircuitBreaker,
    key: str,
    old: Mapping[str, str],
    new: Mapping[str, str],
    *,
    same_version: bool = False,
) -> tuple[str, bool]:
    """Put the record ``new`` in place of ``old``, under a version that is not below the one in ``new``.

    With ``same_version``, the version stays as it is. Returns the new version ("0" for the same), or "" where something
    else was stored; and whether an earlier try may have been first.

    Raises:
        WrongType: where the key is no hash.
        NothingWritten: where no try can have changed anything.
        StoreUnavailable: where one may have.
    """
    least = "" if same_version else new.get(VERSION, "0")
    arguments = [least, str(len(old)), *_flat(old), *_flat(new, but=(VERSION, VERSION_COPY))]
    doubts = 0

    async def compare_and_set() -> str:
        nonlocal doubts
        # A connection that cannot be made has written nothing, so it is made before.
        async with client.client() as connection:
            doubts += 1
            try:
                version = await _run_script(connection, key, arguments)
            except RedisError as error:
                doubts -= isinstance(error, UNWRITTEN) or is_demotion(error)
                raise
            doubts -= 1
            return version

    try:
        return await reach.call(compare_and_set), doubts > 0
    except WrongType:
        raise
    except StoreUnavailable as error:
        if doubts:
            raise
        raise NothingWritten(*error.issues) from None


async def _run_script(client: Redis, key: str, arguments: Sequence[str]) -> str:
    try:
        answer: str = await client.evalsha(COMPARE_AND_SET_SHA, 1, key, *arguments)
    except NoScriptError:
        answer = await client.eval(COMPARE_AND_SET, 1, key, *arguments)
    return answer


def _flat(record: Mapping[str, str], *, but: Collection[str] = ()) -> Iterator[str]:
    for name, text in record.items():
        if name not in but:
            yield name
            yield text
