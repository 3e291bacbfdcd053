"""Fixtures of resources and their secrets."""

import pytest

from service.resources.secrets.hashing import Hasher


@pytest.fixture
def hasher():
    hasher = Hasher()
    yield hasher
    hasher.close()
