"""The session of the README, pasted into a shell."""

import yaml
from documents import agrees
from live.pages import shell, steps
from support.tools import tool


def test_the_commands_of_the_readme_print_what_it_shows(service, tmp_path):
    tool("curl", package="curl")
    found = [*steps("README.md")]

    assert len(found) >= 3
    with shell(tmp_path, {"http://127.0.0.1:8080": service.url}) as run:
        for commands, shown in found:
            assert agrees(yaml.safe_load(shown), yaml.safe_load(run(commands))), commands
