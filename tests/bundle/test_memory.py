"""A bundle on the store in memory: whole or not at all, and it owns what it has created."""

import asyncio
import itertools
import json
from datetime import UTC, datetime

import pytest
from aiohttp import web
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.bundles import SECRET, account, client, delete, policy, put, text
from support.logins import basic
from support.volumes import Volume

from service import mounted_files
from service.app import create_app
from service.bundle.apply import EmbeddedTarget, InitBundle
from service.bundle.source import BundleFile
from service.errors import StoreUnavailable
from service.resources.repository import Repository
from service.resources.schemas import ParsedBody
from service.resources.secrets.codec import SecretCodec
from service.resources.secrets.encryption import Encryptor
from service.resources.secrets.hashing import Hasher
from service.resources.types import AWS_ACCOUNT
from service.settings import SettingsError, load
from service.stores import pacing
from service.stores.memory import EmbeddedStore
from service.web.context import APP

ROOT = {"SIGNER_ROOT_CLIENT_ID": "root", "SIGNER_ROOT_CLIENT_SECRET": "a root secret, long enough"}
LOGIN = {"Authorization": basic("root", ROOT["SIGNER_ROOT_CLIENT_SECRET"])}


class Bundle:
    """A running service with a bundle in a mounted volume."""

    def __init__(self, http, volume, **options):
        self.http = http
        self.volume = volume
        self.options = options
        self.app = http.app[APP]

    async def change(self, *entries, **files):
        """Mount another bundle, and let the service find it."""
        self.volume.update({"bundle.json": text(*entries), **files})
        for _ in range(2):
            await self.app.files.check()

    async def versions(self, kind="AwsAccount"):
        """Return the versions of all resources by id."""
        answer = await self.http.get(f"/{kind}", **self.options)
        listed = (await answer.json())["entry"]
        return {entry["resource"]["id"]: entry["resource"]["meta"]["versionId"] for entry in listed}

    async def names(self, kind="AwsAccount"):
        return [*await self.versions(kind)]

    async def read(self, path):
        return await (await self.http.get(path, **self.options)).json()

    async def put(self, path, **resource):
        answer = await self.http.put(path, json=resource, **self.options)
        assert answer.status in {200, 201}, await answer.text()


@pytest.fixture
def start(make_client, tmp_path, monkeypatch):
    """Starts the service with these entries. The polls are those of the tests alone."""
    monkeypatch.setattr(mounted_files, "POLL_SECONDS", 3600)

    async def started(*entries, files=None, **environ):
        volume = Volume(tmp_path, **{"bundle.json": text(*entries), **(files or {})})
        http = await make_client(SIGNER_INIT_BUNDLE=str(volume / "bundle.json"), **environ)
        return Bundle(http, volume, **({"headers": LOGIN} if environ.get("SIGNER_ROOT_CLIENT_ID") else {}))

    return started


@pytest.fixture
def faults_of_start(audit_log, tmp_path):
    """Starts the service with these entries, and returns why it does not start."""

    async def start(*entries, path=tmp_path / "bundle.json", **environ):
        (tmp_path / "bundle.json").write_text(text(*entries))
        app = create_app(load({"SIGNER_INIT_BUNDLE": str(path), **environ}), audit=audit_log)
        runner = web.AppRunner(app)
        with pytest.raises(SettingsError) as refusal:
            await runner.setup()
        await runner.cleanup()
        return refusal.value.problems

    return start


async def test_the_resources_of_a_bundle_are_there_when_the_service_serves(start):
    bundle = await start(account("a"), client("b"), policy("c", "b"), **ROOT)

    assert [await bundle.names(kind) for kind in ("AwsAccount", "Client", "AccessPolicy")] == [["a"], ["b"], ["c"]]
    answer = await bundle.http.get("/aws/storage/a/bucket/key", headers={"Authorization": basic("b", SECRET)})
    assert answer.status == 200


