"""A page of large resources must not block the event loop."""

import asyncio
import json
import threading

import pytest
import yaml
from aiohttp import encode_basic_auth, hdrs
from support.waiting import PerTurn

from service.app import create_app
from service.resources.types import ResourceType
from service.settings import load
from service.stores import pacing
from service.stores.memory import EmbeddedStore
from service.stores.record import Resource
from service.web import body, middleware
from service.web.formats import codec, limits
from service.web.handlers import policy_explain

LINKS = [{"reference": f"Client/c{'x' * 60}"}]
PATTERN = {"params": {"key": {"$enum": [f"{number:03}{'é' * 600}" for number in range(60)]}}}


@pytest.fixture
async def policies(client):
    await client.put(f"/{LINKS[0]['reference']}", json={"secret": "hush-of-the-linked-client"})
    for number in range(5):
        body = {"engine": "matcho", "matcho": PATTERN, "link": LINKS, "description": '0 "{}[], 0'}
        assert (await client.put(f"/AccessPolicy/p{number}", json=body)).status == 201


@pytest.fixture
def encoded(monkeypatch):
    """The thread and the size of each encoding."""
    calls = []
    for name in ("dump_json", "dump_yaml"):
        dump = getattr(codec, name)

        def spy(*args, dump=dump, **options):
            body = dump(*args, **options)
            calls.append((threading.current_thread().name, len(body)))
            return body

        monkeypatch.setattr(codec, name, spy)
    return calls


@pytest.mark.usefixtures("policies")
@pytest.mark.parametrize("query", ["", "?_format=yaml", "?_pretty=true", "?_sort=-_id&_count=3&_page=1"])
async def test_large_resources_are_encoded_one_by_one_in_the_thread(client, encoded, query):
    answer = await client.get(f"/AccessPolicy{query}")
    body = await answer.read()

    assert {name.split("_")[0] for name, _ in encoded} == {"background"}
    assert max(size for _, size in encoded) < len(body) / 2


@pytest.mark.usefixtures("policies")
@pytest.mark.parametrize("query", ["", "?_format=yaml", "?_pretty=true", "?_sort=-_id&_count=3&_page=1"])
async def test_the_page_is_the_same_as_in_one_piece(client, monkeypatch, query):
    in_pieces = await (await client.get(f"/AccessPolicy{query}")).text()
    monkeypatch.setattr("service.web.handlers.search.LARGE_PAGE_TEXT", 10**9)
    whole = await (await client.get(f"/AccessPolicy{query}")).text()

    assert in_pieces == whole
    bundle = yaml.safe_load(whole) if "yaml" in query else json.loads(whole)
    assert bundle["total"] == 5
    assert bundle["entry"][0]["resource"]["matcho"] == PATTERN


@pytest.mark.usefixtures("policies")
@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/AccessPolicy/p{}", None),
        ("GET", "/AccessPolicy/p{}?_format=yaml", None),
        ("PUT", "/AccessPolicy/p{}", {"engine": "matcho", "matcho": PATTERN, "link": LINKS}),
        ("PUT", "/AccessPolicy/new{}", {"engine": "matcho", "matcho": PATTERN, "link": LINKS}),
        ("PATCH", "/AccessPolicy/p{}", {"description": "x"}),
        ("DELETE", "/AccessPolicy/p{}", None),
    ],
)
async def test_requests_with_large_resources_at_the_same_time_take_turns(client, monkeypatch, method, path, body):
    steps = {name: PerTurn() for name in ("read", "model", "represent")}
    for name, step in steps.items():
        work = getattr(ResourceType, name)

        def spy(*args, work=work, step=step, **options):
            step.count()
            return work(*args, **options)

        monkeypatch.setattr(ResourceType, name, spy)
    monkeypatch.setattr(pacing, "MAX_BLOCK_SECONDS", 0)

    async def send():
        answers = await asyncio.gather(*(client.request(method, path.format(n), json=body) for n in range(5)))
        assert {answer.status for answer in answers} <= {200, 201}

    requests = send()
    for step in steps.values():
        requests = step.during(requests)
    await requests

    assert steps["represent"].total >= 5
    assert max(step.most for step in steps.values()) <= 1


