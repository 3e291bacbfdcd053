"""The commands of the page on gateways work as written, and no request of a client fails meanwhile."""

import os
import re
import sys
import threading
from http.client import HTTPConnection, HTTPException

import pytest
from documents import ROOT
from live.pages import shell, steps
from plugins.redis_server import free_port
from processes import clean_environment
from support.logins import basic
from support.tools import tool

PAGE = "docs/deployment/gateway.md"
PROXY = "deploy/proxies/haproxy.cfg"
PORTS = ("8000", "8081", "8082", "9081", "9082", "6379")
CLIENTS = 4


class Client(threading.Thread):
    """Signs without a pause over one connection, and counts the answers and the failures."""

    def __init__(self, port, authorization):
        super().__init__()
        self.answers = 0
        self.failures = []
        self.stop = threading.Event()
        self._port = port
        self._headers = {"Authorization": authorization, "Content-Type": "application/json"}

    def run(self):
        connection = HTTPConnection("127.0.0.1", self._port, timeout=20)
        while not self.stop.is_set():
            try:
                connection.request(
                    "POST", "/aws/storage/my-account/my-bucket", '{"filename": "inbox/x"}', self._headers
                )
                answer = connection.getresponse()
                answer.read()
                self.answers += 1
                if answer.status != 200:
                    self.failures.append(answer.status)
            except (OSError, HTTPException) as error:
                self.failures.append(error)
        connection.close()


@pytest.fixture
def directory(tmp_path, redis_binary):
    """The part of a clone that the page needs, and the programs of the test under the names of the page."""
    for name, package in (("haproxy", "haproxy"), ("curl", "curl"), ("openssl", "openssl")):
        tool(name, package=package)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/redis-server").symlink_to(redis_binary)
    program = tmp_path / "bin/s3-signer"
    program.write_text(f'#!/bin/sh\nPYTHONPATH={ROOT} exec {sys.executable} -P -m service "$@"\n')
    program.chmod(0o755)
    return tmp_path


@pytest.mark.heavy
def test_no_request_fails_while_the_commands_of_the_page_run(directory):
    here = {port: str(free_port()) for port in PORTS}
    proxy = directory / PROXY
    proxy.parent.mkdir(parents=True)
    proxy.write_text(re.sub("|".join(here), lambda found: here[found[0]], (ROOT / PROXY).read_text()))
    environment = {**clean_environment(measured=False), "PATH": f"{directory}/bin:{os.environ['PATH']}"}
    clients = []

    with shell(directory, here, environment) as run:
        for commands, shown in steps(PAGE):
            if "rm gateway/signing" in commands:
                for client in clients:
                    client.stop.set()
                    client.join()
            printed = run(commands)
            assert shown is None or printed == shown.strip(), commands
            if "touch gateway/signing" in commands:
                secret = (directory / "gateway/uploader-secret").read_text().strip()
                clients = [Client(int(here["8000"]), basic("uploader", secret)) for _ in range(CLIENTS)]
                for client in clients:
                    client.start()

    assert [client.failures for client in clients] == [[]] * CLIENTS
    assert all(client.answers for client in clients)


def test_the_user_of_redis_has_the_documented_rights():
    rights = [
        re.search(rf"^{start} .*?(~.+)$", (ROOT / page).read_text(), re.MULTILINE)[1]
        for page, start in (("docs/redis.md", "ACL SETUSER s3-signer on"), (PAGE, "user s3-signer on"))
    ]

    assert rights[0] == rights[1]
