"""What keeps the whole run short, and changes nothing of what a test proves."""

import gc

import pytest


# After hypothesis, which marks its own.
@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items):
    # Generating examples is slow work, and slower where each line is traced: examples of our own cover the lines.
    for item in items:
        if item.get_closest_marker("hypothesis"):
            item.add_marker("no_cover")


def pytest_collection_finish():
    # Some hundred thousand objects that live to the end: no later collection has to look at them again.
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)
