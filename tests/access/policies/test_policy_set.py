import asyncio
import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.garbage import Frees
from support.waiting import PerTurn, turns_during

from service.access.access_policy import AccessPolicy
from service.access.callers.principals import Principal
from service.access.policies import policy_set as policy_set_module
from service.access.policies.evaluation import Evaluation, TooMuchTime
from service.access.policies.matcho import compile_pattern
from service.access.policies.policy_set import Policies, PolicySet, warn_of_links_to
from service.errors import StoreUnavailable
from service.resources.repository import Repository
from service.resources.secrets.codec import SecretCodec
from service.resources.secrets.encryption import Encryptor
from service.resources.secrets.hashing import Hasher
from service.stores import pacing
from service.stores.memory import EmbeddedStore
from service.stores.record import IncompleteListing, Resource

TEAM, JWT = Principal("Client/team", "team"), Principal("jwt:x", jwt={"sub": "x"})


@pytest.fixture
def store():
    return EmbeddedStore()


@pytest.fixture
def policies(store):
    hasher = Hasher()
    yield Policies(Repository(store, SecretCodec(Encryptor(), hasher)))
    hasher.close()


@pytest.fixture
def write(store):
    async def write(id_, pattern=None, link=None, **fields):
        texts = {"engine": "matcho" if pattern else "allow", **fields}
        if pattern:
            texts["matcho"] = json.dumps(pattern)
        if link is not None:
            texts["link"] = json.dumps([{"reference": f"Client/{name}"} for name in link])
        stored = await store.get("AccessPolicy", id_)
        return await store.replace("AccessPolicy", id_, texts, expected=stored)

    return write


def request(**params):
    return {"request-method": "get", "params": params}


async def test_the_first_matching_policy_allows(policies, write):
    await write("b", {"params": {"key": "present?"}})
    await write("a", {"params": {"key": "x"}})
    await write("c")
    policy_set = await policies.for_principal(TEAM)

    assert [policy_set.first_match(request(key=key)) for key in ("x", "y", None)] == ["a", "b", "c"]


async def test_without_a_policy_nothing_is_allowed(policies):
    policy_set = await policies.for_principal(TEAM)

    assert policy_set.first_match(request()) is None
    assert (policy_set.names, policy_set.mismatches(request())) == (frozenset(), {})


async def test_a_client_has_the_policies_with_its_link_and_those_without_a_link(policies, write):
    await write("everybody", {"params": {}, "uri": "x"})
    await write("teams", {"jwt": "present?"}, ["team", "other"])
    await write("others", link=["other"])

    assert [policy.id for policy in (await policies.for_principal(TEAM)).policies] == ["everybody", "teams"]
    assert [policy.id for policy in (await policies.for_principal(JWT)).policies] == ["everybody"]
    assert (await policies.for_principal(TEAM)).names == {"params", "uri", "jwt"}
    assert (await policies.for_principal(JWT)).names == {"params", "uri"}


async def test_a_principal_without_a_client_has_no_linked_policies(policies, write):
    await write("none", link=["None"])

    assert not (await policies.for_principal(JWT)).policies


async def test_principals_without_linked_policies_share_a_set(policies, write):
    await write("everybody", {"params": {}})
    await write("teams", link=["team"])
    sets = [await policies.for_principal(Principal("documented", f"c{n}")) for n in range(100)]

    assert {id(each) for each in sets} == {id(await policies.for_principal(JWT))}
    assert await policies.for_principal(TEAM) is not sets[0]


async def test_the_warning_is_delayed_while_the_store_is_unavailable(policies, store, write, monkeypatch, caplog):
    await write("old")
    with monkeypatch.context() as patched:
        patched.setattr(store, "all", unavailable)
        await policies.open()
    before = caplog.messages.copy()
    for _ in range(2):
        await policies.for_principal(TEAM)
        await write("older")

    assert before == []
    assert [message.rpartition(": ")[2] for message in caplog.messages] == ["old"]


async def unavailable(_):
    raise StoreUnavailable("unavailable")


async def test_a_long_list_of_policies_is_truncated(policies, write, caplog):
    for number in range(105):
        await write(f"p{number:03}")
    await policies.open()

    assert caplog.messages[0].endswith(", p098, p099 and 5 more")


KEYS = ["#^x/", "#x.y", "#[a-z]{2}", "#[a-z/]+y", "#(x|é)[/y]+", "#(?i)X|-", "x/y", {"$not": "#^x"}, {"$not": "#.y"}]


