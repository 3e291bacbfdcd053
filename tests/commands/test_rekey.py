"""``python -m service rekey`` with a real Redis."""

import base64
import json
import os

import pytest
from processes import ServiceProcess, run_to_end
from redis import Redis

from service.commands import rekey
from service.commands.arguments import parser
from service.resources.repository import Repository
from service.settings import load
from service.stores import index

SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
KEYS = {"access-key-id": "AKIAIOSFODNN7EXAMPLE", "secret-access-key": SECRET}


@pytest.fixture
def key_file(tmp_path):
    """Return a function that writes a key file; a name has the same key each time."""
    keys = {}

    def write(*names):
        for name in names:
            keys.setdefault(name, base64.b64encode(os.urandom(32)).decode())
        path = tmp_path / "keys"
        path.write_text("".join(f"{name}: {keys[name]}\n" for name in names))
        return str(path)

    return write


@pytest.fixture
def operator(redis_url):
    with Redis.from_url(redis_url, decode_responses=True) as client:
        yield client


def ask(process, method, path, body=None):
    data = json.dumps(body).encode() if body is not None else b""
    head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\n"
    answer = process.exchange(f"{head}Content-Length: {len(data)}\r\n\r\n".encode() + data)
    return int(answer.split()[1]), answer.partition(b"\r\n\r\n")[2].decode()


def stored(operator, id_="a"):
    return operator.hget(f"AwsAccount:{id_}", "secret-access-key")


@pytest.mark.heavy
def test_a_key_is_rotated_while_the_service_signs(redis_url, operator, key_file):
    process = ServiceProcess(SIGNER_STORE_URL=redis_url, SIGNER_ENCRYPTION_KEYS_FILE=key_file("old"))
    assert ask(process, "PUT", "/AwsAccount/a", KEYS)[0] == 201
    before = stored(operator)
    process.stop()
    process = ServiceProcess(SIGNER_STORE_URL=redis_url, SIGNER_ENCRYPTION_KEYS_FILE=key_file("new", "old"))
    first = ask(process, "GET", "/aws/storage/a/bucket/k")
    status, lines = run_to_end("rekey", SIGNER_STORE_URL=redis_url, SIGNER_ENCRYPTION_KEYS_FILE=key_file("new", "old"))
    second = ask(process, "GET", "/aws/storage/a/bucket/k")
    process.stop()

    assert before.startswith("sealed:v1:old:")
    assert (status, lines) == (0, [])
    assert stored(operator).startswith("sealed:v1:new:")
    assert (first[0], second[0]) == (200, 200)
    assert SECRET not in str(operator.hgetall("AwsAccount:a"))


def test_an_unencrypted_secret_is_encrypted(redis_url, operator, key_file):
    operator.hset("AwsAccount:a", mapping=KEYS)
    status, _ = run_to_end("rekey", SIGNER_STORE_URL=redis_url, SIGNER_ENCRYPTION_KEYS_FILE=key_file("k1"))

    assert status == 0
    assert stored(operator).startswith("sealed:v1:k1:")


@pytest.mark.parametrize("known", [(), ("-complete",)])
def test_a_secret_that_another_program_has_stored_is_found_by_a_scan_of_any_length(
    redis_url, operator, key_file, monkeypatch, known
):
    for name in ("WAIT_SECONDS", "BUILD_SECONDS"):
        monkeypatch.setattr(index, name, 0)
    operator.hset("AwsAccount:a", mapping=KEYS)
    for kind in ("AwsAccount", "Client") if known else ():
        operator.zadd(f"_index:{kind}", dict.fromkeys(known, 0))
    settings = {"SIGNER_STORE_URL": redis_url, "SIGNER_ENCRYPTION_KEYS_FILE": key_file("k1")}

    assert rekey.run(load(settings), parser().parse_args(["rekey"])) == 0
    assert stored(operator).startswith("sealed:v1:k1:")


