"""A bundle on a shared Redis: entries one by one, by several processes at once, and later if Redis is unavailable."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from live.raw_http import send
from processes import ServiceProcess, run_to_end
from support.bundles import SECRET, account, client, delete, policy, put, text
from support.logins import basic
from support.service import running
from support.volumes import Volume
from support.waiting import eventually

pytestmark = pytest.mark.heavy

ROOT_SECRET = "a root secret, long enough"
ROOT = {"SIGNER_ROOT_CLIENT_ID": "root", "SIGNER_ROOT_CLIENT_SECRET": ROOT_SECRET}
ENTRIES = [*(account(f"a{n}") for n in range(5)), client("b"), policy("c", "b")]
KINDS = ("AwsAccount", "Client", "AccessPolicy")


@pytest.fixture
def volume(tmp_path):
    (tmp_path / "volume").mkdir()
    return Volume(tmp_path / "volume", **{"bundle.json": text(*ENTRIES)})


@pytest.fixture
def environ(volume, redis_url):
    return {"SIGNER_INIT_BUNDLE": str(volume / "bundle.json"), "SIGNER_STORE_URL": redis_url, **ROOT}


def ask(process, path, id_="root", secret=ROOT_SECRET):
    return send(process.url + path, "GET", None, {"Authorization": basic(id_, secret)})


def signed(process, secret=SECRET):
    return ask(process, "/aws/storage/a0/bucket/key", "b", secret).status


def metas(process):
    """Return the version and times of all resources."""
    resources = [entry["resource"] for kind in KINDS for entry in ask(process, f"/{kind}").json()["entry"]]
    return {f"{resource['resourceType']}/{resource['id']}": resource["meta"] for resource in resources}


def test_replicas_that_apply_a_bundle_at_once_write_each_resource_once(environ):
    with ThreadPoolExecutor() as threads:
        processes = list(threads.map(lambda _: ServiceProcess(**environ), range(3)))
    found = [metas(process) for process in processes]
    statuses = [signed(process) for process in processes]
    stopped = [process.stop() for process in processes]
    with running(**environ) as later:
        found.append(metas(later))

    assert [each == found[0] for each in found] == [True] * 4
    assert len(found[0]) == len(ENTRIES)
    assert all(meta["createdAt"] == meta["lastUpdated"] for meta in found[0].values())
    assert (statuses, stopped) == ([200] * 3, [0] * 3)


def test_replicas_apply_a_changed_bundle_and_unchanged_resources_keep_their_versions(environ, volume):
    with running(**environ) as first, running(**environ) as second:
        before = metas(first)
        volume.update({"bundle.json": text(delete("/AwsAccount/a1"), account("a0", region="eu-west-1"), *ENTRIES[5:])})
        for process in (first, second):
            process.wait_for("SIGNER_INIT_BUNDLE has new contents, which are in use now")
        after = metas(second)

    changed = {name for name in before if after.get(name) != before[name]}
    assert changed == {"AwsAccount/a0", "AwsAccount/a1"}
    # Without a deletion in the bundle, a resource stays.
    assert before.keys() - after.keys() == {"AwsAccount/a1"}


def test_with_one_invalid_entry_nothing_is_written(environ, volume):
    with running(**environ) as process:
        before = metas(process)
        volume.update({"bundle.json": text(account("a0", region="eu-west-1"), account("new"), policy("d", "missing"))})
        process.wait_for("AccessPolicy.link names Client/missing, which does not exist")
        after = metas(process)
        health = ask(process, "/health").json()
        metrics = ask(process, "/metrics").body.decode()

    assert before == after
    assert health["checks"]["files"]["status"] == "warn"
    assert 's3_signer_mounted_file_current{setting="SIGNER_INIT_BUNDLE"} 0.0' in metrics


def test_while_redis_is_unavailable_the_service_starts_and_applies_the_bundle_later(own_redis, volume):
    own_redis.stop()
    bundle = str(volume / "bundle.json")
    with running(SIGNER_INIT_BUNDLE=bundle, SIGNER_STORE_URL=own_redis.url, **ROOT) as process:
        waiting = [ask(process, path).status for path in ("/live", "/ready")]
        process.wait_for("SIGNER_INIT_BUNDLE is not in use yet")
        own_redis.start()
        is_ready = eventually(lambda: ask(process, "/ready").status == 200)
        found = metas(process)
        warnings = [message for message in process.messages if "SIGNER_INIT_BUNDLE is not in use yet" in message]

    assert (waiting, is_ready) == ([200, 503], True)
    assert len(found) == len(ENTRIES)
    assert len(warnings) == 1


@pytest.mark.parametrize("workers", ["1", "2"])
def test_an_invalid_bundle_ends_the_start_with_a_line_for_each_fault(own_redis, volume, workers):
    own_redis.stop()
    volume.update({"bundle.json": text(account("a", region="?"), account("b"), put("/Client/c"), {})})
    status, lines = run_to_end(
        SIGNER_INIT_BUNDLE=str(volume / "bundle.json"),
        SIGNER_STORE_URL=own_redis.url,
        SIGNER_WORKERS=workers,
        SIGNER_PORT="0",
        **ROOT,
    )

    faults = [line for line in lines if line.startswith("s3-signer: ")]
    assert status == 2
    assert [line.split()[1:3] for line in faults] == [
        ["SIGNER_INIT_BUNDLE", "entry[2]"],
        ["SIGNER_INIT_BUNDLE", "entry[3].request"],
    ]


def test_every_worker_applies_a_changed_bundle(environ, volume):
    with running(**environ, SIGNER_WORKERS="2") as process:
        volume.update({"bundle.json": text(client("b", secret="another secret, as long"))})
        logged = eventually(
            lambda: process.messages.count("SIGNER_INIT_BUNDLE has new contents, which are in use now") == 2
        )
        statuses = [signed(process, secret) for secret in (SECRET, "another secret, as long") for _ in range(10)]

    assert logged
    assert statuses == [401] * 10 + [200] * 10
