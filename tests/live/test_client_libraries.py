"""aidboxpy and fhirpy, as they are, with the service in a process of its own: what users of Aidbox have works here."""

import base64
import inspect
import uuid
from functools import partial

import pytest
from documents import blocks
from support.accounts import KEYS
from support.service import running
from support.tools import library

pytestmark = [
    pytest.mark.heavy,
    # aidboxpy calls what newer versions of fhirpy would rather not have.
    pytest.mark.filterwarnings("ignore:class var `:DeprecationWarning"),
]

ROOT_SECRET = "correct-horse-battery-staple"
SECRET = "3nD0o4F4p2c0o9mJx0aB1V6Xq8mYk7sZ"

CLASSES = {
    "fhirpy": ("fhirpy", "SyncFHIRClient"),
    "fhirpy, async": ("fhirpy", "AsyncFHIRClient"),
    "aidboxpy": ("aidboxpy", "SyncAidboxClient"),
    "aidboxpy, async": ("aidboxpy", "AsyncAidboxClient"),
}

FIELDS = {
    "AwsAccount": {**KEYS, "region": "us-east-1", "use-ssl": True},
    "Client": {"secret": SECRET, "grant_types": ["basic", "client_credentials"], "description": "old"},
    "AccessPolicy": {"engine": "matcho", "matcho": {"params": {"account": "nobody"}}, "description": "old"},
}
# A field, and what it is changed to.
CHANGES = {
    "AwsAccount": ("region", "eu-west-1"),
    "Client": ("description", "new"),
    "AccessPolicy": ("description", "new"),
}

every_kind = pytest.mark.parametrize("kind", FIELDS)


@pytest.fixture(scope="module")
def asked_who_calls():
    with running(SIGNER_ROOT_CLIENT_ID="root", SIGNER_ROOT_CLIENT_SECRET=ROOT_SECRET) as process:
        yield process


@pytest.fixture(params=CLASSES.values(), ids=CLASSES.keys())
def make(request, monkeypatch):
    """The class of the client; its arguments are a URL and an Authorization header."""
    # requests would ask the environment for a proxy.
    monkeypatch.setenv("NO_PROXY", "*")
    module, name = request.param
    return getattr(library(module), name)


@pytest.fixture(params=["", "/fhir"], ids=["/", "/fhir"])
def connect(request, make, asked_who_calls):
    """Makes a client for a caller: an Authorization header, or none."""
    return partial(make, asked_who_calls.url + request.param)


@pytest.fixture
def root(connect):
    return connect(basic("root", ROOT_SECRET))


@pytest.fixture
def errors():
    return library("fhirpy.base.exceptions")


@pytest.fixture
def new_id():
    """An id that no other test has, as tests share the service."""
    return uuid.uuid4().hex


def basic(name, secret):
    return f"Basic {base64.b64encode(f'{name}:{secret}'.encode()).decode()}"


async def done(result):
    """What a call of a client, sync or async, comes to."""
    return await result if inspect.isawaitable(result) else result


async def stored(client, kind, id_):
    return await done(client.resources(kind).search(_id=id_).get())


@every_kind
async def test_a_resource_is_created_read_changed_saved_and_deleted(root, errors, new_id, kind):
    name, value = CHANGES[kind]
    created = await done(root.resource(kind, id=new_id, **FIELDS[kind]).save())
    read = await stored(root, kind, new_id)
    read[name] = value
    await done(read.save())
    again = await done(root.reference(kind, new_id).to_resource())

    assert created["meta"]["versionId"] < read["meta"]["versionId"]
    assert dict(again) == dict(read) == {**created, name: value, "meta": again["meta"]}
    assert (await done(again.delete()))["id"] == new_id
    with pytest.raises(errors.ResourceNotFound):
        await done(root.reference(kind, new_id).to_resource())
    assert await done(root.delete(kind, new_id)) is None


@every_kind
async def test_a_resource_without_an_id_gets_one(root, kind):
    created = await done(root.resource(kind, **FIELDS[kind]).create())

    assert (await stored(root, kind, created.id)).id == created.id


@every_kind
async def test_single_fields_are_changed_by_a_patch(root, new_id, kind):
    name, value = CHANGES[kind]
    resource = await done(root.resource(kind, id=new_id, **FIELDS[kind]).save())
    resource[name] = value
    await done(resource.save(fields=[name]))
    patched = await done(root.reference(kind, new_id).patch(**{name: None}))
    await done(resource.patch(**{name: value}))

    assert name not in patched
    assert resource[name] == (await stored(root, kind, new_id))[name] == value


