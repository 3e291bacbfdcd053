"""Redis as a store: edits by operators, permissions, and lost or refused commands."""

import asyncio
import random
import re
import shutil
from contextlib import suppress
from pathlib import Path

import pytest
from redis.asyncio import Redis
from support.shards import client_of
from support.waiting import until

from service.errors import Invalid, StoreUnavailable
from service.stores import connection, retry
from service.stores.cache import CachedStore
from service.stores.connection import connect
from service.stores.failures import Refused
from service.stores.redis import LISTINGS_AT_ONCE, RedisStore
from service.stores.store import NothingWritten
from service.stores.tracking import Tracker


@pytest.fixture
async def store(redis_url):
    store = RedisStore.at(redis_url)
    await store.open()
    yield store
    await store.close()


@pytest.fixture
async def far_store(shared_redis, redis_url):
    """A store whose answers can be lost."""
    async with LossyProxy(shared_redis.port) as proxy:
        store = RedisStore.at(f"redis://127.0.0.1:{proxy.port}")
        # Load the script, so that later writes use EVALSHA.
        await store.replace("AwsAccount", "warm", {}, expected=None)
        yield store, proxy
        await store.close()


class LossyProxy:
    """A proxy between client and Redis that can drop one request or one answer and then closes the connection."""

    def __init__(self, upstream):
        self._upstream = upstream
        self._tasks = set()
        self._word, self._loses_answer, self._meanwhile, self._answer = None, False, None, b""
        self._is_late, self.late_answer = False, b""

    async def __aenter__(self):
        self._server = await asyncio.start_server(self._serve, "127.0.0.1")
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_):
        self._server.close()
        await self._server.wait_closed()
        await asyncio.gather(*self._tasks)

    def lose_request(self, word, meanwhile=None):
        """Drop the next request that contains ``word``, after a call of ``meanwhile``."""
        self._word, self._loses_answer, self._meanwhile = word, False, meanwhile

    def lose_answer(self, word, meanwhile=None):
        """Pass on the next request that contains ``word``, and drop the answer."""
        self._word, self._loses_answer, self._meanwhile = word, True, meanwhile

    def delay_request(self, word, meanwhile):
        """Pass on the next request that contains ``word`` after a call of ``meanwhile``, and keep its late answer."""
        self.lose_request(word, meanwhile)
        self._is_late = True

    def answer(self, word, text):
        """Answer the next request that contains ``word`` with ``text``, and do not pass it on."""
        self.lose_request(word)
        self._answer = text

    async def _serve(self, reader, writer):
        self._tasks.add(asyncio.current_task())
        try:
            from_redis, to_redis = await asyncio.open_connection("127.0.0.1", self._upstream)
        except OSError:
            writer.close()
            return
        answers = asyncio.create_task(self._pass_answers(from_redis, writer))
        while request := await reader.read(65536):
            if self._word and self._word in request:
                self._word = None
                if self._answer:
                    writer.write(self._answer)
                    self._answer = b""
                    continue
                await self._lose(request, answers, from_redis, to_redis)
                break
            to_redis.write(request)
        answers.cancel()
        for end in (writer, to_redis):
            end.close()
            await end.wait_closed()

    async def _pass_answers(self, from_redis, writer):
        while answer := await from_redis.read(65536):
            writer.write(answer)

    async def _lose(self, request, answers, from_redis, to_redis):
        if self._loses_answer:
            answers.cancel()
            await asyncio.sleep(0)
            to_redis.write(request)
            await from_redis.read(65536)
        if self._meanwhile:
            await self._meanwhile()
        if self._is_late:
            answers.cancel()
            await asyncio.sleep(0)
            to_redis.write(request)
            self.late_answer = await from_redis.read(65536)


async def test_a_record_is_a_hash_of_plain_text(redis_url, operator):
    store = RedisStore.at(redis_url, prefix="s3:")
    stored = await store.replace("AwsAccount", "a", {"id": "a", "path-style": "true"}, expected=None)
    await store.close()

    assert await operator.hgetall("s3:AwsAccount:a") == dict(stored.record)
    assert await operator.hget("s3:AwsAccount:a", "path-style") == "true"


async def test_a_record_may_have_very_many_fields(store):
    fields = {f"field-{n}": "x" * 50 for n in range(5_000)}
    stored = await store.replace("AwsAccount", "a", fields, expected=None)

    assert await store.replace("AwsAccount", "a", {"id": "a"}, expected=stored)
    assert (await store.get("AwsAccount", "a")).fields == {"id": "a"}