async def test_a_new_bundle_replaces_the_old_one(start):
    bundle = await start(account("a"), account("b"))
    await bundle.change(account("b", region="eu-west-1"), account("c"))

    assert await bundle.names() == ["b", "c"]
    assert (await bundle.read("/AwsAccount/b"))["region"] == "eu-west-1"


async def test_resources_of_the_api_stay(start):
    bundle = await start(account("a"))
    await bundle.put("/AwsAccount/own")
    await bundle.change(account("b"))
    await bundle.change()

    assert await bundle.names() == ["own"]


async def test_a_resource_of_the_api_that_a_bundle_has_changed_stays_without_it(start):
    bundle = await start()
    await bundle.put("/AwsAccount/a", region="eu-west-1")
    await bundle.change(account("a"))
    changed = await bundle.read("/AwsAccount/a")
    await bundle.change()

    assert changed["region"] == "us-east-1"
    assert await bundle.names() == ["a"]


async def test_a_resource_that_the_api_has_created_anew_stays_without_its_bundle(start):
    bundle = await start(account("a"))
    await bundle.http.delete("/AwsAccount/a")
    await asyncio.sleep(0.01)
    await bundle.put("/AwsAccount/a")
    await bundle.change()

    assert await bundle.names() == ["a"]


async def test_an_entry_deletes_a_resource_of_the_api(start):
    bundle = await start()
    await bundle.put("/AwsAccount/a")
    await bundle.change(delete("/AwsAccount/a"), delete("/AwsAccount/unknown"))

    assert await bundle.names() == []


async def test_what_does_not_change_keeps_its_version(start):
    entries = [account("a"), client("b"), policy("c", "b")]
    bundle = await start(*entries, **ROOT)
    kinds = ("AwsAccount", "Client", "AccessPolicy")
    before = [await bundle.versions(kind) for kind in kinds]
    await bundle.change(*entries, account("d"))
    after = [await bundle.versions(kind) for kind in kinds]

    assert [{**after[0], "d": None}, *after[1:]] == [{**before[0], "d": None}, *before[1:]]


@pytest.mark.parametrize(
    "changed",
    [{"secret": "another secret, as long"}, {"grant_types": ["client_credentials"]}, {"description": "x"}],
)
async def test_a_changed_client_has_a_new_version(start, changed):
    bundle = await start(client("b"), **ROOT)
    before = await bundle.versions("Client")
    await bundle.change(client("b", **changed))

    assert await bundle.versions("Client") != before


@pytest.mark.parametrize(
    ("invalid", "fault"),
    [
        (account("x", path_style=True), "entry[1] (AwsAccount/x): AwsAccount.path_style is not known here"),
        (account("x", host="no host"), "entry[1] (AwsAccount/x): AwsAccount.host "),
        (policy("x", "missing"), "entry[1] (AccessPolicy/x): AccessPolicy.link names Client/missing, which does not"),
        (client("x", secret="short"), "entry[1] (Client/x): Client.secret must be 16 to 512 visible characters"),
        (client("x", secret=None), "entry[1] (Client/x): Client.secret is missing"),
    ],
)
async def test_with_one_invalid_entry_nothing_changes(start, caplog, invalid, fault):
    bundle = await start(account("a"))
    await bundle.change(account("b"), invalid)

    assert await bundle.names() == ["a"]
    health = await (await bundle.http.get("/health")).json()
    assert (health["status"], health["checks"]["files"]["status"]) == ("warn", "warn")
    warnings = [record.getMessage() for record in caplog.records if record.name == mounted_files.__name__]
    assert len(warnings) == 1
    assert fault in warnings[0]
    assert fault not in str(health)
    assert (await bundle.http.get("/ready")).status == 200


@pytest.mark.parametrize("gone", ["deleted", "no longer named"])
async def test_a_link_is_evaluated_after_the_whole_bundle(start, caplog, gone):
    bundle = await start(policy("c", "b"), client("b"), **ROOT)
    await bundle.change(policy("c", "b"), *([delete("/Client/b")] if gone == "deleted" else []))

    assert "AccessPolicy.link names Client/b, which does not exist" in caplog.text
    assert await bundle.names("Client") == ["b"]


