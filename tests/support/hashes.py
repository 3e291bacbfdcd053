"""Hashes of secrets: cheap ones, and those of earlier versions."""

import base64
import hashlib

from service.resources.secrets import hashing

SALT = bytes(range(16))


def make_cheap(monkeypatch):
    """Let argon2id take microseconds."""
    for name, value in {"MEMORY_KIB": 8, "PASSES": 1, "KEY_PASSES": 1}.items():
        monkeypatch.setattr(hashing, name, value)


def scrypt_text(secret, salt=SALT, scheme="scrypt:16384:8:1"):
    """What earlier versions stored for a secret."""
    derived = hashlib.scrypt(secret.encode(), salt=salt, n=2**14, r=8, p=1, dklen=32)
    return f"{scheme}:{base64.b64encode(salt).decode()}:{base64.b64encode(derived).decode()}"