@given(
    st.lists(
        st.fixed_dictionaries(
            {"request-method": st.sampled_from(["get", "post"])},
            optional={
                "params": st.fixed_dictionaries(
                    {"account": st.sampled_from(["a", "b", 1])},
                    optional={"key": st.sampled_from(KEYS)},
                )
            },
        ),
        max_size=20,
    ),
    st.sampled_from(["x/y", "xzy", "-y", "é", "éy/x", "x/y\udcff", "x/y" * 3000, None]),
)
def test_prefilters_change_no_decision(patterns, key):
    policies = [
        AccessPolicy(id=str(number), engine="matcho", pattern=compile_pattern(pattern))
        for number, pattern in enumerate(patterns)
    ]
    asked = request(account="a", key=key)
    first = next((policy.id for policy in policies if policy.pattern.matches(Evaluation(asked))), None)

    assert asyncio.run(PolicySet.of(policies)).first_match(asked) == first


async def test_a_text_without_the_required_text_of_a_regex_is_not_searched():
    policies = await PolicySet.of(
        [
            AccessPolicy(
                id=str(number), engine="matcho", pattern=compile_pattern({"params": {"key": f"#[a-z]+-{number}/"}})
            )
            for number in range(1000, 2000)
        ]
    )
    text = "a" * 1000

    # If all were searched, the text would exceed the limit.
    assert policies.first_match(request(key=f"{text}-0/")) is None
    assert policies.first_match(request(key=f"{text}-1500/")) == "1500"


async def test_the_values_that_policies_test_are_read_within_the_time_of_an_evaluation(policies, write):
    class Parameters(dict):
        reads = 0

        def get(self, name):
            self.reads += 1
            return super().get(name)

    for number in range(20):
        await write(f"p{number}", {"params": {f"name{number}": "x"}})
    policy_set, parameters = await policies.for_principal(TEAM), Parameters()
    with pytest.raises(TooMuchTime):
        policy_set.first_match({"params": parameters}, seconds=0)

    assert parameters.reads == 0
    assert policy_set.first_match({"params": parameters}) is None
    assert parameters.reads >= 20


async def test_mismatches_explain_each_policy(policies, write):
    await write("a", {"params": {"key": "x"}})
    await write("b", {"params": {"account": "y"}})

    assert (await policies.for_principal(TEAM)).mismatches(request(key="z", account="z")) == {
        "a": "params.key is not x",
        "b": "params.account is not y",
    }


@pytest.mark.parametrize("change", ["created", "changed", "deleted", "linked away"])
async def test_a_change_takes_effect_immediately(policies, store, write, change):
    first = await write("a", {"params": {"key": "x"}})
    before = [(await policies.for_principal(TEAM)).first_match(request(key=key)) for key in "xy"]
    if change == "created":
        await write("b", {"params": {"key": "y"}})
    elif change == "changed":
        await write("a", {"params": {"key": "y"}})
    elif change == "deleted":
        await store.remove(first)
    else:
        await write("a", {"params": {"key": "x"}}, ["other"])
    after = [(await policies.for_principal(TEAM)).first_match(request(key=key)) for key in "xy"]

    assert before == ["a", None]
    assert after == {"created": ["a", "b"], "changed": [None, "a"]}.get(change, [None, None])


@pytest.fixture
def read_again(store, monkeypatch):
    """Have the store read all resources again for each listing, as a store on Redis does."""

    async def fresh(kind):
        page = await store.page(kind, offset=0, count=1000)
        return [Resource(it.kind, it.id, it.record) for it in page.resources]

    monkeypatch.setattr(store, "all", fresh)


@pytest.mark.usefixtures("read_again")
@pytest.mark.parametrize("listings_without_a_change", [0, 2])
async def test_a_change_of_one_policy_compiles_no_other_one(policies, write, listings_without_a_change):
    await write("a", {"params": {"key": "x"}})
    await write("b", {"params": {"key": "y"}})
    before = await policies.for_principal(TEAM)
    for _ in range(listings_without_a_change):
        await policies.for_principal(TEAM)
    await write("b", {"params": {"key": "z"}})
    after = await policies.for_principal(TEAM)

    assert after.policies[0] is before.policies[0]
    assert after.first_match(request(key="z")) == "b"
    assert after.first_match(request(key="y")) is None


@pytest.mark.usefixtures("read_again")
async def test_unchanged_policies_are_not_compiled_again(policies, write, monkeypatch):
    await write("a", {"params": {"key": "#^x$"}})
    first = await policies.for_principal(TEAM)
    monkeypatch.setattr("service.access.access_policy.compile_pattern", None)

    assert await policies.for_principal(TEAM) is first


