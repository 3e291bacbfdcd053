"""Writes to Redis: Lua scripts change a hash, and WAIT confirms that replicas have the change."""

import hashlib
from collections.abc import Mapping, Sequence
from itertools import chain
from time import monotonic
from typing import cast

from redis.asyncio import Redis
from redis.exceptions import AskError, BusyLoadingError, NoPermissionError, NoScriptError, RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from service.errors import StoreUnavailable
from service.stores.connection import on_one_connection
from service.stores.failures import WrongType, is_refused
from service.stores.record import VERSION, VERSION_COPY
from service.stores.retry import CircuitBreaker
from service.stores.store import NothingWritten
from service.stores.time_limit import TimeLimit

# Redis undoes nothing if it refuses a command halfway, because of an ACL for example. So before its first change, the
# script calls HSET and HDEL without an effect. HSET is first, because full memory refuses only the first write of all.
# The script sets new fields before it deletes old ones, and never deletes the key. Redis removes a hash without fields.
# PERSIST comes last. If Redis refuses it, the write is complete, and its error follows the version.
# ARGV, in this order:
# - the least new version, or "" to keep the version;
# - the number of expected fields;
# - "persist" to remove a time to live, or "" to keep it;
# - the latest instant to create a record, in microseconds of Redis' clock, or "" for any;
# - the expected fields, each with its text;
# - the new fields, each with its text.
COMPARE_AND_SET = """
local expected = tonumber(ARGV[2])
if ARGV[4] ~= '' then
  local now = redis.call('TIME')
  if now[1] * 1000000 + now[2] > tonumber(ARGV[4]) then return 'late' end
end
if redis.call('HLEN', KEYS[1]) ~= expected then return '' end
for i = 5, 2 * expected + 3, 2 do
  if redis.call('HGET', KEYS[1], ARGV[i]) ~= ARGV[i + 1] then return '' end
end
if expected > 0 and #ARGV > 2 * expected + 4 then
  redis.call('HSET', KEYS[1], ARGV[5], ARGV[6])
  redis.call('HDEL', KEYS[1], '')
end
local version, kept = ARGV[1], {}
if version == '' then
  version, kept['_version'], kept['_versionCopy'] = '0', true, true
elseif #ARGV > 2 * expected + 4 then
  local now = redis.call('TIME')
  version = string.format('%.0f', math.max(tonumber(version), now[1] * 1000000 + now[2]))
  redis.call('HSET', KEYS[1], '_version', version, '_versionCopy', version)
  kept['_version'], kept['_versionCopy'] = true, true
end
if #ARGV == 4 then
  -- The key stays without a record. WAIT confirms this only behind a write.
  redis.call('HDEL', KEYS[1], '_version')
  redis.call('HSET', KEYS[1], '_version', version)
  redis.call('HDEL', KEYS[1], '_version')
end
for i = 2 * expected + 5, #ARGV, 2 do
  redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1])
  kept[ARGV[i]] = true
end
for i = 5, 2 * expected + 3, 2 do
  if not kept[ARGV[i]] then redis.call('HDEL', KEYS[1], ARGV[i]) end
end
if ARGV[3] == 'persist' then
  local persisted = redis.pcall('PERSIST', KEYS[1])
  if type(persisted) == 'table' and persisted.err then version = version .. ' ' .. persisted.err end
end
return version
"""
# If Redis refuses EXPIRE, the hash goes again, because it would stay for ever.
# ARGV: the seconds until the hash expires; the latest instant, as above; the fields, each with its text.
SET_WITH_TTL = """
local now = redis.call('TIME')
if now[1] * 1000000 + now[2] > tonumber(ARGV[2]) then return 'late' end
redis.call('HSET', KEYS[1], unpack(ARGV, 3))
local expires = redis.pcall('EXPIRE', KEYS[1], ARGV[1])
if type(expires) == 'table' then
  for i = 3, #ARGV, 2 do redis.call('HDEL', KEYS[1], ARGV[i]) end
  return expires
end
return '1'
"""


class TooLate(RedisTimeoutError):
    """Redis has got an attempt after its end, and has not executed it."""


# Redis raises these errors before the first write of a script.
NOT_EXECUTED = (NoScriptError, BusyLoadingError, AskError, TooLate)


class Unconfirmed(StoreUnavailable):
    """A write may or may not have happened, because too few replicas have confirmed it."""

    def __init__(self) -> None:
        super().__init__(
            "Too few replicas have confirmed the change, so it may or may not have happened; "
            "repeat the change until it is acknowledged"
        )