async def test_a_link_to_a_client_of_the_api_is_valid(start):
    bundle = await start(**ROOT)
    await bundle.put("/Client/b", secret=SECRET)
    await bundle.change(policy("c", "b"))

    assert await bundle.names("AccessPolicy") == ["c"]


async def test_a_policy_is_stored_once_the_api_has_its_client(start, monkeypatch):
    monkeypatch.setattr(mounted_files, "RETRY_SECONDS", 0)
    bundle = await start(**ROOT)
    await bundle.change(policy("c", "b"))
    refused = await bundle.names("AccessPolicy")
    await bundle.put("/Client/b", secret=SECRET)
    await bundle.app.files.check()

    assert (refused, await bundle.names("AccessPolicy")) == ([], ["c"])
    assert bundle.app.files.warnings() == []


async def test_other_tasks_run_while_a_large_bundle_is_compared_with_the_store(start, monkeypatch):
    bundle = await start()
    turns, compared_at, issues = 0, set(), Repository.issues_with_stored

    async def count():
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async def recorded(*arguments):
        compared_at.add(turns)
        return await issues(*arguments)

    monkeypatch.setattr(Repository, "issues_with_stored", recorded)
    monkeypatch.setattr(pacing, "MAX_BLOCK_SECONDS", 0)
    counter = asyncio.create_task(count())
    await bundle.change(*(account(f"a{number}") for number in range(20)))
    counter.cancel()

    assert len(compared_at) == 20


async def test_a_removed_client_is_reported_with_the_policies_of_the_api_that_name_it(start, caplog):
    bundle = await start(client("b"), **ROOT)
    await bundle.put("/AccessPolicy/own", **policy("own", "b")["resource"])
    await bundle.change()

    assert "Client/b is deleted; these policies still name it" in caplog.text


async def test_an_invalid_bundle_ends_the_start_with_a_line_for_each_fault(faults_of_start):
    problems = await faults_of_start(account("a", region="?"), put("/Client/x"), {})

    assert [problem.split()[:2] for problem in problems] == [
        ["SIGNER_INIT_BUNDLE", "entry[1]"],
        ["SIGNER_INIT_BUNDLE", "entry[2].request"],
    ]
    problems = await faults_of_start(account("a", region="?"), policy("p", "missing"))
    assert len(problems) == 1


async def test_a_bundle_that_cannot_be_read_ends_the_start(faults_of_start, tmp_path):
    assert await faults_of_start(path=tmp_path / "missing") == [
        "SIGNER_INIT_BUNDLE names a file that cannot be read: No such file or directory"
    ]


async def test_the_rules_for_hosts_apply(faults_of_start):
    (problem,) = await faults_of_start(account("a", host="s3.test"), SIGNER_ALLOWED_HOSTS="aws")

    assert "AwsAccount.host" in problem


async def test_a_referred_file_that_changes_is_applied(start):
    entry = account("a", **{"secret-access-key": {"$file": "key"}})
    bundle = await start(entry, files={"key": "first-secret-key\n"})
    urls = [(await bundle.read("/aws/storage/a/bucket/key"))["url"]]
    await bundle.change(entry, key="second-secret-key\n")
    urls.append((await bundle.read("/aws/storage/a/bucket/key"))["url"])

    assert len({url.rpartition("=")[2] for url in urls}) == 2
    assert len({url.partition("X-Amz-Date")[0] for url in urls}) == 1


