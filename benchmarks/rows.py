"""Every row, as in the design's table of bars. A further one is an entry here."""

from benchmarks import in_process, ready
from benchmarks.bars import at_most, at_most_more, times_cheaper, times_faster
from benchmarks.contest import Row
from benchmarks.example import AMAZON, GET, GET_EXPIRING, MINIO, UPLOAD
from benchmarks.load import Request
from benchmarks.sides import cpu_per_request, first_url, loaded, requests_per_second, resident, script

ROOT = Request("/")
FLOOR = "a bare aiohttp handler on uvloop, a constant of the same size"

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
        name="redis",
        what="requests/s, signed GET from Redis",
        against="written by hand: aiohttp, redis-py, one aiobotocore client",
        ours=loaded(ready.on_redis, GET, requests_per_second),
        beside=loaded(ready.by_hand, GET, requests_per_second),
        unit="/s",
        bar=times_faster(5),
        awaits="the cache",
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
)