class Writer:
    """Runs the scripts. With ``wait_replicas``, that many replicas must confirm each write."""

    def __init__(self, breaker: CircuitBreaker, *, wait_replicas: int = 0) -> None:
        self._breaker = breaker
        self._wait_replicas = wait_replicas

    async def compare_and_set(
        self,
        key: str,
        old: Mapping[str, str],
        new: Mapping[str, str],
        *,
        same_version: bool = False,
        persist: bool = False,
    ) -> tuple[str, bool]:
        """Replace the record ``old`` by ``new``, under the version in ``new`` or a higher one.

        Returns the new version, and whether an earlier attempt may have replaced ``old`` although its answer was lost.
        The version is "0" with ``same_version``, and "" if the key holds another record. ``persist`` removes a time to
        live from the key; a refusal by Redis is a warning.

        Raises:
            WrongType: the key does not hold a hash.
            NothingWritten: no attempt can have changed the hash.
            StoreUnavailable: an attempt may have changed the hash.
        """
        least_version = "" if same_version else new.get(VERSION, "0")
        fields = {name: text for name, text in new.items() if name not in (VERSION, VERSION_COPY)}
        options = [least_version, str(len(old)), "persist" if persist else ""]
        texts = [*chain(*old.items()), *chain(*fields.items())]
        in_doubt = 0

        async def compare_and_set(client: Redis, limit: TimeLimit) -> str:
            nonlocal in_doubt
            # Connect first: an attempt that fails to connect has written nothing.
            async with on_one_connection(client) as connection:
                # Only a missing hash can be expected again after another change: a deletion.
                latest = "" if old else await _end_of_attempt(connection, limit)
                in_doubt += 1
                try:
                    version = await _run_script(connection, COMPARE_AND_SET, key, [*options, latest, *texts])
                except RedisError as error:
                    in_doubt -= isinstance(error, NOT_EXECUTED) or is_refused(error)
                    raise
                if version:
                    await self._confirm(connection, key, limit)
                in_doubt -= 1
                version, _, refusal = version.partition(" ")
                if persist and version:
                    self._note_persist(refusal, key)
                return version

        try:
            version = await self._breaker.write("compare_and_set", key, compare_and_set)
        except (WrongType, Unconfirmed):
            raise
        except StoreUnavailable as error:
            if in_doubt and self._wait_replicas:
                raise Unconfirmed from None
            if in_doubt:
                raise
            raise NothingWritten(*error.issues) from None
        if not version and in_doubt and self._wait_replicas:
            # WAIT on another connection than that of the write would confirm nothing.
            raise Unconfirmed
        return version, in_doubt > 0

    async def set_with_ttl(self, key: str, record: Mapping[str, str], seconds: int) -> None:
        """Add the fields of ``record`` to a hash that Redis deletes after ``seconds``."""
        written = False

        async def keep(client: Redis, limit: TimeLimit) -> None:
            nonlocal written
            async with on_one_connection(client) as connection:
                latest = await _end_of_attempt(connection, limit)
                await _run_script(connection, SET_WITH_TTL, key, [str(seconds), latest, *chain(*record.items())])
                written = True
                await self._confirm(connection, key, limit)

        try:
            await self._breaker.write("keep", key, keep)
        except StoreUnavailable:
            if written and self._wait_replicas:
                raise Unconfirmed from None
            raise

    def _note_persist(self, refusal: str, key: str) -> None:
        if refusal:
            self._breaker.failures.refused("persist", NoPermissionError(refusal), key)
        else:
            self._breaker.failures.end("persist", key)

    async def _confirm(self, connection: Redis, key: str, limit: TimeLimit) -> None:
        """Wait until enough replicas have what this connection has written, within the time of the attempt."""
        if not self._wait_replicas:
            return
        # A fifth is left for the answer.
        if await connection.wait(self._wait_replicas, max(1, int(800 * limit.left))) < self._wait_replicas:
            self._breaker.failures.incomplete("wait", "too few replicas have confirmed a change in time", key)
            raise Unconfirmed
        self._breaker.failures.end("wait", key)


async def _end_of_attempt(connection: Redis, limit: TimeLimit) -> str:
    """Return the time of Redis' clock at which the attempt ends.

    The network may deliver an attempt long after its connection was given up. A repeated one may have created the
    record by then, and somebody deleted it, so that the late one would create it again.
    """
    asked_at, left = monotonic(), limit.left
    seconds, microseconds = await connection.time()
    # Redis' clock goes on while the event loop is blocked, but the limit does not.
    blocked = max(0, monotonic() - asked_at - (left - limit.left))
    return str(1_000_000 * seconds + microseconds + int(1_000_000 * (limit.left + blocked)))


async def _run_script(client: Redis, script: str, key: str, arguments: Sequence[str]) -> str:
    # redis-py's Script would need the right to SCRIPT LOAD.
    sha = hashlib.sha1(script.encode(), usedforsecurity=False).hexdigest()
    try:
        answer = await client.evalsha(sha, 1, key, *arguments)
    except NoScriptError:
        answer = await client.eval(script, 1, key, *arguments)
    if answer == "late":
        raise TooLate("the attempt has arrived after its end")
    return cast("str", answer)