async def test_a_start_in_the_middle_of_an_update_mixes_no_files(start, monkeypatch):
    """The update comes between the first two reads of referred files."""
    entry = account("a", **{"access-key-id": {"$file": "id"}, "region": {"$file": "region"}})
    read, calls = BundleFile._read_text, []

    def read_and_update(file, name):
        text_ = read(file, name)
        calls.append(name)
        if len(calls) == 1:
            Volume(file._path.parent, **{"bundle.json": text(entry), "id": "AKIASECOND", "region": "eu-west-1"})
        return text_

    monkeypatch.setattr(BundleFile, "_read_text", read_and_update)
    bundle = await start(entry, files={"id": "AKIAFIRST", "region": "us-east-1"})
    stored = await bundle.read("/AwsAccount/a")

    assert (stored["access-key-id"], stored["region"]) == ("AKIASECOND", "eu-west-1")


async def test_a_variable_of_the_environment_is_used(start, monkeypatch):
    monkeypatch.setenv("TEAM_REGION", "eu-west-1")
    bundle = await start(account("a", region={"$env": "TEAM_REGION"}))

    assert (await bundle.read("/AwsAccount/a"))["region"] == "eu-west-1"


async def test_a_fault_quotes_nothing_that_a_reference_stands_for(faults_of_start, tmp_path):
    (tmp_path / "host").write_text("2130706433")
    quoted = await faults_of_start(account("a", host="2130706433"))
    (problem,) = await faults_of_start(account("a", host={"$file": "host"}))

    assert "127.0.0.1" in str(quoted)
    assert problem.endswith("entry[0] (AwsAccount/a): AwsAccount.host is not valid with the value of its reference")


@pytest.mark.parametrize(
    ("contents", "end"),
    [
        ("\ufeffAKIAFILE", "; it has U+FEFF ZERO WIDTH NO-BREAK SPACE"),
        ('"AKIAFILE"\n', "; it is in quotes; leave them out"),
        ("${AKIAFILE}\n", "; it is a placeholder such as ${NAME}; write the value"),
        ("AKIA,FILE", ""),
    ],
)
async def test_a_fault_names_what_was_pasted_around_the_text_of_a_reference(faults_of_start, tmp_path, contents, end):
    (tmp_path / "id").write_text(contents)
    (problem,) = await faults_of_start(account("a", **{"access-key-id": {"$file": "id"}}))

    assert problem.endswith(f"AwsAccount.access-key-id is not valid with the value of its reference{end}")


@pytest.mark.parametrize(
    ("name", "meant"),
    [("accessKeyId", "access-key-id"), ("path_style", "path-style"), ("secretAccessKey", "secret-access-key")],
)
async def test_a_misspelt_field_with_a_reference_is_named_with_the_right_spelling(
    faults_of_start, tmp_path, name, meant
):
    (tmp_path / "key").write_text("AKIAFILE")
    problems = await faults_of_start(account("a", **{name: {"$file": "key"}}))

    assert [problem.rpartition(": ")[2] for problem in problems] == [
        f"AwsAccount.{name} is not known here; did you mean {meant}?"
    ]


async def test_the_api_does_not_read_references(start):
    bundle = await start()
    answer = await bundle.http.put("/AwsAccount/a", json=account("a", host={"$file": "bundle.json"})["resource"])

    assert answer.status == 422


async def test_each_change_is_in_the_audit_log(start, audit_file):
    bundle = await start(account("a"), account("b"))
    await bundle.change(account("a", region="eu-west-1"))
    await bundle.app.audit.close()
    events = [json.loads(line) for line in audit_file.read_text().splitlines()]

    assert {event["caller"] for event in events} == {"bundle"}
    assert [(event["operation"], event["resource"], event.get("fields")) for event in events] == [
        ("create", "AwsAccount/a", ["access-key-id", "region", "secret-access-key", "use-ssl"]),
        ("create", "AwsAccount/b", ["access-key-id", "region", "secret-access-key", "use-ssl"]),
        ("update", "AwsAccount/a", ["region"]),
        ("delete", "AwsAccount/b", None),
    ]