async def test_an_external_edit_gets_a_new_version(store, operator):
    seen = await store.replace("AwsAccount", "a", {"id": "a", "region": "us-east-1"}, expected=None)
    await operator.hset("AwsAccount:a", "region", "eu-west-1")
    found = await store.get("AwsAccount", "a")

    assert found.fields == {"id": "a", "region": "eu-west-1"}
    assert found.version > seen.version
    assert found.meta.created_at == seen.meta.created_at
    assert found.verify_digest()
    assert await store.get("AwsAccount", "a") == found


@pytest.mark.parametrize("change", ["to one of before", "to one of the future", "away", "away with its copy"])
async def test_an_externally_edited_version_is_replaced(store, operator, change):
    before = await write_often(store)
    if change == "away":
        await operator.hdel("AwsAccount:a", "_version")
    elif change == "away with its copy":
        await operator.hdel("AwsAccount:a", "_version", "_versionCopy")
    else:
        await operator.hset("AwsAccount:a", "_version", before[0] if change == "to one of before" else before[-1] + 9)
    found = await store.get("AwsAccount", "a")

    assert found.version > max(before)
    assert found.verify_digest()
    assert await store.get("AwsAccount", "a") == found


async def test_a_hash_created_by_an_operator_is_a_resource(store, operator):
    await operator.hset("AwsAccount:a", mapping={"id": "a", "region": "eu-west-1"})
    found = await store.get("AwsAccount", "a")

    assert found.fields == {"id": "a", "region": "eu-west-1"}
    assert found.version > 0
    assert await operator.zrange("_index:AwsAccount", 0, -1) == ["a"]


async def test_a_resource_stored_as_validated_is_read_as_validated(store):
    written = await store.replace("AwsAccount", "a", {"region": "eu-west-1"}, expected=None, validated=True)
    read = await store.get("AwsAccount", "a")

    assert (written.validated, read.validated) == (True, True)


async def test_an_external_edit_is_not_validated(store, operator):
    await store.replace("AwsAccount", "a", {"region": "eu-west-1"}, expected=None, validated=True)
    await operator.hset("AwsAccount:a", "region", "-")
    reads = [await store.get("AwsAccount", "a") for _ in range(2)]

    assert [read.validated for read in reads] == [False, False]


async def test_listings_of_accounts_do_not_delay_the_listing_of_policies(store, monkeypatch):
    for kind in ("AwsAccount", "AccessPolicy"):
        await store.replace(kind, "a", {"n": "1"}, expected=None)
    read, reading, ended = store._read_replies, 0, asyncio.Event()

    async def slow(keys):
        nonlocal reading
        if keys[0][0] == "AwsAccount":
            reading += 1
            await ended.wait()
        return await read(keys)

    monkeypatch.setattr(store, "_read_replies", slow)
    pages = [asyncio.create_task(store.page("AwsAccount", offset=0, count=1)) for _ in range(10)]
    await until(lambda: reading == LISTINGS_AT_ONCE)
    policies = await asyncio.wait_for(store.all("AccessPolicy"), 20)
    at_once = reading
    ended.set()

    assert [policy.id for policy in policies] == ["a"]
    assert at_once == LISTINGS_AT_ONCE
    assert [page.total for page in await asyncio.gather(*pages)] == [1] * 10


async def test_a_listing_adopts_external_edits(store, operator):
    await operator.hset("AwsAccount:a", "id", "a")
    (found,) = (await store.page("AwsAccount", offset=0, count=10)).resources

    assert found.version > 0
    assert found == await store.get("AwsAccount", "a")


async def test_concurrent_adoptions_yield_one_version(redis_url, operator):
    stores = [RedisStore.at(redis_url) for _ in range(3)]
    await operator.hset("AwsAccount:a", "id", "a")
    found = await asyncio.gather(*(store.get("AwsAccount", "a") for store in stores for _ in range(10)))
    for store in stores:
        await store.close()

    assert len({resource.version for resource in found}) == 1


async def test_a_write_does_not_overwrite_a_concurrent_external_edit(store, operator):
    seen = await store.replace("AwsAccount", "a", {"id": "a"}, expected=None)
    await operator.hset("AwsAccount:a", "note", "mine")

    assert await store.replace("AwsAccount", "a", {"id": "b"}, expected=seen) is None
    assert not await store.remove(seen)
    assert (await store.get("AwsAccount", "a")).fields == {"id": "a", "note": "mine"}


async def test_bytes_that_are_not_utf8_are_preserved(store, operator, redis_url):
    await operator.hset("AwsAccount:a", "host", b"\xff\xfe caf\xe9")
    found = await store.get("AwsAccount", "a")
    await store.replace("AwsAccount", "a", {**found.fields, "region": "us-east-1"}, expected=found)

    async with Redis.from_url(redis_url) as raw:
        assert await raw.hget("AwsAccount:a", "host") == b"\xff\xfe caf\xe9"


