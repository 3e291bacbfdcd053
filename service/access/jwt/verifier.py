"""Verification of JWTs of one trusted issuer, with a cache of verified tokens.

Source: RFC 7519 for claims, RFC 7515 (section 4) for the header, RFC 8725 for attacks.
PyJWT verifies signatures; docs/adr/0014 lists the checks that it does not make.
"""

import base64
import json
import re
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from hashlib import sha256
from typing import Any, NamedTuple, NoReturn

from cachetools import LRUCache
from jwt.algorithms import get_default_algorithms

from service import json_text
from service.access.jwt.jwk import ALGORITHMS, PublicKey
from service.access.jwt.jwks import JwksProvider
from service.errors import Unauthenticated

MAX_LENGTH = 16 * 1024
MAX_SECONDS = 86_400
# For nbf and iat, as the issuer's clock may be ahead. There is none for exp.
LEEWAY_SECONDS = 30
MAX_TIMESTAMP = 1e12  # Larger ones are in milliseconds.

# With the same keys and claims, an issuer also signs logout tokens, security events and DPoP proofs.
TYPES = frozenset({"jwt", "at+jwt", "jose"})

_COMPACT = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*")
_VERIFIERS = {name: verifier for name, verifier in get_default_algorithms().items() if name in ALGORITHMS}


class InvalidToken(Unauthenticated):
    """A token that is not valid. ``reason`` quotes nothing of the token."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(f"The token is not trusted: {reason}")


class VerifiedToken(NamedTuple):
    """The claims of a token that a key of ``generation`` verified. It expires at ``exp``."""

    claims: Mapping[str, Any]
    exp: float
    generation: int


class JwtVerifier:
    """Verifies tokens of ``issuer`` for ``audience`` by ``keys``. Tokens are valid for at most ``max_seconds``.

    The ``size`` verified tokens that were used last are cached by their hash, with about 3 KB each, until they expire
    or the keys change. Invalid tokens are not cached, as a new key may make one valid.
    ``clock`` returns seconds since 1970.
    """

    def __init__(
        self,
        issuer: str,
        audience: str,
        keys: JwksProvider,
        *,
        max_seconds: float = MAX_SECONDS,
        clock: Callable[[], float] = time.time,
        size: int = 4096,
    ) -> None:
        self._issuer = issuer
        self._audience = audience
        self._keys = keys
        self._max_seconds = max_seconds
        self._clock = clock
        self._cache: LRUCache[bytes, VerifiedToken] = LRUCache(size)

    async def open(self) -> None:
        """Read the keys and start to refresh them. A failure is logged."""
        await self._keys.open()

    async def close(self) -> None:
        await self._keys.close()

    async def verify(self, token: str) -> Mapping[str, Any]:
        """Return the token's claims, which are shared and must not be changed.

        Raises:
            InvalidToken: if the token is not valid now.
        """
        # Header bytes that are not UTF-8 are surrogates, which cannot be encoded.
        if len(token) > MAX_LENGTH or not token.isascii():
            raise InvalidToken("the token is too long, or not in ASCII")
        digest = sha256(token.encode()).digest()
        verified = self._cache.get(digest)
        if verified is None or verified.exp <= self._clock() or verified.generation != self._keys.generation:
            verified = self._cache[digest] = await self._verify(token)
        return verified.claims

    async def _verify(self, token: str) -> VerifiedToken:
        if not _COMPACT.fullmatch(token):
            raise InvalidToken("the token is not a JWT")
        signed, _, signature = token.rpartition(".")
        encoded_header, _, payload = signed.partition(".")
        alg, kid = _algorithm_and_key_id(_json_object(_decode(encoded_header)))
        key = _matching_key(await self._keys.find(kid), alg)
        # Read before the next await, so that it is the generation of this key.
        generation = self._keys.generation
        if not _VERIFIERS[alg].verify(signed.encode(), key.key, _decode(signature)):
            raise InvalidToken("the token's signature is wrong")
        claims = _json_object(_decode(payload))
        return VerifiedToken(claims, self._validate(claims), generation)

    def _validate(self, claims: Mapping[str, Any]) -> float:
        """Return the time at which the token expires. Raises InvalidToken."""
        if claims.get("iss") != self._issuer:
            raise InvalidToken("the token is of another issuer")
        audience = claims.get("aud")
        if self._audience not in (audience if isinstance(audience, list) else [audience]):
            raise InvalidToken("the token is for another audience")
        if not isinstance(claims.get("sub", ""), str):
            raise InvalidToken("the token's sub is not a string")
        now, exp = self._clock(), _timestamp(claims, "exp")
        if "iat" in claims:
            exp = min(exp, _timestamp(claims, "iat") + self._max_seconds)
        elif exp > now + self._max_seconds:
            raise InvalidToken(f"the token has no iat, and its exp is more than {self._max_seconds} seconds ahead")
        if exp <= now:
            raise InvalidToken("the token has expired")
        if any(_timestamp(claims, name) > now + LEEWAY_SECONDS for name in ("nbf", "iat") if name in claims):
            raise InvalidToken("the token is not valid yet")
        return exp


def _decode(part: str) -> bytes:
    with suppress(ValueError):
        # The decoder ignores superfluous padding.
        data = base64.urlsafe_b64decode(part + "==")
        # A token has one spelling only: the bits after the last byte are zero.
        if base64.urlsafe_b64encode(data).decode().rstrip("=") == part:
            return data
    raise InvalidToken("the token is not a JWT")


def _algorithm_and_key_id(header: Mapping[str, Any]) -> tuple[str, str | None]:
    alg, kid, typ = header.get("alg"), header.get("kid"), header.get("typ", "JWT")
    if not isinstance(alg, str) or alg not in ALGORITHMS:
        raise InvalidToken("the token's algorithm is not allowed")
    # With b64 (RFC 7797), the signature covers another payload than the token has.
    if "crit" in header or "b64" in header:
        raise InvalidToken("the token has critical extensions")
    if not isinstance(kid, str | None):
        raise InvalidToken("the token's kid is not a string")
    if not isinstance(typ, str) or typ.lower().removeprefix("application/") not in TYPES:
        raise InvalidToken("the token is of another type")
    return alg, kid


def _matching_key(keys: Sequence[PublicKey], alg: str) -> PublicKey:
    matching = [key for key in keys if alg in key.algorithms]
    if len(matching) > 1:
        raise InvalidToken("the token matches several keys of the issuer")
    if not matching:
        raise InvalidToken("the token is not signed by a key of the issuer")
    return matching[0]


def _timestamp(claims: Mapping[str, Any], name: str) -> float:
    timestamp = claims.get(name)
    # A boolean is an int, and 1e999 is parsed as infinity.
    if isinstance(timestamp, bool) or not isinstance(timestamp, int | float) or abs(timestamp) > MAX_TIMESTAMP:
        raise InvalidToken(f"the token's {name} is missing, or not a timestamp")
    return float(timestamp)


def _json_object(document: bytes) -> dict[str, Any]:
    """Parse a JSON object."""
    try:
        data = json_text.loads(document, parse_constant=_reject_constant)
        # A lone surrogate could not be encoded in log lines and responses.
        if b"\\ud" in document or b"\\uD" in document:
            json.dumps(data, ensure_ascii=False).encode()
    except ValueError:
        raise InvalidToken("the token is not made of JSON objects") from None
    if not isinstance(data, dict):
        raise InvalidToken("the token is not made of JSON objects")
    return data


def _reject_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
