import subprocess

import pytest
import yaml
from documents import agrees, blocks
from support.tools import tool

PAGE = "docs/tutorial.md"


@pytest.fixture
def shell(service, ministack, tmp_path):
    """Runs the tutorial's commands in one shell, against this session's servers."""
    tool("curl", package="curl")
    here = {
        "http://127.0.0.1:8080": service.url,
        "127.0.0.1:9000": ministack.http,
        "TUTORIALACCESSKEY": ministack.access_key_id,
        "tutorial-secret-key": ministack.secret_access_key,
    }

    def run(commands):
        """What each of the commands' blocks printed."""
        mark = "--- end of block ---"
        script = "".join(f"{block}\necho '{mark}'\n" for block in commands)
        for documented, actual in here.items():
            script = script.replace(documented, actual)
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        printed = done.stdout
        for documented, actual in here.items():
            printed = printed.replace(actual, documented)
        return [part.strip() for part in printed.split(mark)[:-1]]

    return run


def test_the_commands_of_the_tutorial_print_what_it_shows(shell):
    page = [(info, block) for info, block in blocks(PAGE) if info != "sh terminal"]
    commands = [block for info, block in page if info == "sh"]
    shown = [
        after[1] if after[0] == "text" else None
        for before, after in zip(page, [*page[1:], ("", "")], strict=True)
        if before[0] == "sh"
    ]

    printed = shell(commands)

    assert len(commands) >= 6
    for expected, actual in zip(shown, printed, strict=True):
        assert expected is None or agrees(yaml.safe_load(expected), yaml.safe_load(actual)), (expected, actual)
