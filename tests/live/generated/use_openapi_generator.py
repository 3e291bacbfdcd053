"""Store an account, sign, upload and download with what openapi-generator made of the OpenAPI document."""

import json
import os
import sys

import httpx
from s3_signer import ApiClient, AwsAccountReplacement, Configuration, SignerApi, Upload

account = json.loads(os.environ["ACCOUNT"])
bucket, key = os.environ["BUCKET"], f"openapi-generator/{os.environ['KEY']}"
with ApiClient(Configuration(host=os.environ["SIGNER_URL"])) as client:
    signer = SignerApi(client)
    signer.put_aws_account(account["id"], AwsAccountReplacement.from_dict(account))
    stored = signer.read_aws_account(account["id"])
    up = signer.sign_upload(account["id"], bucket, Upload(filename=key))
    httpx.put(up.url, content=b"hello").raise_for_status()
    down = signer.sign_download(account["id"], bucket, key)
    sys.stdout.write(f"{stored.host} {httpx.get(down.url).text}\n")
