import asyncio
import random

import pytest
from redis import Redis
from support.waiting import PerTurn, turns_during

from service.access.access_policy import ACCESS_POLICY, link_issues
from service.access.client import CLIENT
from service.errors import Duplicate, Invalid, ResourceNotFound, StoreUnavailable, VersionConflict
from service.resources import host_rules, races
from service.resources.fields import MASKED
from service.resources.host_rules import accounts_that, is_ambiguous
from service.resources.precondition import ALWAYS, Precondition
from service.resources.repository import KeysInUse, Repository
from service.resources.schemas import ParsedBody
from service.resources.secrets.codec import SecretCodec
from service.resources.secrets.encryption import Encryptor
from service.resources.secrets.hashing import Hasher
from service.resources.types import AWS_ACCOUNT
from service.stores import index, pacing
from service.stores.memory import EmbeddedStore
from service.stores.record import Resource, compose
from service.stores.redis import RedisStore
from service.stores.store import utc_now


class RacyStore(EmbeddedStore):
    """Lets other tasks run before each operation, as a store over a network does."""

    def __init__(self):
        super().__init__()
        self._random = random.Random(0)  # noqa: S311 - the same races each time

    async def get(self, kind, id, *, bypass_cache=False):
        await self._yield()
        return await super().get(kind, id, bypass_cache=bypass_cache)

    async def replace(self, kind, id, fields, *, expected, validated=False):
        await self._yield()
        return await super().replace(kind, id, fields, expected=expected, validated=validated)

    async def remove(self, expected):
        await self._yield()
        return await super().remove(expected)

    async def _yield(self):
        for _ in range(self._random.randrange(5)):
            await asyncio.sleep(0)


@pytest.fixture
def repository():
    return Repository(RacyStore(), SecretCodec(Encryptor(), Hasher()))


@pytest.mark.parametrize("method", ["put", "put_if_different", "create", "find_or_create", "patch", "read_body"])
async def test_a_policy_is_validated_in_two_turns(repository, monkeypatch, method):
    policy = body(engine="matcho", matcho={"params": {"key": "a"}})
    if method == "patch":
        await repository.put(ACCESS_POLICY, "p", policy)
    read, check, steps = ACCESS_POLICY.read, ACCESS_POLICY.value_issues, PerTurn()
    monkeypatch.setattr(ACCESS_POLICY, "read", lambda body: steps.count() or read(body))
    monkeypatch.setattr(ACCESS_POLICY, "value_issues", lambda values: steps.count() or check(values))
    monkeypatch.setattr(pacing, "MAX_BLOCK_SECONDS", 0)
    id_ = [] if method == "create" else ["p"]
    await steps.during(getattr(repository, method)(ACCESS_POLICY, *id_, policy))

    assert (steps.total, steps.most) == (4 if method == "find_or_create" else 2, 1)


def body(**fields):
    return ParsedBody({name.replace("_", "-"): value for name, value in fields.items()}, text=False)


KEYS = {"access_key_id": "AKIA", "secret_access_key": "s3cr3t"}


async def all_of(*calls):
    """Return the result or the exception of each of concurrent calls."""
    return await asyncio.gather(*calls, return_exceptions=True)


async def test_equal_values_are_not_written(repository):
    values = body(**KEYS, use_ssl=True)
    first, _ = await repository.put_if_different(AWS_ACCOUNT, "a", values)
    again = await repository.put_if_different(AWS_ACCOUNT, "a", values)
    other, created = await repository.put_if_different(AWS_ACCOUNT, "a", body(**KEYS))

    assert again is None
    assert (other.changed, created) == (("use-ssl",), False)
    assert other.version > first.version


