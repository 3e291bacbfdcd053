"""Watches the whole test run: whatever the service logs or answers is searched for every secret that a test uses.

What it finds is judged by tests/test_secrets.py, which comes last.
"""

import copy
import functools
import logging
from base64 import b64encode
from urllib.parse import urlsplit

import pytest
from watching import WATCH

from service.access.sessions import Sessions
from service.resources.keeper import Keeper
from service.resources.sealing import Sealer
from service.settings import Settings
from service.telemetry.audit import AuditLog


class _Handler(logging.Handler):
    def emit(self, record):
        # What is formatted once leaves its traceback in the record.
        WATCH.look("log", self.format(copy.copy(record)))


def pytest_configure():
    handler = _Handler(logging.DEBUG)
    logging.getLogger("service").addHandler(handler)
    logging.getLogger("aiohttp").addHandler(handler)
    _wrap(Keeper, "kept", lambda _, type_, __, values, ___: WATCH.keep(*_texts(values, type_)))
    _wrap(Settings, "__init__", lambda _, **values: WATCH.keep(*_of_settings(values)))
    _wrap(Sealer, "__init__", lambda _, keys={}: WATCH.keep(*(b64encode(key).decode() for key in keys.values())))
    Sessions.open = _issuing(Sessions.open)
    _wrap(AuditLog, "_take", lambda _, line: WATCH.look("audit", line))


def _texts(values, type_):
    return [values[name] for name in type_.secrets if name in values]


def _of_settings(values):
    password = urlsplit(values["store_url"]).password
    return [values["root_client_secret"], *([password] if password else [])]


def _issuing(own):
    async def opened(self, client, secret):
        token, seconds = await own(self, client, secret)
        WATCH.keep(token)
        return token, seconds

    return opened


def _wrap(owner, name, before):
    own = getattr(owner, name)

    @functools.wraps(own)
    def wrapped(self, *arguments, **options):
        before(self, *arguments, **options)
        return own(self, *arguments, **options)

    setattr(owner, name, wrapped)


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: item.path.name == "test_secrets.py")


@pytest.fixture
def secret_watch():
    return WATCH
