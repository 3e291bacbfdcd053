"""Processes of one service share its addresses; another service gets none of them."""

from contextlib import closing

import pytest

from service.serving import listening
from service.serving.binding import StartError
from service.settings import load


def test_a_second_supervisor_on_a_port_that_nobody_listens_on_yet_gets_fitting_advice():
    with closing(listening.bind(load({"SIGNER_PORT": "0"}), shared=True)) as first, listening.claimed(first):
        port = first.main[0].getsockname()[1]
        with (
            closing(listening.bind(load({"SIGNER_PORT": str(port)}), shared=True)) as second,
            pytest.raises(StartError, match=rf"Cannot listen on 127.0.0.1:{port}: Address already in use. Stop"),
            listening.claimed(second),
        ):
            pass
    with closing(listening.bind(load({"SIGNER_PORT": str(port)}), shared=True)) as third, listening.claimed(third):
        pass