async def test_a_change_that_is_made_already_is_confirmed():
    class Confirming(EmbeddedStore):
        confirmed = ()

        async def confirm(self, kind, id, expected):
            self.confirmed = (*self.confirmed, expected and expected.id)
            return await super().confirm(kind, id, expected)

    store = Confirming()
    repository = Repository(store, SecretCodec(Encryptor(), Hasher()))
    values = body(**KEYS)
    await repository.put_if_different(AWS_ACCOUNT, "a", values)
    assert store.confirmed == ()
    await repository.put_if_different(AWS_ACCOUNT, "a", values)
    assert store.confirmed == ("a",)
    await repository.reencrypt(AWS_ACCOUNT, "a")
    assert store.confirmed == ("a", "a")
    await repository.find_or_create(AWS_ACCOUNT, "a", values)
    assert store.confirmed == ("a", "a", "a")
    await repository.delete(AWS_ACCOUNT, "b")
    assert store.confirmed == ("a", "a", "a", None)


@pytest.mark.parametrize(
    ("values", "is_written"),
    [
        ({"secret": "a secret of a client"}, False),
        ({"secret": "another secret, as long"}, True),
        ({"secret": "a secret of a client", "description": "x"}, True),
        ({}, True),
    ],
)
async def test_a_hashed_secret_is_compared_by_verification(repository, values, is_written):
    await repository.put(CLIENT, "b", body(secret="a secret of a client"))

    assert (await repository.put_if_different(CLIENT, "b", body(**values)) is not None) is is_written


async def test_writers_of_equal_values_write_once(repository):
    results = await all_of(*(repository.put_if_different(AWS_ACCOUNT, "a", body(**KEYS)) for _ in range(10)))

    assert sum(result is not None for result in results) == 1


FIRST, SECOND = b"1" * 32, b"2" * 32


@pytest.mark.parametrize(
    ("keys", "fault"),
    [
        ({"k1": FIRST}, None),
        ({"k2": SECOND, "k1": FIRST}, None),
        ({"k2": SECOND}, "stored secrets are encrypted with: k1"),
        ({"k1": SECOND}, "stored secrets are encrypted with: k1"),
        ({}, "stored secrets are encrypted with: k1"),
    ],
)
async def test_keys_that_stored_secrets_need_are_not_removed(keys, fault):
    repository = Repository(EmbeddedStore(), SecretCodec(Encryptor({"k1": FIRST, "unused": SECOND}), Hasher()))
    for number in range(300):
        await repository.put(AWS_ACCOUNT, f"a{number}", body(**(KEYS if number == 299 else {})))
    if fault:
        with pytest.raises(KeysInUse, match=fault):
            await repository.use_encryptor(Encryptor(keys), [AWS_ACCOUNT, CLIENT])
    else:
        await repository.use_encryptor(Encryptor(keys), [AWS_ACCOUNT, CLIENT])
    await repository.put(AWS_ACCOUNT, "new", body(**KEYS))
    stored = (await repository.read(AWS_ACCOUNT, "new")).fields["secret-access-key"]

    assert Encryptor.key_id(stored) == ("k1" if fault else next(iter(keys)))
    assert (await repository.find_valid(AWS_ACCOUNT, "a299")).secret_access_key == "s3cr3t"


async def test_a_key_is_not_removed_while_a_secret_that_no_listing_has_shown_needs_it(redis_url, operator, monkeypatch):
    store = RedisStore.at(redis_url)
    await store.open()
    repository = Repository(store, SecretCodec(Encryptor({"k1": FIRST}), Hasher()))
    await repository.put(AWS_ACCOUNT, "a", body(**KEYS))
    await store.complete_listing("AwsAccount")
    await operator.zrem("_index:AwsAccount", "a")
    monkeypatch.setattr(index, "WAIT_SECONDS", 0)

    with pytest.raises(KeysInUse, match="k1"):
        await repository.use_encryptor(Encryptor({"k2": SECOND}), [AWS_ACCOUNT])
    await store.close()


