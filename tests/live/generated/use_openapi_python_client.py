"""Store an account, sign, upload and download with what openapi-python-client made of the OpenAPI document."""

import json
import os
import sys

import httpx
from signer_client import Client
from signer_client.api.aws_account import put_aws_account, read_aws_account
from signer_client.api.signing import sign_download, sign_upload
from signer_client.models import AwsAccountReplacement, Upload

account = json.loads(os.environ["ACCOUNT"])
bucket, key = os.environ["BUCKET"], "generated/openapi-python-client"
client = Client(base_url=os.environ["SIGNER_URL"], raise_on_unexpected_status=True)
put_aws_account.sync(account["id"], client=client, body=AwsAccountReplacement.from_dict(account))
stored = read_aws_account.sync(account["id"], client=client)
up = sign_upload.sync(account["id"], bucket, client=client, body=Upload(filename=key))
httpx.put(up.url, content=b"hello").raise_for_status()
down = sign_download.sync(account["id"], bucket, key, client=client)
sys.stdout.write(f"{stored.host} {httpx.get(down.url).text}\n")