async def test_a_key_that_is_no_hash_is_invalid(store, operator):
    seen = await store.replace("AwsAccount", "a", {"id": "a"}, expected=None)
    await operator.set("AwsAccount:a", "surprise")

    for attempt in (
        store.get("AwsAccount", "a"),
        store.replace("AwsAccount", "a", {}, expected=None),
        store.replace("AwsAccount", "a", {}, expected=seen),
        store.remove(seen),
    ):
        with pytest.raises(Invalid, match="AwsAccount/a is no hash"):
            await attempt
    assert await operator.get("AwsAccount:a") == "surprise"


async def test_prefixes_separate_stores(redis_url):
    one, two = RedisStore.at(redis_url, prefix="one:"), RedisStore.at(redis_url)
    await one.replace("AwsAccount", "a", {"id": "a"}, expected=None)
    await two.replace("AwsAccount", "b", {"id": "b"}, expected=None)
    found = [
        [resource.id for resource in (await store.page("AwsAccount", offset=0, count=10)).resources]
        for store in (one, two)
    ]
    unseen = await one.get("AwsAccount", "b")
    await one.close()
    await two.close()

    assert found == [["a"], ["b"]]
    assert unseen is None


async def write_often(store, id="a"):
    """Return the versions of five successive writes."""
    seen = await store.get("AwsAccount", id)
    versions = []
    for n in range(5):
        seen = await store.replace("AwsAccount", id, {"n": str(n)}, expected=seen)
        versions.append(seen.version)
    return versions


@pytest.mark.parametrize("command", ["FLUSHALL", "FLUSHDB", "DEL AwsAccount:a"])
async def test_no_version_is_reused_after_a_loss_of_all_data(store, operator, command):
    before = await write_often(store)
    await operator.execute_command(*command.split())
    after = await write_often(store)

    assert sorted({*before, *after}) == [*before, *after]


async def test_no_version_is_reused_after_the_restore_of_a_backup(store, operator):
    before = await write_often(store)
    backup = await operator.hgetall("AwsAccount:a")
    before += await write_often(store)
    await operator.delete("AwsAccount:a")
    await operator.hset("AwsAccount:a", mapping=backup)
    after = await write_often(store)

    assert sorted({*before, *after}) == [*before, *after]


async def test_a_version_is_the_clock_of_redis(store, operator):
    seconds, microseconds = await operator.time()
    written = await store.replace("AwsAccount", "a", {}, expected=None)

    assert 0 < written.version - (seconds * 1_000_000 + microseconds) < 3_600_000_000
    assert await operator.hget("AwsAccount:a", "_version") == str(written.version)


@pytest.mark.parametrize("version", [4_102_444_800_000_000, 2**53 - 4])
async def test_a_version_increases_if_the_clock_is_behind_it(store, operator, version):
    await store.replace("AwsAccount", "a", {}, expected=None)
    await operator.hset("AwsAccount:a", "_version", version)
    seen = await store.get("AwsAccount", "a")
    after = await store.replace("AwsAccount", "a", {}, expected=seen)

    assert (seen.version, after.version) == (version + 1, version + 2)


@pytest.mark.parametrize("version", range(2**53 - 4, 2**53 + 2))
async def test_versions_near_the_largest_are_followed_by_others(store, operator, version):
    await store.replace("AwsAccount", "a", {}, expected=None)
    await operator.hset("AwsAccount:a", mapping={"_version": version, "_versionCopy": version})
    versions = []
    for _ in range(5):
        seen = await store.get("AwsAccount", "a")
        versions.append((await store.replace("AwsAccount", "a", {}, expected=seen)).version)

    assert 0 not in versions
    assert len({*versions, version}) == 6


async def test_a_small_version_of_an_earlier_release_increases(store, operator):
    await store.replace("AwsAccount", "a", {}, expected=None)
    await operator.hset("AwsAccount:a", "_version", 7)
    await operator.hdel("AwsAccount:a", "_versionCopy")
    await operator.set("_sequence:AwsAccount", 7)
    seen = await store.get("AwsAccount", "a")
    after = await store.replace("AwsAccount", "a", {}, expected=seen)

    assert seen.version == 7
    assert after.version > 7


@pytest.mark.parametrize("version", ["9" * 16, str(2**53), "9" * 30, "9" * 5000, "-1", "²", "1e3", ""])
async def test_an_invalid_version_is_replaced(store, operator, version):
    await operator.hset(
        "AwsAccount:a", mapping={"id": "a", "_version": version, "_createdAt": "0001-01-01T00:00+23:00"}
    )
    found = await store.get("AwsAccount", "a")

    assert found.version > 0
    assert await store.replace("AwsAccount", "a", {"id": "a"}, expected=found)