@pytest.mark.parametrize("keys", [{"k2": SECOND}, {"k2": SECOND, "k1": FIRST}])
async def test_a_key_is_not_removed_if_redis_refuses_to_list_every_secret(own_redis, keys):
    with Redis.from_url(own_redis.url) as client:
        client.execute_command("ACL", "SETUSER", "limited", "on", ">hush", "~*", "&*", "+@all", "-scan")
    store = RedisStore.at(own_redis.url.replace("//", "//limited:hush@"))
    await store.open()
    repository = Repository(store, SecretCodec(Encryptor({"k1": FIRST}), Hasher()))
    if "k1" in keys:
        await repository.use_encryptor(Encryptor(keys), [AWS_ACCOUNT])
    else:
        # After `rekey`, Redis would refuse the list again.
        advice = "k1; add it below the new one, or change the rights of the Redis user$"
        with pytest.raises(KeysInUse, match=f"may be encrypted with, as Redis refuses to list them all: {advice}"):
            await repository.use_encryptor(Encryptor(keys), [AWS_ACCOUNT])
    await store.close()


async def test_a_hundred_concurrent_read_modify_writes_lose_nothing(repository):
    await repository.put(AWS_ACCOUNT, "a", body(region="r0"))

    async def increment():
        while True:
            stored = await repository.read(AWS_ACCOUNT, "a")
            number = int(stored.fields["region"][1:])
            try:
                await repository.put(
                    AWS_ACCOUNT, "a", body(region=f"r{number + 1}"), Precondition(frozenset({stored.meta.version_id}))
                )
            except VersionConflict:
                continue
            return

    await asyncio.gather(*(increment() for _ in range(100)))

    assert (await repository.read(AWS_ACCOUNT, "a")).fields["region"] == "r100"


async def test_concurrent_patches_of_different_fields_are_all_kept(repository):
    await repository.put(AWS_ACCOUNT, "a", body(**KEYS))
    patches = [body(region="eu-west-1"), body(host="minio"), body(use_ssl=True), body(path_style=True)] * 10
    await asyncio.gather(*(repository.patch(AWS_ACCOUNT, "a", patch) for patch in patches))
    resource = await repository.read(AWS_ACCOUNT, "a")

    assert resource.fields == {
        "access-key-id": "AKIA",
        "secret-access-key": "s3cr3t",
        "region": "eu-west-1",
        "host": "minio",
        "use-ssl": "true",
        "path-style": "true",
    }


INVALID_SECRETS = [
    ("secret-access-key", "s3cr3t "),
    ("secret-access-key", "s3c\nr3t"),
    ("secret-access-key", '"s3cr3t"'),
    ("secret-access-key", "${SECRET}"),
    ("session-token", "to ken"),
]
PATCHES = {
    "a merge patch": body(region="eu-west-1"),
    "a JSON Patch": ParsedBody({}, text=False, operations=[{"op": "add", "path": "/region", "value": "eu-west-1"}]),
}


@pytest.mark.parametrize("keys", [{}, {"k1": b"1" * 32}], ids=["plain", "encrypted"])
@pytest.mark.parametrize(("name", "secret"), INVALID_SECRETS)
@pytest.mark.parametrize("change", ["a put", *PATCHES])
async def test_an_invalid_stored_secret_is_not_kept(change, name, secret, keys):
    encryptor, store = Encryptor(keys), EmbeddedStore()
    repository = Repository(store, SecretCodec(encryptor, Hasher()))
    fields = {"access-key-id": "AKIA", "secret-access-key": "s3cr3t", name: secret}
    for field in {name, "secret-access-key"}:
        fields[field] = encryptor.encrypt(fields[field], kind="AwsAccount", id="a", field=field)
    # As an operator or an earlier version has written it.
    stored = await store.replace("AwsAccount", "a", fields, expected=None)
    markers = {f"_{field}": MASKED for field in fields if field != "access-key-id"}
    whole = ParsedBody({"access-key-id": "AKIA", "region": "eu-west-1", **markers}, text=False)

    with pytest.raises(Invalid, match=f"AwsAccount.{name} must be "):
        await (
            repository.put(AWS_ACCOUNT, "a", whole)
            if change == "a put"
            else repository.patch(AWS_ACCOUNT, "a", PATCHES[change])
        )

    assert await repository.read(AWS_ACCOUNT, "a") is stored
    await repository.patch(AWS_ACCOUNT, "a", body(**KEYS, session_token=None))
    assert (await repository.find_valid(AWS_ACCOUNT, "a")).secret_access_key == "s3cr3t"


