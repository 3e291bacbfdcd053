"""No request fails while two replicas behind a proxy restart in turn."""

import json
import signal
import subprocess
import time
from pathlib import Path

import pytest
from live.proxies import PROXIES, running_proxy
from support.tools import tool

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(300)]

SCRIPT = Path(__file__).with_name("rolling.lua")
CONNECTIONS, REQUESTS = 16, 20_000
LONGEST_SECONDS = 200
NONE = {"status": 0, "connect": 0, "read": 0, "write": 0, "timeout": 0}


@pytest.mark.parametrize("name", PROXIES)
def test_no_request_fails_while_replicas_restart_in_turn(replicas, tmp_path, name):
    requests = 0
    with running_proxy(name, tmp_path, replicas) as url:
        while requests < REQUESTS:
            counts, statuses = load(url, lambda: [replica.restart() for replica in replicas])
            requests += counts.pop("requests")

            assert (statuses, counts) == ([0, 0], NONE)


def load(url, work):
    """Return the counts of requests and of errors while ``work`` runs, and its result."""
    options = ("-t1", f"-c{CONNECTIONS}", f"-d{LONGEST_SECONDS}s", "--timeout", "30s", "-s", str(SCRIPT))
    with subprocess.Popen([tool("wrk", package="wrk"), *options, url], stdout=subprocess.PIPE, text=True) as process:
        try:
            time.sleep(0.5)
            result = work()
            time.sleep(0.5)
            # wrk ends, and prints its counts.
            process.send_signal(signal.SIGINT)
            output, _ = process.communicate(timeout=20)
        finally:
            process.kill()
    return json.loads(output.splitlines()[-1]), result
