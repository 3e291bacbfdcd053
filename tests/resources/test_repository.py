import asyncio
import copy
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.access.types import ACCESS_POLICY
from service.errors import Duplicate, Invalid, ResourceNotFound, StoreUnavailable, VersionConflict
from service.resources import repository as module
from service.resources.repository import ALWAYS, Precondition, Repository, merge_patch
from service.resources.schemas import ParsedBody
from service.resources.secrets.codec import SecretCodec
from service.resources.secrets.encryption import Encryptor
from service.resources.secrets.hashing import Hasher
from service.resources.types import AWS_ACCOUNT
from service.stores.memory import EmbeddedStore
from service.stores.record import Resource, compose
from service.stores.store import utc_now


class RacyStore(EmbeddedStore):
    """Lets others go first for a while before everything it does, as a store over a network does."""

    def __init__(self):
        super().__init__()
        self._random = random.Random(0)  # noqa: S311 - the same races each time

    async def get(self, kind, id, *, bypass_cache=False):
        await self._tarry()
        return await super().get(kind, id, bypass_cache=bypass_cache)

    async def replace(self, kind, id, fields, *, expected, validated=False):
        await self._tarry()
        return await super().replace(kind, id, fields, expected=expected, validated=validated)

    async def remove(self, seen):
        await self._tarry()
        return await super().remove(seen)

    async def _tarry(self):
        for _ in range(self._random.randrange(5)):
            await asyncio.sleep(0)


@pytest.fixture
def repository():
    return Repository(RacyStore(), SecretCodec(Encryptor(), Hasher()))


def body(**fields):
    return ParsedBody({name.replace("_", "-"): value for name, value in fields.items()}, text=False)


KEYS = {"access_key_id": "AKIA", "secret_access_key": "s3cr3t"}


async def all_of(*calls):
    """How each of racing calls ended: what it returned or raised."""
    return await asyncio.gather(*calls, return_exceptions=True)


