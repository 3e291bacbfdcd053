"""Which signed URLs the audit log of a killed process may miss: the last ones."""

import http.client
import json
import os
import select
import signal
import threading
from contextlib import suppress
from urllib.parse import urlsplit

import pytest
from live.raw_http import send
from processes import ServiceProcess
from support.accounts import ACCOUNT
from support.waiting import eventually

pytestmark = pytest.mark.heavy

SIGN = "/aws/storage/my-account/bucket/key"
SETTINGS = {"SIGNER_MAX_CONCURRENCY": "0"}


class Load:
    """Asks for URLs over several connections until the service is gone."""

    def __init__(self, url, *, connections=4):
        self._address = urlsplit(url)
        self.signed = {}
        """For each connection, the request ids of its URLs, in their order."""

        self.refused = 0
        self._threads = [threading.Thread(target=self._ask, args=(number,)) for number in range(connections)]
        for thread in self._threads:
            thread.start()

    def _ask(self, connection_number):
        connection = http.client.HTTPConnection(self._address.hostname, self._address.port, timeout=10)
        number, signed = 0, self.signed.setdefault(connection_number, [])
        with suppress(OSError, http.client.HTTPException):
            while True:
                number += 1
                request_id = f"{connection_number}-{number}"
                connection.request("GET", SIGN, headers={"X-Request-Id": request_id})
                answer = connection.getresponse()
                answer.read()
                if answer.status == 200:
                    signed.append(request_id)
                else:
                    self.refused += 1

    def count(self):
        return sum(map(len, self.signed.values()))

    def join(self):
        for thread in self._threads:
            thread.join()


class AuditReader:
    """Reads a pipe in a thread: ``size`` bytes at a time, with a pause before each."""

    def __init__(self):
        self.end, self.descriptor = os.pipe()
        self._read = b""
        self._stop = threading.Event()
        self._thread = None

    def start(self, size, pause):
        self._thread = threading.Thread(target=self._work, args=(size, pause))
        self._thread.start()

    def _work(self, size, pause):
        while not self._stop.wait(pause):
            if select.select([self.end], [], [], 0.01)[0]:
                self._read += os.read(self.end, size)

    def request_ids(self):
        """The request ids of all lines that were written, once nobody writes any more."""
        self._stop.set()
        if self._thread:
            self._thread.join()
        os.close(self.descriptor)
        while received := os.read(self.end, 65536):
            self._read += received
        os.close(self.end)
        return {json.loads(line)["request_id"] for line in self._read.splitlines()}


@pytest.mark.slow
@pytest.mark.parametrize("pace", [None, (1000, 0.005), (65536, 0)], ids=["stopped", "slow", "fast"])
def test_a_killed_process_takes_along_its_last_lines_alone(pace):
    reader = AuditReader()
    if pace:
        reader.start(*pace)
    service = ServiceProcess(measured=False, stdout=reader.descriptor, **SETTINGS)
    send(f"{service.url}/AwsAccount", "PUT", json.dumps(ACCOUNT).encode(), {"Content-Type": "application/json"})
    load = Load(service.url)
    if pace == (65536, 0):
        assert eventually(lambda: load.count() > 1000)
    else:
        assert eventually(lambda: load.refused > 10)
    service.stop(signal.SIGKILL)
    load.join()
    recorded = reader.request_ids()

    # Once one is missing, all that were signed later on its connection are.
    for signed in load.signed.values():
        there = [request_id in recorded for request_id in signed]
        assert there == sorted(there, reverse=True)
    assert len(recorded) > 10


@pytest.mark.slow
def test_a_reader_that_reads_on_gets_every_url_and_signing_goes_on():
    reader = AuditReader()
    service = ServiceProcess(measured=False, stdout=reader.descriptor, **SETTINGS)
    send(f"{service.url}/AwsAccount", "PUT", json.dumps(ACCOUNT).encode(), {"Content-Type": "application/json"})
    load = Load(service.url)
    assert eventually(lambda: load.refused > 10)
    reader.start(65536, 0)
    signed = load.count()
    assert eventually(lambda: load.count() > signed + 100)
    assert service.stop() == 0
    load.join()

    assert {request_id for signed in load.signed.values() for request_id in signed} <= reader.request_ids()
    assert [message for message in service.messages if "audit" in message.lower()] == [
        "The audit log accepts no lines, so signing and changes are refused: it is not read or written fast enough",
        "The audit log is written again",
    ]
