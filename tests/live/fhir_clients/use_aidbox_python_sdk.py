"""Everything that the client of aidbox-python-sdk does with resources, and a signed URL."""

import asyncio
import os
import sys

from aidbox_python_sdk.aidboxpy import AsyncAidboxClient

FIELDS = {"access-key-id": "AKIAIOSFODNN7EXAMPLE", "secret-access-key": "a-secret", "use-ssl": True}


async def main(id_):
    client = AsyncAidboxClient(os.environ["BASE"], authorization=os.environ["AUTHORIZATION"])
    found = client.resources("AwsAccount").search(_id=id_)
    _, created = await found.get_or_create(client.resource("AwsAccount", **FIELDS))
    account = await found.get()
    account["region"] = "eu-west-1"
    await account.save()
    await account.patch(**{"path-style": False})
    await account.refresh()
    counts = [await found.count(), len(await found.fetch()), len(await found.fetch_all())]
    first = await found.first()
    signed = await client.execute(f"aws/storage/{id_}/uploads", data={"filename": "some/key"})
    await account.delete()
    sys.stdout.write(f"{created} {counts} {first['region']} {signed['url'].partition('?')[0]}\n")


asyncio.run(main(os.environ["ID"]))