@pytest.mark.parametrize("change", PATCHES)
async def test_a_valid_stored_secret_of_another_writer_is_kept(change):
    store = EmbeddedStore()
    repository = Repository(store, SecretCodec(Encryptor(), Hasher()))
    await store.replace("AwsAccount", "a", {"access-key-id": "AKIA", "secret-access-key": "s3cr3t"}, expected=None)

    written = await repository.patch(AWS_ACCOUNT, "a", PATCHES[change])

    assert (written.fields["secret-access-key"], written.validated) == ("s3cr3t", True)


async def test_concurrent_writes_each_get_a_version_of_their_own(repository):
    written = await asyncio.gather(*(repository.put(AWS_ACCOUNT, "a", body(**KEYS)) for _ in range(50)))

    assert len({resource.meta.version_id for resource, _ in written}) == 50
    assert sum(created for _, created in written) == 1


@pytest.mark.parametrize("method", ["put", "patch", "delete"])
async def test_of_two_writers_with_the_same_version_one_wins(repository, method):
    stored, _ = await repository.put(AWS_ACCOUNT, "a", body(**KEYS))
    precondition = Precondition(frozenset({stored.meta.version_id}), exists=True)
    arguments = () if method == "delete" else (body(region="eu-west-1"),)
    results = await all_of(*(getattr(repository, method)(AWS_ACCOUNT, "a", *arguments, precondition) for _ in range(2)))

    assert [type(result) for result in results].count(VersionConflict) == 1


async def test_of_many_creates_of_one_id_one_wins(repository):
    results = await all_of(*(repository.create(AWS_ACCOUNT, body(id="a")) for _ in range(20)))

    assert [type(result) for result in results].count(Duplicate) == 19


async def test_of_many_concurrent_find_or_create_one_creates(repository):
    results = await asyncio.gather(*(repository.find_or_create(AWS_ACCOUNT, "a", body(**KEYS)) for _ in range(20)))

    assert sum(created for _, created in results) == 1
    assert len({resource.meta.version_id for resource, _ in results}) == 1


async def test_of_many_deletes_one_returns_the_resource(repository):
    await repository.put(AWS_ACCOUNT, "a", body())
    results = await asyncio.gather(*(repository.delete(AWS_ACCOUNT, "a") for _ in range(20)))

    assert len([result for result in results if result is not None]) == 1


async def test_a_kept_secret_is_never_stored_with_another_key(repository):
    await repository.put(AWS_ACCOUNT, "a", body(access_key_id="A0", secret_access_key="s0"))

    async def rotate(number):
        await repository.put(AWS_ACCOUNT, "a", body(access_key_id=f"A{number}", secret_access_key=f"s{number}"))

    async def edit():
        stored = AWS_ACCOUNT.represent(await repository.read(AWS_ACCOUNT, "a"))
        await repository.put(AWS_ACCOUNT, "a", ParsedBody({**stored, "region": "eu-west-1"}, text=False))

    await all_of(*(call for number in range(1, 20) for call in (rotate(number), edit())))
    fields = (await repository.read(AWS_ACCOUNT, "a")).fields

    assert fields["access-key-id"][1:] == fields["secret-access-key"][1:]


@pytest.mark.parametrize(
    ("versions", "exists", "absent", "current"),
    [
        (None, False, False, None),
        (None, False, False, "3"),
        ({"3"}, False, False, "3"),
        ({"2", "3"}, True, False, "3"),
        (None, True, False, "3"),
        (None, False, True, None),
    ],
)
def test_a_precondition_holds(versions, exists, absent, current):
    stored = versioned(current)

    Precondition(versions and frozenset(versions), exists=exists, absent=absent).check("T", "a", stored)


