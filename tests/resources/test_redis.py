"""Redis as a store: what others may write there, and what a lost answer may not do."""

import asyncio
import random

import pytest
from redis.asyncio import Redis

from service.errors import Invalid, StoreUnavailable
from service.resources.redis import RedisStore, connect


@pytest.fixture
async def store(redis_url):
    store = RedisStore.at(redis_url)
    await store.open()
    yield store
    await store.close()


@pytest.fixture
async def far_store(shared_redis, redis_url):
    """A store whose answers can get lost."""
    async with LossyProxy(shared_redis.port) as proxy:
        store = RedisStore.at(f"redis://127.0.0.1:{proxy.port}")
        # Redis has the script from here on, so that it is EVALSHA that writes.
        await store.replace("AwsAccount", "warm", {}, seen=None)
        yield store, proxy
        await store.close()


class LossyProxy:
    """Stands between a client and Redis, and ends a connection instead of passing on one request or one answer."""

    def __init__(self, upstream):
        self._upstream = upstream
        self._tasks = set()
        self._word, self._loses_answer, self._meanwhile = None, False, None

    async def __aenter__(self):
        self._server = await asyncio.start_server(self._serve, "127.0.0.1")
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_):
        self._server.close()
        await self._server.wait_closed()
        await asyncio.gather(*self._tasks)

    def lose_request(self, word, meanwhile=None):
        """Do not pass on the next request with ``word`` in it; do ``meanwhile`` before the client notices."""
        self._word, self._loses_answer, self._meanwhile = word, False, meanwhile

    def lose_answer(self, word, meanwhile=None):
        """Pass it on, but not what Redis answers."""
        self._word, self._loses_answer, self._meanwhile = word, True, meanwhile

    async def _serve(self, reader, writer):
        self._tasks.add(asyncio.current_task())
        from_redis, to_redis = await asyncio.open_connection("127.0.0.1", self._upstream)
        answers = asyncio.create_task(self._pass_answers(from_redis, writer))
        while request := await reader.read(65536):
            if self._word and self._word in request:
                self._word = None
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


async def test_a_record_is_a_hash_of_plain_text(redis_url, operator):
    store = RedisStore.at(redis_url, prefix="s3:")
    stored = await store.replace("AwsAccount", "a", {"id": "a", "path-style": "true"}, seen=None)
    await store.close()

    assert await operator.hgetall("s3:AwsAccount:a") == dict(stored.record)
    assert await operator.hget("s3:AwsAccount:a", "path-style") == "true"


async def test_a_record_may_have_very_many_fields(store):
    fields = {f"field-{n}": "x" * 50 for n in range(5_000)}
    stored = await store.replace("AwsAccount", "a", fields, seen=None)

    assert await store.replace("AwsAccount", "a", {"id": "a"}, seen=stored)
    assert (await store.get("AwsAccount", "a")).fields == {"id": "a"}


async def test_what_an_operator_changes_gets_a_version_of_its_own(store, operator):
    seen = await store.replace("AwsAccount", "a", {"id": "a", "region": "us-east-1"}, seen=None)
    await operator.hset("AwsAccount:a", "region", "eu-west-1")
    found = await store.get("AwsAccount", "a")

    assert found.fields == {"id": "a", "region": "eu-west-1"}
    assert found.version > seen.version
    assert found.meta.created_at == seen.meta.created_at
    assert found.recognise()
    assert await store.get("AwsAccount", "a") == found


async def test_what_an_operator_creates_is_a_resource(store, operator):
    await operator.hset("AwsAccount:a", mapping={"id": "a", "region": "eu-west-1"})
    found = await store.get("AwsAccount", "a")

    assert found.fields == {"id": "a", "region": "eu-west-1"}
    assert found.version > 0
    assert await operator.zrange("_index:AwsAccount", 0, -1) == ["a"]


async def test_what_was_stored_as_judged_is_still_judged_when_it_is_read(store):
    written = await store.replace("AwsAccount", "a", {"region": "eu-west-1"}, seen=None, judged=True)
    read = await store.get("AwsAccount", "a")

    assert (written.judged, read.judged) == (True, True)


async def test_what_an_operator_changes_is_judged_by_nobody(store, operator):
    await store.replace("AwsAccount", "a", {"region": "eu-west-1"}, seen=None, judged=True)
    await operator.hset("AwsAccount:a", "region", "-")
    reads = [await store.get("AwsAccount", "a") for _ in range(2)]

    assert [read.judged for read in reads] == [False, False]


async def test_a_listing_adopts_too(store, operator):
    await operator.hset("AwsAccount:a", "id", "a")
    (found,) = (await store.page("AwsAccount", offset=0, count=10)).resources

    assert found.version > 0
    assert found == await store.get("AwsAccount", "a")


async def test_of_many_who_adopt_at_once_all_get_the_same(redis_url, operator):
    stores = [RedisStore.at(redis_url) for _ in range(3)]
    await operator.hset("AwsAccount:a", "id", "a")
    found = await asyncio.gather(*(store.get("AwsAccount", "a") for store in stores for _ in range(10)))
    for store in stores:
        await store.close()

    assert len({resource.version for resource in found}) == 1


