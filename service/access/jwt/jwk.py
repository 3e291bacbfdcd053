"""JWK sets: the public keys that may verify signatures, and the algorithms of each. Pure.

Source: RFC 7517 for the set, RFC 7518 (section 6) and RFC 8037 for the members of a key.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from jwt import PyJWK, PyJWTError
from jwt.algorithms import AllowedPublicKeys

from service import json_text
from service.mounted_files import UnusableFile

MAX_KEYS = 100  # Loading a key takes about 50 us.
MIN_RSA_BITS, MAX_RSA_BITS = 2048, 8192
_MAX_MEMBER_LENGTH = MAX_RSA_BITS // 6 + 1

# Anyone who has read a set with one of these can forge tokens; `k` is the secret of an `oct` key.
_PRIVATE_MEMBERS = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})


class JwksError(UnusableFile):
    """A JWK set cannot be read, or is not valid. The message completes a sentence, and quotes no value."""


class KeyType(NamedTuple):
    """The members of a public key, and the algorithms that it can verify."""

    members: tuple[str, ...]
    algorithms: frozenset[str]


KEY_TYPES: Mapping[str, KeyType] = {
    "RSA": KeyType(("kty", "n", "e"), frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"})),
    "EC P-256": KeyType(("kty", "crv", "x", "y"), frozenset({"ES256"})),
    "EC P-384": KeyType(("kty", "crv", "x", "y"), frozenset({"ES384"})),
    "EC P-521": KeyType(("kty", "crv", "x", "y"), frozenset({"ES512"})),
    "OKP Ed25519": KeyType(("kty", "crv", "x"), frozenset({"EdDSA"})),
}
ALGORITHMS = frozenset[str]().union(*(key_type.algorithms for key_type in KEY_TYPES.values()))


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A public key. Two are equal if ``kid``, ``material`` (the members as written) and ``algorithms`` are."""

    kid: str | None
    material: tuple[str, ...]
    algorithms: frozenset[str]
    key: AllowedPublicKeys = field(compare=False, repr=False)


class ParsedJwks(NamedTuple):
    """The valid keys of a JWK set. ``warnings`` are sentences about the others, and quote only their kid."""

    keys: frozenset[PublicKey]
    warnings: tuple[str, ...]


def parse_jwks(document: bytes) -> ParsedJwks:
    """Return the keys that may verify signatures. Keys for other purposes or of other types are ignored.

    Raises:
        JwksError: for anything but a JWK set of at most ``MAX_KEYS`` keys.
    """
    keys, warnings = [], []
    for jwk in _entries(document):
        try:
            key = _public_key(jwk)
        except JwksError as error:
            kid = jwk.get("kid") if isinstance(jwk, dict) else None
            warnings.append(f"key {str(kid)[:64]!r} is ignored, as it {error}")
        else:
            keys += [key] if key else []
    # Some issuers return their keys in another order each time.
    warnings.sort()
    if not keys:
        warnings.append("it has no key that could verify a signature")
    return ParsedJwks(frozenset(keys), tuple(warnings))


def _entries(document: bytes) -> list[Any]:
    try:
        entries = json_text.loads(document)["keys"]
    except (ValueError, TypeError, KeyError):
        raise JwksError("it is not a JWK set") from None
    if not isinstance(entries, list):
        raise JwksError("its keys are not a list")
    if len(entries) > MAX_KEYS:
        raise JwksError(f"it has more than {MAX_KEYS} keys")
    return entries


def _public_key(jwk: Any) -> PublicKey | None:
    """Return the key, or None for a key of another purpose. Raises JwksError for an invalid key."""
    if not isinstance(jwk, dict):
        raise JwksError("is not an object")
    if not _PRIVATE_MEMBERS.isdisjoint(jwk):
        raise JwksError("contains its private part")
    kid, key_type = jwk.get("kid"), KEY_TYPES.get(" ".join(str(jwk[name]) for name in ("kty", "crv") if name in jwk))
    if key_type is None or not _is_for_signatures(jwk):
        return None
    if not isinstance(kid, str | None):
        raise JwksError("has a kid that is not a string")
    algorithms = key_type.algorithms & {jwk["alg"]} if isinstance(jwk.get("alg"), str) else key_type.algorithms
    if not algorithms:
        return None
    material = _material(jwk, key_type)
    return PublicKey(kid, tuple(material.values()), algorithms, _load(material, algorithms))


def _is_for_signatures(jwk: dict[str, Any]) -> bool:
    operations = jwk.get("key_ops", ["verify"])
    return jwk.get("use", "sig") == "sig" and isinstance(operations, list) and "verify" in operations


def _material(jwk: dict[str, Any], key_type: KeyType) -> dict[str, str]:
    material = {name: value for name in key_type.members if isinstance(value := jwk.get(name), str)}
    if len(material) < len(key_type.members) or max(map(len, material.values())) > _MAX_MEMBER_LENGTH:
        raise JwksError("is malformed")
    return material


def _load(material: dict[str, str], algorithms: frozenset[str]) -> AllowedPublicKeys:
    try:
        key: AllowedPublicKeys = PyJWK(material, min(algorithms)).key
    except PyJWTError:
        # Its message may quote the key.
        raise JwksError("is malformed") from None
    if isinstance(key, RSAPublicKey) and not MIN_RSA_BITS <= key.key_size <= MAX_RSA_BITS:
        raise JwksError(f"does not have {MIN_RSA_BITS} to {MAX_RSA_BITS} bits")
    return key
