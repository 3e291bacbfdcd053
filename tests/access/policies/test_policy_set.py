import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.access.callers.principals import Principal
from service.access.policies.evaluation import Evaluation
from service.access.policies.matcho import compile_pattern
from service.access.policies.policy_set import Policies, PolicySet
from service.access.types import AccessPolicy
from service.errors import StoreUnavailable
from service.resources.repository import Repository
from service.resources.secrets.codec import SecretCodec
from service.resources.secrets.encryption import Encryptor
from service.resources.secrets.hashing import Hasher
from service.stores.store import EmbeddedStore

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
        seen = await store.get("AccessPolicy", id_)
        return await store.replace("AccessPolicy", id_, texts, expected=seen)

    return write


def request(**params):
    return {"request-method": "get", "params": params}


async def test_the_first_policy_that_passes_allows(policies, write):
    await write("b", {"params": {"key": "present?"}})
    await write("a", {"params": {"key": "x"}})
    await write("c")
    rules = await policies.of(TEAM)

    assert [rules.first_match(request(key=key)) for key in ("x", "y", None)] == ["a", "b", "c"]


async def test_without_a_policy_nothing_is_allowed(policies):
    rules = await policies.of(TEAM)

    assert (rules.first_match(request()), rules.names, rules.mismatches(request())) == (None, frozenset(), {})


async def test_a_caller_has_the_policies_that_link_to_it_and_to_nobody(policies, write):
    await write("everybody", {"params": {}, "uri": "x"})
    await write("teams", {"jwt": "present?"}, ["team", "other"])
    await write("others", link=["other"])

    assert [policy.id for policy in (await policies.of(TEAM)).policies] == ["everybody", "teams"]
    assert [policy.id for policy in (await policies.of(JWT)).policies] == ["everybody"]
    assert (await policies.of(TEAM)).names == {"params", "uri", "jwt"}
    assert (await policies.of(JWT)).names == {"params", "uri"}


async def test_a_caller_without_a_client_is_linked_to_by_none(policies, write):
    await write("none", link=["None"])

    assert not (await policies.of(JWT)).policies


async def test_callers_to_whom_no_policy_links_share_their_rules(policies, write):
    await write("everybody", {"params": {}})
    await write("teams", link=["team"])
    rules = [await policies.of(Principal("documented", f"c{n}")) for n in range(100)]

    assert {id(each) for each in rules} == {id(await policies.of(JWT))}
    assert await policies.of(TEAM) is not rules[0]


async def test_a_store_that_is_away_at_the_start_has_its_warning_later(policies, store, write, monkeypatch, caplog):
    await write("old")
    with monkeypatch.context() as away:
        away.setattr(store, "all", unavailable)
        await policies.open()
    before = caplog.messages.copy()
    for _ in range(2):
        await policies.of(TEAM)
        await write("older")

    assert before == []
    assert [message.rpartition(": ")[2] for message in caplog.messages] == ["old"]


async def unavailable(_):
    raise StoreUnavailable("away")


async def test_a_long_list_of_policies_is_cut(policies, write, caplog):
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
def test_the_order_of_conditions_changes_no_decision(patterns, key):
    listed = [
        AccessPolicy(id=str(number), engine="matcho", pattern=compile_pattern(pattern))
        for number, pattern in enumerate(patterns)
    ]
    asked = request(account="a", key=key)
    first = next((policy.id for policy in listed if policy.pattern.matches(Evaluation(asked))), None)

    assert PolicySet(listed).first_match(asked) == first


def test_a_text_without_the_plain_text_of_a_regex_is_not_searched():
    policies = [
        AccessPolicy(
            id=str(number), engine="matcho", pattern=compile_pattern({"params": {"key": f"#[a-z]+-{number}/"}})
        )
        for number in range(1000, 2000)
    ]
    text = "a" * 1000

    # All of them together could not search so much.
    assert PolicySet(policies).first_match(request(key=f"{text}-0/")) is None
    assert PolicySet(policies).first_match(request(key=f"{text}-1500/")) == "1500"


async def test_mismatches_tell_of_each_policy_why(policies, write):
    await write("a", {"params": {"key": "x"}})
    await write("b", {"params": {"account": "y"}})

    assert (await policies.of(TEAM)).mismatches(request(key="z", account="z")) == {
        "a": "params.key is not x",
        "b": "params.account is not y",
    }


@pytest.mark.parametrize("change", ["made", "changed", "deleted", "linked away"])
async def test_a_change_counts_at_once(policies, store, write, change):
    first = await write("a", {"params": {"key": "x"}})
    before = [(await policies.of(TEAM)).first_match(request(key=key)) for key in "xy"]
    if change == "made":
        await write("b", {"params": {"key": "y"}})
    elif change == "changed":
        await write("a", {"params": {"key": "y"}})
    elif change == "deleted":
        await store.remove(first)
    else:
        await write("a", {"params": {"key": "x"}}, ["other"])
    after = [(await policies.of(TEAM)).first_match(request(key=key)) for key in "xy"]

    assert before == ["a", None]
    assert after == {"made": ["a", "b"], "changed": [None, "a"]}.get(change, [None, None])


async def test_policies_that_have_not_changed_are_not_compiled_again(policies, store, write, monkeypatch):
    await write("a", {"params": {"key": "#^x$"}})
    first = await policies.of(TEAM)
    monkeypatch.setattr("service.access.types.compile_pattern", None)
    # Read anew, as from a store without a cache.
    (stored,) = await store.all("AccessPolicy")
    again = type(stored)(stored.kind, stored.id, dict(stored.record))

    async def read_again(_):
        return [again]

    monkeypatch.setattr(store, "all", read_again)

    assert await policies.of(TEAM) is first


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
async def test_what_is_no_policy_allows_nothing_and_hides_no_other(policies, write, fields):
    await write("broken", **fields)
    await write("whole", {"params": {"key": "x"}})
    rules = await policies.of(TEAM)

    assert [policy.id for policy in rules.policies] == ["whole"]


async def test_a_policy_that_says_what_it_is_counts(policies, write):
    await write("a", resourceType="AccessPolicy", meta="{}")

    assert (await policies.of(TEAM)).first_match(request()) == "a"
