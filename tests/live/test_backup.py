"""The commands of docs/deployment/backup.md copy a Redis, restore all of it, and restore one account."""

import os
import re
import subprocess

import pytest
from documents import blocks
from plugins.redis_server import RedisServer, free_port
from support.tools import tool

pytestmark = pytest.mark.heavy

PAGE = "docs/deployment/backup.md"
ACCOUNT = ("AwsAccount:my-account", "region", "eu-west-1")
SECONDS = 60


@pytest.fixture
def directory(tmp_path):
    (tmp_path / "data").mkdir()
    return tmp_path


@pytest.fixture
def server(directory):
    server = RedisServer(tool("redis-server", package="redis-server"), directory / "data")
    server.start()
    yield server
    server.stop()


@pytest.fixture
def run(directory, server):
    """Runs commands of the page at the server of the test."""
    second = str(free_port())

    def run(commands):
        here = {
            "-h redis ": f"-h 127.0.0.1 -p {server.port} ",
            "MIGRATE redis 6379": f"MIGRATE 127.0.0.1 {server.port}",
        }
        for documented, actual in here.items():
            commands = commands.replace(documented, actual)
        commands = commands.replace("6400", second)
        commands = re.sub(r"redis-cli (?=[A-Z])", f"redis-cli -p {server.port} ", commands)
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", commands],
            cwd=directory,
            env={"PATH": os.environ["PATH"]},
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run


def test_a_copy_brings_back_one_account_or_all(server, run, directory):
    tool("redis-check-rdb", package="redis-tools")
    user, copy, restore_all, restore_one = (block for _, block in blocks(PAGE))
    run(f"redis-cli HSET {' '.join(ACCOUNT)}")
    run(f"redis-cli {user.replace('>', chr(92) + '>')}")
    run(copy)
    run(f"redis-cli DEL {ACCOUNT[0]}\nredis-cli ACL SETUSER default '>password'")
    run(restore_one)
    one = run(f"redis-cli -a password HGET {ACCOUNT[0]} region".replace("redis-cli", f"redis-cli -p {server.port}"))
    server.stop()
    for path in (directory / "data").iterdir():
        path.rename(directory / f"old-{path.name}")
    (directory / "accounts.rdb").rename(directory / "data" / "dump.rdb")
    (directory / "redis.conf").write_text(f"port {server.port}\nbind 127.0.0.1\ndir data\nappendonly yes\n")
    run(restore_all)
    server.start()
    everything = run(f"redis-cli HGET {ACCOUNT[0]} region")

    assert (one.strip(), everything.strip()) == ("eu-west-1", "eu-west-1")
