"""A password that changes in the file of the store's URL."""

import pytest
from redis.asyncio import Redis
from support.shards import client_of, monitor_of

from service.errors import StoreUnavailable
from service.stores.credentials import FileCredentials
from service.stores.redis import RedisStore
from service.stores.url import StoreUrl

URL = "redis://u:old@h:1/0"


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "url"
    path.write_text(f"{URL}\n", encoding="utf-8")
    return path


@pytest.fixture
def credentials(file):
    return FileCredentials(StoreUrl(URL), file)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("redis://u:new@h:1/0", ("u", "new")),
        ("redis://v:n%40w@h:1/0\n", ("v", "n@w")),
        ("redis://:new@h:1/0", ("new",)),
        ("redis://h:1/0?username=u&password=new", ("u", "new")),
    ],
)
def test_user_and_password_of_the_file_are_returned(credentials, file, caplog, content, expected):
    file.write_text(content, encoding="utf-8")

    assert credentials.get_credentials() == expected
    assert caplog.text == ""


@pytest.mark.parametrize(
    ("content", "warning"),
    [
        (None, "cannot be read, so the old password is used: No such file or directory"),
        (b"", "has no valid URL"),
        (b"redis://u:hush@h:port", "has no valid URL"),
        (b"\xff", "has no valid URL"),
        (b"redis://h:1/0", "has no password"),
        (b"memory://", "has no password"),
    ],
)
def test_an_unusable_file_keeps_the_old_password_and_warns_once(credentials, file, caplog, content, warning):
    file.unlink()
    if content is not None:
        file.write_bytes(content)
    found = [credentials.get_credentials() for _ in range(3)]
    file.write_text(URL, encoding="utf-8")
    found.append(credentials.get_credentials())

    assert found == [("u", "old")] * 4
    (record,) = caplog.records
    assert warning in record.getMessage()
    assert "hush" not in caplog.text


def test_another_server_in_the_file_is_a_warning_and_its_password_is_used(credentials, file, caplog):
    file.write_text("redis://u:new@other:1/0", encoding="utf-8")
    found = [credentials.get_credentials() for _ in range(3)]

    assert found == [("u", "new")] * 3
    (record,) = caplog.records
    assert "until the service restarts" in record.getMessage()


async def test_new_connections_log_in_with_the_new_password(own_redis, file):
    url = own_redis.url.replace("//", "//:old@")
    file.write_text(url, encoding="utf-8")
    async with Redis.from_url(own_redis.url) as admin:
        await admin.config_set("requirepass", "old")
        store = RedisStore.at(url, file=str(file))
        await store.open()
        assert await store.replace("AwsAccount", "a", {}, expected=None)
        await admin.config_set("requirepass", "new")
    # The file still has the old password.
    await client_of(store).connection_pool.disconnect()
    with pytest.raises(StoreUnavailable):
        await store.get("AwsAccount", "a")
    file.write_text(url.replace("old", "new"), encoding="utf-8")
    monitor_of(store).request_probe()
    found = await store.get("AwsAccount", "a")
    await store.close()

    assert found