async def test_what_an_operator_changes_meanwhile_is_not_overwritten(store, operator):
    seen = await store.replace("AwsAccount", "a", {"id": "a"}, seen=None)
    await operator.hset("AwsAccount:a", "note", "mine")

    assert await store.replace("AwsAccount", "a", {"id": "b"}, seen=seen) is None
    assert not await store.remove(seen)
    assert (await store.get("AwsAccount", "a")).fields == {"id": "a", "note": "mine"}


async def test_bytes_that_are_no_text_are_kept_as_they_are(store, operator, redis_url):
    await operator.hset("AwsAccount:a", "host", b"\xff\xfe caf\xe9")
    found = await store.get("AwsAccount", "a")
    await store.replace("AwsAccount", "a", {**found.fields, "region": "us-east-1"}, seen=found)

    async with Redis.from_url(redis_url) as raw:
        assert await raw.hget("AwsAccount:a", "host") == b"\xff\xfe caf\xe9"


async def test_a_key_that_is_no_hash_is_told_as_such(store, operator):
    seen = await store.replace("AwsAccount", "a", {"id": "a"}, seen=None)
    await operator.set("AwsAccount:a", "surprise")

    for attempt in (
        store.get("AwsAccount", "a"),
        store.replace("AwsAccount", "a", {}, seen=None),
        store.replace("AwsAccount", "a", {}, seen=seen),
        store.remove(seen),
    ):
        with pytest.raises(Invalid, match="AwsAccount/a is no hash"):
            await attempt
    assert await operator.get("AwsAccount:a") == "surprise"


async def test_prefixes_keep_stores_apart(redis_url):
    one, two = RedisStore.at(redis_url, prefix="one:"), RedisStore.at(redis_url)
    await one.replace("AwsAccount", "a", {"id": "a"}, seen=None)
    await two.replace("AwsAccount", "b", {"id": "b"}, seen=None)
    found = [
        [resource.id for resource in (await store.page("AwsAccount", offset=0, count=10)).resources]
        for store in (one, two)
    ]
    unseen = await one.get("AwsAccount", "b")
    await one.close()
    await two.close()

    assert found == [["a"], ["b"]]
    assert unseen is None


async def test_versions_grow_beyond_a_lost_sequence(store, operator):
    seen = None
    for _ in range(5):
        seen = await store.replace("AwsAccount", "a", {"id": "a"}, seen=seen)
    await operator.delete("_sequence:AwsAccount")
    after = await store.replace("AwsAccount", "a", {"id": "a"}, seen=seen)
    other = await store.replace("AwsAccount", "b", {"id": "b"}, seen=None)

    assert other.version > after.version > seen.version


@pytest.mark.parametrize("version", ["9" * 30, "9" * 5000, "-1", "²", "1e3", ""])
async def test_a_version_that_is_none_does_not_stand_in_the_way(store, operator, version):
    await operator.hset(
        "AwsAccount:a", mapping={"id": "a", "_version": version, "_createdAt": "0001-01-01T00:00+23:00"}
    )
    found = await store.get("AwsAccount", "a")

    assert found.version > 0
    assert await store.replace("AwsAccount", "a", {"id": "a"}, seen=found)


async def test_who_may_only_read_can_still_be_served(own_redis):
    async with Redis.from_url(own_redis.url) as admin:
        await admin.hset("AwsAccount:a", "id", "a")
        await admin.zadd("_index:AwsAccount", {"a": 0})
        await admin.execute_command("ACL", "SETUSER", "reader", "on", ">hush", "~*", "+@read", "-scan", "+@connection")
    store = RedisStore.at(own_redis.url.replace("//", "//reader:hush@"))
    await store.open()
    found = await store.get("AwsAccount", "a")
    page = await store.page("AwsAccount", offset=0, count=10)
    with pytest.raises(StoreUnavailable):
        await store.replace("AwsAccount", "a", {}, seen=found)
    await store.close()

    assert found.fields == {"id": "a"}
    assert page.resources == [found]


async def test_a_unix_socket_will_do(shared_redis, redis_url, operator):
    store = RedisStore.at(f"unix://{shared_redis.socket_path}")
    await store.open()
    await store.replace("AwsAccount", "a", {"id": "a"}, seen=None)
    await store.close()

    assert await operator.exists("AwsAccount:a")
    assert store.description == f"unix://{shared_redis.socket_path}?db=0"


def test_a_description_tells_no_credentials():
    described = RedisStore.at("rediss://alice:hush@redis.example:6380/3").description

    assert described == "rediss://redis.example:6380/3"


@pytest.mark.parametrize(
    "url", ["http://u:hush@h", "h:6379", "redis://u:hush@h:port", "redis://:hush@h?colour=red", ""]
)
def test_what_is_no_redis_url_is_refused_without_telling_it(url):
    with pytest.raises(ValueError, match="not a Redis URL") as refusal:
        connect(url, connections=1)

    assert "hush" not in str(refusal.value)


