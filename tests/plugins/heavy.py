"""Marks as heavy the tests that need a program which has to be installed first."""

import pytest

# The fixtures that install or start such programs.
FIXTURES = {"browser", "chromium", "ministack", "s3_server", "swift"}


# Before pytest selects by marker.
@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    for item in items:
        if FIXTURES & {*item.fixturenames}:
            item.add_marker("heavy")