async def test_a_secret_that_was_read_masked_is_kept_by_a_save(connect, root, errors, new_id):
    await done(root.resource("Client", id=new_id, **FIELDS["Client"]).save())
    read = await stored(root, "Client", new_id)
    read["description"] = "new"
    await done(read.save())

    assert "secret" not in read
    # It is known and may do nothing yet.
    with pytest.raises(errors.ForbiddenError):
        await stored(connect(basic(new_id, SECRET)), "Client", new_id)


async def test_a_secret_that_is_set_on_a_resource_that_was_read_replaces_the_stored_one(connect, root, errors, new_id):
    await done(root.resource("Client", id=new_id, **FIELDS["Client"]).save())
    read = await stored(root, "Client", new_id)
    read["secret"] = "another secret, long enough"
    await done(read.save())

    with pytest.raises(errors.AuthorizationError):
        await stored(connect(basic(new_id, SECRET)), "Client", new_id)
    with pytest.raises(errors.ForbiddenError):
        await stored(connect(basic(new_id, "another secret, long enough")), "Client", new_id)


@every_kind
async def test_resources_are_searched_counted_sorted_and_paged(root, new_id, kind):
    ids = [f"{new_id}-{number}" for number in range(5)]
    for id_ in ids:
        await done(root.resource(kind, id=id_, **FIELDS[kind]).save())
    found = root.resources(kind).search(_id=",".join([*ids, "nope"]))

    async def told(search, call="fetch"):
        return [resource.id for resource in await done(getattr(search, call)())]

    assert await done(found.count()) == 5
    assert (await done(found.first())).id == ids[0]
    assert await told(found) == ids
    assert await told(found.sort("-_id")) == ids[::-1]
    assert await told(found.limit(2)) == ids[:2]
    assert await told(found.limit(2).search(_page=3)) == ids[4:]
    assert await told(found.limit(2), "fetch_all") == ids
    assert await told(found.elements("id")) == ids
    assert await done(root.resources(kind).search(_id="nope").first()) is None
    assert await done(root.resources(kind).count()) >= 5


@every_kind
async def test_a_conditional_create_creates_once(root, new_id, kind):
    name, value = CHANGES[kind]
    search, resource = root.resources(kind).search(_id=new_id), root.resource(kind, **FIELDS[kind])
    first, created = await done(search.get_or_create(resource))
    second, created_again = await done(search.get_or_create(root.resource(kind, id=new_id, **FIELDS[kind])))
    third = await done(root.resource(kind, **{**FIELDS[kind], name: value}).create(_id=new_id))

    assert (created, created_again) == (True, False)
    assert first.id == second.id == third.id == new_id
    assert first["meta"] == second["meta"] == third["meta"]
    assert third[name] == FIELDS[kind][name]


@every_kind
async def test_a_conditional_update_creates_or_replaces(root, new_id, kind):
    name, value = CHANGES[kind]
    search = root.resources(kind).search(_id=new_id)
    first, created = await done(search.update(root.resource(kind, **FIELDS[kind])))
    second, created_again = await done(search.update(root.resource(kind, **{**FIELDS[kind], name: value})))

    assert (created, created_again) == (True, False)
    assert first.id == second.id == new_id
    assert (await stored(root, kind, new_id))[name] == value


@every_kind
async def test_a_refresh_shows_what_somebody_else_has_changed(root, new_id, kind):
    name, value = CHANGES[kind]
    mine = await done(root.resource(kind, id=new_id, **FIELDS[kind]).save())
    await done((await stored(root, kind, new_id)).patch(**{name: value}))
    await done(mine.refresh())
    version = mine["meta"]["versionId"]
    # This one is a 304.
    await done(mine.refresh())

    assert (mine[name], mine["meta"]["versionId"]) == (value, version)


async def test_after_somebody_elses_change_a_save_replaces_it_and_a_patch_keeps_it(root, new_id):
    mine = await done(root.resource("AwsAccount", id=new_id, **FIELDS["AwsAccount"]).save())
    await done((await stored(root, "AwsAccount", new_id)).patch(region="eu-west-1"))
    await done(mine.patch(**{"path-style": True}))
    kept = mine["region"]
    await done((await stored(root, "AwsAccount", new_id)).patch(region="eu-west-2"))
    await done(mine.save())

    # The libraries send no condition: of two saves the last one counts.
    assert (kept, mine["region"], mine["path-style"]) == ("eu-west-1", "eu-west-1", True)


@every_kind
async def test_after_somebody_elses_change_a_save_on_condition_is_refused(connect, root, errors, new_id, kind):
    name, value = CHANGES[kind]
    mine = await done(root.resource(kind, id=new_id, **FIELDS[kind]).save())
    careful = connect(basic("root", ROOT_SECRET), {"If-Match": mine["meta"]["versionId"]})
    await done((await stored(root, kind, new_id)).patch(**{name: value}))

    # fhirpy's word for a 412.
    with pytest.raises(errors.MultipleResourcesFound):
        await done(careful.resource(**{"resource_type": kind, **mine}).save())
    assert (await stored(root, kind, new_id))[name] == value


