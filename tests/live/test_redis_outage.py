"""A running service while its Redis is away, and when it is back."""

import json
import time

import pytest
from live.raw_http import send
from processes import ServiceProcess
from redis import Redis
from support.accounts import KEYS

pytestmark = pytest.mark.heavy

STALE_SECONDS = 2


class Caller:
    """Asks a service, and notes the status and the seconds that it took."""

    def __init__(self, url):
        self.url = url

    def put(self, id_):
        return self._ask("PUT", f"/AwsAccount/{id_}", json.dumps(KEYS).encode())

    def sign(self, id_):
        return self._ask("GET", f"/aws/storage/{id_}/bucket/key")

    def health(self):
        return send(f"{self.url}/health", "GET").json()

    def until(self, status, id_, *, seconds):
        """The seconds until signing has that status."""
        began = time.monotonic()
        while self.sign(id_)[0] != status:
            assert time.monotonic() - began < seconds
            time.sleep(0.02)
        return time.monotonic() - began

    def _ask(self, method, path, body=None):
        began = time.monotonic()
        answer = send(self.url + path, method, body, {"Content-Type": "application/json"})
        return answer.status, time.monotonic() - began


@pytest.fixture
def make_caller():
    processes = []

    def make(url, **settings):
        processes.append(ServiceProcess(SIGNER_STORE_URL=url, **settings))
        return Caller(processes[-1].url)

    yield make
    for process in processes:
        assert process.stop() == 0


@pytest.fixture
def caller(make_caller, own_redis):
    caller = make_caller(own_redis.url, SIGNER_STALE_SECONDS=str(STALE_SECONDS))
    assert caller.put("known")[0] == caller.put("unread")[0] == 201
    assert caller.sign("known")[0] == 200
    return caller


@pytest.mark.parametrize("how", ["kill", "hang"])
def test_known_accounts_go_on_signing_for_a_while_and_nothing_else_does(caller, own_redis, how):
    getattr(own_redis, how)()
    began = time.monotonic()
    known = [caller.sign("known") for _ in range(5)]
    first_refusals = caller.sign("unread"), caller.put("known")
    refusals = [call("unread") for call in (caller.sign, caller.put) for _ in range(5)]
    still_known = caller.sign("known")[0]
    held = caller.until(503, "known", seconds=30) + time.monotonic() - began
    late = caller.sign("known")
    own_redis.start() if how == "kill" else own_redis.resume()
    caller.until(200, "known", seconds=5)

    assert [status for status, _ in known] == [200] * 5
    assert sum(seconds for _, seconds in known) < 1.5
    assert [status for status, _ in first_refusals] == [503] * 2
    # The first of them hope for a restart; a connection that is refused is soon known, one that hangs not as soon.
    assert max(seconds for _, seconds in first_refusals) < 2
    assert [status for status, _ in refusals] == [503] * 10
    assert max(seconds for _, seconds in refusals) < 0.3
    assert still_known == 200 or held > STALE_SECONDS
    assert late[0] == 503
    assert caller.put("known")[0] == 200


def test_without_time_for_it_an_outage_is_one_for_all(make_caller, own_redis):
    caller = make_caller(own_redis.url, SIGNER_STALE_SECONDS="0")
    caller.put("known")
    before = caller.sign("known")[0]
    own_redis.kill()

    assert (before, caller.sign("known")[0]) == (200, 503)


def test_where_tracking_is_refused_every_read_is_true_and_health_warns(make_caller, own_redis):
    with Redis.from_url(own_redis.url) as operator:
        operator.execute_command("ACL", "SETUSER", "limited", "on", ">hush", "~*", "+@all", "-client|tracking")
        caller = make_caller(own_redis.url.replace("//", "//limited:hush@"))
        statuses = [caller.put("a")[0], caller.sign("a")[0]]
        operator.delete("AwsAccount:a")
        statuses += [caller.sign("a")[0]]
    health = caller.health()

    assert statuses == [201, 200, 404]
    assert health["status"] == "warn"
    assert health["checks"]["store"]["status"] == "warn"
    assert "The cache is off: Redis refuses to tell of changes" in health["checks"]["store"]["output"]


@pytest.mark.parametrize("size", ["0", "10"])
def test_health_passes_with_a_cache_and_where_none_is_wanted(make_caller, own_redis, size):
    caller = make_caller(own_redis.url, SIGNER_CACHE_SIZE=size)

    assert caller.health()["status"] == "pass"


def test_what_an_operator_changes_is_signed_with_soon(caller, own_redis):
    with Redis.from_url(own_redis.url) as operator:
        operator.delete("AwsAccount:known")
        gone = caller.until(404, "known", seconds=5)
        operator.hset("AwsAccount:known", mapping=KEYS)
        there = caller.until(200, "known", seconds=5)

    assert max(gone, there) < 1
