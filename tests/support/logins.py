"""Clients that log in: their headers, and a hasher that tests control."""

import asyncio
import base64
import hashlib

from service.access.callers.root import Root
from service.errors import StoreUnavailable, Throttled, Unauthenticated

SECRET = "hush, sixteen letters"
ROOT_CLIENT = Root("root", "a root secret")


def basic(id_, secret):
    return f"Basic {base64.b64encode(f'{id_}:{secret}'.encode()).decode()}"


async def outcome(authenticator, authorization, address="here"):
    """Return the name of the principal, or the class of the error."""
    try:
        return (await authenticator.authenticate(authorization, address=address)).name
    except (Unauthenticated, Throttled, StoreUnavailable) as error:
        return type(error).__name__


class ControlledHasher:
    """A hasher with readable hashes. It counts verifications, blocks until ``open`` is set, and refuses if ``busy``."""

    def __init__(self):
        self.verified = 0
        self.busy = False
        self.open = asyncio.Event()
        self.open.set()

    async def hash(self, secret, **_):
        salt = "A" * 22
        return f"$argon2id$v=19$m=19456,t=2,p=1${salt}${hashlib.sha256(secret.encode()).hexdigest()}"

    def check_capacity(self):
        if self.busy:
            raise Throttled("Too many logins at once")

    async def verify(self, secret, candidates):
        self.check_capacity()
        self.verified += 1
        await self.open.wait()
        hash_ = await self.hash(secret)
        return next((candidate for candidate in candidates if candidate.hash in {hash_, f"old_{secret}"}), None)

    def close(self):
        """Hold no resources."""
