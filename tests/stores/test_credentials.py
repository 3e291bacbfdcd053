"""Passwords that change in the file of the store's URL."""

import pytest
from redis.asyncio import Redis
from support.metrics import value_of
from support.shards import client_of, monitor_of
from support.waiting import until
from support.writes import put, reads

from service import mounted_files
from service.errors import StoreUnavailable
from service.mounted_files import MountedFiles, UnusableFile
from service.parts import make_store
from service.settings import load
from service.stores.credentials import StoreCredentials
from service.stores.url import StoreUrl
from service.telemetry.metrics import MOUNTED_FILE_CURRENT

URL = "redis://u:old@h:1/0"
SENTINELS = "redis+sentinel://u:old@h:1/service?sentinel-username=s&sentinel-password=old"


@pytest.fixture
def credentials():
    return StoreCredentials(StoreUrl(URL))


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("redis://u:new@h:1/0", ("u", "new")),
        ("redis://v:n%40w@h:1/0", ("v", "n@w")),
        ("redis://:new@h:1/0", ("new",)),
        ("redis://h:1/0?username=u&password=new", ("u", "new")),
    ],
)
async def test_user_and_password_of_another_url_are_used(credentials, content, expected):
    await credentials.use(content)

    assert credentials.redis.get_credentials() == expected
    assert await credentials.redis.get_credentials_async() == expected


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("", "it is not a valid URL"),
        ("redis://u:hush@h:port", "it is not a valid URL"),
        ("redis://h:1/0", "needs a restart"),
        ("redis://u:hush@other:1/0", "needs a restart"),
        ("redis://u:hush@h:1/1", "needs a restart"),
        ("memory://", "needs a restart"),
    ],
)
async def test_any_other_change_is_refused_as_a_whole(credentials, content, problem):
    with pytest.raises(UnusableFile, match=problem) as refusal:
        await credentials.use(content)

    assert "hush" not in str(refusal.value)
    assert credentials.redis.get_credentials() == ("u", "old")


async def test_the_password_of_sentinels_changes_too():
    credentials = StoreCredentials(StoreUrl(SENTINELS))
    await credentials.use(SENTINELS.replace("sentinel-password=old", "sentinel-password=new"))

    assert credentials.sentinel.get_credentials() == ("s", "new")
    assert credentials.redis.get_credentials() == ("u", "old")


async def test_a_first_password_of_sentinels_needs_a_restart():
    credentials = StoreCredentials(StoreUrl(SENTINELS.partition("?")[0]))

    with pytest.raises(UnusableFile, match="needs a restart"):
        await credentials.use(SENTINELS)


async def test_new_connections_log_in_with_the_new_password(own_redis, tmp_path, caplog):
    url, file = own_redis.url.replace("//", "//:old@"), tmp_path / "url"
    file.write_text(f"{url}\n", encoding="utf-8")
    files = MountedFiles()

    async def change(text):
        file.write_text(text, encoding="utf-8")
        for _ in range(2):
            await files.check()

    async with Redis.from_url(own_redis.url) as admin:
        await admin.config_set("requirepass", "old")
        store = make_store(load({"SIGNER_STORE_URL_FILE": str(file), "SIGNER_CACHE_SIZE": "0"}), files)
        await files.check(again=False)
        await store.open()
        assert await store.replace("AwsAccount", "a", {}, expected=None)
        await admin.config_set("requirepass", "new")
    # The file still has the old password.
    await client_of(store).connection_pool.disconnect()
    with pytest.raises(StoreUnavailable):
        await store.get("AwsAccount", "a")
    await change("garbage")
    warnings, gauge = files.warnings(), value_of(MOUNTED_FILE_CURRENT["SIGNER_STORE_URL_FILE",])
    await change(url.replace("old", "new"))
    monitor_of(store).request_probe()
    found = await store.get("AwsAccount", "a")
    await store.close()

    assert found
    assert (len(warnings), gauge, files.warnings()) == (1, 0, [])
    (line,) = [record.getMessage() for record in caplog.records if record.name == mounted_files.__name__][:1]
    assert line == (
        "SIGNER_STORE_URL_FILE has new contents that cannot be used; what was in use stays: it is not a valid URL"
    )


@pytest.mark.heavy
@pytest.mark.parametrize("kind", ["sentinel", "cluster"])
async def test_after_a_change_of_all_passwords_a_failover_succeeds(request, tmp_path, kind):
    group = request.getfixturevalue(f"own_{kind}")
    sentinels = [] if kind == "cluster" else group.sentinels
    for node in (*group.nodes, *sentinels):
        node.run("ACL", "SETUSER", "app", "on", ">old", "~*", "&*", "+@all")
    file = tmp_path / "url"
    url = group.url.replace("://", "://app:old@") + "?sentinel-username=app&sentinel-password=old" * bool(sentinels)
    file.write_text(url, encoding="utf-8")
    files = MountedFiles()
    store = make_store(load({"SIGNER_STORE_URL_FILE": str(file)}), files)
    await files.check(again=False)
    await store.open()
    before = await put(store, "a", "one")
    file.write_text(url.replace("old", "new"), encoding="utf-8")
    for node in (*group.nodes, *sentinels):
        node.run("ACL", "SETUSER", "app", ">new", "<old")
        node.run("CLIENT", "KILL", "USER", "app")
    for _ in range(2):
        await files.check()
    old = group.primaries[0]
    old.kill()
    await until(lambda: old not in group.primaries and group.primaries)
    for number in range(10):
        await until(lambda id_=f"b{number}": put(store, id_, "two"))
    await until(lambda: not store.warnings())
    # Tracked with the new password: the cache is on.
    found = await reads(store, "b0", "two")
    await store.close()

    assert before
    assert found
    assert files.warnings() == []