async def test_a_change_of_the_api_in_between_is_not_lost(start, monkeypatch):
    """The client's secret takes a while to hash. Meanwhile a request stores the same account."""
    bundle = await start(**ROOT)
    hash_ = bundle.app.repository._codec._hasher.hash

    async def slowly(secret):
        await bundle.put("/AwsAccount/a", region="eu-west-1")
        return await hash_(secret)

    monkeypatch.setattr(bundle.app.repository._codec._hasher, "hash", slowly)
    await bundle.change(account("a"), client("b"))
    first = [await bundle.names(), await bundle.names("Client")]
    monkeypatch.undo()
    await bundle.app.files.check()

    assert first == [["a"], []]
    assert [await bundle.names(), await bundle.names("Client")] == [["a"], ["b"]]
    assert (await bundle.read("/AwsAccount/a"))["region"] == "us-east-1"


async def test_without_an_audit_log_nothing_is_applied(start, monkeypatch):
    bundle = await start()

    def check():
        raise StoreUnavailable("The audit log is full")

    monkeypatch.setattr(bundle.app.audit, "check", check)
    await bundle.change(account("a"))

    assert await bundle.names() == []


async def test_a_reader_never_sees_a_part_of_a_bundle(start):
    """All accounts of a bundle have its number as region. Each second bundle has another fourth account."""

    def generation(number):
        names = ("a", "b", "c", f"only-{number % 2}")
        return [account(name, host="s3.test", region=str(number)) for name in names]

    bundle = await start(*generation(0))
    store = bundle.app.store
    seen, done = set(), asyncio.Event()

    async def read():
        while not done.is_set():
            listed = [resource.fields["region"] for resource in await store.all("AwsAccount")]
            single = [(await store.get("AwsAccount", name)).fields["region"] for name in "abc"]
            seen.add((len(listed), *{*listed, *single}))
            await asyncio.sleep(0)

    reader = asyncio.create_task(read())
    for number in range(1, 101):
        await bundle.change(*generation(number))
    done.set()
    await reader

    assert seen <= {(4, str(number)) for number in range(101)}
    assert len(seen) > 90


# What the API and bundles do, on a few ids.
IDS, REGIONS = ("a", "b", "c"), ("us-east-1", "eu-west-1")
actions = st.one_of(
    st.tuples(st.just("put"), st.sampled_from(IDS), st.sampled_from(REGIONS)),
    st.tuples(st.just("delete"), st.sampled_from(IDS), st.none()),
    st.tuples(
        st.just("bundle"),
        st.dictionaries(st.sampled_from(IDS), st.sampled_from([*REGIONS, None]), max_size=3),
        st.none(),
    ),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(actions, max_size=8))
async def test_the_store_is_what_a_simple_model_says(steps, tmp_path, silent_audit):
    """The model: a bundle stores what it names, deletes what it says, and drops what earlier bundles have created."""
    seconds = itertools.count(1)
    store = EmbeddedStore(lambda: datetime.fromtimestamp(next(seconds), UTC))
    repository = Repository(store, SecretCodec(Encryptor(), Hasher()))
    file = BundleFile(tmp_path / "bundle.json", {})
    bundle = InitBundle(file, repository, EmbeddedTarget(repository, store), silent_audit)
    model, owned = {}, set()
    for action, what, region in steps:
        match action:
            case "put":
                await repository.put(AWS_ACCOUNT, what, ParsedBody({"region": region}, text=False))
                model[what] = region
            case "delete":
                await repository.delete(AWS_ACCOUNT, what)
                model.pop(what, None)
                owned.discard(what)
            case "bundle":
                urls = {id_: f"/AwsAccount/{id_}" for id_ in what}
                entries = [put(urls[id_], region=value) if value else delete(urls[id_]) for id_, value in what.items()]
                (tmp_path / "bundle.json").write_text(text(*entries))
                await bundle.use(bundle.read())
                stored = {id_: value for id_, value in what.items() if value}
                dropped = owned
                owned = {id_ for id_ in stored if id_ in owned or id_ not in model}
                model = {id_: value for id_, value in model.items() if id_ not in dropped | what.keys()} | stored

    assert {resource.id: resource.fields["region"] for resource in await store.all("AwsAccount")} == model
