"""`make s3`, the S3 server of the tutorial."""

import os
import signal
import socket
import subprocess
import sys

import pytest
from documents import ROOT
from live.installation import NotInstalled, python_with
from support.tools import missing

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(300)]  # the test may install the server


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_the_server_ends_with_the_command(ending, unused_tcp_port):
    try:
        python_with("ministack")
    except NotInstalled as reason:
        missing(str(reason))
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}", "S3_PORT": str(unused_tcp_port)}
    command = [sys.executable, "-m", "live.local_s3"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        said = process.stdout.readline()
        process.send_signal(ending)
        status = process.wait(timeout=60)

    assert said.startswith(f"S3 listens on http://127.0.0.1:{unused_tcp_port} with the bucket tutorial.")
    assert status == 0
    socket.create_server(("127.0.0.1", unused_tcp_port)).close()
