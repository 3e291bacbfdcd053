"""Fixtures that several rooms' tests share."""

import pytest
from processes import ServiceProcess

from service.app import create_app
from service.settings import load

ACCOUNT = {
    "id": "my-account",
    "access-key-id": "AKIAIOSFODNN7EXAMPLE",
    "secret-access-key": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
    "region": "us-east-1",
}


@pytest.fixture
async def client(aiohttp_client):
    """The application on the embedded store, empty."""
    return await aiohttp_client(create_app(load({})))


@pytest.fixture
async def account(client):
    """The specification's account, stored."""
    response = await client.put("/AwsAccount", json=ACCOUNT)
    assert response.status == 201
    return ACCOUNT


@pytest.fixture(scope="session")
def service():
    """The service in a process of its own, on the embedded store. Tests share it and give their accounts own ids."""
    process = ServiceProcess()
    yield process
    assert process.stop() == 0
