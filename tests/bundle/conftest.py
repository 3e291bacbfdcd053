"""What tests of bundles share."""

import pytest


@pytest.fixture
def silent_audit():
    """An audit log that records nothing."""

    class Audit:
        def check(self):
            """Accept every change."""

        def changed(self, **_):
            """Record nothing."""

    return Audit()