async def test_a_token_is_fetched_and_used(make, connect, root, errors, asked_who_calls, new_id):
    await done(root.resource("Client", id=new_id, **FIELDS["Client"]).save())
    policy = {"engine": "allow", "link": [root.reference("Client", new_id)]}
    await done(root.resource("AccessPolicy", id=new_id, **policy).save())
    asked = {"grant_type": "client_credentials", "client_id": new_id, "client_secret": SECRET}
    given = await done(make(asked_who_calls.url).execute("auth/token", data=asked))
    caller = connect(f"{given['token_type']} {given['access_token']}")

    assert (await stored(caller, "Client", new_id)).id == new_id
    with pytest.raises(errors.AuthorizationError):
        await done(make(asked_who_calls.url).execute("auth/token", data={**asked, "client_secret": "wrong"}))
    with pytest.raises(errors.AuthorizationError):
        await stored(connect(), "Client", new_id)


async def test_a_policy_names_clients_by_the_librarys_references(root, new_id):
    client = await done(root.resource("Client", id=new_id, **FIELDS["Client"]).save())
    links = [root.reference("Client", new_id), client]
    created = await done(root.resource("AccessPolicy", id=new_id, engine="allow", link=links).save())
    read = await stored(root, "AccessPolicy", new_id)
    read["description"] = "new"
    await done(read.save())

    assert [link.reference for link in created["link"]] == [f"Client/{new_id}"] * 2
    assert [link.reference for link in read["link"]] == [f"Client/{new_id}"] * 2
    assert (await done(read["link"][0].to_resource())).id == new_id


async def test_a_client_that_policies_name_is_deleted(connect, root, errors, new_id):
    client = await done(root.resource("Client", id=new_id, **FIELDS["Client"]).save())
    policy = {"engine": "allow", "link": [root.reference("Client", new_id)]}
    await done(root.resource("AccessPolicy", id=new_id, **policy).save())
    caller = connect(basic(new_id, SECRET))
    allowed = await stored(caller, "Client", new_id)
    await done(client.delete())

    assert allowed.id == new_id
    with pytest.raises(errors.AuthorizationError):
        await stored(caller, "Client", new_id)
    assert (await done((await stored(root, "AccessPolicy", new_id)).delete()))["id"] == new_id


async def test_operations_are_executed(root, new_id):
    client = await done(root.resource("Client", id=new_id, **FIELDS["Client"]).save())
    rotated = await done(client.execute("$rotate-secret", data={"previous-valid-for": 0}))
    asked = {"client": {"id": new_id}, "params": {"account": new_id}}
    explained = await done(root.resources("AccessPolicy").execute("$explain", data=asked))

    assert len(rotated["secret"]) >= 16
    assert explained["allowed"] is False


async def test_urls_are_signed(root, new_id):
    await done(root.resource("AwsAccount", id=new_id, **FIELDS["AwsAccount"]).save())
    storage = f"aws/storage/{new_id}/uploads"
    up = await done(root.execute(storage, data={"filename": "some/key"}))
    down = await done(root.execute(f"{storage}/some/key", method="get", params={"expiration": 60}))

    assert up["url"].startswith("https://uploads.s3.amazonaws.com/some/key?X-Amz-Algorithm=")
    assert "&X-Amz-Expires=60&" in down["url"]


async def test_a_fault_is_the_librarys_outcome(root, errors, new_id):
    with pytest.raises(errors.OperationOutcome) as raised:
        await done(root.resource("AwsAccount", id=new_id, **KEYS, path_style=True).save())

    (issue,) = raised.value.resource["issue"]
    assert issue["expression"] == ["AwsAccount.path_style"]


def test_the_example_in_the_documentation_runs(asked_who_calls, monkeypatch, capsys):
    monkeypatch.setenv("NO_PROXY", "*")
    client = library("aidboxpy").SyncAidboxClient(asked_who_calls.url, basic("root", ROOT_SECRET))
    client.resource("AwsAccount", id="my-account", **FIELDS["AwsAccount"]).save()
    (example,) = [block for info, block in blocks("docs/api.md") if info == "python"]
    exec(example.replace("http://127.0.0.1:8080", asked_who_calls.url), {})  # noqa: S102 - the page is ours

    assert capsys.readouterr().out.startswith("https://uploads.s3.eu-west-1.amazonaws.com/report.pdf?X-Amz-Algorithm=")