@pytest.mark.parametrize(
    ("versions", "exists", "absent", "current"),
    [
        ({"3"}, False, False, "2"),
        ({"3"}, False, False, None),
        (set(), False, False, "3"),
        (None, True, False, None),
        (None, False, True, "3"),
        ({"3"}, True, True, "3"),
    ],
)
def test_a_precondition_does_not_hold(versions, exists, absent, current):
    stored = versioned(current)

    with pytest.raises(VersionConflict):
        Precondition(None if versions is None else frozenset(versions), exists=exists, absent=absent).check(
            "T", "a", stored
        )


def versioned(version):
    if version is None:
        return None
    return Resource("AwsAccount", "a", compose({}, expected=None, version=int(version), now=utc_now(), write_id="m"))


def test_no_precondition_always_holds():
    ALWAYS.check("T", "a", None)
    ALWAYS.check("T", "a", versioned("1"))


@pytest.mark.parametrize("call", ["put", "delete"])
async def test_a_writer_that_never_wins_gets_a_temporary_error(repository, monkeypatch, call):
    async def lose(*_, **__):
        return None

    await repository.put(AWS_ACCOUNT, "a", body())
    monkeypatch.setattr(RacyStore, "replace", lose)
    monkeypatch.setattr(RacyStore, "remove", lose)
    monkeypatch.setattr(races, "MAX_ATTEMPTS", 3)

    with pytest.raises(StoreUnavailable, match="AwsAccount/a is being changed by too many at once"):
        await getattr(repository, call)(AWS_ACCOUNT, "a", *([body()] if call == "put" else []))


async def test_a_missing_resource_cannot_be_read_or_patched(repository):
    for call in (repository.read(AWS_ACCOUNT, "a"), repository.patch(AWS_ACCOUNT, "a", body())):
        with pytest.raises(ResourceNotFound):
            await call
    assert await repository.find(AWS_ACCOUNT, "a") is None
    assert await repository.delete(AWS_ACCOUNT, "a") is None


async def test_an_invalid_write_changes_nothing(repository):
    stored, _ = await repository.put(AWS_ACCOUNT, "a", body(**KEYS))
    for call in (
        repository.put(AWS_ACCOUNT, "a", body(region="-")),
        repository.patch(AWS_ACCOUNT, "a", body(region="-")),
        repository.create(AWS_ACCOUNT, body(id="-")),
        repository.find_or_create(AWS_ACCOUNT, "b", body(region="-")),
    ):
        with pytest.raises(Invalid):
            await call

    page = await repository.page(AWS_ACCOUNT, offset=0, count=10)
    assert list(page.resources) == [stored]


async def test_a_selection_is_paged_in_the_order_of_ids(repository):
    for id_ in "bca":
        await repository.put(AWS_ACCOUNT, id_, body())
    page = await repository.select(AWS_ACCOUNT, ["c", "nope", "a", "b", "a"], offset=1, count=1)

    assert (page.total, [resource.id for resource in page.resources]) == (3, ["b"])


@pytest.mark.parametrize("limit", [2, 10])
async def test_the_check_of_all_accounts_ends_at_a_limit(repository, monkeypatch, limit):
    for id_ in "abc":
        await repository.put(AWS_ACCOUNT, id_, body(host="s3.example.com", **KEYS))
    monkeypatch.setattr(host_rules, "MAX_CHECKED", limit)

    assert await accounts_that(repository, is_ambiguous) == [*"abc"][:limit]


async def test_a_check_of_many_accounts_lets_others_run(repository, monkeypatch):
    ids = [f"a{number}" for number in range(50)]
    for id_ in ids:
        await repository.put(AWS_ACCOUNT, id_, body(**KEYS))
    monkeypatch.setattr(pacing, "MAX_BLOCK_SECONDS", 0)

    assert await turns_during(accounts_that(repository, is_ambiguous)) >= 50