@pytest.mark.usefixtures("read_again")
async def test_requests_at_the_same_time_compile_and_select_policies_once(policies, write, monkeypatch):
    for number in range(20):
        await write(f"p{number}", engine="sql")
    monkeypatch.setattr(pacing, "MAX_BLOCK_SECONDS", 0)
    reads, read = [], Repository.model
    monkeypatch.setattr(Repository, "model", lambda *args: reads.append(1) or read(*args))
    found = await asyncio.gather(*(policies.for_principal(TEAM) for _ in range(5)))

    assert len(reads) == 20
    assert len({id(each) for each in found}) == 1


@pytest.mark.parametrize(
    "fields",
    [
        {"engine": "nonsense"},
        {"engine": "matcho"},
        {"engine": "matcho", "matcho": "{}"},
        {"engine": "matcho", "matcho": "["},
        {"engine": "allow", "matcho": '{"uri": "x"}'},
        {"link": "[]"},
        {"link": "Client/team"},
        {"link": '[{"reference": "Client/a/b"}]'},
        {"link": '[{"reference": "User/team"}]'},
        {"misspelt": "x"},
    ],
)
async def test_an_invalid_stored_policy_is_ignored(policies, write, fields):
    await write("broken", **fields)
    await write("whole", {"params": {"key": "x"}})
    policy_set = await policies.for_principal(TEAM)

    assert [policy.id for policy in policy_set.policies] == ["whole"]


async def test_the_reason_why_a_stored_policy_is_invalid_is_short(policies, write):
    await write("a", {"body": {"x" * 200: {f"a{number}": "b?" for number in range(100)}}})
    await policies.for_principal(TEAM)

    assert policies.invalid["a"].startswith("AccessPolicy.matcho must be one of")
    assert len(policies.invalid["a"]) == 500


async def test_an_invalid_stored_policy_is_logged_once_until_it_is_valid(policies, write, caplog):
    logged = []
    for id_, engine in [("a", "sql"), ("b", "sql"), ("c", "allow"), ("a", "allow"), ("a", "sql")]:
        caplog.clear()
        await write(id_, engine=engine)
        await policies.for_principal(TEAM)
        logged.append([message.rpartition(": ")[2] for message in caplog.messages if "invalid" in message])

    assert logged == [["a"], ["b"], [], [], ["a"]]


async def test_the_warning_of_links_to_a_client_compiles_no_policy(store, write, caplog):
    await write("a", link=["team", "other"])
    await write("b", link=["other"])
    await write("c", {"params": {"key": "x"}})
    for id_, link in {"d": "[", "e": "{}", "f": "null"}.items():
        await store.replace("AccessPolicy", id_, {"engine": "allow", "link": link}, expected=None)
    await write("g", engine="sql", link=["team"])
    hasher = Hasher()
    await warn_of_links_to("team", Repository(store, SecretCodec(Encryptor(), hasher)))
    hasher.close()

    assert caplog.messages[-1].endswith("these policies still name it, and grant nobody for it: a, g")
    assert all(resource.model is None for resource in await store.all("AccessPolicy"))


async def test_a_stored_policy_may_have_its_resource_type(policies, write):
    await write("a", resourceType="AccessPolicy", meta="{}")

    assert (await policies.for_principal(TEAM)).first_match(request()) == "a"


@pytest.mark.parametrize("use", ["a request", "the deletion of a Client"])
async def test_many_policies_are_compiled_without_holding_the_event_loop(policies, store, write, monkeypatch, use):
    for number in range(50):
        await write(f"p{number}", {"params": {"key": "x"}}, link=["team"])
    monkeypatch.setattr(pacing, "MAX_BLOCK_SECONDS", 0)
    if use == "a request":
        turns = await turns_during(policies.for_principal(TEAM))
    else:
        hasher = Hasher()
        turns = await turns_during(warn_of_links_to("team", Repository(store, SecretCodec(Encryptor(), hasher))))
        hasher.close()

    assert turns >= 50


async def test_many_policies_are_selected_without_holding_the_event_loop(policies, write, monkeypatch):
    for number in range(50):
        await write(f"p{number}", {"params": {"key": "x"}}, link=["team", "other"])
    await policies.for_principal(TEAM)
    monkeypatch.setattr(pacing, "MAX_BLOCK_SECONDS", 0)

    # Their conditions are counted first.
    assert await turns_during(policies.for_principal(Principal("Client/other", "other"))) >= 100


async def test_the_policies_of_many_clients_are_selected_again(policies, write, monkeypatch):
    monkeypatch.setattr(policy_set_module, "MAX_SELECTED", 4)
    await write("a", {"params": {"key": "x"}}, link=["team", "other"])
    await write("b", {"params": {"key": "x"}}, link=["team"])
    other = Principal("Client/other", "other")
    sets = [await policies.for_principal(principal) for principal in (TEAM, other, TEAM, TEAM, other)]

    assert [len(each.policies) for each in sets] == [2, 1, 2, 2, 1]
    assert [first is second for first, second in pairwise(sets)] == [False, False, True, False]
    assert sets[0] is not sets[2]
    assert sum(len(each.policies) + 1 for each in policies._sets.values()) <= 4


