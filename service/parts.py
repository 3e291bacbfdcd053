"""Make the parts of the application that settings choose: its store, its repository and its access rules."""

import secrets
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from service.access.callers.authenticator import Authenticator
from service.access.callers.credentials import CredentialVerifier
from service.access.callers.root import Root, RootTokens
from service.access.callers.tokens import KIND as SESSION
from service.access.callers.tokens import AccessTokens
from service.access.policies.policy_set import Policies
from service.access.types import RESOURCE_TYPES
from service.mounted_files import MountedFiles, UnusableFile, read_text
from service.resources.host_rules import HostRules
from service.resources.identity_rules import IdentityRules
from service.resources.repository import Repository
from service.resources.secrets.codec import SecretCodec
from service.resources.secrets.encryption import Encryptor
from service.resources.secrets.hashing import Hasher
from service.resources.types import AWS_ACCOUNT
from service.settings import Settings, SettingsError
from service.settings.parsers import root_secret
from service.stores.memory import EmbeddedStore
from service.stores.store import Store
from service.web.context import Access

if TYPE_CHECKING:
    from service.access.jwt.verifier import JwtVerifier


def make_store(settings: Settings, files: MountedFiles) -> Store:
    """Return the store that the settings name. With ``SIGNER_STORE_URL_FILE``, ``files`` gives it new passwords."""
    if settings.store_url == "memory://":
        return EmbeddedStore()
    # A store in memory does not need Redis' libraries.
    from service.stores.cache import CachedStore  # noqa: PLC0415
    from service.stores.credentials import StoreCredentials  # noqa: PLC0415
    from service.stores.redis import RedisStore  # noqa: PLC0415
    from service.stores.tracking import Tracker  # noqa: PLC0415
    from service.stores.url import StoreUrl  # noqa: PLC0415

    credentials = StoreCredentials(StoreUrl(settings.store_url))
    if path := settings.secret_files.get("SIGNER_STORE_URL"):
        files.follow("SIGNER_STORE_URL_FILE", partial(read_text, Path(path)), credentials.use)
    store = RedisStore.at(
        settings.store_url,
        prefix=settings.key_prefix,
        credentials=credentials,
        wait_replicas=settings.wait_replicas,
    )
    if not settings.cache_size:
        return store
    kinds = [*(type_.kind for type_ in RESOURCE_TYPES), SESSION]
    tracker = Tracker(store.topology, kinds=kinds, prefix=settings.key_prefix)
    return CachedStore(store, tracker, size=settings.cache_size, ttl=settings.cache_ttl, stale=settings.stale_seconds)


def make_repository(settings: Settings, store: Store, hasher: Hasher | None = None) -> Repository:
    """Return the repository of resources in ``store``. Raises SettingsError for an invalid file of encryption keys."""
    rules = HostRules(settings.allowed_hosts, settings.require_ssl, settings.default_use_ssl)
    codec = SecretCodec(_encryptor(settings), hasher or Hasher(), canonical={AWS_ACCOUNT.kind: rules.canonical})
    identity = IdentityRules(rules.canonical, ambient=settings.ambient_credentials)
    return Repository(store, codec, checks={AWS_ACCOUNT.kind: rules.check}, limits={AWS_ACCOUNT.kind: identity.issues})


def _encryptor(settings: Settings) -> Encryptor:
    if not settings.encryption_keys_file:
        return Encryptor()
    try:
        return Encryptor.from_file(Path(settings.encryption_keys_file))
    except ValueError as fault:
        raise SettingsError([f"SIGNER_ENCRYPTION_KEYS_FILE {fault}"]) from None


def follow_encryption_keys(settings: Settings, repository: Repository, files: MountedFiles) -> None:
    """Let ``files`` give new encryption keys to the repository."""

    async def use(text: str) -> None:
        try:
            encryptor = Encryptor.parse(text)
        except ValueError as fault:
            raise UnusableFile(f"it {fault}") from None
        await repository.use_encryptor(encryptor, RESOURCE_TYPES)

    if path := settings.encryption_keys_file:
        files.follow("SIGNER_ENCRYPTION_KEYS_FILE", partial(read_text, Path(path)), use)


def make_access(
    settings: Settings, store: Store, repository: Repository, hasher: Hasher, files: MountedFiles
) -> Access | None:
    """Return who may call and what, or None if the service is open. Raises SettingsError for a wrong key set."""
    if settings.is_open:
        return None
    root = Root(settings.root_client_id, settings.root_client_secret)
    if "SIGNER_ROOT_CLIENT_SECRET" in settings.secret_files:
        # The settings may be older than this process, whose parent has read them. Until the file has been read, nobody
        # knows the secret, so a secret that the file has replaced is never accepted.
        root.secret = secrets.token_urlsafe()
    _follow_root_secret(settings, root, files)
    credentials = CredentialVerifier(root, repository, hasher)
    tokens = AccessTokens(store, repository, seconds=settings.token_seconds)
    root_tokens = RootTokens(root, seconds=settings.token_seconds)
    authenticator = Authenticator(credentials, tokens, root_tokens, jwt=_jwt(settings, files))
    return Access(authenticator, Policies(repository))


def _follow_root_secret(settings: Settings, root: Root, files: MountedFiles) -> None:
    async def use(text: str) -> None:
        try:
            secret = root_secret(text)
        except ValueError as fault:
            raise UnusableFile(f"it {fault}") from None
        if not secret:
            raise UnusableFile("it is empty")
        root.secret = secret

    if path := settings.secret_files.get("SIGNER_ROOT_CLIENT_SECRET"):
        files.follow("SIGNER_ROOT_CLIENT_SECRET_FILE", partial(read_text, Path(path)), use)


def _jwt(settings: Settings, files: MountedFiles) -> "JwtVerifier | None":
    if not settings.jwt_issuer:
        return None
    # The libraries for JWTs take 10 MiB, so they are loaded only if an issuer is configured.
    from service.access.jwt.jwks import JwksProvider  # noqa: PLC0415
    from service.access.jwt.verifier import JwtVerifier  # noqa: PLC0415

    try:
        keys = JwksProvider.at(settings.jwt_jwks)
    except ValueError as fault:
        raise SettingsError([f"SIGNER_JWT_JWKS {fault}"]) from None
    if keys.path:
        files.follow("SIGNER_JWT_JWKS", partial(keys.read_file, keys.path), keys.use)
    return JwtVerifier(settings.jwt_issuer, settings.jwt_audience, keys, max_seconds=settings.jwt_max_seconds)
