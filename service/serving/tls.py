"""The server's TLS certificate and key, reloaded when their files change."""

import asyncio
import hashlib
import logging
import ssl
from pathlib import Path

from service.settings.regular_file import read_regular

logger = logging.getLogger(__name__)

POLL_SECONDS = 2.0


class TlsError(Exception):
    """A certificate or key that cannot be used. The message names the setting at fault and quotes no content."""


class ServerCertificate:
    """A certificate with its key; ``context`` presents the newest valid pair to each new connection.

    An invalid pair is logged once, and the previous pair stays in use. Contents are compared instead of modification
    times, because a Kubernetes volume changes a symlink.
    """

    def __init__(self, certificate: Path, key: Path) -> None:
        """Load the pair. Raises ``TlsError``."""
        self._certificate = certificate
        self._key = key
        self._digest = self._read_digest()
        self.context = self._current = _load_context(certificate, key)
        # A failed load into a context in use would leave it with the new certificate and without its key.
        self.context.sni_callback = self._select_context

    async def watch(self) -> None:
        """Reload the pair after changes, until cancelled."""
        while True:
            await asyncio.sleep(POLL_SECONDS)
            await asyncio.to_thread(self.reload)

    def reload(self) -> None:
        """Load the pair if its files have changed."""
        digest = b""
        try:
            digest = self._read_digest()
            if digest == self._digest:
                return
            self._current = _load_context(self._certificate, self._key)
        except TlsError as error:
            if digest != self._digest:
                logger.warning("The new TLS certificate cannot be used, and the one before is kept: %s", error)
        else:
            logger.info("The TLS certificate has changed, and new connections get it")
        self._digest = digest

    def _select_context(self, connection: ssl.SSLObject, name: str | None, context: ssl.SSLContext) -> None:
        # OpenSSL calls this for every handshake, with or without a server name.
        del name, context
        connection.context = self._current

    def _read_digest(self) -> bytes:
        return _digest(self._certificate, "SIGNER_TLS_CERT") + _digest(self._key, "SIGNER_TLS_KEY")


def _digest(path: Path, variable: str) -> bytes:
    try:
        return hashlib.sha256(read_regular(path)).digest()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no path"
        raise TlsError(f"{variable} names a file that cannot be read: {reason}") from None


def _load_context(certificate: Path, key: Path) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # In TLS 1.2, a client could request handshakes repeatedly on one connection.
    context.options |= ssl.OP_NO_RENEGOTIATION
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
