"""The connections to one server are closed, whatever ends their use."""

import asyncio

import pytest
from redis.asyncio import ConnectionPool
from redis.exceptions import ConnectionError  # noqa: A004 - it is no OSError
from support.waiting import until

from service.stores.connection import close, connect
from service.stores.redis import RedisStore
from service.stores.server import read_mode


@pytest.fixture
def closing(monkeypatch):
    """Call ``then`` as soon as a pool of redis-py begins to close. ``connections`` has those of the pools."""

    class Closing:
        connections = []

        def then(self):
            """Set by a test."""

    state, aclose = Closing(), ConnectionPool.aclose

    async def watched(pool):
        idle, _ = (count for count, _ in pool.get_connection_count())
        state.connections += [pool.get_available_connection() for _ in range(idle)]
        state.then()
        await aclose(pool)

    monkeypatch.setattr(ConnectionPool, "aclose", watched)
    return state


async def test_a_close_closes_the_connections_of_all_clients_although_it_is_cancelled(redis_url, closing):
    clients = [connect(redis_url, connections=1) for _ in range(3)]
    for client in clients:
        await client.ping()
    task = asyncio.create_task(close(*clients))
    closing.then = task.cancel
    with pytest.raises(asyncio.CancelledError):
        await task

    await until(lambda: [connection.is_connected for connection in closing.connections] == [False] * 3)


async def test_a_question_for_the_mode_of_a_server_leaves_no_connection_although_it_is_cancelled(redis_url, closing):
    client = connect(redis_url, connections=1)
    task = asyncio.create_task(read_mode(client))
    closing.then = task.cancel
    with pytest.raises(asyncio.CancelledError):
        await task

    await until(lambda: [connection.is_connected for connection in closing.connections] == [False])


async def test_the_mode_of_a_server_is_read(redis_url):
    client = connect(redis_url, connections=1)

    assert await read_mode(client) == "standalone"


@pytest.mark.parametrize("login", ["", ":hush@"])
async def test_a_connection_is_lost_if_a_node_of_a_cluster_has_too_many_clients(login):
    async def serve(reader, writer):
        # A server refuses before it has read anything.
        writer.write(b"-ERR max number of clients + cluster connections reached\r\n")
        await reader.read(65536)
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1") as server:
        port = server.sockets[0].getsockname()[1]
        client = connect(f"redis://{login}127.0.0.1:{port}", connections=1)
        with pytest.raises(ConnectionError, match="max number of clients"):
            await client.execute_command("CLUSTER INFO")
        connection = client.connection_pool.get_available_connection()
        await client.connection_pool.release(connection)
        await client.aclose()

    assert not connection.is_connected


async def test_a_close_of_the_store_closes_the_connections_to_a_primary_that_has_just_been_replaced(redis_url):
    store = RedisStore.at(redis_url)
    await store.open()
    await store.get("AwsAccount", "a")
    (shard,) = store.topology.shards.values()
    pool = shard.client.connection_pool
    connection = pool.get_available_connection()
    await pool.release(connection)
    store.topology._replace({})
    was_connected = connection.is_connected
    await store.close()

    assert (was_connected, connection.is_connected) == (True, False)
