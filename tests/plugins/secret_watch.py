"""Fails a test run in which the service has logged or answered a secret.

Each process of the run searches what it sees. The workers of xdist report to the controller, which decides.
"""

import copy
import logging

import pytest
from watching import WATCH

# A run of so many files without heavy tests is a whole one, in which there has to be something to search.
WHOLE_RUN_FILES = 50
LEAST_LOOKS, LEAST_SECRETS = 100, 5
REPORTS, FAULTS = pytest.StashKey(), pytest.StashKey()


class _Handler(logging.Handler):
    def emit(self, record):
        # A record that has been formatted keeps the text of its traceback, so format a copy.
        WATCH.look("log", self.format(copy.copy(record)))


def pytest_configure(config):
    handler = _Handler(logging.DEBUG)
    logging.getLogger("service").addHandler(handler)
    logging.getLogger("aiohttp").addHandler(handler)
    config.stash[REPORTS] = []
    config.stash[FAULTS] = []


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node):
    # A worker that crashed has no report.
    if report := getattr(node, "workeroutput", {}).get("secret_watch"):
        node.config.stash[REPORTS].append(report)


def pytest_sessionfinish(session):
    config = session.config
    own = {
        "files": len({item.path for item in getattr(session, "items", ()) if not item.get_closest_marker("heavy")}),
        "secrets": [*WATCH.secrets],
        "looks": WATCH.looks,
        "found": WATCH.found,
    }
    if hasattr(config, "workeroutput"):
        config.workeroutput["secret_watch"] = own
        return
    config.stash[FAULTS] = [*_faults([*config.stash[REPORTS], own])]
    if config.stash[FAULTS] and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def _faults(reports):
    for report in reports:
        yield from (f"a secret in the {where}: {secret!r} in {text!r}" for where, secret, text in report["found"])
    if max(report["files"] for report in reports) < WHOLE_RUN_FILES:
        return
    looks = {where: sum(report["looks"][where] for report in reports) for where in WATCH.looks}
    secrets = {secret for report in reports for secret in report["secrets"]}
    if min(looks.values()) < LEAST_LOOKS or len(secrets) < LEAST_SECRETS:
        yield f"the search for secrets has seen too little: {looks}, {len(secrets)} secrets"


def pytest_terminal_summary(terminalreporter, config):
    if config.stash[FAULTS]:
        terminalreporter.section("search for secrets", red=True)
        for fault in config.stash[FAULTS]:
            terminalreporter.line(f"FAILED {fault}")
