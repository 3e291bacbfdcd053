"""What keeps the whole run short, and changes nothing of what a test proves."""

import gc

import pytest

# These take longest. They go first, as one that begins last would leave the other processes of a run nothing to do.
FIRST = [
    "tests/deploy/test_image.py",
    "tests/release/test_release.py",
    "tests/faults/test_sentinel.py",
    "tests/faults/test_outages.py",
    "tests/faults/test_cluster.py",
    "tests/serving/test_supervisor.py",
    "tests/web/test_conformance.py",
    "tests/serving/test_tls.py",
    "tests/serving/test_server.py",
    "tests/signing/test_presigner.py",
    "tests/live/test_s3_features.py",
    "tests/live/test_two_replicas.py",
    "tests/stores/test_topology.py",
    "tests/commands/test_rekey.py",
    "tests/stores/test_retry.py",
    "tests/test_secrets.py",
    "tests/commands/test_command_line.py",
    "tests/commands/test_operator.py",
    "tests/live/test_log.py",
    "tests/web/test_hostile.py",
]


# After hypothesis, which marks its own.
@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config, items):
    assert all((config.rootpath / name).exists() for name in FIRST)
    ranks = {name: rank for rank, name in enumerate(FIRST)}
    items.sort(key=lambda item: ranks.get(item.nodeid.partition("::")[0], len(ranks)))
    # Generating examples is slow work, and slower where each line is traced: examples of our own cover the lines.
    for item in items:
        if item.get_closest_marker("hypothesis"):
            item.add_marker("no_cover")


def pytest_collection_finish():
    # Some hundred thousand objects that live to the end: no later collection has to look at them again.
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)
