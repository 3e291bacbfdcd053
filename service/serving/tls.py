"""The server's TLS certificate and key, which may be loaded again when their files change."""

import asyncio
import hashlib
import ssl
from pathlib import Path

from service.mounted_files import UnusableFile, read_file, read_settled
from service.settings import Settings, SettingsError


class TlsError(UnusableFile):
    """A certificate or key that cannot be used. The message names the setting at fault and quotes no content."""


class ServerCertificate:
    """A certificate with its key; ``context`` presents the newest valid pair to each new connection."""

    def __init__(self, certificate: Path, key: Path) -> None:
        """Load the pair. Raises ``TlsError``."""
        self._certificate = certificate
        self._key = key
        self.used = read_settled(self.read)
        self.context = self._current = _load_context(certificate, key)
        # A failed load into a context in use would leave it with the new certificate and without its key.
        self.context.sni_callback = self._select_context

    def read(self) -> bytes:
        """Return a digest of both files. Raises ``TlsError``."""
        return _digest(self._certificate, "SIGNER_TLS_CERT") + _digest(self._key, "SIGNER_TLS_KEY")

    async def use(self, digest: bytes) -> None:
        """Load the pair again. Raises ``TlsError``, and keeps the pair before, if it is not valid."""
        self._current = await asyncio.to_thread(_load_context, self._certificate, self._key)
        self.used = digest

    def _select_context(self, connection: ssl.SSLObject, name: str | None, context: ssl.SSLContext) -> None:
        # OpenSSL calls this for every handshake, with or without a server name.
        del name, context
        connection.context = self._current


def server_certificate(settings: Settings) -> ServerCertificate:
    """Return the certificate that the settings name. Raises SettingsError if it cannot be used."""
    try:
        return ServerCertificate(Path(settings.tls_cert), Path(settings.tls_key))
    except TlsError as error:
        raise SettingsError([str(error)]) from None


def _digest(path: Path, variable: str) -> bytes:
    try:
        return hashlib.sha256(read_file(path)).digest()
    except UnusableFile as reason:
        raise TlsError(f"{variable} names a file that cannot be read: {reason}") from None


def _load_context(certificate: Path, key: Path) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # In TLS 1.2, a client could request handshakes repeatedly on one connection.
    context.options |= ssl.OP_NO_RENEGOTIATION
    # The key exchange with ffdhe8192 holds the event loop for 120 ms. Each client of TLS 1.3 has this curve.
    # Source: https://www.rfc-editor.org/rfc/rfc8446#section-9.1
    context.set_ecdh_curve("prime256v1")
    context.set_alpn_protocols(["http/1.1"])
    try:
        # Without this callback, OpenSSL would prompt for the password of an encrypted key.
        context.load_cert_chain(certificate, key, password=lambda: "")
    except OSError as error:
        raise TlsError(_load_problem(certificate, error)) from None
    return context


def _load_problem(certificate: Path, error: OSError) -> str:
    if isinstance(error, ssl.SSLError) and error.reason == "KEY_VALUES_MISMATCH":
        return "SIGNER_TLS_KEY names a key that is not that of the certificate in SIGNER_TLS_CERT"
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_verify_locations(certificate)
    except OSError:
        return "SIGNER_TLS_CERT names a file that holds no certificate in PEM"
    return "SIGNER_TLS_KEY names a file that holds no private key in PEM without a password"