def test_a_deletion_in_the_meantime_hides_no_secret(redis_url, operator, key_file, monkeypatch):
    reencrypt = Repository.reencrypt
    settings = {"SIGNER_STORE_URL": redis_url, "SIGNER_ENCRYPTION_KEYS_FILE": key_file("k1")}
    for number in range(400):
        operator.hset(f"AwsAccount:a{number:03}", mapping=KEYS)
    rekey.run(load(settings), parser().parse_args(["rekey"]))
    operator.hset("AwsAccount:a250", mapping=KEYS)

    async def delete_first(self, type_, id_):
        operator.delete("AwsAccount:a000")
        operator.zrem("_index:AwsAccount", "a000")
        return await reencrypt(self, type_, id_)

    monkeypatch.setattr(Repository, "reencrypt", delete_first)

    assert rekey.run(load(settings), parser().parse_args(["rekey"])) == 0
    assert stored(operator, "a250").startswith("sealed:v1:k1:")


def test_a_refused_scan_is_a_failure(own_redis, key_file):
    with Redis.from_url(own_redis.url) as client:
        client.execute_command("ACL", "SETUSER", "limited", "on", ">hush", "~*", "+@all", "-scan")
    url = own_redis.url.replace("//", "//limited:hush@")
    status, lines = run_to_end("rekey", SIGNER_STORE_URL=url, SIGNER_ENCRYPTION_KEYS_FILE=key_file("k1"))

    assert status == 1
    assert any("Redis refuses to list every AwsAccount" in line for line in lines)


def test_a_secret_without_its_key_is_reported_and_unchanged(redis_url, operator, key_file):
    operator.hset("AwsAccount:a", mapping={**KEYS, "secret-access-key": "sealed:v1:lost:AAAA"})
    status, lines = run_to_end("rekey", SIGNER_STORE_URL=redis_url, SIGNER_ENCRYPTION_KEYS_FILE=key_file("k1"))

    assert status == 1
    assert "AwsAccount/a" in lines[0]
    assert "key lost" in lines[0]
    assert stored(operator) == "sealed:v1:lost:AAAA"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "SIGNER_ENCRYPTION_KEYS_FILE is not set"),
        ({"SIGNER_ENCRYPTION_KEYS_FILE": "here"}, "SIGNER_STORE_URL is memory://"),
        ({"SIGNER_ENCRYPTION_KEYS_FILE": "/nope", "SIGNER_STORE_URL": "redis://127.0.0.1:1"}, "cannot be read"),
    ],
)
def test_a_missing_requirement_is_reported_in_one_line(settings, message, key_file):
    if settings.get("SIGNER_ENCRYPTION_KEYS_FILE") == "here":
        settings = {"SIGNER_ENCRYPTION_KEYS_FILE": key_file("k1")}
    status, lines = run_to_end("rekey", **settings)

    assert status == 2
    assert message in lines[-1]


def test_a_secret_copied_to_another_field_or_account_does_not_decrypt(redis_url, operator, key_file):
    process = ServiceProcess(SIGNER_STORE_URL=redis_url, SIGNER_ENCRYPTION_KEYS_FILE=key_file("k1"))
    ask(process, "PUT", "/AwsAccount/a", {**KEYS, "session-token": "t0k3n"})
    record = operator.hgetall("AwsAccount:a")
    operator.hset("AwsAccount:b", mapping=record)
    swapped = {"secret-access-key": record["session-token"], "session-token": record["secret-access-key"]}
    operator.hset("AwsAccount:c", mapping={**record, **swapped})
    answers = [ask(process, "GET", f"/aws/storage/{id_}/bucket/k") for id_ in "abc"]
    process.stop()

    assert [status for status, _ in answers] == [200, 500, 500]
    assert all("key k1" in body for _, body in answers[1:])
    assert SECRET not in str(answers)


def test_an_update_encrypts_unchanged_secrets_with_the_current_key(redis_url, operator, key_file):
    operator.hset("AwsAccount:a", mapping=KEYS)
    process = ServiceProcess(SIGNER_STORE_URL=redis_url, SIGNER_ENCRYPTION_KEYS_FILE=key_file("k1"))
    status, _ = ask(process, "PATCH", "/AwsAccount/a", {"region": "eu-west-1"})
    process.stop()

    assert status == 200
    assert stored(operator).startswith("sealed:v1:k1:")


def test_a_client_cannot_send_an_encrypted_secret(service):
    status, body = ask(service, "PUT", "/AwsAccount/sealed", {**KEYS, "secret-access-key": "sealed:v1:k:x"})

    assert status == 422
    assert "AwsAccount.secret-access-key" in body