async def test_a_user_with_read_access_alone_can_read_and_list(own_redis):
    async with Redis.from_url(own_redis.url) as admin:
        await admin.hset("AwsAccount:a", "id", "a")
        await admin.zadd("_index:AwsAccount", {"a": 0})
        await admin.execute_command("ACL", "SETUSER", "reader", "on", ">hush", "~*", "+@read", "-scan", "+@connection")
    store = RedisStore.at(own_redis.url.replace("//", "//reader:hush@"))
    await store.open()
    found = await store.get("AwsAccount", "a")
    page = await store.page("AwsAccount", offset=0, count=10)
    with pytest.raises(StoreUnavailable):
        await store.replace("AwsAccount", "a", {}, expected=found)
    await store.close()

    assert found.fields == {"id": "a"}
    assert page.resources == [found]


RIGHTS = re.search("^ACL SETUSER (.+)$", Path("docs/redis.md").read_text(encoding="utf-8"), re.MULTILINE)[1].split()


@pytest.fixture
async def limited(own_redis):
    """Makes stores with the documented rights, except for one, and one more."""
    stores = []

    async def make(but="", also=()):
        async with Redis.from_url(own_redis.url) as admin:
            await admin.execute_command("ACL", "SETUSER", *(right for right in RIGHTS if right != but), *also)
        url = own_redis.url.replace("//", "//s3-signer:password@")
        kinds = ["AwsAccount", "Client", "AccessPolicy", "Session"]
        store = RedisStore.at(url)
        stores.append(CachedStore(store, Tracker(store.topology, kinds=kinds), size=10, ttl=60, stale=60))
        await stores[-1].open()
        return stores[-1]

    yield make
    for store in stores:
        await store.close()


@pytest.mark.parametrize("kind", ["Client", "AccessPolicy"])
async def test_a_kind_that_the_user_may_not_read_is_refused_and_warned_of(own_redis, limited, kind):
    async with Redis.from_url(own_redis.url) as admin:
        await admin.hset(f"{kind}:a", "id", "a")
        await admin.zadd(f"_index:{kind}", {"-complete": 0, "a": 0})
    store = await limited(but=f"~{kind}:*")

    for attempt in (store.get(kind, "a"), store.all(kind), store.page(kind, offset=0, count=1)):
        with pytest.raises(Refused):
            await attempt
    # The success of another read does not end the warning.
    assert await store.get("AwsAccount", "a") is None
    (warning,) = store.warnings()
    assert warning.startswith(f"Redis refuses hgetall of {kind}:*: NoPermissionError")


async def test_a_kind_that_the_user_may_not_write_is_warned_of_although_others_are_written(own_redis, limited):
    store = await limited(but="~AwsAccount:*", also=["%R~AwsAccount:*"])

    with pytest.raises(NothingWritten):
        await store.replace("AwsAccount", "a", {"region": "x"}, expected=None)
    await store.replace("Client", "a", {"secret": "x"}, expected=None)

    (warning,) = store.warnings()
    assert warning.startswith("Redis refuses compare_and_set of AwsAccount:*: ")


async def test_a_refused_change_is_warned_of_although_another_key_of_its_kind_is_changed(limited):
    store = await limited(but="+hget")
    seen = await store.replace("AwsAccount", "a", {"region": "x"}, expected=None)

    with pytest.raises(NothingWritten):
        await store.replace("AwsAccount", "a", {"region": "y"}, expected=seen)
    await store.replace("AwsAccount", "b", {"region": "x"}, expected=None)

    (warning,) = store.warnings()
    assert warning.startswith("Redis refuses compare_and_set of AwsAccount:*: ")


async def use(store):
    """Call every operation of a store."""
    for kind in ("AwsAccount", "Client", "AccessPolicy"):
        seen = await store.replace(kind, "a", {"n": "1"}, expected=None)
        seen = await store.replace(kind, "a", {"n": "2", "m": "1"}, expected=seen)
        seen = await store.replace(kind, "a", {"n": "3"}, expected=seen)
        assert await store.get(kind, "a") == seen
        assert (await store.page(kind, offset=0, count=10)).total == 1
        assert len(await store.all(kind)) == 1
        assert await store.remove(seen)
    await store.put_with_ttl("Session", "s", {"client": "x"}, seconds=60)
    assert await store.remove(await store.get("Session", "s"))


async def test_the_documented_rights_are_sufficient(limited, own_redis, caplog):
    store = await limited()
    await use(store)

    assert list(store.warnings()) == []
    assert caplog.text == ""
    async with Redis.from_url(own_redis.url) as client:
        assert await client.acl_log() == []


