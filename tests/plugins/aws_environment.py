"""Fixtures for tests in which aiobotocore requests keys: no AWS environment of this machine, and a fake STS."""

import os

import pytest
from support.sts import FakeSts


@pytest.fixture
def no_aws(monkeypatch, tmp_path):
    """An environment without credentials, in which no test asks the network."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE", "BOTO_CONFIG"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    return monkeypatch


@pytest.fixture
async def sts(no_aws):
    """The STS that aiobotocore asks."""
    fake = FakeSts()
    await fake.server.start_server()
    no_aws.setenv("AWS_ENDPOINT_URL_STS", fake.url)
    yield fake
    fake.closing.set()
    await fake.server.close()
