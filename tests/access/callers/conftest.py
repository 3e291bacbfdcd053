import pytest
from support.logins import ROOT_CLIENT, SECRET, ControlledHasher

from service.access.callers.authenticator import Authenticator
from service.access.callers.credentials import CredentialVerifier
from service.access.callers.root import RootTokens
from service.access.callers.tokens import AccessTokens
from service.access.client import CLIENT
from service.resources.repository import Repository
from service.resources.schemas import ParsedBody
from service.resources.secrets.codec import SecretCodec
from service.resources.secrets.encryption import Encryptor
from service.stores.memory import EmbeddedStore


@pytest.fixture
async def hasher():
    return ControlledHasher()


@pytest.fixture
def store():
    return EmbeddedStore()


@pytest.fixture
def repository(store, hasher):
    return Repository(store, SecretCodec(Encryptor(), hasher))


@pytest.fixture
def credentials(repository, hasher):
    return CredentialVerifier(ROOT_CLIENT, repository, hasher)


@pytest.fixture
def authenticator(credentials, store, repository):
    tokens = AccessTokens(store, repository, seconds=60)
    return Authenticator(credentials, tokens, RootTokens(ROOT_CLIENT, seconds=60))


@pytest.fixture
async def write(repository):
    """Return a function that writes a Client; the Client ``team`` is written."""

    async def write(id_="team", secret=SECRET, grants=("basic", "client_credentials")):
        values = {"secret": secret, "grant_types": list(grants)}
        await repository.put(CLIENT, id_, ParsedBody(values, text=False))

    await write()
    return write
