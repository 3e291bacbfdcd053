"""Two replicas on one Redis: what access is made of changes at one of them, or behind both, and counts at the other."""

import base64
import json
from concurrent.futures import ThreadPoolExecutor
from itertools import product

import pytest
from live.raw_http import send
from processes import ServiceProcess
from redis import Redis
from support.accounts import KEYS
from support.hashes import scrypt_text
from support.waiting import eventually

pytestmark = pytest.mark.heavy  # it starts many processes

STALE_SECONDS = 3
ROOT_SECRET = "a root secret, long enough"


def basic(id_, secret):
    return f"Basic {base64.b64encode(f'{id_}:{secret}'.encode()).decode()}"


SECRET = "hush, sixteen letters"
ROOT, TEAM = basic("root", ROOT_SECRET), basic("team", SECRET)
PATTERN = {"params": {"account": "acme", "key": "#^team/"}}


class Replica:
    def __init__(self, url):
        self.url = url

    def ask(self, method, path, values=None, authorization=ROOT):
        body = None if values is None else json.dumps(values).encode()
        return send(self.url + path, method, body, {"Content-Type": "application/json", "Authorization": authorization})

    def put(self, path, **values):
        assert self.ask("PUT", path, values).status in {200, 201}

    def sign(self, key="team/x", authorization=TEAM):
        return self.ask("GET", f"/aws/storage/acme/bucket/{key}", authorization=authorization).status

    def token(self, authorization=TEAM):
        answer = self.ask("POST", "/auth/token", {"grant_type": "client_credentials"}, authorization)
        return f"Bearer {answer.json()['access_token']}"

    def until(self, status, *arguments):
        """Ask until signing has that status; whether it has within a third of the time that entries are kept."""
        return eventually(lambda: self.sign(*arguments) == status)


@pytest.fixture(scope="module")
def replica_urls(shared_redis):
    processes = [
        ServiceProcess(
            SIGNER_STORE_URL=shared_redis.url, SIGNER_ROOT_CLIENT_ID="root", SIGNER_ROOT_CLIENT_SECRET=ROOT_SECRET
        )
        for _ in range(2)
    ]
    yield [process.url for process in processes]
    assert [process.stop() for process in processes] == [0, 0]


@pytest.fixture
def replicas(redis_url, replica_urls):
    """One that changes things, and one that knew them as they were before."""
    first, second = (Replica(url) for url in replica_urls)
    first.put("/AwsAccount/acme", **KEYS)
    first.put("/Client/team", secret=SECRET, grant_types=["basic", "client_credentials"])
    first.put("/AccessPolicy/team", engine="matcho", matcho=PATTERN, link=[{"reference": "Client/team"}])
    for replica in (first, second):
        assert replica.until(200)
        assert replica.sign("other/x") == 403
    return first, second


@pytest.fixture
def operator(redis_url, replicas):
    """Somebody with redis-cli."""
    with Redis.from_url(redis_url, decode_responses=True) as client:
        yield client


def test_a_client_that_is_deleted_at_one_is_gone_at_the_other_with_its_tokens(replicas):
    first, second = replicas
    token = first.token()
    assert second.sign(authorization=token) == 200
    first.ask("DELETE", "/Client/team")

    assert second.until(401)
    assert second.until(401, "team/x", token)


@pytest.mark.parametrize("patch", [{"secret": "another secret, longer"}, {"grant_types": []}, {"secret": None}])
def test_a_client_that_is_changed_at_one_is_changed_at_the_other(replicas, patch):
    first, second = replicas
    token = second.token()
    assert first.sign(authorization=token) == 200
    first.ask("PATCH", "/Client/team", patch)

    assert second.until(401)
    assert second.until(401, "team/x", token)
    assert second.sign(authorization=basic("team", "another secret, longer")) == (
        200 if "another" in str(patch) else 401
    )


def test_a_policy_that_one_makes_changes_and_deletes_counts_at_the_other(replicas):
    first, second = replicas
    first.put("/AccessPolicy/other", engine="matcho", matcho={"params": {"account": "acme", "key": "#^other/"}})
    assert second.until(200, "other/x")
    first.put("/AccessPolicy/other", engine="matcho", matcho={"params": {"account": "acme", "key": "#^third/"}})
    assert second.until(403, "other/x")
    after_change = second.sign("third/x"), second.sign("team/x")
    first.ask("DELETE", "/AccessPolicy/other")
    assert second.until(403, "third/x")

    assert after_change == (200, 200)
    assert second.sign("team/x") == 200


def test_a_policy_that_an_operator_writes_and_deletes_counts_at_both(replicas, operator):
    for n in range(10):
        # One right after the other, as a script does: the listing in between must not be the last.
        pattern = {"params": {"account": "acme", "key": f"#^operator-{n}/"}}
        operator.hset(f"AccessPolicy:op-{n}", mapping={"engine": "matcho", "matcho": json.dumps(pattern)})
        assert all(replica.until(200, f"operator-{n}/x") for replica in replicas)
    for n in range(10):
        operator.delete(f"AccessPolicy:op-{n}")
        assert all(replica.until(403, f"operator-{n}/x") for replica in replicas)

    assert [replica.sign() for replica in replicas] == [200, 200]


