"""One ministack over http and https, with one state.

Run with the interpreter of ministack's own environment; it reads its settings as one line of JSON, writes its ports as
another, and lives for as long as its standard input stays open. Its own entry point would take port 443 where it may,
listen for MQTT on 8883 and remove containers that an earlier ministack left on the machine's Docker.
"""

import asyncio
import json
import os
import socket
import sys
from pathlib import Path

from hypercorn.asyncio import serve
from hypercorn.config import Config


def main() -> None:
    settings = json.loads(sys.stdin.readline())
    plain, tls = listen(), listen()
    ports = {"http": plain.getsockname()[1], "https": tls.getsockname()[1]}
    os.environ |= environment(settings, ports["http"])
    asyncio.run(run(config(settings, plain, tls), ports))


def listen() -> socket.socket:
    listener = socket.create_server(("127.0.0.1", 0))
    listener.set_inheritable(True)
    return listener


def environment(settings: dict[str, str], port: int) -> dict[str, str]:
    return {
        "AUTH": "true",
        "SERVICES": "s3,sts,iam",
        "AWS_ACCESS_KEY_ID": settings["user"],
        "AWS_SECRET_ACCESS_KEY": settings["secret"],
        "MINISTACK_HOST": settings["domain"],
        "MINISTACK_REGION": settings["region"],
        "GATEWAY_PORT": str(port),
        "PERSIST_STATE": "0",
        "S3_PERSIST": "0",
        "IOT_MTLS_ENABLED": "0",
        "SFTP_ENABLED": "0",
        "DOCKER_HOST": f"unix://{Path(settings['state'], 'no-docker.sock')}",
    }


def config(settings: dict[str, str], plain: socket.socket, tls: socket.socket) -> Config:
    made = Config()
    made.bind, made.insecure_bind = [f"fd://{tls.fileno()}"], [f"fd://{plain.fileno()}"]
    made.certfile, made.keyfile = settings["certificate"], settings["key"]
    made.graceful_timeout = 0
    return made


async def run(config: Config, ports: dict[str, int]) -> None:
    # It reads its environment while it is imported.
    from ministack.app import app  # noqa: PLC0415

    print(json.dumps(ports), flush=True)  # noqa: T201 - to whoever started us
    await serve(app, config, shutdown_trigger=standard_input_closes)


async def standard_input_closes() -> None:
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    await reader.read()


if __name__ == "__main__":
    main()