async def test_others_run_between_the_steps_of_a_write(hasher, monkeypatch):
    monkeypatch.setattr(pacing, "MAX_BLOCK_SECONDS", 0)
    repository = Repository(EmbeddedStore(), SecretCodec(Encryptor(), hasher))
    await repository.put(AWS_ACCOUNT, "a", body(**KEYS))

    assert await turns_during(repository.put(AWS_ACCOUNT, "a", body(**KEYS))) >= 2
    assert await turns_during(repository.patch(AWS_ACCOUNT, "a", body(region="eu-west-1"))) >= 3


async def test_a_missing_client_among_many_links_is_named():
    async def exists(_, id_):
        return id_ != "c999"

    links = [{"reference": f"Client/c{number}"} for number in range(1000)]
    (issue,) = await link_issues({"link": links}, None, exists)

    assert "Client/c999, which does not exist" in issue.diagnostics


async def test_a_patch_can_remove_an_unknown_field_of_an_operator(repository):
    stored = await repository._store.replace("AwsAccount", "a", {"nonsense": "x", "region": "eu-west-1"}, expected=None)
    with pytest.raises(Invalid, match="nonsense is not known here"):
        await repository.patch(AWS_ACCOUNT, "a", body(region="eu-west-2"))
    patched = await repository.patch(AWS_ACCOUNT, "a", body(nonsense=None))

    assert "nonsense" in stored.fields
    assert patched.fields == {"region": "eu-west-1"}


@pytest.mark.parametrize("text", [False, True], ids=["json", "text"])
async def test_a_patch_keeps_the_fields_that_it_does_not_name(repository, text):
    fields = {"access-key-id": "AKIA", "secret-access-key": "s", "session-token": "t", "use-ssl": "true"}
    await repository._store.replace("AwsAccount", "a", {**fields, "path-style": "false"}, expected=None)
    patched = await repository.patch(AWS_ACCOUNT, "a", ParsedBody({"path-style": None, "host": "h"}, text))

    assert patched.fields == {**fields, "host": "h"}


@pytest.mark.parametrize("text", [False, True], ids=["json", "text"])
async def test_a_patch_keeps_the_types_of_a_pattern(repository, text):
    matcho = '{"params": {"expiration": 60}, "body": {"ratio": 1.5, "list": [1, true], "nothing": null}}'
    fields = {"engine": "matcho", "matcho": matcho, "max-expiration": "60"}
    await repository._store.replace("AccessPolicy", "a", fields, expected=None)
    patched = await repository.patch(ACCESS_POLICY, "a", ParsedBody({"description": "d"}, text))

    assert patched.changed == ("description",)
    assert patched.fields == {**fields, "description": "d"}


INVISIBLE = [("access-key-id", "AKIA "), ("secret-access-key", "s3cr3t\u00a0"), ("session-token", "\ufefft0k3n")]


@pytest.mark.parametrize(("field", "value"), INVISIBLE, ids=[field for field, _ in INVISIBLE])
async def test_a_stored_invisible_character_is_an_error_on_use_and_does_not_break_listing(repository, field, value):
    fields = {"access-key-id": "AKIA", "secret-access-key": "s3cr3t", field: value}
    stored = await repository._store.replace("AwsAccount", "a", fields, expected=None)
    page = await repository.page(AWS_ACCOUNT, offset=0, count=10)
    with pytest.raises(Invalid) as refusal:
        repository.model(AWS_ACCOUNT, stored)

    assert [AWS_ACCOUNT.represent(listed)["id"] for listed in page.resources] == ["a"]
    assert [issue.expression for issue in refusal.value.issues] == [f"AwsAccount.{field}"]
    assert "it has U+" in str(refusal.value)
    assert value not in str(refusal.value)


async def test_a_region_of_a_custom_host_is_invalid_without_the_host(repository):
    await repository.put(AWS_ACCOUNT, "a", body(host="minio", region="RegionOne"))
    with pytest.raises(Invalid) as refusal:
        await repository.patch(AWS_ACCOUNT, "a", body(host=None))
    moved = await repository.patch(AWS_ACCOUNT, "a", body(host=None, region="eu-west-1"))

    assert [issue.expression for issue in refusal.value.issues] == ["AwsAccount.region"]
    assert moved.fields == {"region": "eu-west-1"}