def test_policies_that_an_operator_renames_count_still(replicas, operator):
    first, _ = replicas
    allowed = [f"renamed-{n}/x" for n in range(5)]
    for n, key in enumerate(allowed):
        first.put(f"/AccessPolicy/before-{n}", engine="matcho", matcho={"params": {"account": "acme", "key": key}})
    assert all(replica.until(200, key) for replica, key in product(replicas, allowed))
    for n, key in enumerate(allowed):
        operator.rename(f"AccessPolicy:before-{n}", f"AccessPolicy:after-{n}")
        # They list in between, so that the next is not found by a mend, which takes its rest.
        for replica in replicas:
            replica.sign(key)
    # Who sees this one has seen all before it.
    first.put("/AccessPolicy/last", engine="matcho", matcho={"params": {"account": "acme", "key": "last/x"}})
    assert all(replica.until(200, "last/x") for replica in replicas)

    assert [replica.sign(key) for replica, key in product(replicas, allowed)] == [200] * 2 * len(allowed)


@pytest.mark.parametrize("fields", [{"engine": "nonsense"}, {"matcho": "{}"}, {"link": "[]"}])
def test_a_policy_that_an_operator_breaks_allows_nothing(replicas, operator, fields):
    operator.hset("AccessPolicy:team", mapping=fields)

    assert all(replica.until(403) for replica in replicas)


@pytest.mark.parametrize("how", ["HSET", "HDEL", "DEL", "FLUSHALL"])
def test_a_client_that_an_operator_changes_is_changed_at_both(replicas, operator, how):
    tokens = [replica.token() for replica in replicas]
    if how == "HSET":
        operator.hset("Client:team", "secret", "hush")
    elif how == "HDEL":
        operator.hdel("Client:team", "secret")
    elif how == "DEL":
        operator.delete("Client:team")
    else:
        operator.flushall()

    assert all(replica.until(401) for replica in replicas)
    assert all(replica.until(401, "team/x", token) for replica in replicas for token in tokens)


def test_a_token_of_one_is_good_at_the_other_and_ends_in_redis(replicas, operator):
    first, second = replicas
    token, root = first.token(), first.token(ROOT)
    good = [second.sign(authorization=token), second.ask("GET", "/Client", authorization=root).status]
    sessions = operator.keys("Session:*")
    lifetimes = [operator.ttl(key) for key in sessions]
    operator.delete(*sessions)

    assert good == [200, 200]
    # A token of the root client is not stored.
    assert len(sessions) == 1
    assert all(3000 < seconds <= 3600 for seconds in lifetimes)
    assert not any(token[7:] in str(operator.hgetall(key)) for key in sessions)
    assert all(replica.until(401, "team/x", token) for replica in replicas)


def test_a_token_that_is_revoked_at_one_has_ended_at_the_other(replicas):
    first, second = replicas
    token = first.token()
    before = second.until(200, "team/x", token)
    answer = first.ask("POST", "/auth/revoke", {"token": token.removeprefix("Bearer ")}, TEAM)

    assert before
    assert answer.status == 200
    assert second.until(401, "team/x", token)


def test_replicas_that_replace_an_old_hash_at_once_agree(replicas, operator):
    operator.hset("Client:team", "secret", scrypt_text(SECRET))
    before = [replica.ask("GET", "/Client/team").headers["etag"] for replica in replicas]
    with ThreadPoolExecutor(8) as pool:
        statuses = [*pool.map(lambda replica: replica.sign(), [*replicas] * 4)]
    hash_ = operator.hget("Client:team", "secret")
    again = [replica.sign() for replica in replicas]

    assert statuses == [200] * 8
    assert "argon2id" in hash_
    assert again == [200, 200]
    assert operator.hget("Client:team", "secret") == hash_
    assert [replica.ask("GET", "/Client/team").headers["etag"] for replica in replicas] == before


def test_a_rotation_at_one_counts_at_the_other(replicas):
    first, second = replicas
    # No policy is for it: 403 tells that it was let in.
    first.put("/Client/rotating", secret=SECRET, grant_types=["basic"])
    known = second.until(403, "team/x", basic("rotating", SECRET))
    shown = first.ask("POST", "/Client/rotating/$rotate-secret", {"previous-valid-for": 0}).json()

    assert known
    assert second.until(401, "team/x", basic("rotating", SECRET))
    assert second.sign(authorization=basic("rotating", shown["secret"])) == 403


@pytest.mark.heavy
def test_while_redis_is_away_who_was_known_is_served_for_a_while_and_nobody_else(own_redis):
    process = ServiceProcess(
        SIGNER_STORE_URL=own_redis.url,
        SIGNER_ROOT_CLIENT_ID="root",
        SIGNER_ROOT_CLIENT_SECRET=ROOT_SECRET,
        SIGNER_STALE_SECONDS=str(STALE_SECONDS),
    )
    replica = Replica(process.url)
    replica.put("/AwsAccount/acme", **KEYS)
    for id_ in ("team", "unseen"):
        replica.put(f"/Client/{id_}", secret=SECRET, grant_types=["basic", "client_credentials"])
    replica.put("/AccessPolicy/team", engine="matcho", matcho=PATTERN)
    token = replica.token()
    assert replica.until(200)
    assert replica.until(200, "team/x", token)
    own_redis.kill()
    known = [replica.sign(), replica.sign(authorization=token), replica.sign("other/x")]
    unknown = [
        replica.sign(authorization=basic("unseen", SECRET)),
        replica.sign(authorization=f"Bearer {'a' * 43}"),
        replica.ask("POST", "/auth/token", {"grant_type": "client_credentials"}, TEAM).status,
    ]
    wrong = replica.sign(authorization=basic("team", "wrong"))
    root = replica.ask("GET", "/$version").status
    ended = replica.until(503)
    also_ended = replica.until(503, "team/x", token)
    own_redis.start()
    back = replica.until(200) and replica.until(200, "team/x", token)

    assert known == [200, 200, 403]
    assert unknown == [503, 503, 503]
    assert (wrong, root) == (401, 200)
    assert (ended, also_ended, back) == (True, True, True)
    assert process.stop() == 0
