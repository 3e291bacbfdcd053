"""Processes of one service share its addresses; another service gets none of them."""

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
