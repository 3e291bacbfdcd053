"""The public keys of a JWK set that may verify signatures, and the algorithms that each is for. Pure.

Source: RFC 7517 for the set, RFC 7518 (section 6) and RFC 8037 for what a key is made of.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from jwt import PyJWK, PyJWTError
from jwt.algorithms import AllowedPublicKeys

from service import json_text

MAX_KEYS = 100  # InFlightRead one takes about 50 us, on the loop.
MIN_RSA_BITS, MAX_RSA_BITS = 2048, 8192
_MAX_MEMBER = MAX_RSA_BITS // 6 + 1

# What is in here has told whoever has read the set how to sign, an `oct` key's `k` too.
_PRIVATE = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})


class KeySetError(Exception):
    """What was read is no JWK set, or is none to trust. The message completes a sentence, and quotes nothing."""


class Kind(NamedTuple):
    """What the public part of a key consists of, and what it may verify."""

    members: tuple[str, ...]
    algorithms: frozenset[str]


KINDS: Mapping[str, Kind] = {
    "RSA": Kind(("kty", "n", "e"), frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"})),
    "EC P-256": Kind(("kty", "crv", "x", "y"), frozenset({"ES256"})),
    "EC P-384": Kind(("kty", "crv", "x", "y"), frozenset({"ES384"})),
    "EC P-521": Kind(("kty", "crv", "x", "y"), frozenset({"ES512"})),
    "OKP Ed25519": Kind(("kty", "crv", "x"), frozenset({"EdDSA"})),
}
ALGORITHMS = frozenset[str]().union(*(kind.algorithms for kind in KINDS.values()))


@dataclass(frozen=True, slots=True)
class PublicKey:
    """One key: the same as another if name, ``material`` (its members as written) and ``algorithms`` are."""

    kid: str | None
    material: tuple[str, ...]
    algorithms: frozenset[str]
    key: AllowedPublicKeys = field(compare=False, repr=False)


class ParsedKeySet(NamedTuple):
    """What a JWK set comes to. ``complaints`` are sentences on what is wrong in it, and quote names alone."""

    keys: frozenset[PublicKey]
    complaints: tuple[str, ...]


def read_key_set(document: bytes) -> ParsedKeySet:
    """The keys that may verify signatures; those for encryption or of other kinds are passed over in silence.

    Raises:
        KeySetError: for anything but a JWK set of at most ``MAX_KEYS`` keys.
    """
    keys, complaints = [], []
    for entry in _entries(document):
        try:
            key = _public_key(entry)
        except KeySetError as error:
            name = entry.get("kid") if isinstance(entry, dict) else None
            complaints.append(f"key {str(name)[:64]!r} is ignored, as it {error}")
        else:
            keys += [key] if key else []
    # Some issuers give their keys in another order each time.
    complaints.sort()
    if not keys:
        complaints.append("it has no key that could verify a signature")
    return ParsedKeySet(frozenset(keys), tuple(complaints))


def _entries(document: bytes) -> list[Any]:
    try:
        entries = json_text.loads(document)["keys"]
    except (ValueError, TypeError, KeyError):
        raise KeySetError("what it holds is no JWK set") from None
    if not isinstance(entries, list):
        raise KeySetError("its keys are not a list")
    if len(entries) > MAX_KEYS:
        raise KeySetError(f"it has more than {MAX_KEYS} keys")
    return entries


def _public_key(jwk: Any) -> PublicKey | None:
    """None for a key that is for something else; KeySetError for one that should not be there, or not like this."""
    if not isinstance(jwk, dict):
        raise KeySetError("is no object")
    if not _PRIVATE.isdisjoint(jwk):
        raise KeySetError("gives away its private part")
    kid, kind = jwk.get("kid"), KINDS.get(" ".join(str(jwk[name]) for name in ("kty", "crv") if name in jwk))
    if kind is None or not _is_for_signatures(jwk):
        return None
    if not isinstance(kid, str | None):
        raise KeySetError("has a kid that is no string")
    algorithms = kind.algorithms & {jwk["alg"]} if isinstance(jwk.get("alg"), str) else kind.algorithms
    if not algorithms:
        return None
    material = _material(jwk, kind)
    return PublicKey(kid, tuple(material.values()), algorithms, _load(material, algorithms))


def _is_for_signatures(jwk: dict[str, Any]) -> bool:
    operations = jwk.get("key_ops", ["verify"])
    return jwk.get("use", "sig") == "sig" and isinstance(operations, list) and "verify" in operations


def _material(jwk: dict[str, Any], kind: Kind) -> dict[str, str]:
    material = {name: value for name in kind.members if isinstance(value := jwk.get(name), str)}
    if len(material) < len(kind.members) or max(map(len, material.values())) > _MAX_MEMBER:
        raise KeySetError("is malformed")
    return material


def _load(material: dict[str, str], algorithms: frozenset[str]) -> AllowedPublicKeys:
    try:
        key: AllowedPublicKeys = PyJWK(material, min(algorithms)).key
    except PyJWTError:
        # Its message may quote the key.
        raise KeySetError("is malformed") from None
    if isinstance(key, RSAPublicKey) and not MIN_RSA_BITS <= key.key_size <= MAX_RSA_BITS:
        raise KeySetError(f"is not of {MIN_RSA_BITS} to {MAX_RSA_BITS} bits")
    return key
