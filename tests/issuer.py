"""An issuer of JWTs whose keys are made on the spot, and who signs whatever it is told to."""

import base64
import json
from functools import cache

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import get_default_algorithms

SIGNERS = get_default_algorithms()

MAKERS = {
    "RSA": lambda: rsa.generate_private_key(65537, 2048),
    "P-256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "P-384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "P-521": lambda: ec.generate_private_key(ec.SECP521R1()),
    "Ed25519": ed25519.Ed25519PrivateKey.generate,
}
KINDS = {"ES256": "P-256", "ES384": "P-384", "ES512": "P-521", "EdDSA": "Ed25519"}


@cache
def private_key(kind, name):
    """One of a kind and name: RSA's take long to make."""
    return MAKERS[kind]()


def encode(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def compact(value):
    """A part of a token: of bytes as they are, of anything else as JSON."""
    return encode(value if isinstance(value, bytes) else json.dumps(value).encode())


class SigningKey:
    def __init__(self, kid="first", alg="RS256"):
        self.kid = kid
        self.alg = alg
        self.private = private_key(KINDS.get(alg, "RSA"), kid)

    @property
    def public_jwk(self):
        return {**SIGNERS[self.alg].to_jwk(self.private.public_key(), as_dict=True), "kid": self.kid}

    @property
    def private_jwk(self):
        return {**SIGNERS[self.alg].to_jwk(self.private, as_dict=True), "kid": self.kid}

    def token(self, claims, **header):
        """Signed whatever it says; header members of None are left out."""
        header = {"alg": self.alg, "kid": self.kid, **header}
        return self.sign({name: value for name, value in header.items() if value is not None}, claims)

    def sign(self, header, claims):
        signed = f"{compact(header)}.{compact(claims)}"
        return f"{signed}.{encode(SIGNERS[self.alg].sign(signed.encode(), self.private))}"


def key_set(*keys):
    """The JWK set that tells of these keys, which are ``SigningKey``s or JWKs."""
    return json.dumps({"keys": [key.public_jwk if isinstance(key, SigningKey) else key for key in keys]}).encode()
