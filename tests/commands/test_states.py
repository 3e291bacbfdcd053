"""The outcome of each command in each state of Redis."""

import base64

import pytest
import yaml
from redis import Redis
from support.operator import BODY, SIGNED_URL, Operator

from service.errors import Invalid, ResourceNotFound, StoreUnavailable
from service.serving.binding import StartError

pytestmark = pytest.mark.heavy  # it waits for outages

UNAVAILABLE, MISSING = "unavailable", "missing"
COMMANDS = (
    "account list",
    "account get a",
    "account get missing",
    "account put b {body}",
    "account delete c",
    "sign GET a my-bucket key",
    "sign GET missing my-bucket key",
    f"verify {SIGNED_URL}",
    "check",
    "check a",
    "check missing",
    "rekey",
)
# The URL of `verify` has expired. `check` fails for a missing account.
WORKING = (0, 0, MISSING, 0, 0, 0, MISSING, 3, 0, 0, 3, 0)
UNUSABLE = (*[UNAVAILABLE] * 8, 3, 3, 3, UNAVAILABLE)


def with_writes(put, delete, rekey):
    return (*WORKING[:3], put, delete, *WORKING[5:11], rekey)


def limited(*rights):
    def limit(server, client):
        client.execute_command("ACL", "SETUSER", "limited", "on", ">hush", "~*", "&*", "+@all", *rights)
        return server.url.replace("//", "//limited:hush@")

    return limit


def configured(name, value):
    return lambda _, client: client.config_set(name, value)


def with_unknown_user(server, _):
    return server.url.replace("//", "//nobody:hush@")


def store_text(_, client):
    client.delete("AwsAccount:a")
    client.set("AwsAccount:a", "text")


STATES = {
    "healthy": (lambda *_: None, WORKING),
    "stopped": (lambda server, _: server.kill(), UNUSABLE),
    "hung": (lambda server, _: server.hang(), UNUSABLE),
    "paused": (lambda _, client: client.client_pause(60_000), UNUSABLE),
    "an unknown user": (with_unknown_user, UNUSABLE),
    "a replica without its primary": (lambda _, client: client.replicaof("127.0.0.1", "1"), UNUSABLE),
    "no right to read": (limited("-hgetall"), UNUSABLE),
    "no right to any key": (limited("resetkeys"), UNUSABLE),
    # The commands that need no list work.
    "no right to scan": (limited("-scan"), (1, *WORKING[1:8], 3, *WORKING[9:11], 1)),
    "no right to write": (limited("-@write"), with_writes(UNAVAILABLE, UNAVAILABLE, UNAVAILABLE)),
    "no right to run scripts": (limited("-@scripting"), with_writes(UNAVAILABLE, UNAVAILABLE, UNAVAILABLE)),
    # Redis allows a deletion, which needs no memory.
    "full memory": (configured("maxmemory", "1"), with_writes(UNAVAILABLE, 0, UNAVAILABLE)),
    "too few replicas": (configured("min-replicas-to-write", "1"), with_writes(*[UNAVAILABLE] * 3)),
    "a key of another type": (store_text, (0, "invalid", MISSING, 0, 0, "invalid", MISSING, 3, 0, 3, 3, 0)),
}


@pytest.mark.parametrize("state", STATES)
def test_each_command_has_its_exit_status_in_each_state_of_redis(capfd, own_redis, tmp_path, state):
    body, keys = tmp_path / "account.yaml", tmp_path / "keys"
    body.write_text(yaml.safe_dump(BODY))
    keys.write_text(f"k1: {base64.b64encode(bytes(32)).decode()}\n")
    for id_ in "ac":
        Operator(capfd, SIGNER_STORE_URL=own_redis.url).run("account", "put", id_, str(body))
    enter, expected = STATES[state]
    with Redis.from_url(own_redis.url) as client:
        url = enter(own_redis, client)
    settings = {
        "SIGNER_STORE_URL": url if isinstance(url, str) else own_redis.url,
        "SIGNER_ENCRYPTION_KEYS_FILE": str(keys),
    }
    outcomes = [outcome(Operator(capfd, **settings), command.format(body=body).split()) for command in COMMANDS]

    assert dict(zip(COMMANDS, outcomes, strict=True)) == dict(zip(COMMANDS, expected, strict=True))


def outcome(operator, command):
    try:
        return operator.run(*command)[0]
    except ResourceNotFound:
        return MISSING
    except (StoreUnavailable, StartError):
        return UNAVAILABLE
    except Invalid:
        return "invalid"
