import yaml
from documents import agrees
from live.pages import shell, steps
from support.tools import tool

PAGE = "docs/tutorial.md"


def test_the_commands_of_the_tutorial_print_what_it_shows(service, ministack, tmp_path):
    tool("curl", package="curl")
    here = {
        "http://127.0.0.1:8080": service.url,
        "127.0.0.1:9000": ministack.http,
        "TUTORIALACCESSKEY": ministack.access_key_id,
        "tutorial-secret-key": ministack.secret_access_key,
    }
    found = [*steps(PAGE)]

    assert len(found) >= 6
    with shell(tmp_path, here) as run:
        for commands, shown in found:
            printed = run(commands)
            assert shown is None or agrees(yaml.safe_load(shown), yaml.safe_load(printed)), (shown, printed)