async def test_a_patch_can_set_a_region_of_the_stored_custom_host(repository):
    await repository.put(AWS_ACCOUNT, "a", body(host="MinIO:9000"))
    patched = await repository.patch(AWS_ACCOUNT, "a", body(region="RegionOne"))

    assert patched.fields == {"host": "MinIO:9000", "region": "RegionOne"}


class StaleStore(EmbeddedStore):
    """Returns the result of the first read, as a stale cache does, unless it is bypassed."""

    def __init__(self):
        super().__init__()
        self._first = {}

    async def get(self, kind, id, *, bypass_cache=False):
        found = await super().get(kind, id, bypass_cache=bypass_cache)
        return found if bypass_cache else self._first.setdefault((kind, id), found)


class TestBehindACache:
    @pytest.fixture
    def store(self):
        return StaleStore()

    @pytest.fixture
    def repository(self, store):
        return Repository(store, SecretCodec(Encryptor({"k1": b"k" * 32}), Hasher()))

    @pytest.fixture
    async def changed(self, store):
        """Return an account that was read, and then changed without an invalidation."""
        await store.replace("AwsAccount", "a", {"region": "eu-west-1"}, expected=None)
        await store.get("AwsAccount", "a")
        stored = await store.get("AwsAccount", "a", bypass_cache=True)
        return await store.replace("AwsAccount", "a", {"region": "eu-west-1", "host": "minio"}, expected=stored)

    @pytest.mark.usefixtures("changed")
    async def test_a_patch_bypasses_the_cache(self, repository, store):
        await repository.patch(AWS_ACCOUNT, "a", body(region="eu-west-2"))

        assert (await store.get("AwsAccount", "a", bypass_cache=True)).fields == {
            "region": "eu-west-2",
            "host": "minio",
        }

    async def test_a_precondition_bypasses_the_cache(self, repository, changed):
        holds = Precondition(frozenset({changed.meta.version_id}))

        assert await repository.put(AWS_ACCOUNT, "a", body(), holds)

    async def test_a_delete_bypasses_the_cache(self, repository, store, changed):
        assert await repository.delete(AWS_ACCOUNT, "a") is changed
        assert await store.get("AwsAccount", "a", bypass_cache=True) is None

    async def test_find_or_create_finds_the_stored_resource(self, repository, changed):
        assert await repository.find_or_create(AWS_ACCOUNT, "a", body()) == (changed, False)

    async def test_find_or_create_creates_a_resource_that_only_the_cache_has(self, repository, store, changed):
        await store.remove(changed)
        created, is_new = await repository.find_or_create(AWS_ACCOUNT, "a", body(region="eu-west-3"))

        assert (created.fields["region"], is_new) == ("eu-west-3", True)

    async def test_reencryption_does_not_mark_a_resource_as_validated(self, repository, store):
        fields = {"region": "no region", "access-key-id": "A", "secret-access-key": "s"}
        await store.replace("AwsAccount", "a", fields, expected=None)
        await repository.reencrypt(AWS_ACCOUNT, "a")
        stored = await store.get("AwsAccount", "a", bypass_cache=True)

        assert stored.fields["secret-access-key"] != "s"
        with pytest.raises(Invalid):
            repository.model(AWS_ACCOUNT, stored)


async def test_a_write_names_the_fields_that_it_changed(repository):
    created, _ = await repository.put(AWS_ACCOUNT, "a", body(**KEYS, region="eu-west-1"))
    moved = await repository.patch(AWS_ACCOUNT, "a", body(host="h", path_style=True, region=None))
    same, _ = await repository.put(AWS_ACCOUNT, "a", body(**KEYS, host="h", path_style=True))

    assert created.changed == ("access-key-id", "region", "secret-access-key")
    assert moved.changed == ("host", "path-style", "region")
    assert same.changed == ()
