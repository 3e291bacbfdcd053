"""What the log of a running service tells at its most talkative, whatever befalls it: never a secret."""

import json

import pytest
from live.raw_http import send
from processes import ServiceProcess
from redis import Redis

PASSWORD, SECRET, TOKEN = "hush-redis", "c0rrect-h0rse-battery-staple", "a-t0ken"
KEYS = {"access-key-id": "AKIAIOSFODNN7EXAMPLE", "secret-access-key": SECRET, "session-token": TOKEN}
JSON, YAML = {"Content-Type": "application/json"}, {"Content-Type": "text/yaml"}
YAML_KEYS = "".join(f"{name}: {text}\n" for name, text in KEYS.items())


@pytest.fixture
def admin(own_redis):
    with Redis(port=own_redis.port) as client:
        client.config_set("requirepass", PASSWORD)
        client.auth(PASSWORD)
        yield client


def live_through_everything(service, redis, admin):
    """Ask for what works, for what is refused and for what breaks; the statuses."""
    account = f"{service.url}/AwsAccount/a"
    answers = [
        send(account, "PUT", json.dumps(KEYS).encode(), JSON),
        send(account, "PUT", YAML_KEYS.encode(), YAML),
        send(account, "PATCH", json.dumps({"region": "-", **KEYS}).encode(), JSON),
        send(account, "PUT", json.dumps({**KEYS, "secret-access-key": [SECRET]}).encode(), JSON),
        send(account, "PUT", f'{{"secret-access-key": "{SECRET}'.encode(), JSON),
        send(account, "PUT", f'secret-access-key: "{SECRET}'.encode(), YAML),
        send(f"{service.url}/aws/storage/a/bucket/key", "GET"),
    ]
    service.exchange(f"GET / HTTP/1.1\r\nAuthorization: {SECRET}\x00\r\n\r\n".encode())
    admin.set("AwsAccount:text", SECRET)
    answers.append(send(f"{service.url}/AwsAccount/text", "GET"))
    admin.hset("AwsAccount:b", mapping={**KEYS, "use-ssl": SECRET})
    answers.append(send(f"{service.url}/aws/storage/b/bucket/key", "GET"))
    admin.config_set("maxmemory", "1")
    answers.append(send(account, "PUT", json.dumps(KEYS).encode(), JSON))
    redis.kill()
    answers.append(send(account, "PUT", json.dumps(KEYS).encode(), JSON))
    service.wait_for("is unavailable")
    return [answer.status for answer in answers]


@pytest.mark.parametrize("form", ["json", "text"])
def test_the_log_holds_no_secret_even_at_debug_level(own_redis, admin, form):
    url = own_redis.url.replace("//", f"//:{PASSWORD}@")
    service = ServiceProcess(measured=False, SIGNER_STORE_URL=url, SIGNER_LOG_LEVEL="debug", SIGNER_LOG_FORMAT=form)
    try:
        statuses = live_through_everything(service, own_redis, admin)
    finally:
        service.stop()

    told = json.dumps(service.log)
    assert statuses == [201, 200, 422, 422, 400, 400, 200, 422, 422, 503, 503]
    assert "Error handling request" in told
    assert "refuses commands" in told
    assert not any(secret in told for secret in (PASSWORD, SECRET, TOKEN, "X-Amz-Signature"))
