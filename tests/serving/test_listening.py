"""Processes of one service share its addresses; another service gets none of them."""

import os
from contextlib import closing

import pytest

from service.serving import listening
from service.serving.binding import StartError
from service.settings import load


@pytest.mark.parametrize("variable", ["SIGNER_PORT", "SIGNER_OPS_PORT"])
def test_a_second_supervisor_on_a_port_that_nobody_listens_on_yet_gets_fitting_advice(variable):
    free = {"SIGNER_PORT": "0", "SIGNER_OPS_PORT": "0"}
    with closing(listening.bind(load(free), shared=True)) as first, listening.claimed(first):
        taken = first.main if variable == "SIGNER_PORT" else first.ops
        port = taken[0].getsockname()[1]
        settings = load({**free, variable: str(port)})
        message = f"Cannot listen on 127.0.0.1:{port}: Address already in use. Stop .* with {variable}$"
        with (
            closing(listening.bind(settings, shared=True)) as second,
            pytest.raises(StartError, match=message),
            listening.claimed(second),
        ):
            pass
    with closing(listening.bind(settings, shared=True)) as third, listening.claimed(third):
        pass


def test_an_empty_number_of_sockets_from_systemd_counts_as_none(monkeypatch):
    monkeypatch.setenv("LISTEN_PID", str(os.getpid()))
    monkeypatch.setenv("LISTEN_FDS", "")
    _, sockets = listening.open_sockets(load({"SIGNER_PORT": "0"}))

    with closing(sockets):
        assert not sockets.inherited


def test_a_number_of_sockets_that_is_no_number_is_refused(monkeypatch):
    monkeypatch.setenv("LISTEN_PID", str(os.getpid()))
    monkeypatch.setenv("LISTEN_FDS", "x")
    with pytest.raises(StartError, match="LISTEN_FDS must be a number"):
        listening.open_sockets(load({"SIGNER_PORT": "0"}))
