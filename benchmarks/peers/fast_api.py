"""Signed GETs as one would write them with FastAPI, uvicorn and a boto3 client; one account, no store.

Argument: port. A plain function, which FastAPI runs in a thread, is what it asks for with a library such as boto3
(https://fastapi.tiangolo.com/async/). It runs on uvloop and httptools without an access log, to be no slower than it
must.
"""

import importlib
import sys
from typing import Any

import boto3
from botocore.config import Config

from benchmarks.example import AMAZON

# Their absence is no fault, so they are not imported by name.
fastapi = importlib.import_module("fastapi")
uvicorn = importlib.import_module("uvicorn")

CLIENT: Any = boto3.client(
    "s3",
    region_name=AMAZON.region,
    use_ssl=False,
    aws_access_key_id=AMAZON.access_key_id,
    aws_secret_access_key=AMAZON.secret_access_key,
    config=Config(signature_version="s3v4", s3={"addressing_style": "virtual"}),
)


def download(account: str, bucket: str, key: str, expiration: int = 86_400) -> dict[str, str]:
    if account != AMAZON.id:
        raise fastapi.HTTPException(404)
    params = {"Bucket": bucket, "Key": key}
    return {"url": CLIENT.generate_presigned_url("get_object", Params=params, ExpiresIn=expiration)}


if __name__ == "__main__":
    app = fastapi.FastAPI()
    app.add_api_route("/aws/storage/{account}/{bucket}/{key:path}", download)
    uvicorn.run(app, port=int(sys.argv[1]), loop="uvloop", http="httptools", access_log=False, log_level="warning")
