"""Rules about several settings together."""

from collections.abc import Iterator

from service.settings.settings import PREFIX, Settings


def contradictions(settings: Settings) -> list[str]:
    """Return a sentence for each combination of settings that the service cannot start with."""
    return [*_listening(settings), *_access(settings), *_store(settings), *_ports(settings)]


def _listening(settings: Settings) -> Iterator[str]:
    if settings.is_open and not (settings.socket or settings.is_loopback or settings.auth == "none"):
        yield (
            f"{PREFIX}HOST is {settings.host}, which others can reach, and no authentication is set: "
            f"set {PREFIX}ROOT_CLIENT_ID and {PREFIX}ROOT_CLIENT_SECRET, listen on 127.0.0.1 or {PREFIX}SOCKET, "
            f"or set {PREFIX}AUTH=none where a mesh or gateway has authenticated"
        )


def _access(settings: Settings) -> Iterator[str]:
    if bool(settings.root_client_id) is not bool(settings.root_client_secret):
        yield f"{PREFIX}ROOT_CLIENT_ID and {PREFIX}ROOT_CLIENT_SECRET come together; set both or neither"
    if settings.root_client_id and settings.auth == "none":
        yield f"{PREFIX}AUTH is none, and {PREFIX}ROOT_CLIENT_ID requires credentials: keep one of them"
    jwt = {"JWT_ISSUER": settings.jwt_issuer, "JWT_AUDIENCE": settings.jwt_audience, "JWT_JWKS": settings.jwt_jwks}
    missing = [f"{PREFIX}{name}" for name, text in jwt.items() if not text]
    if len(missing) == len(jwt):
        return
    if missing:
        yield f"{' and '.join(missing)} must be set too: issuer, audience and key set of JWTs come together"
    if settings.is_open:
        yield f"{PREFIX}JWT_ISSUER needs {PREFIX}ROOT_CLIENT_ID, because without it no request needs a token"


def _store(settings: Settings) -> Iterator[str]:
    if settings.wait_replicas and settings.store_url == "memory://":
        yield (
            f"{PREFIX}WAIT_REPLICAS is {settings.wait_replicas}, and memory:// has no replicas: "
            f"set {PREFIX}STORE_URL to a Redis, or {PREFIX}WAIT_REPLICAS=0"
        )
    if settings.workers > 1 and settings.store_url == "memory://":
        yield (
            f"{PREFIX}WORKERS is {settings.workers}, and memory:// would give each worker accounts of its own: "
            f"set {PREFIX}STORE_URL to a Redis, or {PREFIX}WORKERS=1"
        )


def _ports(settings: Settings) -> Iterator[str]:
    if bool(settings.tls_cert) != bool(settings.tls_key):
        given, missing = ("CERT", "KEY") if settings.tls_cert else ("KEY", "CERT")
        yield f"{PREFIX}TLS_{given} is set and {PREFIX}TLS_{missing} is not; set both, or neither"
    if settings.tls_cert and settings.socket:
        yield f"{PREFIX}TLS_CERT is for a port, and {PREFIX}SOCKET takes its place; unset one of them"
    if settings.ops_port and settings.ops_port == settings.port and not settings.socket:
        yield f"{PREFIX}OPS_PORT is {settings.ops_port}, which is {PREFIX}PORT too; choose another"
