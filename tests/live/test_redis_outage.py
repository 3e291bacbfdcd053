"""A running service while its Redis is away, and when it is back."""

import json

import pytest
from live.raw_http import send
from processes import ServiceProcess
from redis import Redis
from support.accounts import KEYS
from support.waiting import eventually

pytestmark = pytest.mark.heavy

STALE_SECONDS = 4


class Principal:
    """Asks a service, and notes the statuses."""

    def __init__(self, url):
        self.url = url

    def put(self, id_):
        return self._ask("PUT", f"/AwsAccount/{id_}", json.dumps(KEYS).encode())

    def sign(self, id_):
        return self._ask("GET", f"/aws/storage/{id_}/bucket/key")

    def health(self):
        return send(f"{self.url}/health", "GET").json()

    def until(self, status, id_):
        """Ask until signing has that status; whether it comes to that."""
        return eventually(lambda: self.sign(id_) == status, seconds=30)

    def _ask(self, method, path, body=None):
        return send(self.url + path, method, body, {"Content-Type": "application/json"}).status


@pytest.fixture
def make_caller():
    processes = []

    def make(url, **settings):
        processes.append(ServiceProcess(SIGNER_STORE_URL=url, **settings))
        return Principal(processes[-1].url)

    yield make
    for process in processes:
        assert process.stop() == 0


@pytest.fixture
def caller(make_caller, own_redis):
    caller = make_caller(own_redis.url, SIGNER_STALE_SECONDS=str(STALE_SECONDS))
    assert caller.put("known") == caller.put("unread") == 201
    assert caller.sign("known") == 200
    return caller


@pytest.mark.parametrize("how", ["kill", "hang"])
def test_known_accounts_go_on_signing_for_a_while_and_nothing_else_does(caller, own_redis, how):
    getattr(own_redis, how)()
    known = [caller.sign("known") for _ in range(2)]
    refusals = [call("unread") for call in (caller.sign, caller.put) for _ in range(6)]
    ended = caller.until(503, "known")
    late = caller.sign("known")
    own_redis.start() if how == "kill" else own_redis.resume()

    assert caller.until(200, "known")
    assert (known, refusals) == ([200] * 2, [503] * 12)
    assert ended
    assert late == 503
    assert caller.put("known") == 200


def test_without_time_for_it_an_outage_is_one_for_all(make_caller, own_redis):
    caller = make_caller(own_redis.url, SIGNER_STALE_SECONDS="0")
    caller.put("known")
    before = caller.sign("known")
    own_redis.kill()

    assert (before, caller.sign("known")) == (200, 503)


def test_where_tracking_is_refused_every_read_is_true_and_health_warns(make_caller, own_redis):
    with Redis.from_url(own_redis.url) as operator:
        operator.execute_command("ACL", "SETUSER", "limited", "on", ">hush", "~*", "+@all", "-client|tracking")
        caller = make_caller(own_redis.url.replace("//", "//limited:hush@"))
        statuses = [caller.put("a"), caller.sign("a")]
        operator.delete("AwsAccount:a")
        statuses += [caller.sign("a")]
    health = caller.health()

    assert statuses == [201, 200, 404]
    assert health["status"] == "warn"
    assert health["checks"]["store"]["status"] == "warn"
    assert "The cache is off: Redis refuses client tracking" in health["checks"]["store"]["output"]


@pytest.mark.parametrize("size", ["0", "10"])
def test_health_passes_with_a_cache_and_where_none_is_wanted(make_caller, own_redis, size):
    caller = make_caller(own_redis.url, SIGNER_CACHE_SIZE=size)

    assert caller.health()["status"] == "pass"


def test_what_an_operator_changes_is_signed_with_before_it_would_be_read_again(caller, own_redis):
    with Redis.from_url(own_redis.url) as operator:
        operator.delete("AwsAccount:known")
        assert caller.until(404, "known")
        operator.hset("AwsAccount:known", mapping=KEYS)
        assert caller.until(200, "known")
