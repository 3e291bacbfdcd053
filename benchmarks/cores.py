"""Which core each party has, so that none takes time from what is measured."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

CORES = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []

# With two cores, what is asked by the server (Redis) is beside the load generator, which has the time to spare.
SERVER = CORES[:1]
LOAD = CORES[1:2] or SERVER
STORE = CORES[2:3] or LOAD
# Two worker processes have one core each where there are four, and share one where there are not: beside the load
# generator, what a request takes would be a matter of who is moved where.
WORKERS = [*CORES[:1], *CORES[3:4]]


@contextmanager
def pinned(cores: list[int]) -> Iterator[None]:
    """Processes that are started meanwhile, and all their threads, stay on these cores."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def documented() -> str:
    if len(CORES) == 1:
        return "one core for all, so servers and load generator take turns"
    return "one core for the server that is measured, another for the load generator"
