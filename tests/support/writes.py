"""Writes and reads that may fail while a topology changes."""

from contextlib import suppress

from service.errors import StoreUnavailable

KIND = "AwsAccount"


async def put(store, id_, region):
    """Write the region, whatever is stored, and return whether the write is acknowledged."""
    with suppress(StoreUnavailable):
        expected = await store.get(KIND, id_, bypass_cache=True)
        return bool(await store.replace(KIND, id_, {"region": region}, expected=expected))
    return False


async def reads(store, id_, region):
    with suppress(StoreUnavailable):
        found = await store.get(KIND, id_)
        return bool(found) and found.fields["region"] == region
    return False