@pytest.mark.parametrize("size", [body.SHORT_BODY + 1, limits.LARGE_BODY])
async def test_bodies_at_the_same_time_are_parsed_in_turns(client, monkeypatch, size):
    parsed, load = PerTurn(), codec.load_json
    monkeypatch.setattr(codec, "load_json", lambda *args: parsed.count() or load(*args))
    monkeypatch.setattr(pacing, "MAX_BLOCK_SECONDS", 0)
    text = json.dumps({"description": ""})
    text = text.replace('""', f'"{"x" * (size - len(text))}"')
    headers = {hdrs.CONTENT_TYPE: "application/json"}
    puts = (client.put(f"/Client/c{number}", data=text, headers=headers) for number in range(5))
    await parsed.during(asyncio.gather(*puts))

    assert (parsed.total, parsed.most) == (5, 1)


async def test_answers_with_many_issues_are_encoded_in_turns(client, monkeypatch):
    encoded, respond = PerTurn(), middleware.error_response
    monkeypatch.setattr(middleware, "error_response", lambda *args: encoded.count() or respond(*args))
    monkeypatch.setattr(pacing, "MAX_BLOCK_SECONDS", 0)
    query = "&".join(f"x{number}=1" for number in range(middleware.FEW_ISSUES + 1))
    await encoded.during(asyncio.gather(*(client.get(f"/live?{query}") for _ in range(5))))

    assert (encoded.total, encoded.most) == (5, 1)


@pytest.mark.parametrize("query", ["", "?_format=yaml", f"?_id={','.join(f'a{number}' for number in range(25))}"])
async def test_a_page_of_ordinary_accounts_is_encoded_in_the_thread(client, encoded, query):
    for number in range(25):
        assert (await client.put(f"/AwsAccount/a{number}", json={"region": "eu-west-1"})).status == 201
    encoded.clear()
    answer = await client.get(f"/AwsAccount{query}")

    assert answer.status == 200
    assert {name.split("_")[0] for name, _ in encoded} == {"background"}


async def test_a_page_of_ordinary_policies_is_encoded_in_the_thread(client, encoded):
    await client.put(f"/{LINKS[0]['reference']}", json={"secret": "hush-of-the-linked-client"})
    pattern = {"params": {"bucket": {"$enum": [f"bucket-{number}" for number in range(100)]}}}
    for number in range(15):
        body = {"engine": "matcho", "matcho": pattern, "link": LINKS}
        assert (await client.put(f"/AccessPolicy/p{number}", json=body)).status == 201
    encoded.clear()
    answer = await client.get("/AccessPolicy?_format=yaml")

    assert answer.status == 200
    assert {name.split("_")[0] for name, _ in encoded} == {"background"}


async def test_small_pages_are_encoded_on_the_loop(client, encoded):
    await client.put("/AwsAccount/a", json={})
    encoded.clear()
    await client.get("/AwsAccount")

    assert [name for name, _ in encoded] == [threading.current_thread().name]


async def test_the_accounts_of_a_long_page_are_read_in_the_thread_alone(client, monkeypatch):
    for number in range(101):
        await client.put(f"/AwsAccount/a{number}", json={"region": "eu-west-1"})
    threads, fields = set(), Resource.fields.fget
    monkeypatch.setattr(
        Resource, "fields", property(lambda resource: threads.add(threading.current_thread()) or fields(resource))
    )
    answer = await client.get("/AwsAccount?_count=1000")

    assert (await answer.json())["total"] == 101
    assert threading.main_thread() not in threads


async def test_an_explanation_by_many_policies_is_made_in_the_thread(aiohttp_client, audit_log, encoded, monkeypatch):
    root = {"SIGNER_ROOT_CLIENT_ID": "root", "SIGNER_ROOT_CLIENT_SECRET": "a root secret, long enough"}
    headers = {hdrs.AUTHORIZATION: encode_basic_auth("root", root["SIGNER_ROOT_CLIENT_SECRET"])}
    store = EmbeddedStore()
    for number in range(101):
        fields = {"id": f"p{number}", "engine": "matcho", "matcho": '{"params": {"account": "acme"}}'}
        await store.replace("AccessPolicy", f"p{number}", fields, expected=None)
    client = await aiohttp_client(create_app(load(root), store=store, audit=audit_log))
    reasons, threads = policy_explain._reasons, []

    def recorded(*args):
        for reason in reasons(*args):
            threads.append(threading.current_thread().name.split("_")[0])
            yield reason

    monkeypatch.setattr(policy_explain, "_reasons", recorded)
    encoded.clear()
    answer = await client.post("/AccessPolicy/$explain", headers=headers, json={"params": {"account": "other"}})
    explanation = await answer.json()

    assert (explanation["allowed"], len(explanation["policies"])) == (False, 101)
    assert {name.split("_")[0] for name, _ in encoded} == set(threads) == {"background"}
    assert explanation["policies"] == sorted(explanation["policies"], key=lambda it: it["policy"])
