"""JWTs of one trusted issuer: which are true, and for how long that is remembered.

Source: RFC 7519 for claims, RFC 7515 (section 4) for the header, RFC 8725 for what goes wrong.
"""

import base64
import json
import re
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from hashlib import sha256
from typing import Any, NamedTuple, NoReturn

from jwt.algorithms import get_default_algorithms

from service import json_text
from service.access.jwt.jwk import ALGORITHMS, PublicKey
from service.access.jwt.jwks import JwksProvider
from service.errors import Unauthenticated

MAX_LENGTH = 16 * 1024
MAX_SECONDS = 86_400
# For the instants at which a token begins, as its issuer's clock may be ahead. Its end is the end.
LEEWAY_SECONDS = 30
LAST_INSTANT = 1e12  # What is later is in milliseconds.

# An issuer signs other things too, with the same keys and claims: logout tokens, security events, DPoP proofs.
TYPES = frozenset({"jwt", "at+jwt", "jose"})

_COMPACT = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*")
# PyJWT's way with a whole token looks at each letter of it, which takes three times as long as its signature.
_VERIFIERS = {name: verifier for name, verifier in get_default_algorithms().items() if name in ALGORITHMS}


class InvalidToken(Unauthenticated):
    """A token that is not valid. ``reason`` quotes nothing of the token."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(f"The token is not trusted: {reason}")


class Header(NamedTuple):
    """What a token says of its signature, which is not yet verified."""

    alg: str
    kid: str | None


class VerifiedToken(NamedTuple):
    """A token that was found true by the keys of ``generation``, and is until ``exp``."""

    claims: Mapping[str, Any]
    exp: float
    generation: int


def looks_like_jwt(token: str) -> bool:
    """Whether it has the two dots of a JWT, which no opaque token has; ``JwtVerifier`` looks closer."""
    return token.count(".") == 2  # noqa: PLR2004 - there are three parts


class JwtVerifier:
    """Believes tokens of ``issuer`` for ``audience`` that one of ``keys`` verifies, for ``max_seconds`` at most.

    Its last ``size`` verdicts, of about 3 KB, are remembered under the token's hash until the token ends or the keys
    change. A refusal is not: it may be different in a moment. A clock counts seconds since 1970.
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
        self._size = size
        self._verdicts: OrderedDict[bytes, VerifiedToken] = OrderedDict()

    async def open(self) -> None:
        """Begin to keep the keys in step. Never fails because they are away."""
        await self._keys.open()

    async def close(self) -> None:
        await self._keys.close()

    async def verify(self, token: str) -> Mapping[str, Any]:
        """The token's claims, which others are given too and nobody may change.

        Raises:
            InvalidToken: for every token that is not to be believed at this instant.
        """
        # A header's bytes that are no UTF-8 arrive as surrogates, which cannot be encoded.
        if len(token) > MAX_LENGTH or not token.isascii():
            raise InvalidToken("the token is too long, or not in ASCII")
        digest = sha256(token.encode()).digest()
        verdict = self._verdicts.get(digest)
        if verdict is None or verdict.exp <= self._clock() or verdict.generation != self._keys.generation:
            self._verdicts.pop(digest, None)
            verdict = await self._judge(token)
            self._remember(digest, verdict)
        else:
            self._verdicts.move_to_end(digest)
        return verdict.claims

    async def _judge(self, token: str) -> VerifiedToken:
        if not _COMPACT.fullmatch(token):
            raise InvalidToken("the token is no JWT")
        signed, _, signature = token.rpartition(".")
        head, _, payload = signed.partition(".")
        header = _header(_decode(head))
        key = _only(await self._keys.find(header.kid), header)
        # Taken with the key, before anything else may run.
        generation = self._keys.generation
        if not _VERIFIERS[header.alg].verify(signed.encode(), key.key, _decode(signature)):
            raise InvalidToken("the token's signature is wrong")
        claims = _object(_decode(payload))
        return VerifiedToken(claims, self._check(claims), generation)

    def _check(self, claims: Mapping[str, Any]) -> float:
        """The instant at which the token ends."""
        if claims.get("iss") != self._issuer:
            raise InvalidToken("the token is of another issuer")
        audience = claims.get("aud")
        if self._audience not in (audience if isinstance(audience, list) else [audience]):
            raise InvalidToken("the token is for another audience")
        if not isinstance(claims.get("sub", ""), str):
            raise InvalidToken("the token's sub is no string")
        now, exp = self._clock(), _instant(claims, "exp")
        if "iat" in claims:
            exp = min(exp, _instant(claims, "iat") + self._max_seconds)
        elif exp > now + self._max_seconds:
            raise InvalidToken(f"the token has no iat, and its exp is more than {self._max_seconds} seconds ahead")
        if exp <= now:
            raise InvalidToken("the token has expired")
        if any(_instant(claims, name) > now + LEEWAY_SECONDS for name in ("nbf", "iat") if name in claims):
            raise InvalidToken("the token is not valid yet")
        return exp

    def _remember(self, digest: bytes, verdict: VerifiedToken) -> None:
        self._verdicts[digest] = verdict
        if len(self._verdicts) > self._size:
            self._verdicts.popitem(last=False)


def _decode(part: str) -> bytes:
    with suppress(ValueError):
        # As much padding as any length may want; more is no fault.
        data = base64.urlsafe_b64decode(part + "==")
        # One signature has one spelling: no bits are left over after the last byte.
        if base64.urlsafe_b64encode(data).decode().rstrip("=") == part:
            return data
    raise InvalidToken("the token is no JWT")


def _header(document: bytes) -> Header:
    header = _object(document)
    alg, kid, typ = header.get("alg"), header.get("kid"), header.get("typ", "JWT")
    if not isinstance(alg, str) or alg not in ALGORITHMS:
        raise InvalidToken("the token's algorithm is not allowed")
    # RFC 7797: with b64, what is signed is not what is sent.
    if "crit" in header or "b64" in header:
        raise InvalidToken("the token has critical extensions")
    if not isinstance(kid, str | None):
        raise InvalidToken("the token's kid is no string")
    if not isinstance(typ, str) or typ.lower().removeprefix("application/") not in TYPES:
        raise InvalidToken("the token is of another type")
    return Header(alg, kid)


def _only(keys: Sequence[PublicKey], header: Header) -> PublicKey:
    fitting = [key for key in keys if header.alg in key.algorithms]
    if len(fitting) > 1:
        raise InvalidToken("the token does not tell which of the issuer's keys has signed it")
    if not fitting:
        raise InvalidToken("the token is not signed by a key of the issuer")
    return fitting[0]


def _instant(claims: Mapping[str, Any], name: str) -> float:
    instant = claims.get(name)
    # A boolean is an int too, and 1e999 is read as infinity.
    if isinstance(instant, bool) or not isinstance(instant, int | float) or abs(instant) > LAST_INSTANT:
        raise InvalidToken(f"the token's {name} is missing, or no instant")
    return float(instant)


def _object(document: bytes) -> dict[str, Any]:
    """A JSON object. Of two members of one name, others might read the first where we read the last."""
    try:
        data = json_text.loads(document, object_pairs_hook=_members, parse_constant=_constant)
        # Claims go into log lines and answers, where a lone surrogate would fail.
        if b"\\ud" in document or b"\\uD" in document:
            json.dumps(data, ensure_ascii=False).encode()
    except ValueError:
        raise InvalidToken("the token is not made of JSON objects") from None
    if not isinstance(data, dict):
        raise InvalidToken("the token is not made of JSON objects")
    return data


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("duplicate key")
    return members


def _constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