@pytest.mark.parametrize("right", [word for word in RIGHTS if word[0] in "+~"])
@pytest.mark.slow
async def test_each_documented_right_is_necessary(limited, right, caplog, monkeypatch):
    caplog.set_level("DEBUG", logger="service.stores")
    # Then a connection sends PING before its next command.
    monkeypatch.setattr(connection, "HEALTH_CHECK_SECONDS", -1)
    store = await limited(but=right)
    with suppress(StoreUnavailable, AssertionError):
        await use(store)
    await asyncio.sleep(0.1)

    assert re.search("PermissionError|refuses|may not read", caplog.text)


@pytest.mark.parametrize("right", ["+hlen", "+hget", "+hset", "+hdel"])
async def test_a_user_without_a_right_of_a_write_changes_nothing(limited, own_redis, right):
    store = await limited()
    seen = await store.replace("AwsAccount", "a", {"n": "1", "m": "1"}, expected=None)
    async with Redis.from_url(own_redis.url) as admin:
        before = await admin.hgetall("AwsAccount:a")
        await admin.execute_command("ACL", "SETUSER", "s3-signer", right.replace("+", "-"))
        for call in (store.replace("AwsAccount", "a", {"n": "2"}, expected=seen), store.rewrite(seen, {"n": "2"})):
            with pytest.raises(StoreUnavailable):
                await call
        after = await admin.hgetall("AwsAccount:a")

    assert after == before


@pytest.mark.parametrize("right", ["+hset", "+expire"])
async def test_no_session_without_an_end_is_kept(limited, own_redis, right):
    store = await limited(but=right)
    with pytest.raises(StoreUnavailable):
        await store.put_with_ttl("Session", "s", {"client": "x"}, seconds=60)

    async with Redis.from_url(own_redis.url) as admin:
        assert await admin.keys("Session:*") == []


async def test_a_write_ends_a_time_to_live_and_the_adoption_of_an_edit_keeps_it(store, operator):
    seen = await store.replace("AwsAccount", "a", {"region": "eu-west-1"}, expected=None)
    await operator.expire("AwsAccount:a", 100)
    await operator.hset("AwsAccount:a", "region", "eu-west-2")
    seen = await store.get("AwsAccount", "a")
    kept = await operator.ttl("AwsAccount:a")
    assert await store.replace("AwsAccount", "a", {"region": "eu-west-3"}, expected=seen)

    assert 0 < kept <= 100
    assert await operator.ttl("AwsAccount:a") == -1


@pytest.mark.parametrize("right", ["+time", "+hset"])
async def test_a_user_without_a_right_of_a_creation_can_delete(limited, own_redis, right):
    store = await limited()
    seen = await store.replace("AwsAccount", "a", {"region": "x"}, expected=None)
    async with Redis.from_url(own_redis.url) as admin:
        await admin.execute_command("ACL", "SETUSER", "s3-signer", right.replace("+", "-"))

    assert await store.remove(seen)
    assert await store.get("AwsAccount", "a") is None


async def test_a_user_without_persist_writes_with_a_warning(limited, own_redis):
    store = await limited(but="+persist")
    seen = await store.replace("AwsAccount", "a", {"region": "eu-west-1"}, expected=None)
    written = await store.replace("AwsAccount", "a", {"region": "eu-west-2"}, expected=seen)
    found = await store.get("AwsAccount", "a")
    refused = [warning for warning in store.warnings() if "Redis refuses persist" in warning]
    async with Redis.from_url(own_redis.url) as admin:
        await admin.execute_command("ACL", "SETUSER", "s3-signer", "+persist")
    await store.replace("AwsAccount", "a", {"region": "eu-west-3"}, expected=written)

    assert found == written
    assert len(refused) == 1
    assert list(store.warnings()) == []


async def test_a_store_on_a_unix_socket(shared_redis, redis_url, operator):
    store = RedisStore.at(f"unix://{shared_redis.socket_path}")
    await store.open()
    await store.replace("AwsAccount", "a", {"id": "a"}, expected=None)
    await store.close()

    assert await operator.exists("AwsAccount:a")
    assert store.description == f"unix://{shared_redis.socket_path}?db=0"


def test_a_description_contains_no_credentials():
    description = RedisStore.at("rediss://alice:hush@redis.example:6380/3").description

    assert description == "rediss://redis.example:6380/3"


@pytest.mark.parametrize(
    "url", ["http://u:hush@h", "h:6379", "redis://u:hush@h:port", "redis://:hush@h?colour=red", ""]
)
def test_an_invalid_url_is_refused_without_repeating_it(url):
    with pytest.raises(ValueError, match="not a Redis URL") as refusal:
        connect(url, connections=1)

    assert "hush" not in str(refusal.value)