async def test_a_hundred_concurrent_read_modify_writes_lose_nothing(repository):
    await repository.put(AWS_ACCOUNT, "a", body(region="r0"))

    async def increment():
        while True:
            seen = await repository.read(AWS_ACCOUNT, "a")
            number = int(seen.fields["region"][1:])
            try:
                await repository.put(
                    AWS_ACCOUNT, "a", body(region=f"r{number + 1}"), Precondition(frozenset({seen.meta.version_id}))
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


async def test_concurrent_writes_each_get_a_version_of_their_own(repository):
    written = await asyncio.gather(*(repository.put(AWS_ACCOUNT, "a", body(**KEYS)) for _ in range(50)))

    assert len({resource.meta.version_id for resource, _ in written}) == 50
    assert sum(created for _, created in written) == 1


@pytest.mark.parametrize("method", ["put", "patch", "delete"])
async def test_of_two_with_the_same_version_one_wins(repository, method):
    seen, _ = await repository.put(AWS_ACCOUNT, "a", body(**KEYS))
    precondition = Precondition(frozenset({seen.meta.version_id}), exists=True)
    arguments = () if method == "delete" else (body(region="eu-west-1"),)
    ends = await all_of(*(getattr(repository, method)(AWS_ACCOUNT, "a", *arguments, precondition) for _ in range(2)))

    assert [type(end) for end in ends].count(VersionConflict) == 1


async def test_of_many_creates_of_one_id_one_wins(repository):
    ends = await all_of(*(repository.create(AWS_ACCOUNT, body(id="a")) for _ in range(20)))

    assert [type(end) for end in ends].count(Duplicate) == 19


async def test_of_many_finders_one_creates(repository):
    ends = await asyncio.gather(*(repository.find_or_create(AWS_ACCOUNT, "a", body(**KEYS)) for _ in range(20)))

    assert sum(created for _, created in ends) == 1
    assert len({resource.meta.version_id for resource, _ in ends}) == 1


async def test_of_many_deletes_one_finds_something(repository):
    await repository.put(AWS_ACCOUNT, "a", body())
    ends = await asyncio.gather(*(repository.delete(AWS_ACCOUNT, "a") for _ in range(20)))

    assert len([end for end in ends if end is not None]) == 1


async def test_a_kept_secret_is_never_put_beside_another_key(repository):
    await repository.put(AWS_ACCOUNT, "a", body(access_key_id="A0", secret_access_key="s0"))

    async def rotate(number):
        await repository.put(AWS_ACCOUNT, "a", body(access_key_id=f"A{number}", secret_access_key=f"s{number}"))

    async def edit():
        seen = AWS_ACCOUNT.represent(await repository.read(AWS_ACCOUNT, "a"))
        await repository.put(AWS_ACCOUNT, "a", ParsedBody({**seen, "region": "eu-west-1"}, text=False))

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
    seen = versioned(current)

    Precondition(versions and frozenset(versions), exists=exists, absent=absent).check("T", "a", seen)


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
    seen = versioned(current)

    with pytest.raises(VersionConflict):
        Precondition(None if versions is None else frozenset(versions), exists=exists, absent=absent).check(
            "T", "a", seen
        )


def versioned(version):
    if version is None:
        return None
    return Resource("AwsAccount", "a", compose({}, expected=None, version=int(version), now=utc_now(), write_id="m"))


def test_no_precondition_always_holds():
    ALWAYS.check("T", "a", None)
    ALWAYS.check("T", "a", versioned("1"))


@pytest.mark.parametrize("call", ["put", "delete"])
async def test_who_never_wins_is_told_to_come_again(repository, monkeypatch, call):
    async def lose(*_, **__):
        return None

    await repository.put(AWS_ACCOUNT, "a", body())
    monkeypatch.setattr(RacyStore, "replace", lose)
    monkeypatch.setattr(RacyStore, "remove", lose)
    monkeypatch.setattr(module, "MAX_ROUNDS", 3)

    with pytest.raises(StoreUnavailable, match="AwsAccount/a is being changed by too many at once"):
        await getattr(repository, call)(AWS_ACCOUNT, "a", *([body()] if call == "put" else []))


async def test_what_is_not_there_cannot_be_read_or_patched(repository):
    for call in (repository.read(AWS_ACCOUNT, "a"), repository.patch(AWS_ACCOUNT, "a", body())):
        with pytest.raises(ResourceNotFound):
            await call
    assert await repository.find(AWS_ACCOUNT, "a") is None
    assert await repository.delete(AWS_ACCOUNT, "a") is None


async def test_an_invalid_write_leaves_everything_as_it_is(repository):
    seen, _ = await repository.put(AWS_ACCOUNT, "a", body(**KEYS))
    for call in (
        repository.put(AWS_ACCOUNT, "a", body(region="-")),
        repository.patch(AWS_ACCOUNT, "a", body(region="-")),
        repository.create(AWS_ACCOUNT, body(id="-")),
        repository.find_or_create(AWS_ACCOUNT, "b", body(region="-")),
    ):
        with pytest.raises(Invalid):
            await call

    page = await repository.page(AWS_ACCOUNT, offset=0, count=10)
    assert list(page.resources) == [seen]


async def test_a_selection_is_paged_in_the_order_of_ids(repository):
    for id_ in "bca":
        await repository.put(AWS_ACCOUNT, id_, body())
    page = await repository.select(AWS_ACCOUNT, ["c", "nope", "a", "b", "a"], offset=1, count=1)

    assert (page.total, [resource.id for resource in page.resources]) == (3, ["b"])


async def test_what_an_operator_stored_beside_can_be_removed_by_a_patch(repository):
    seen = await repository._store.replace("AwsAccount", "a", {"nonsense": "x", "region": "eu-west-1"}, expected=None)
    with pytest.raises(Invalid, match="nonsense is not known here"):
        await repository.patch(AWS_ACCOUNT, "a", body(region="eu-west-2"))
    patched = await repository.patch(AWS_ACCOUNT, "a", body(nonsense=None))

    assert "nonsense" in seen.fields
    assert patched.fields == {"region": "eu-west-1"}


@pytest.mark.parametrize("text", [False, True], ids=["json", "text"])
async def test_a_patch_leaves_what_it_does_not_name(repository, text):
    fields = {"access-key-id": "AKIA", "secret-access-key": "s", "session-token": "t", "use-ssl": "true"}
    await repository._store.replace("AwsAccount", "a", {**fields, "path-style": "false"}, expected=None)
    patched = await repository.patch(AWS_ACCOUNT, "a", ParsedBody({"path-style": None, "host": "h"}, text))

    assert patched.fields == {**fields, "host": "h"}


@pytest.mark.parametrize("text", [False, True], ids=["json", "text"])
async def test_a_patch_leaves_the_types_of_a_pattern(repository, text):
    matcho = '{"params": {"expiration": 60, "ratio": 1.5}, "body": {"list": [1, true], "nothing": null}}'
    fields = {"engine": "matcho", "matcho": matcho, "max-expiration": "60"}
    await repository._store.replace("AccessPolicy", "a", fields, expected=None)
    patched = await repository.patch(ACCESS_POLICY, "a", ParsedBody({"description": "d"}, text))

    assert patched.changed == ("description",)
    assert patched.fields == {**fields, "description": "d"}


# https://www.rfc-editor.org/rfc/rfc7396#appendix-A
APPENDIX = [
    ({"a": "b"}, {"a": "c"}, {"a": "c"}),
    ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
    ({"a": "b"}, {"a": None}, {}),
    ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
    ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
    ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
    ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
    ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
    (["a", "b"], ["c", "d"], ["c", "d"]),
    ({"a": "b"}, ["c"], ["c"]),
    ({"a": "foo"}, None, None),
    ({"a": "foo"}, "bar", "bar"),
    ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
    ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
    ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
]


@pytest.mark.parametrize(("target", "patch", "result"), APPENDIX, ids=str)
def test_a_merge_patch_gives_what_the_rfc_says(target, patch, result):
    assert merge_patch(target, patch) == result


def reference(target, patch):
    """The RFC's pseudocode, line by line."""
    if isinstance(patch, dict):
        if not isinstance(target, dict):
            target = {}
        for name, value in patch.items():
            if value is None:
                if name in target:
                    del target[name]
            else:
                target[name] = reference(target.get(name), value)
        return target
    return patch


NAMES = st.sampled_from("abc")
DATA = st.recursive(
    st.none() | st.booleans() | st.integers(0, 3) | NAMES,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=12,
)


@settings(max_examples=300, deadline=None)
@given(DATA, DATA)
@pytest.mark.slow
def test_a_merge_patch_agrees_with_the_rfcs_pseudocode_and_changes_neither(target, patch):
    before = copy.deepcopy((target, patch))
    result = merge_patch(target, patch)

    assert result == reference(copy.deepcopy(target), patch)
    assert (target, patch) == before


INVISIBLE = [("access-key-id", "AKIA "), ("secret-access-key", "s3cr3t\u00a0"), ("session-token", "\ufefft0k3n")]


@pytest.mark.parametrize(("field", "value"), INVISIBLE, ids=[field for field, _ in INVISIBLE])
async def test_an_invisible_character_that_is_stored_is_named_on_use_and_does_not_break_listing(
    repository, field, value
):
    fields = {"access-key-id": "AKIA", "secret-access-key": "s3cr3t", field: value}
    stored = await repository._store.replace("AwsAccount", "a", fields, expected=None)
    page = await repository.page(AWS_ACCOUNT, offset=0, count=10)
    with pytest.raises(Invalid) as refusal:
        repository.model(AWS_ACCOUNT, stored)

    assert [AWS_ACCOUNT.represent(listed)["id"] for listed in page.resources] == ["a"]
    assert [issue.expression for issue in refusal.value.issues] == [f"AwsAccount.{field}"]
    assert "it has U+" in str(refusal.value)
    assert value not in str(refusal.value)


async def test_a_region_of_a_custom_host_does_not_outlive_it(repository):
    await repository.put(AWS_ACCOUNT, "a", body(host="minio", region="RegionOne"))
    with pytest.raises(Invalid) as refusal:
        await repository.patch(AWS_ACCOUNT, "a", body(host=None))
    moved = await repository.patch(AWS_ACCOUNT, "a", body(host=None, region="eu-west-1"))

    assert [issue.expression for issue in refusal.value.issues] == ["AwsAccount.region"]
    assert moved.fields == {"region": "eu-west-1"}


async def test_a_patch_may_give_a_region_to_the_custom_host_that_is_stored(repository):
    await repository.put(AWS_ACCOUNT, "a", body(host="MinIO:9000"))
    patched = await repository.patch(AWS_ACCOUNT, "a", body(region="RegionOne"))

    assert patched.fields == {"host": "MinIO:9000", "region": "RegionOne"}


class StaleStore(EmbeddedStore):
    """Answers with what was there at the first read, as a cache that missed a change, unless it is bypassed."""

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
        """An account that was read, and then changed without a word to the cache."""
        await store.replace("AwsAccount", "a", {"region": "eu-west-1"}, expected=None)
        await store.get("AwsAccount", "a")
        seen = await store.get("AwsAccount", "a", bypass_cache=True)
        return await store.replace("AwsAccount", "a", {"region": "eu-west-1", "host": "minio"}, expected=seen)

    @pytest.mark.usefixtures("changed")
    async def test_a_patch_is_of_what_is_stored(self, repository, store):
        await repository.patch(AWS_ACCOUNT, "a", body(region="eu-west-2"))

        assert (await store.get("AwsAccount", "a", bypass_cache=True)).fields == {
            "region": "eu-west-2",
            "host": "minio",
        }

    async def test_a_precondition_is_about_what_is_stored(self, repository, changed):
        holds = Precondition(frozenset({changed.meta.version_id}))

        assert await repository.put(AWS_ACCOUNT, "a", body(), holds)

    async def test_what_is_deleted_is_what_is_stored(self, repository, store, changed):
        assert await repository.delete(AWS_ACCOUNT, "a") is changed
        assert await store.get("AwsAccount", "a", bypass_cache=True) is None

    async def test_what_is_found_rather_than_created_is_what_is_stored(self, repository, changed):
        assert await repository.find_or_create(AWS_ACCOUNT, "a", body()) == (changed, False)

    async def test_what_is_created_rather_than_found_was_deleted_in_the_store(self, repository, store, changed):
        await store.remove(changed)
        created, is_new = await repository.find_or_create(AWS_ACCOUNT, "a", body(region="eu-west-3"))

        assert (created.fields["region"], is_new) == ("eu-west-3", True)

    async def test_what_is_sealed_anew_is_as_valid_as_before(self, repository, store):
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
