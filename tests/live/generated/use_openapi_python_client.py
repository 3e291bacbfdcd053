"""Store an account, sign, upload and download with what openapi-python-client made of the OpenAPI document."""

import json
import os
import sys
from importlib import import_module
from pathlib import Path

import httpx
from signer_client import Client, api
from signer_client.models import AwsAccountReplacement, Upload


def operation(name):
    """Return the module of an operation. Its package has the name of a tag of the document."""
    (file,) = Path(api.__file__).parent.glob(f"*/{name}.py")
    return import_module(f"{api.__name__}.{file.parent.name}.{name}")


account = json.loads(os.environ["ACCOUNT"])
bucket, key = os.environ["BUCKET"], f"openapi-python-client/{os.environ['KEY']}"
client = Client(base_url=os.environ["SIGNER_URL"], raise_on_unexpected_status=True)
operation("put_aws_account").sync(account["id"], client=client, body=AwsAccountReplacement.from_dict(account))
stored = operation("read_aws_account").sync(account["id"], client=client)
up = operation("sign_upload").sync(account["id"], bucket, client=client, body=Upload(filename=key))
httpx.put(up.url, content=b"hello").raise_for_status()
down = operation("sign_download").sync(account["id"], bucket, key, client=client)
sys.stdout.write(f"{stored.host} {httpx.get(down.url).text}\n")