async def test_a_write_whose_answer_is_lost_succeeds(far_store):
    store, proxy = far_store
    proxy.lose_answer(b"EVALSHA")
    created = await store.replace("AwsAccount", "a", {"n": "1"}, expected=None)
    proxy.lose_answer(b"EVALSHA")
    changed = await store.replace("AwsAccount", "a", {"n": "2"}, expected=created)

    assert created.version < changed.version
    assert await store.get("AwsAccount", "a") == changed


async def test_a_write_whose_answer_is_lost_succeeds_although_another_followed(far_store, store):
    far, proxy = far_store

    async def follow():
        await store.replace("AwsAccount", "a", {"n": "2"}, expected=await store.get("AwsAccount", "a"))

    proxy.lose_answer(b"EVALSHA", meanwhile=follow)
    written = await far.replace("AwsAccount", "a", {"n": "1"}, expected=None)

    follower = await store.get("AwsAccount", "a")

    assert written.fields == {"n": "1"}
    assert follower.fields == {"n": "2"}
    # An If-Match with this version must not match the later write.
    assert 0 < written.version < follower.version


async def test_a_lost_write_is_retried(far_store):
    store, proxy = far_store
    proxy.lose_request(b"EVALSHA")
    written = await store.replace("AwsAccount", "a", {"n": "1"}, expected=None)

    assert await store.get("AwsAccount", "a") == written


async def test_a_lost_write_is_a_conflict_if_another_writer_was_first(far_store, store):
    far, proxy = far_store

    async def precede():
        await store.replace("AwsAccount", "a", {"n": "2"}, expected=None)

    proxy.lose_request(b"EVALSHA", meanwhile=precede)

    assert await far.replace("AwsAccount", "a", {"n": "1"}, expected=None) is None
    assert (await store.get("AwsAccount", "a")).fields == {"n": "2"}


async def test_a_removal_whose_answer_is_lost_succeeds(far_store):
    store, proxy = far_store
    seen = await store.replace("AwsAccount", "a", {"n": "1"}, expected=None)
    proxy.lose_answer(b"EVALSHA")

    assert await store.remove(seen)
    assert await store.get("AwsAccount", "a") is None


async def test_a_removal_whose_answer_is_lost_keeps_a_recreated_resource(far_store, store):
    far, proxy = far_store
    seen = await far.replace("AwsAccount", "a", {"n": "1"}, expected=None)

    async def recreate():
        await store.replace("AwsAccount", "a", {"n": "2"}, expected=None)

    proxy.lose_answer(b"EVALSHA", meanwhile=recreate)

    assert await far.remove(seen)
    assert (await store.get("AwsAccount", "a")).fields == {"n": "2"}
    assert (await store.page("AwsAccount", offset=0, count=0)).total == 2


async def test_a_lost_removal_is_a_conflict_if_another_writer_was_first(far_store, store):
    far, proxy = far_store
    seen = await far.replace("AwsAccount", "a", {"n": "1"}, expected=None)

    async def precede():
        await store.replace("AwsAccount", "a", {"n": "2"}, expected=seen)

    proxy.lose_request(b"EVALSHA", meanwhile=precede)

    assert not await far.remove(seen)
    assert (await store.get("AwsAccount", "a")).fields == {"n": "2"}


async def test_a_lost_probe_is_no_outage(far_store, caplog):
    store, proxy = far_store
    proxy.lose_request(b"HELLO")
    await store.check()

    assert caplog.text == ""


@pytest.mark.parametrize(
    "error",
    [
        b"-LOADING Redis is loading the dataset in memory\r\n",
        b"-MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.\r\n",
        b"-CLUSTERDOWN The cluster is down\r\n",
    ],
)
async def test_a_read_is_retried_while_redis_starts(far_store, error):
    store, proxy = far_store
    proxy.answer(b"HGETALL", error)

    assert await store.get("AwsAccount", "warm")


@pytest.mark.parametrize(
    "error",
    [
        b"-LOADING Redis is loading the dataset in memory\r\n",
        b"-READONLY You can't write against a read only replica.\r\n",
        b"-NOREPLICAS Not enough good replicas to write.\r\n",
        b"-UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)\r\n",
        b"-ERR Error running script (call to f_1): @user_script: 8: -READONLY You can't write against a replica.\r\n",
    ],
)
async def test_a_write_is_retried_during_a_failover(far_store, error):
    store, proxy = far_store
    proxy.answer(b"EVALSHA", error)

    assert await store.replace("AwsAccount", "a", {"n": "1"}, expected=None)


async def refusal(call):
    with pytest.raises(StoreUnavailable) as failure:
        await call
    return type(failure.value)


