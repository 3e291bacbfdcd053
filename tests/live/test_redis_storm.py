"""Several service processes on one Redis, readers and writers at full tilt, and no stale account at the end."""

import asyncio
import random
import re
import time
from contextlib import ExitStack

import pytest
from aiohttp import ClientSession
from processes import ServiceProcess
from redis.asyncio import Redis
from support.waiting import until

pytestmark = pytest.mark.heavy

PROCESSES, ACCOUNTS, READERS = 3, 12, 18
# What is stale is mended by the next write, so that it shows in a lull alone.
SQUALLS, SQUALL_SECONDS = 16, 0.2


@pytest.fixture
def urls(own_redis):
    with ExitStack() as stack:
        processes = [ServiceProcess(measured=False, SIGNER_STORE_URL=own_redis.url) for _ in range(PROCESSES)]
        for process in processes:
            stack.callback(process.stop)
        yield [process.url for process in processes]


@pytest.fixture
async def storm(urls, own_redis):
    async with ClientSession() as session, Redis.from_url(own_redis.url, decode_responses=True) as operator:
        yield Storm(session, operator, urls)


class Storm:
    """Account ``a<n>`` has one writer, who counts up in its access key; ``shared`` has many who do not agree."""

    def __init__(self, session, operator, urls):
        self.session, self.operator, self.urls = session, operator, urls
        self.ids = [f"a{n}" for n in range(ACCOUNTS)]
        self.written = dict.fromkeys(self.ids, 0)
        """The highest number written to each."""

        self.reads = self.kills = 0
        self.faults = []
        self.ends = 0.0
        self.hot = "a0"

    async def rage(self, seconds):
        self.ends = time.monotonic() + seconds
        await asyncio.gather(
            *(self.write(id_) for id_ in self.ids),
            *(self.quarrel() for _ in range(3)),
            *(self.read(random.choice(self.urls)) for _ in range(READERS)),  # noqa: S311 - no secret
            self.kill(),
        )

    async def write(self, id_):
        while time.monotonic() < self.ends:
            self.hot = id_
            await self.change(id_, self.written[id_] + 1)
            self.written[id_] += 1
            await asyncio.sleep(random.uniform(0, 0.03))  # noqa: S311 - no secret

    async def change(self, id_, number):
        key, fields = f"AwsAccount:{id_}", {"access-key-id": f"A{number}", "secret-access-key": f"s{number}"}
        how = random.random()  # noqa: S311 - no secret
        if how < 0.4:
            await self.call("PUT", f"/AwsAccount/{id_}", {200, 201}, json=fields)
        elif how < 0.5:
            await self.call("DELETE", f"/AwsAccount/{id_}", {200, 204})
        elif how < 0.597:
            await self.operator.delete(key)
        elif how < 0.6:
            await self.operator.flushall()
        elif how < 0.7:
            # At once, as a flush in between would leave nothing to rename.
            await self.operator.pipeline().hset(f"new:{id_}", mapping=fields).rename(f"new:{id_}", key).execute()
        else:
            await self.operator.hset(key, mapping=fields)

    async def quarrel(self):
        while time.monotonic() < self.ends:
            number = random.randrange(1000)  # noqa: S311 - no secret
            fields = {"access-key-id": f"A{number}", "secret-access-key": f"s{number}"}
            await self.call("PUT", "/AwsAccount/shared", {200, 201}, json=fields)

    async def read(self, url):
        newest = dict.fromkeys(self.ids, 0)
        while time.monotonic() < self.ends:
            id_ = random.choice([*self.ids, *[self.hot] * ACCOUNTS])  # noqa: S311 - no secret
            number = await self.signed_with(url, id_)
            self.reads += 1
            if number is None:
                continue
            if number < newest[id_]:
                self.faults.append(f"{id_} went back from {newest[id_]} to {number}")
            newest[id_] = number

    async def kill(self):
        while time.monotonic() < self.ends:
            await asyncio.sleep(random.uniform(0.02, 0.2))  # noqa: S311 - no secret
            for client in await self.operator.client_list():
                if "B" in client["flags"] and random.random() < 0.7:  # noqa: S311 - no secret
                    self.kills += await self.operator.client_kill_filter(_id=client["id"])

    async def signed_with(self, url, id_):
        """The number in the access key of a URL signed by one process, or None if there is no account."""
        status, answer = await self.ask("GET", f"{url}/aws/storage/{id_}/bucket/key", {200, 404})
        return int(re.search(r"X-Amz-Credential=A(\d+)%2F", answer["url"])[1]) if status == 200 else None

    async def call(self, method, path, statuses, **options):
        await self.ask(method, random.choice(self.urls) + path, statuses, **options)  # noqa: S311 - no secret

    async def ask(self, method, url, statuses, **options):
        async with self.session.request(method, url, **options) as response:
            answer = await response.json(content_type=None) if response.status != 204 else None
            if response.status not in statuses:
                self.faults.append(f"{method} {url}: {response.status} {answer}")
            return response.status, answer

    async def hits(self):
        """How often the caches have answered."""
        pages = [await (await self.session.get(f"{url}/metrics")).text() for url in self.urls]
        return sum(float(re.search(r"^s3_signer_cache_hits_total (\S+)", page, re.MULTILINE)[1]) for page in pages)

    async def truth(self, id_):
        number = await self.operator.hget(f"AwsAccount:{id_}", "access-key-id")
        return int(number[1:]) if number else None


async def test_after_a_storm_every_process_answers_the_truth(storm):
    for _ in range(SQUALLS):
        await storm.rage(SQUALL_SECONDS)
        ids = [*storm.ids, "shared"]
        truth = {id_: await storm.truth(id_) for id_ in ids}

        async def all_answer_it(truth=truth):
            return all([{id_: await storm.signed_with(url, id_) for id_ in truth} == truth for url in storm.urls * 2])

        # Without another write: what is stale stays so until its entry is too old, after a minute.
        await until(all_answer_it)
    hits = await storm.hits()
    print(f"{storm.reads=} {storm.written=} {storm.kills=} {hits=}")  # noqa: T201

    assert storm.faults == []
    assert hits
    assert storm.kills
