"""A local S3 server for the tutorial: ``make s3``. It keeps files in memory, and its bucket allows every web page.

The keys and the bucket are those of docs/tutorial.md and of the console's tutorial.
"""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time

from botocore.config import Config
from botocore.exceptions import EndpointConnectionError
from botocore.session import Session
from live.installation import NotInstalled, python_with

HOST, PORT = "127.0.0.1", int(os.environ.get("S3_PORT", "9000"))
BUCKET = "tutorial"
KEYS = {"aws_access_key_id": "TUTORIALACCESSKEY", "aws_secret_access_key": "tutorial-secret-key"}
RULE = {
    "AllowedOrigins": ["*"],
    "AllowedMethods": ["GET", "HEAD", "PUT", "POST", "DELETE"],
    "AllowedHeaders": ["*"],
    "ExposeHeaders": ["ETag"],
}
START_SECONDS = 30


def main():
    try:
        ministack = python_with("ministack").with_name("ministack")
        socket.create_server((HOST, PORT)).close()
    except NotInstalled as reason:
        return f"ministack cannot be installed: {reason}"
    except OSError as error:
        return f"Port {PORT} cannot be used: {error}; name another with S3_PORT"
    # SIGTERM ends the server too. A shell starts commands in the background with SIGINT ignored.
    for ending in (signal.SIGINT, signal.SIGTERM):
        signal.signal(ending, signal.default_int_handler)
    with tempfile.TemporaryDirectory() as state:
        environment = {
            "PATH": os.defpath,
            "HOME": state,
            "TMPDIR": state,
            "AUTH": "true",
            "SERVICES": "s3,sts,iam",
            "GATEWAY_PORT": str(PORT),
            "BIND_HOST": HOST,
            "LOG_LEVEL": "ERROR",
            "DOCKER_HOST": f"unix://{state}/no-docker.sock",
            **{name.upper(): value for name, value in KEYS.items()},
        }
        process = subprocess.Popen([ministack], env=environment, cwd=state)
        try:
            make_bucket(process)
            sys.stdout.write(
                f"S3 listens on http://{HOST}:{PORT} with the bucket {BUCKET}. Ctrl+C ends it, and its files.\n"
            )
            sys.stdout.flush()
            return process.wait()
        except KeyboardInterrupt:
            return 0
        finally:
            process.terminate()
            process.wait()


def make_bucket(process):
    config = Config(s3={"addressing_style": "path"}, retries={"total_max_attempts": 1})
    client = Session().create_client(
        "s3", endpoint_url=f"http://{HOST}:{PORT}", region_name="us-east-1", config=config, **KEYS
    )
    end = time.monotonic() + START_SECONDS
    while True:
        try:
            client.create_bucket(Bucket=BUCKET)
            break
        except EndpointConnectionError:
            if process.poll() is not None or time.monotonic() > end:
                raise SystemExit("ministack does not start") from None
            time.sleep(0.1)
    client.put_bucket_cors(Bucket=BUCKET, CORSConfiguration={"CORSRules": [RULE]})


if __name__ == "__main__":
    sys.exit(main())
