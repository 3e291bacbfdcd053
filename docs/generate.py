"""Write the reference pages from the declarations in the code. A test checks that they are up to date."""

import contextlib
import io
import os
from pathlib import Path

from service.commands import arguments
from service.settings import settings, store_url
from service.telemetry import metrics

DOCS = Path(__file__).parent

CONFIGURATION = """\
# Configuration

Made by `make docs` from `service/settings/settings.py`.

Settings are environment variables. An empty or blank variable counts as not set. If a value is wrong, the service does
not start, and prints one line that names the variable. An unknown `SIGNER_*` variable is a warning in the log.

A secret can be read from a file instead. The table names a `_FILE` variable for each such setting; set it to the path
of the file. The file must not be empty.

| variable | default | meaning |
| --- | --- | --- |
"""


STORE_URLS = """
## URL of a Redis

The URL is `redis://user:password@host:port/db`. User, password, port and db are optional. `rediss://` is the same over
TLS, and `unix://user:password@/run/redis.sock?db=0` is a socket. In a user or password, write `: / ? # [ ] @ % ,` as
`%3A %2F %3F %23 %5B %5D %40 %25 %2C`. A password without a user needs its colon: `redis://:password@host`. The default
port is 6379, and the default database is 0.

`redis+sentinel://user:password@host:port,host:port/service/db` names Sentinels and the service that they monitor; their
default port is 26379. `redis+cluster://user:password@host:port,host:port` names nodes of a Cluster.
`rediss+sentinel://` and `rediss+cluster://` are the same over TLS. See [Choose the URL](redis.md#choose-the-url).

Options follow a `?`, with `&` between them, and have the same meaning as in redis-py. With any other option, or with a
certificate file that cannot be loaded, the service does not start. It sets options for timeouts and pools itself.

| option | value |
| --- | --- |
"""


def configuration() -> str:
    """Return the page on settings."""
    rows = []
    for variable, (_, declaration) in settings.declarations().items():
        default = f"`{declaration.default}`" if declaration.default else ""
        twin = f" Or `{variable}{settings.FILE_SUFFIX}`." if declaration.secret else ""
        rows.append(f"| `{variable}` | {default} | {declaration.meaning}{twin} |\n")
    return CONFIGURATION + "".join(rows) + _store_urls()


def _store_urls() -> str:
    options = {
        **store_url.OPTIONS,
        **store_url.TCP_OPTIONS,
        **store_url.SENTINEL_OPTIONS,
        **store_url.TLS_OPTIONS,
    }
    notes = dict.fromkeys(store_url.TCP_OPTIONS, "not for `unix://`") | dict.fromkeys(
        store_url.TLS_OPTIONS, "only for `rediss://` and its like"
    )
    notes |= dict.fromkeys(store_url.SENTINEL_OPTIONS, "only for `redis+sentinel://` and `rediss+sentinel://`")
    notes |= {"db": "not for a Cluster"}
    rows = [
        f"| `{name}` | {'; '.join(filter(None, (rule, notes.get(name))))} |\n" for name, (_, rule) in options.items()
    ]
    return STORE_URLS + "".join(rows)


METRICS = """\
# Metrics

Made by `make docs` from `service/telemetry/metrics.py`.

`GET /metrics` returns the text format of Prometheus, or OpenMetrics if `Accept` names it. It has the sums over all
worker processes. With `SIGNER_OPS_PORT`, only that port serves it. A restarted worker continues the counts of its
predecessor. Requests that the HTTP parser refuses are not counted.

On Linux it also has the standard metrics of a process: `process_cpu_seconds_total`, `process_resident_memory_bytes`,
`process_virtual_memory_bytes`, `process_open_fds`, `process_max_fds` and `process_start_time_seconds`. With several
worker processes each one has these metrics, with the label `pid`.

See [Telemetry](deployment/telemetry.md) for a dashboard and alert rules.

| metric | kind | meaning | labels |
| --- | --- | --- | --- |
"""


def metrics_page() -> str:
    """Return the page on metrics."""
    rows = []
    for family in metrics.TABLE:
        labels = "; ".join(f"`{name}`: {meaning}" for name, meaning in family.labels.items())
        rows.append(f"| `{family.name}` | {family.kind} | {family.meaning} | {labels} |\n")
    bounds = ", ".join(f"{bound:g}" for bound in metrics.BUCKETS_SECONDS)
    return f"{METRICS}{''.join(rows)}\nHistograms have buckets up to {bounds} seconds.\n"


COMMAND_LINE = """\
# Command line

Made by `make docs` from `service/commands/arguments.py`.

`s3-signer` and `python -m service` are the same. In the image it is `/opt/s3-signer/bin/s3-signer`.

Data go to standard output in UTF-8, as YAML or JSON; `sign` prints nothing but the URL. The log, errors and audit lines
go to standard error. On a terminal the words of a status have colours, unless `NO_COLOR` is set.

`sign`, `verify`, `check` and `account` read the store of the settings. A store in memory belongs to the process that
serves: there, `sign` and `verify` use a copy of the accounts of `SIGNER_INIT_BUNDLE`, and changes are refused. No
access policy applies, because a user who has the settings has the keys of the store. The rules for accounts and the
limits of an account apply. The caller in [audit lines](../security/audit.md) is `operator:` with the id of the user.

Give a URL to `verify` on standard input, and a body to `account put` in a file or on standard input. So neither is in
the history of the shell or in the list of processes.
"""
_COMMANDS = (
    *("", "serve", "sign", "verify", "check"),
    *("account list", "account get", "account put", "account delete"),
    *("healthcheck", "openapi", "rekey", "completion"),
)


def command_line() -> str:
    """Return the page on the command line."""
    # argparse takes the width of its lines from here.
    os.environ["COLUMNS"] = "100"
    titles = {name: f"`{name}`" if name else "All commands" for name in _COMMANDS}
    return COMMAND_LINE + "".join(
        f"\n## {title}\n\n```text\n{_help(name).rstrip()}\n```\n" for name, title in titles.items()
    )


def _help(name: str) -> str:
    with contextlib.redirect_stdout(io.StringIO()) as printed, contextlib.suppress(SystemExit):
        arguments.parser().parse_args([*name.split(), "--help"])
    return printed.getvalue()


PAGES = {
    "configuration.md": configuration,
    "metrics.md": metrics_page,
    "reference/command-line.md": command_line,
}

if __name__ == "__main__":
    for name, page in PAGES.items():
        (DOCS / name).write_text(page(), encoding="utf-8")
