"""TLS of our own: a certificate and its key from two files, followed when the files change."""

import asyncio
import hashlib
import logging
import ssl
import stat
from pathlib import Path

logger = logging.getLogger(__name__)

POLL_SECONDS = 2.0


class TlsError(Exception):
    """Why a certificate and key cannot be used; the sentence names the setting at fault, and quotes nothing."""


class Identity:
    """Who the service is to its clients: ``context`` shows the newest pair that was whole to each new connection.

    A pair that cannot be used is told of once, and leaves the one before it in place. Contents are compared rather than
    stamps: a Kubernetes volume turns a symlink, and a rewrite in place shows as well.
    """

    def __init__(self, certificate: Path, key: Path) -> None:
        """Load the pair. Raises ``TlsError``."""
        self._certificate = certificate
        self._key = key
        self._digest = self._read()
        self.context = self._current = _context(certificate, key)
        # Loading into a context in use would take its certificate away where the new key turns out to be another's.
        self.context.sni_callback = self._show

    async def follow(self) -> None:
        """Look at the files from time to time, for ever."""
        while True:
            await asyncio.sleep(POLL_SECONDS)
            await asyncio.to_thread(self.look)

    def look(self) -> None:
        """Take what is in the files by now, if that is something else and can be used."""
        digest = b""
        try:
            digest = self._read()
            if digest == self._digest:
                return
            self._current = _context(self._certificate, self._key)
        except TlsError as error:
            if digest != self._digest:
                logger.warning("The new TLS certificate cannot be used, and the one before is kept: %s", error)
        else:
            logger.info("The TLS certificate has changed, and new connections get it")
        self._digest = digest

    def _show(self, connection: ssl.SSLObject, name: str | None, context: ssl.SSLContext) -> None:
        # Called for every handshake, whether it names a server or not.
        del name, context
        connection.context = self._current

    def _read(self) -> bytes:
        return _digest(self._certificate, "SIGNER_TLS_CERT") + _digest(self._key, "SIGNER_TLS_KEY")


def _digest(path: Path, variable: str) -> bytes:
    try:
        # To open a pipe would wait for a writer, for ever.
        if not stat.S_ISREG(path.stat().st_mode):
            raise TlsError(f"{variable} names no file")
        return hashlib.sha256(path.read_bytes()).digest()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no path"
        raise TlsError(f"{variable} names a file that cannot be read: {reason}") from None


def _context(certificate: Path, key: Path) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # In TLS 1.2 a client could ask for one handshake after another on one connection.
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(["http/1.1"])
    try:
        # Of a key with a password, OpenSSL would ask the terminal for it.
        context.load_cert_chain(certificate, key, password=lambda: "")
    except OSError as error:
        raise TlsError(_fault(certificate, error)) from None
    return context


def _fault(certificate: Path, error: OSError) -> str:
    if isinstance(error, ssl.SSLError) and error.reason == "KEY_VALUES_MISMATCH":
        return "SIGNER_TLS_KEY names a key that is not that of the certificate in SIGNER_TLS_CERT"
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_verify_locations(certificate)
    except OSError:
        return "SIGNER_TLS_CERT names a file that holds no certificate in PEM"
    return "SIGNER_TLS_KEY names a file that holds no private key in PEM without a password"
