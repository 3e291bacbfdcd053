"""Writes docs/reliability.md from the figures of a run of all faults."""

import os
import platform
import re
from importlib.metadata import version

from faults.catalogue import FAULTS, KEPT, cases

from benchmarks import markers

STORES = {
    "single": "one server",
    "replicated": "one server and a replica",
    "sentinel": "Sentinel",
    "sentinel_waiting": "Sentinel, `SIGNER_WAIT_REPLICAS=1`",
    "sentinel_two": "Sentinel with two replicas, `SIGNER_WAIT_REPLICAS=2`",
    "sentinel_network": "Sentinel",
    "sentinel_network_waiting": "Sentinel, `SIGNER_WAIT_REPLICAS=1`",
    "sentinel_slow": "Sentinel with rare announcements, as by default",
    "cluster": "Cluster",
    "cluster_waiting": "Cluster, `SIGNER_WAIT_REPLICAS=1`",
    "cluster_network": "Cluster",
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
    "MiB of memory",
    "sockets",
]
ROW = re.compile(r"^\| (.+?) \| (.+?) \| .+ \|$", re.MULTILINE)


def title(fault, store):
    """What happens, to which store."""
    return fault.what, STORES[store]


def promise(fault, store):
    """What the service promises with this store."""
    waits = "SIGNER_WAIT_REPLICAS" in STORES[store]
    return " ".join(filter(None, [fault.promise, KEPT if fault.loses and waits else fault.loses]))


def rows_of_page():
    """The titles of the rows of the page."""
    return ROW.findall(markers.part("figures"))[2:]


def write(figures, server):
    """Replace the table in the page. ``figures`` has those of each case by names."""
    machine = (
        f"Measured with Python {platform.python_version()}, redis-py {version('redis')}, {server} and "
        f"{os.cpu_count()} cores of {platform.machine()}.\n\n"
    )
    rows = "".join(
        markers.row([*title(fault, store), promise(fault, store), *_cells(figures[fault.name, store])])
        for fault, store in cases(FAULTS)
    )
    head = f"{markers.row(COLUMNS)}{markers.row(['---'] * len(COLUMNS))}"
    markers.write("figures", f"{machine}{head}{rows}")


def _cells(found):
    return [
        f"{found.refused_reads} of {found.reads}",
        f"{found.refused_writes} of {found.writes}",
        f"{found.seconds_refused:.1f}",
        f"{found.recovery:.1f}",
        f"{found.oldest:.1f} s",
        f"{found.lost} of {found.created}",
        str(found.log_lines),
        "{:.0f} → {:.0f}".format(*found.memory_mib),
        "{} → {}".format(*found.sockets),
    ]
