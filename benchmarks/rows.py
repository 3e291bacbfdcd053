"""Every row, as in the design's table of bars. A further one is an entry here."""

from benchmarks import in_process, ready
from benchmarks.bars import at_most, at_most_each, at_most_more, times_cheaper, times_faster
from benchmarks.contest import Row
from benchmarks.example import (
    AMAZON,
    GET,
    GET_ANY_OF_10_000,
    GET_ANY_OF_100_000,
    GET_EXPIRING,
    GET_FIRST,
    MINIO,
    UPLOAD,
)
from benchmarks.load import Request
from benchmarks.sides import (
    cpu_per_request,
    delays,
    first_url,
    loaded,
    remembering,
    requests_per_second,
    resident,
    script,
)

ROOT = Request("/")
FLOOR = "a bare aiohttp handler on uvloop, a constant of the same size"
FEW, MANY = 10_000, 60_000

DELAYS = delays(ready.embedded, GET)
REMEMBERING = remembering(ready.in_crowd(cache=200_000), GET_ANY_OF_100_000, many=MANY, few=FEW)

ROWS = (
    Row(
        name="get",
        what="CPU per signed GET, embedded store",
        against=FLOOR,
        ours=loaded(ready.embedded, GET, cpu_per_request),
        beside=loaded(ready.constant, ROOT, cpu_per_request),
        unit="µs",
        bar=at_most(1.7),
    ),
    Row(
        name="get-expiration",
        what="the same with ?expiration=43200",
        against=FLOOR,
        ours=loaded(ready.embedded, GET_EXPIRING, cpu_per_request),
        beside=loaded(ready.constant, ROOT, cpu_per_request),
        unit="µs",
        bar=at_most(2.1),
    ),
    Row(
        name="get-redis",
        what="CPU per signed GET, 10,000 accounts in Redis, warm",
        against=FLOOR,
        ours=loaded(ready.in_crowd(), GET_ANY_OF_10_000, cpu_per_request, visits=10_000),
        beside=loaded(ready.constant, ROOT, cpu_per_request),
        unit="µs",
        bar=at_most(1.8),
    ),
    Row(
        name="redis",
        what="requests/s, signed GET from Redis",
        against="written by hand: aiohttp, redis-py, one aiobotocore client",
        ours=loaded(ready.on_redis, GET, requests_per_second),
        beside=loaded(ready.by_hand, GET, requests_per_second),
        unit="/s",
        bar=times_faster(5),
    ),
    Row(
        name="fastapi",
        what="requests/s, signed GET",
        against="FastAPI, uvicorn (uvloop, httptools), a boto3 client, no store",
        ours=loaded(ready.embedded, GET, requests_per_second),
        beside=loaded(ready.fast_api, GET, requests_per_second),
        unit="/s",
        bar=times_faster(8),
    ),
    Row(
        name="upload",
        what="CPU per POST of YAML, filename to URL",
        against="signed GET, ours",
        ours=loaded(ready.embedded, UPLOAD, cpu_per_request),
        beside=loaded(ready.embedded, GET, cpu_per_request),
        unit="µs",
        bar=at_most(2),
    ),
    Row(
        name="signature",
        what="one signature in process",
        against="aiobotocore generate_presigned_url",
        ours=in_process.presigner(AMAZON),
        beside=in_process.aiobotocore,
        unit="µs",
        bar=times_cheaper(25),
        rounds=7,
    ),
    Row(
        name="signature-minio",
        what="the same",
        against="minio-py presigned_get_object",
        ours=in_process.presigner(MINIO),
        beside=in_process.minio,
        unit="µs",
        bar=times_cheaper(5),
        rounds=7,
    ),
    Row(
        name="workers",
        what="CPU per signed GET, 2 worker processes",
        against="1 process, on the same cores",
        ours=loaded(ready.workers(2), GET_FIRST, cpu_per_request),
        beside=loaded(ready.workers(1), GET_FIRST, cpu_per_request),
        unit="µs",
        bar=at_most(1.1),
    ),
    Row(
        name="crowd",
        what="requests/s, any of 100,000 accounts, all cached",
        against="signed GET from Redis, 1 account",
        ours=loaded(ready.in_crowd(cache=200_000), GET_ANY_OF_100_000, requests_per_second, visits=100_000),
        beside=loaded(ready.in_crowd(), GET_FIRST, requests_per_second),
        unit="/s",
        bar=times_faster(0.7),
    ),
    Row(
        name="crowd-misses",
        what="the same with a cache of 10,000, 90 % misses",
        against="signed GET from Redis, 1 account",
        ours=loaded(ready.in_crowd(cache=10_000), GET_ANY_OF_100_000, requests_per_second, visits=10_000),
        beside=loaded(ready.in_crowd(), GET_FIRST, requests_per_second),
        unit="/s",
        bar=times_faster(0.35),
    ),
    Row(
        name="delay",
        what="signed GET, p99 at 70 % of peak load",
        against="p50",
        ours=DELAYS[0],
        beside=DELAYS[1],
        unit="µs",
        bar=at_most(5),
        rounds=3,
    ),
    Row(
        name="start",
        what="start to first signed URL",
        against='python -c "import aiobotocore.session"',
        ours=first_url,
        beside=script("import aiobotocore.session"),
        unit="s",
        bar=at_most(2),
        rounds=7,
    ),
    Row(
        name="memory",
        what="resident memory after the first URL",
        against="an aiohttp hello process",
        ours=resident(ready.embedded, GET),
        beside=resident(ready.hello, ROOT),
        unit="MiB",
        bar=at_most_more(45, "MiB"),
        rounds=3,
    ),
    Row(
        name="memory-cached",
        what="memory per further cached account: 60,000",
        against="10,000 cached accounts",
        ours=REMEMBERING[0],
        beside=REMEMBERING[1],
        unit="KiB",
        bar=at_most_each(2, "KiB", MANY - FEW),
        rounds=1,
    ),
)