@pytest.mark.usefixtures("read_again")
async def test_many_policies_are_compared_without_holding_the_event_loop(policies, write, monkeypatch):
    for number in range(50):
        await write(f"p{number}", {"params": {"key": "x"}})
    before = await policies.for_principal(TEAM)
    monkeypatch.setattr(pacing, "MAX_BLOCK_SECONDS", 0)

    assert await turns_during(policies.for_principal(TEAM)) >= 50
    assert await policies.for_principal(TEAM) is before


async def test_the_links_of_many_policies_are_joined_without_holding_the_event_loop(policies, write, monkeypatch):
    await policies.open()
    await write("p0")
    joined = PerTurn()

    class Links:
        def __ror__(self, clients):
            joined.count()
            return clients | {"team"}

        def __contains__(self, client):
            return client == "team"

    async def compile_(*_):
        return [AccessPolicy(id=f"p{number}", engine="allow", pattern=None, link=Links()) for number in range(50)], {}

    monkeypatch.setattr("service.access.policies.policy_set._compile", compile_)
    monkeypatch.setattr(pacing, "MAX_BLOCK_SECONDS", 0)
    await joined.during(policies.for_principal(TEAM))

    assert (joined.total, joined.most) == (50, 1)


async def test_many_old_policies_are_freed_without_holding_the_event_loop(policies, write, monkeypatch):
    for number in range(50):
        await write(f"p{number}", {"params": {"key": "x"}}, link=["team"])
    frees = Frees()
    frees.watch(policy.link for policy in (await policies.for_principal(TEAM)).policies)
    for number in range(50):
        await write(f"p{number}", {"params": {"key": "y"}}, link=["team"])
    monkeypatch.setattr(pacing, "MAX_BLOCK_SECONDS", 0)
    await frees.during(policies.for_principal(TEAM))

    assert frees.total == 50
    assert frees.most <= 2


async def test_many_outdated_policies_are_found_without_holding_the_event_loop(policies, write, monkeypatch):
    for number in range(50):
        await write(f"p{number}")
    monkeypatch.setattr(pacing, "MAX_BLOCK_SECONDS", 0)

    # They are compiled first.
    assert await turns_during(policies.open()) >= 100


async def test_many_invalid_policies_are_read_without_holding_the_event_loop(policies, write, monkeypatch):
    for number in range(50):
        await write(f"p{number}", engine="sql")
    monkeypatch.setattr(pacing, "MAX_BLOCK_SECONDS", 0)
    reads_before_turns = reads = 0
    read = Repository.model

    def count(*args):
        nonlocal reads
        reads += 1
        return read(*args)

    async def watch():
        nonlocal reads, reads_before_turns
        while True:
            reads_before_turns, reads = max(reads_before_turns, reads), 0
            await asyncio.sleep(0)

    monkeypatch.setattr(Repository, "model", count)
    watcher = asyncio.create_task(watch())
    await policies.for_principal(TEAM)
    await asyncio.sleep(0)
    watcher.cancel()

    assert len(policies.invalid) == 50
    assert reads_before_turns <= 2


async def test_a_policy_that_is_deleted_during_the_compilation_grants_nothing_later(
    policies, store, write, monkeypatch
):
    for number in range(5):
        await write(f"p{number}", {"params": {"key": "x"}})
    monkeypatch.setattr(pacing, "MAX_BLOCK_SECONDS", 0)
    early = asyncio.create_task(policies.for_principal(TEAM))
    await asyncio.sleep(0)
    await store.remove(await store.get("AccessPolicy", "p0"))
    late = asyncio.create_task(policies.for_principal(TEAM))
    await early

    for policy_set in (await late, await policies.for_principal(TEAM)):
        assert [policy.id for policy in policy_set.policies] == ["p1", "p2", "p3", "p4"]


async def test_policies_are_complete_again_after_an_outage(policies, write, store, monkeypatch):
    for id_ in "ab":
        await write(id_, {"params": {"key": id_}})
    listing = await store.all("AccessPolicy")
    shown = []
    # The second one lacks a policy that has changed, the third one a policy that was created.
    for each in (listing, IncompleteListing(listing[:1]), IncompleteListing(listing), listing):

        async def listed(_, each=each):
            return each

        monkeypatch.setattr(store, "all", listed)
        found = await policies.for_principal(TEAM)
        shown.append((len(found.policies), found.is_complete))

    assert shown == [(2, True), (1, False), (2, False), (2, True)]
