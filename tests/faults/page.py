"""Writes docs/reliability.md from the figures of a run of all faults."""

import os
import platform
import re
from importlib.metadata import version
from pathlib import Path

from faults.catalogue import FAULTS, cases

PAGE = Path(__file__).parents[2] / "docs" / "reliability.md"
BEGIN, END = "<!-- begin of the figures -->\n", "<!-- end of the figures -->\n"
STORES = {
    "single": "one server",
    "replicated": "one server and a replica",
    "sentinel": "Sentinel",
    "sentinel_waiting": "Sentinel, `SIGNER_WAIT_REPLICAS=1`",
    "sentinel_slow": "Sentinel with rare announcements, as by default",
    "cluster": "Cluster",
    "cluster_waiting": "Cluster, `SIGNER_WAIT_REPLICAS=1`",
}
COLUMNS = [
    "fault",
    "store",
    "promise",
    "reads refused",
    "writes refused",
    "seconds with refusals",
    "of them after the repair",
    "oldest answer",
    "lost",
    "log lines",
]
ROW = re.compile(r"^\| (.+?) \| (.+?) \| .+ \|$", re.MULTILINE)


def title(fault, store):
    """What happens, to which store."""
    return fault.what, STORES[store]


def rows_of_page():
    """The titles of the rows of the page."""
    table = PAGE.read_text(encoding="utf-8").partition(BEGIN)[2].partition(END)[0]
    return ROW.findall(table)[2:]


def write(figures, server):
    """Replace the table in the page. ``figures`` has those of each case by names."""
    machine = (
        f"Measured with Python {platform.python_version()}, redis-py {version('redis')}, {server} and "
        f"{os.cpu_count()} cores of {platform.machine()}.\n\n"
    )
    rows = "".join(
        _line([*title(fault, store), fault.promise, *_cells(figures[fault.name, store])])
        for fault, store in cases(FAULTS)
    )
    text = PAGE.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    PAGE.write_text(
        f"{before}{BEGIN}{machine}{_line(COLUMNS)}{_line(['---'] * len(COLUMNS))}{rows}{END}{rest.partition(END)[2]}",
        encoding="utf-8",
    )


def _cells(found):
    return [
        f"{found.refused_reads} of {found.reads}",
        f"{found.refused_writes} of {found.writes}",
        f"{found.seconds_refused:.1f}",
        f"{found.recovery:.1f}",
        f"{found.oldest:.1f} s",
        f"{found.lost} of {found.created}",
        str(found.log_lines),
    ]


def _line(cells):
    return f"| {' | '.join(cells)} |\n"
