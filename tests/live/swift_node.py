"""A whole OpenStack Swift in one process: proxy over http and https; account, container and object servers behind it.

Run with the interpreter of Swift's own environment; it reads its settings as one line of JSON, writes its ports as
another, and lives for as long as its standard input stays open. Swift's own functional tests run it in one process
too: one import instead of five, no fixed ports, no `user =` to drop privileges to.
"""

import json
import sys
import warnings
from pathlib import Path

# Swift warns at each start that eventlet is going away and that headers keep their case.
warnings.filterwarnings("ignore")

from swift.common import utils, wsgi  # noqa: E402
from swift.common.concurrency import eventlet, green_os, socket, ssl  # noqa: E402
from swift.common.http_protocol import SwiftHttpProtocol  # noqa: E402
from swift.common.ring import RingBuilder  # noqa: E402

# Objects live in memory: Swift's disk files want extended attributes, which not every /tmp has.
BACKENDS = {"account": "account", "container": "container", "object": "mem_object"}

# s3api signs and verifies; the others are what a stock proxy has around it.
PIPELINE = (
    *("catch_errors", "gatekeeper", "proxy-logging", "listing_formats", "bulk", "s3api", "tempauth"),
    *("copy", "slo", "dlo", "versioned_writes", "symlink"),
)


def main() -> None:
    utils.monkey_patch()
    settings = json.loads(sys.stdin.readline())
    state = Path(settings["state"])
    write(state / "swift.conf", swift_conf())
    utils.set_swift_dir(str(state))
    for name, app in BACKENDS.items():
        port = serve(write(state / f"{name}.conf", backend_conf(state, name, app)))
        ring(name, port).save(str(state / f"{name}.ring.gz"))
    proxy = write(state / "proxy.conf", proxy_conf(state, settings))
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(settings["certificate"], settings["key"])
    print(json.dumps({"http": serve(proxy), "https": serve(proxy, tls)}), flush=True)  # noqa: T201 - to whoever started us
    green_os.read(sys.stdin.fileno(), 1)


def serve(conf: Path, tls: ssl.SSLContext | None = None) -> int:
    app = wsgi.loadapp(str(conf), global_conf={"log_name": conf.stem})
    listener = eventlet.listen(("127.0.0.1", 0))
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # or each answer over TLS waits 40 ms
    port = listener.getsockname()[1]
    # As in swift.common.wsgi.run_server, which takes the event loop for itself and so cannot run twice in a process.
    eventlet.spawn(
        eventlet.wsgi.server,
        tls.wrap_socket(listener, server_side=True) if tls else listener,
        app,
        utils.NullLogger(),
        protocol=SwiftHttpProtocol,
        capitalize_response_headers=False,
        url_length_limit=8192,
    )
    return port


def ring(name: str, port: int) -> object:
    builder = RingBuilder(part_power=4, replicas=1, min_part_hours=0)
    place = {"ip": "127.0.0.1", "port": port, "replication_ip": "127.0.0.1", "replication_port": port}
    builder.add_dev(place | {"region": 1, "zone": 1, "device": "d1", "weight": 1, "meta": name})
    builder.rebalance()
    return builder.get_ring()


def swift_conf() -> dict[str, dict[str, str]]:
    return {
        "swift-hash": {"swift_hash_path_suffix": "tests", "swift_hash_path_prefix": "tests"},
        "storage-policy:0": {"name": "gold", "default": "yes"},
        "swift-constraints": {"max_header_size": "16384"},
    }


def backend_conf(state: Path, name: str, app: str) -> dict[str, dict[str, str]]:
    (state / "devices" / "d1").mkdir(parents=True, exist_ok=True)
    return {
        "DEFAULT": defaults(state),
        "pipeline:main": {"pipeline": f"{name}-server"},
        f"app:{name}-server": {"use": f"egg:swift#{app}", "fallocate_reserve": "0"},
    }


def proxy_conf(state: Path, settings: dict[str, str]) -> dict[str, dict[str, str]]:
    filters = {f"filter:{name}": {"use": f"egg:swift#{name.replace('-', '_')}"} for name in PIPELINE}
    filters["filter:s3api"] |= {
        "location": settings["region"],
        "storage_domain": settings["domain"],
        "auth_pipeline_check": "false",
    }
    filters["filter:tempauth"][f"user_{settings['user']}"] = f"{settings['secret']} .admin"
    filters["filter:versioned_writes"]["allow_object_versioning"] = "true"
    return {
        "DEFAULT": defaults(state),
        "pipeline:main": {"pipeline": " ".join([*PIPELINE, "proxy-server"])},
        "app:proxy-server": {"use": "egg:swift#proxy", "account_autocreate": "true"},
    } | filters


def defaults(state: Path) -> dict[str, str]:
    return {
        "swift_dir": str(state),
        "devices": str(state / "devices"),
        "mount_check": "false",
        "log_level": "CRITICAL",
        "log_address": "/dev/null",
    }


def write(path: Path, sections: dict[str, dict[str, str]]) -> Path:
    lines = []
    for section, options in sections.items():
        lines += [f"[{section}]", *(f"{name} = {value}" for name, value in options.items()), ""]
    path.write_text("\n".join(lines))
    return path


if __name__ == "__main__":
    main()
