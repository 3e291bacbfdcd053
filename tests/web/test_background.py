import asyncio
import threading

import pytest

from service.web.background import in_background
from service.web.formats import codec


async def test_functions_run_one_at_a_time_outside_the_event_loop():
    running, most, threads = 0, 0, set()

    def work(number):
        nonlocal running, most
        running += 1
        most = max(most, running)
        threads.add(threading.current_thread())
        running -= 1
        return number

    assert await asyncio.gather(*(in_background(lambda number=number: work(number)) for number in range(50))) == [
        *range(50)
    ]
    assert most == 1
    assert len(threads) == 1
    assert threading.main_thread() not in threads


@pytest.mark.parametrize("path", ["/AwsAccount?_count=1000", "/AwsAccount?_count=1000&_format=yaml"])
async def test_large_listings_are_encoded_in_the_thread(client, monkeypatch, path):
    """Concurrent large listings must not block the event loop."""
    for number in range(101):
        await client.put(f"/AwsAccount/a{number}", json={})
    writers = set()
    for name in ("dump_json", "dump_yaml"):
        dump = getattr(codec, name)
        monkeypatch.setattr(
            codec,
            name,
            lambda *args, dump=dump, **options: writers.add(threading.current_thread().name) or dump(*args, **options),
        )
    answer = await client.get(path)

    assert answer.status == 200
    assert {name.split("_")[0] for name in writers} == {"background"}
