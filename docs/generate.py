"""Writes the reference pages that are made from declarations; a test holds that they are up to date."""

from pathlib import Path

from service.settings import settings, store_url
from service.telemetry import metrics

DOCS = Path(__file__).parent

CONFIGURATION = """\
# Configuration

Made by `make docs` from `service/settings/settings.py`.

Settings are environment variables; one that is empty or blank counts as not set. A wrong value stops the start with
one line that names it; a `SIGNER_*` variable that is none of these is a warning in the log. A setting that may hold a
secret can be read from a file instead: the variable with `_FILE` behind its name says which. Such a file must not be
empty.

| variable | default | meaning |
| --- | --- | --- |
"""


STORE_URLS = """
## URL of a Redis

`redis://user:password@host:port/db`, where user, password, port and db may be left out. `rediss://` is the same over
TLS, and `unix://user:password@/run/redis.sock?db=0` is a socket. In a user or password, write `: / ? # [ ] @ %` as
`%3A %2F %3F %23 %5B %5D %40 %25`. A password without a user has its colon: `redis://:password@host`. The default port
is 6379, and the default database is 0.

Options follow a `?`, with `&` between them, and mean what redis-py says of them. Any other option stops the start, and
so does a certificate file that cannot be loaded. The service sets options for timeouts and pools itself.

| option | value |
| --- | --- |
"""


def configuration() -> str:
    """The page on settings."""
    rows = []
    for variable, (_, declaration) in settings.declarations().items():
        default = f"`{declaration.default}`" if declaration.default else ""
        twin = f" Or `{variable}{settings.FILE_SUFFIX}`." if declaration.secret else ""
        rows.append(f"| `{variable}` | {default} | {declaration.meaning}{twin} |\n")
    return CONFIGURATION + "".join(rows) + _store_urls()


def _store_urls() -> str:
    options = {**store_url.OPTIONS, **store_url.TCP_OPTIONS, **store_url.TLS_OPTIONS}
    notes = dict.fromkeys(store_url.TCP_OPTIONS, "not for `unix://`") | dict.fromkeys(
        store_url.TLS_OPTIONS, "for `rediss://` alone"
    )
    rows = [
        f"| `{name}` | {'; '.join(filter(None, (rule, notes.get(name))))} |\n" for name, (_, rule) in options.items()
    ]
    return STORE_URLS + "".join(rows)


METRICS = """\
# Metrics

Made by `make docs` from `service/telemetry/metrics.py`.

`GET /metrics` answers in Prometheus' text format, or in OpenMetrics where `Accept` asks for it, with the sums over all
worker processes; what the others have counted is told a tenth of a second later. With `SIGNER_OPS_PORT` it is on that
port alone. A worker that is started anew counts on where the one before it ended. What the HTTP parser itself refuses
is not counted.

| metric | kind | meaning | labels |
| --- | --- | --- | --- |
"""


def metrics_page() -> str:
    """The page on metrics."""
    rows = []
    for family in metrics.TABLE:
        labels = "; ".join(f"`{name}`: {meaning}" for name, meaning in family.labels.items())
        rows.append(f"| `{family.name}` | {family.kind} | {family.meaning} | {labels} |\n")
    bounds = ", ".join(f"{bound:g}" for bound in metrics.BUCKETS_SECONDS)
    return f"{METRICS}{''.join(rows)}\nHistograms have buckets up to {bounds} seconds.\n"


PAGES = {"configuration.md": configuration, "metrics.md": metrics_page}

if __name__ == "__main__":
    for name, page in PAGES.items():
        (DOCS / name).write_text(page(), encoding="utf-8")