@pytest.mark.parametrize(
    ("option", "value"), [("maxmemory", "1"), ("min-replicas-to-write", "1"), ("replicaof", "127.0.0.1 1")]
)
async def test_a_refused_write_changes_nothing(own_redis, option, value):
    store = RedisStore.at(own_redis.url)
    seen = await store.replace("AwsAccount", "a", {"n": "1"}, expected=None)
    async with Redis.from_url(own_redis.url) as admin:
        await (admin.replicaof(*value.split()) if option == "replicaof" else admin.config_set(option, value))
    outcomes = [
        await refusal(call)
        for call in (store.replace("AwsAccount", "a", {"n": "2"}, expected=seen), store.remove(seen))
        if option != "maxmemory" or call.__name__ == "replace" or call.close()
    ]
    await store.close()

    assert set(outcomes) == {NothingWritten}


@pytest.mark.parametrize(
    ("option", "why"), [("maxmemory", "its memory is full"), ("min-replicas-to-write", "too few of its replicas")]
)
async def test_a_refusal_says_what_an_operator_must_change(own_redis, option, why):
    store = RedisStore.at(own_redis.url)
    async with Redis.from_url(own_redis.url) as admin:
        await admin.config_set(option, "1")
    with pytest.raises(StoreUnavailable, match=why):
        await store.replace("AwsAccount", "a", {"n": "1"}, expected=None)
    await store.close()


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (b"ERR Error running script (call to f_1): @user_script:33: -OOM command not allowed", "its memory is full"),
        (b"ERR Error running script (call to f_1): @user_script:33: -MISCONF Redis is configured", "to its disk"),
        (b"NOPERM User default has no permissions to run the 'evalsha' command", "refuses the command"),
        (b"ERR The user executing the script can't run this command or subcommand script: 1", "refuses the command"),
        (b"BUSY Redis is busy running a script.", "refuses the command"),
    ],
)
async def test_a_refused_script_has_written_nothing(far_store, error, message):
    store, proxy = far_store
    proxy.answer(b"EVALSHA", b"-%b\r\n" % error)
    with pytest.raises(NothingWritten, match=message):
        await store.replace("AwsAccount", "a", {"n": "1"}, expected=None)


async def let_snapshots_fail(server):
    async with Redis.from_url(server.url) as admin:
        await admin.config_set("save", "3600 1")
        shutil.rmtree(server.directory)
        await admin.bgsave()

        async def has_failed():
            return (await admin.info("persistence"))["rdb_last_bgsave_status"] == "err"

        await until(has_failed)


async def test_a_refusal_says_that_snapshots_fail(own_redis):
    store = RedisStore.at(own_redis.url)
    await let_snapshots_fail(own_redis)
    with pytest.raises(NothingWritten, match="cannot write to its disk"):
        await store.replace("AwsAccount", "a", {"n": "1"}, expected=None)
    await store.close()


@pytest.mark.parametrize("seconds", [connection.HEALTH_CHECK_SECONDS, -1])
async def test_resources_are_read_while_snapshots_fail(own_redis, monkeypatch, seconds):
    # A new connection sends PING before its first command, and with -1 before each one.
    monkeypatch.setattr(connection, "HEALTH_CHECK_SECONDS", seconds)
    store = RedisStore.at(own_redis.url)
    await store.replace("AwsAccount", "a", {"n": "1"}, expected=None)
    await store.page("AwsAccount", offset=0, count=1)
    await store.close()
    await let_snapshots_fail(own_redis)
    store = RedisStore.at(own_redis.url)
    await store.open()

    assert (await store.get("AwsAccount", "a")).fields == {"n": "1"}
    assert (await store.page("AwsAccount", offset=0, count=1)).total == 1
    assert not [warning for warning in store.warnings() if "hgetall" in warning or "takes no new one" in warning]
    await store.close()


async def test_a_write_to_an_unavailable_redis_changes_nothing(own_redis):
    store = RedisStore.at(own_redis.url)
    seen = await store.replace("AwsAccount", "a", {"n": "1"}, expected=None)
    own_redis.kill()
    # Until the client notices the end of the connection, it must assume that a command has arrived.
    await asyncio.sleep(0.1)
    outcomes = [await refusal(store.replace("AwsAccount", "a", {}, expected=seen)), await refusal(store.remove(seen))]
    await store.close()

    assert outcomes == [NothingWritten, NothingWritten]


@pytest.mark.parametrize("kind", ["AwsAccount", "Session"])
async def test_a_late_attempt_does_not_bring_back_what_was_deleted(far_store, store, kind):
    """The network may deliver an attempt after its connection was given up and a repeated one has succeeded."""
    far, proxy = far_store
    await far.put_with_ttl("Session", "warm", {}, seconds=60)
    deleted = asyncio.Event()
    proxy.delay_request(b"EVALSHA", meanwhile=deleted.wait)
    if kind == "Session":
        await far.put_with_ttl(kind, "a", {}, seconds=60)
    else:
        await far.replace(kind, "a", {}, expected=None)
    assert await store.remove(await store.get(kind, "a"))
    deleted.set()
    await until(lambda: proxy.late_answer)

    assert await store.get(kind, "a") is None