async def test_a_write_whose_answer_is_lost_is_told_as_done(far_store):
    store, proxy = far_store
    proxy.lose_answer(b"EVALSHA")
    created = await store.replace("AwsAccount", "a", {"n": "1"}, seen=None)
    proxy.lose_answer(b"EVALSHA")
    changed = await store.replace("AwsAccount", "a", {"n": "2"}, seen=created)

    assert created.version < changed.version
    assert await store.get("AwsAccount", "a") == changed


async def test_a_write_whose_answer_is_lost_is_done_though_another_has_followed(far_store, store):
    far, proxy = far_store

    async def follow():
        await store.replace("AwsAccount", "a", {"n": "2"}, seen=await store.get("AwsAccount", "a"))

    proxy.lose_answer(b"EVALSHA", meanwhile=follow)
    written = await far.replace("AwsAccount", "a", {"n": "1"}, seen=None)

    assert written.fields == {"n": "1"}
    assert (await store.get("AwsAccount", "a")).fields == {"n": "2"}


async def test_a_write_that_was_lost_is_tried_again(far_store):
    store, proxy = far_store
    proxy.lose_request(b"EVALSHA")
    written = await store.replace("AwsAccount", "a", {"n": "1"}, seen=None)

    assert await store.get("AwsAccount", "a") == written


async def test_a_write_that_was_lost_is_a_conflict_if_another_was_first(far_store, store):
    far, proxy = far_store

    async def precede():
        await store.replace("AwsAccount", "a", {"n": "2"}, seen=None)

    proxy.lose_request(b"EVALSHA", meanwhile=precede)

    assert await far.replace("AwsAccount", "a", {"n": "1"}, seen=None) is None
    assert (await store.get("AwsAccount", "a")).fields == {"n": "2"}


async def test_a_removal_whose_answer_is_lost_is_told_as_done(far_store):
    store, proxy = far_store
    seen = await store.replace("AwsAccount", "a", {"n": "1"}, seen=None)
    proxy.lose_answer(b"EVALSHA")

    assert await store.remove(seen)
    assert await store.get("AwsAccount", "a") is None


async def test_a_removal_whose_answer_is_lost_leaves_a_newcomer_alone(far_store, store):
    far, proxy = far_store
    seen = await far.replace("AwsAccount", "a", {"n": "1"}, seen=None)

    async def create_anew():
        await store.replace("AwsAccount", "a", {"n": "2"}, seen=None)

    proxy.lose_answer(b"EVALSHA", meanwhile=create_anew)

    assert await far.remove(seen)
    assert (await store.get("AwsAccount", "a")).fields == {"n": "2"}
    assert (await store.page("AwsAccount", offset=0, count=0)).total == 2


async def test_a_removal_that_was_lost_is_a_conflict_if_another_was_first(far_store, store):
    far, proxy = far_store
    seen = await far.replace("AwsAccount", "a", {"n": "1"}, seen=None)

    async def precede():
        await store.replace("AwsAccount", "a", {"n": "2"}, seen=seen)

    proxy.lose_request(b"EVALSHA", meanwhile=precede)

    assert not await far.remove(seen)
    assert (await store.get("AwsAccount", "a")).fields == {"n": "2"}


async def test_a_lost_ping_is_no_outage(far_store, caplog):
    store, proxy = far_store
    proxy.lose_request(b"PING")
    await store.check()

    assert caplog.text == ""


async def test_a_write_stands_though_it_cannot_be_listed_yet(far_store, store):
    far, _ = far_store
    await far.page("AwsAccount", offset=0, count=10)
    await store._client.set("_index:Client", "no index")

    assert await far.replace("Client", "c", {"id": "c"}, seen=None)


async def test_calls_that_are_cancelled_midway_leave_the_pool_whole(store):
    for n in range(20):
        await store.replace("AwsAccount", f"a{n}", {"n": str(n)}, seen=None)

    async def impatient(n):
        async with asyncio.timeout(random.uniform(0, 0.02)):  # noqa: S311 - no secret
            return await store.get("AwsAccount", f"a{n % 20}")

    await asyncio.gather(*(impatient(n) for n in range(1000)), return_exceptions=True)
    found = [await store.get("AwsAccount", f"a{n}") for n in range(20)]

    assert [resource.fields["n"] for resource in found] == [str(n) for n in range(20)]
    assert not store._client.connection_pool._in_use_connections


async def test_what_another_version_of_the_service_found_valid_is_looked_at_again(store, operator):
    written = await store.replace("AwsAccount", "a", {"region": "eu-west-1"}, seen=None, judged=True)
    judged_by, _, digest = written.record["_digest"].partition(":")
    await operator.hset("AwsAccount:a", "_digest", f"{int(judged_by) - 1}:{digest}")
    read = await store.get("AwsAccount", "a")

    assert read.judged is False
    assert read.version == written.version