@pytest.mark.parametrize("kind", ["AwsAccount", "Session"])
async def test_an_attempt_that_arrives_behind_the_deadline_creates_nothing(far_store, store, monkeypatch, kind):
    """The last attempt of a call has less time than the others."""
    far, proxy = far_store
    await far.put_with_ttl("Session", "warm", {}, seconds=60)
    monkeypatch.setattr(retry, "DEADLINE_SECONDS", 0.2)
    ended = asyncio.Event()
    proxy.delay_request(b"EVALSHA", meanwhile=ended.wait)
    if kind == "Session":
        creation = far.put_with_ttl(kind, "a", {}, seconds=60)
    else:
        creation = far.replace(kind, "a", {}, expected=None)
    assert await refusal(creation) is StoreUnavailable
    ended.set()
    await until(lambda: proxy.late_answer)

    assert await store.get(kind, "a") is None


async def test_a_write_without_an_answer_may_have_been_executed(own_redis):
    store = RedisStore.at(own_redis.url)
    seen = await store.replace("AwsAccount", "a", {"n": "1"}, expected=None)
    own_redis.hang()
    outcome = await refusal(store.replace("AwsAccount", "a", {}, expected=seen))
    own_redis.resume()
    await store.close()

    assert outcome is StoreUnavailable


async def test_a_lost_write_that_is_then_refused_may_have_been_executed(own_redis):
    """One doubtful attempt of several is enough."""
    async with LossyProxy(own_redis.port) as proxy:
        store = RedisStore.at(f"redis://127.0.0.1:{proxy.port}")
        seen = await store.replace("AwsAccount", "a", {"n": "1"}, expected=None)
        proxy.lose_answer(b"EVALSHA", meanwhile=lambda: asyncio.to_thread(own_redis.kill))
        outcome = await refusal(store.replace("AwsAccount", "a", {"n": "2"}, expected=seen))
        own_redis.start()
        stored = await store.get("AwsAccount", "a")
        await store.close()

    assert outcome is StoreUnavailable
    assert stored.fields == {"n": "2"}


async def test_a_write_succeeds_although_the_index_cannot_be_updated(far_store, store):
    far, _ = far_store
    await far.page("AwsAccount", offset=0, count=10)
    await client_of(store).set("_index:Client", "no index")

    assert await far.replace("Client", "c", {"id": "c"}, expected=None)


async def test_cancelled_calls_return_their_connections(store):
    for n in range(20):
        await store.replace("AwsAccount", f"a{n}", {"n": str(n)}, expected=None)

    rng = random.Random(0)  # noqa: S311 - no secret

    async def get_and_cancel(n):
        async with asyncio.timeout(rng.uniform(0, 0.02)):
            return await store.get("AwsAccount", f"a{n % 20}")

    await asyncio.gather(*(get_and_cancel(n) for n in range(1000)), return_exceptions=True)
    found = [await store.get("AwsAccount", f"a{n}") for n in range(20)]

    assert [resource.fields["n"] for resource in found] == [str(n) for n in range(20)]
    _, (in_use, _) = client_of(store).connection_pool.get_connection_count()
    assert in_use == 0


async def test_a_resource_validated_by_another_version_is_not_validated(store, operator):
    written = await store.replace("AwsAccount", "a", {"region": "eu-west-1"}, expected=None, validated=True)
    validated_by, _, digest = written.record["_digest"].partition(":")
    await operator.hset("AwsAccount:a", "_digest", f"{int(validated_by) - 1}:{digest}")
    read = await store.get("AwsAccount", "a")

    assert read.validated is False
    assert read.version == written.version


async def test_refused_writes_cause_a_warning_until_a_write_succeeds(own_redis):
    store = RedisStore.at(own_redis.url)
    await store.open()
    async with Redis.from_url(own_redis.url) as operator:
        await operator.config_set("maxmemory", "1")
        with pytest.raises(StoreUnavailable):
            await store.replace("AwsAccount", "a", {}, expected=None)
        full = [warning for warning in store.warnings() if "Redis refuses" in warning]
        await operator.config_set("maxmemory", "0")
        await store.replace("AwsAccount", "a", {}, expected=None)
    healthy = [warning for warning in store.warnings() if "Redis refuses" in warning]
    await store.close()

    assert any("compare_and_set" in warning for warning in full)
    assert healthy == []
