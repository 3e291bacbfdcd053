"""Who calls: credentials to callers, what is remembered of them, and how guessing is limited."""

import asyncio
import base64
import gc
import hashlib

import pytest

from service.access.callers import throttle
from service.access.callers.authenticator import MAX_REMEMBERED, ROOT, Authenticator, basic_credentials
from service.access.callers.root import Root, RootTokens
from service.access.callers.sessions import Sessions
from service.access.callers.throttle import MOST_OF_ADDRESS, MOST_OF_PAIR
from service.access.types import CLIENT
from service.errors import StoreUnavailable, Throttled, Unauthenticated
from service.resources.repository import Repository
from service.resources.schemas import ParsedBody
from service.resources.secrets.codec import SecretCodec
from service.resources.secrets.encryption import Encryptor
from service.resources.secrets.stored_secret import StoredSecret
from service.stores.store import EmbeddedStore

HUSH = "hush, sixteen letters"
OWN = Root("root", "a root secret")
# Of four bytes each.
LONG = "\N{GRINNING FACE}" * 500


def basic(id_, secret):
    return f"Basic {base64.b64encode(f'{id_}:{secret}'.encode()).decode()}"


class CuedHasher:
    """Its hash of a secret says what it is; it counts, and waits while it is held."""

    def __init__(self):
        self.verified = 0
        self.busy = False
        self.open = asyncio.Event()
        self.open.set()

    async def hash(self, secret, **_):
        return f"$argon2id$v=19$m=19456,t=2,p=1${hashlib.sha256(secret.encode()).hexdigest()}"

    def check_capacity(self):
        if self.busy:
            raise Throttled("Too many logins at once")

    async def verify(self, secret, candidates):
        self.check_capacity()
        self.verified += 1
        await self.open.wait()
        hash_ = await self.hash(secret)
        return next((candidate for candidate in candidates if candidate.hash in {hash_, f"old_{secret}"}), None)

    def close(self):
        """Nothing to let go of."""


@pytest.fixture
async def hasher():
    return CuedHasher()


@pytest.fixture
def store():
    return EmbeddedStore()


@pytest.fixture
def repository(store, hasher):
    return Repository(store, SecretCodec(Encryptor(), hasher))


@pytest.fixture
def callers(store, repository, hasher):
    return Authenticator(OWN, repository, hasher, Sessions(store, repository, seconds=60), RootTokens(OWN, seconds=60))


@pytest.fixture
async def write(repository):
    async def write(id_="team", secret=HUSH, grants=("basic", "client_credentials")):
        values = {"secret": secret, "grant_types": list(grants)}
        await repository.put(CLIENT, id_, ParsedBody(values, text=False))

    await write()
    return write


async def outcome(callers, authorization, address="here"):
    """The caller's name, or the class of the error."""
    try:
        return (await callers.identify(authorization, address=address)).name
    except (Unauthenticated, Throttled, StoreUnavailable) as error:
        return type(error).__name__


async def test_a_client_and_the_root_are_told_by_their_secrets(callers, write):
    assert await callers.identify(basic(OWN.id, OWN.secret), address="") is ROOT
    caller = await callers.identify(basic("team", HUSH), address="")

    assert (caller.name, caller.client, caller.unlimited, caller.jwt) == ("Client/team", "team", False, {})


async def test_credentials_that_fitted_are_hashed_once(callers, hasher, write):
    seen = [(await callers.identify(basic("team", HUSH), address="here")).name for _ in range(3)]

    assert seen == ["Client/team"] * 3
    assert hasher.verified == 1


@pytest.mark.parametrize(
    "other", [("here", basic("team", HUSH.upper())), ("there", basic("team", HUSH)), ("here", basic("teams", HUSH))]
)
async def test_what_is_remembered_is_of_these_credentials_from_this_address(callers, hasher, write, other):
    await callers.identify(basic("team", HUSH), address="here")
    address, authorization = other
    await outcome(callers, authorization, address)

    assert hasher.verified == 2


async def test_the_root_needs_no_store(callers, monkeypatch):
    monkeypatch.setattr(callers, "_client", None)

    assert await callers.login(OWN.id, OWN.secret, grant="basic", address="") is ROOT


async def test_who_fails_is_not_remembered(callers, hasher, write):
    for _ in range(3):
        assert await outcome(callers, basic("team", "wrong")) == "Unauthenticated"

    assert hasher.verified == 3
    assert not callers._verified


@pytest.mark.parametrize("id_", ["absent", "", "../team", "a:b"])
async def test_who_does_not_exist_takes_as_long_as_who_does(callers, hasher, write, id_):
    assert await outcome(callers, basic(id_, HUSH)) == "Unauthenticated"
    assert hasher.verified == 1


@pytest.mark.parametrize("change", ["another secret", "no grants", "deleted", "unreadable"])
async def test_what_is_remembered_ends_with_the_client_as_it_was(callers, store, repository, write, change):
    await callers.identify(basic("team", HUSH), address="here")
    if change == "another secret":
        await write(secret="another secret, longer")
    elif change == "no grants":
        await write(grants=())
    elif change == "deleted":
        await repository.delete(CLIENT, "team")
    else:
        seen = await store.get("Client", "team")
        await store.replace("Client", "team", {**seen.fields, "grant_types": "basic"}, expected=seen)

    assert await outcome(callers, basic("team", HUSH)) == (
        "GrantNotAllowed" if change == "no grants" else "Unauthenticated"
    )


async def test_an_old_secret_is_not_remembered_when_it_comes_back(callers, hasher, write):
    await callers.identify(basic("team", HUSH), address="here")
    await write(secret="another secret, longer")
    refused = await outcome(callers, basic("team", HUSH))
    await callers.identify(basic("team", "another secret, longer"), address="here")

    assert refused == "Unauthenticated"
    assert hasher.verified == 3


async def test_what_is_remembered_is_bounded(callers, write):
    for n in range(MAX_REMEMBERED + 10):
        callers._remember(str(n).encode(), ("team", HUSH))

    assert len(callers._verified) == MAX_REMEMBERED


async def test_a_full_memory_takes_a_new_client_in(callers, hasher, write):
    for n in range(MAX_REMEMBERED):
        callers._remember(str(n).encode(), ("team", HUSH))
    for _ in range(3):
        await callers.identify(basic("team", HUSH), address="here")

    assert hasher.verified == 1


async def test_many_connections_of_a_client_begin_with_one_hash(callers, hasher, write):
    hasher.open.clear()
    logins = [asyncio.create_task(outcome(callers, basic("team", HUSH))) for _ in range(5 * MOST_OF_PAIR)]
    await asyncio.sleep(0.01)
    logins[0].cancel()
    hasher.open.set()
    names = await asyncio.gather(*logins[1:])

    assert set(names) == {"Client/team"}
    assert hasher.verified == 1
    assert not callers._verifying


async def test_many_guesses_at_a_time_are_no_way_around(callers, hasher, write):
    hasher.open.clear()
    guesses = [asyncio.create_task(outcome(callers, basic("team", f"guess-{n}"))) for n in range(3 * MOST_OF_PAIR)]
    await asyncio.sleep(0.01)
    hasher.open.set()
    outcomes = await asyncio.gather(*guesses)

    assert sorted(outcomes) == ["Throttled"] * 2 * MOST_OF_PAIR + ["Unauthenticated"] * MOST_OF_PAIR
    assert hasher.verified == MOST_OF_PAIR


async def test_who_was_turned_away_unheard_has_not_failed(callers, hasher, write):
    hasher.busy = True
    busy = [await outcome(callers, basic("team", HUSH)) for _ in range(2 * MOST_OF_PAIR)]
    hasher.busy = False

    assert set(busy) == {"Throttled"}
    assert await outcome(callers, basic("team", HUSH)) == "Client/team"


@pytest.mark.filterwarnings("error")
async def test_a_refusal_for_which_nobody_waits_is_no_complaint(callers, hasher, write, caplog, monkeypatch):
    async def refuse(*_):
        await hasher.open.wait()
        raise Throttled("Too many logins at once")

    monkeypatch.setattr(hasher, "verify", refuse)
    hasher.open.clear()
    login = asyncio.create_task(outcome(callers, basic("team", HUSH)))
    await asyncio.sleep(0.01)
    login.cancel()
    await asyncio.sleep(0.01)
    hasher.open.set()
    await asyncio.sleep(0.01)
    # asyncio complains when the task is gone, which the traceback of its caller would keep.
    del login
    gc.collect()

    assert not callers._verifying
    assert caplog.text == ""


@pytest.mark.parametrize("guessed", ["team", "root"])
async def test_guessing_is_limited_whoever_is_guessed(callers, write, guessed):
    outcomes = [await outcome(callers, basic(guessed, str(n))) for n in range(MOST_OF_PAIR + 1)]

    assert outcomes == ["Unauthenticated"] * MOST_OF_PAIR + ["Throttled"]
    assert await outcome(callers, basic(guessed, OWN.secret if guessed == "root" else HUSH)) == "Throttled"
    assert await outcome(callers, basic(guessed, OWN.secret if guessed == "root" else HUSH), "there") != "Throttled"


async def test_while_the_store_is_away_nobody_is_refused_for_it(callers, store, write, monkeypatch):
    async def get(*_, **__):
        raise StoreUnavailable("away")

    monkeypatch.setattr(store, "get", get)

    assert await outcome(callers, basic("new", HUSH)) == "StoreUnavailable"
    assert await outcome(callers, f"Bearer {'a' * 43}") == "StoreUnavailable"


async def test_guesses_at_the_root_secret_count_while_the_store_is_away(callers, store, monkeypatch):
    async def get(*_, **__):
        raise StoreUnavailable("away")

    monkeypatch.setattr(store, "get", get)
    outcomes = [await outcome(callers, basic("root", str(n))) for n in range(MOST_OF_PAIR)]

    assert outcomes == ["Unauthenticated"] * MOST_OF_PAIR
    assert await outcome(callers, basic("root", OWN.secret)) == "Throttled"


async def test_a_guess_at_the_root_secret_learns_nothing_while_too_many_log_in(callers, hasher):
    hasher.busy = True
    busy = [await outcome(callers, basic("root", secret)) for secret in ("wrong", OWN.secret)]
    hasher.busy = False

    assert busy == ["Throttled", "Throttled"]
    assert await outcome(callers, basic("root", OWN.secret)) == "root"


async def test_a_guess_at_the_root_secret_counts_though_its_hash_fails(callers, hasher, monkeypatch):
    async def fail(*_):
        raise MemoryError

    monkeypatch.setattr(hasher, "verify", fail)
    for n in range(MOST_OF_PAIR):
        with pytest.raises(MemoryError):
            await outcome(callers, basic("root", str(n)))

    assert await outcome(callers, basic("root", OWN.secret)) == "Throttled"


async def test_the_id_of_the_root_client_is_the_roots_alone(callers, write):
    await write(OWN.id)

    assert await outcome(callers, basic(OWN.id, HUSH)) == "Unauthenticated"


async def test_a_colon_moved_is_another_client(callers, write):
    await write("a", "b:c, sixteen letters")
    before = await outcome(callers, basic("a", "b:c, sixteen letters"))
    with pytest.raises(Unauthenticated):
        await callers.login("a:b", "c, sixteen letters", grant="basic", address="here")

    assert before == "Client/a"


async def test_a_token_is_of_the_secret_that_was_shown_for_it(callers, hasher, write):
    hasher.open.clear()
    asking = asyncio.create_task(callers.token("team", HUSH, address="here"))
    await asyncio.sleep(0.01)
    await write(secret="another secret, longer")
    hasher.open.set()
    _, token, _ = await asking

    assert await outcome(callers, f"Bearer {token}") == "Unauthenticated"


async def test_a_client_that_goes_while_it_logs_in_gets_nothing_that_works(callers, hasher, repository, write):
    hasher.open.clear()
    asking = asyncio.create_task(callers.token("team", HUSH, address="here"))
    await asyncio.sleep(0.01)
    await repository.delete(CLIENT, "team")
    hasher.open.set()
    _, token, _ = await asking
    before = await outcome(callers, f"Bearer {token}")
    await write()

    assert before == "Unauthenticated"


async def test_a_client_with_every_letter_it_may_have_logs_in(callers, write):
    await write(secret=LONG)

    assert await outcome(callers, basic("team", LONG)) == "Client/team"
    assert await outcome(callers, basic("team", LONG + "x")) == "Unauthenticated"


@pytest.mark.parametrize(
    ("header", "credentials"),
    [
        ("Basic YTpi", ("a", "b")),
        ("basic YTpi", ("a", "b")),
        ("Basic   YTpi  ", ("a", "b")),
        ("Basic YTpiOmM=", ("a", "b:c")),
        ("Basic Og==", ("", "")),
    ],
)
def test_basic_credentials_are_read(header, credentials):
    assert basic_credentials(header) == credentials


@pytest.mark.parametrize(
    "header", ["Basic", "Basic ", "Basic YQ==", "Basic /w==", "Basic YTpi YTpi", "Basic ä", "x", ""]
)
def test_what_is_no_basic_header_is_refused(header):
    with pytest.raises(Unauthenticated):
        basic_credentials(header)


@pytest.fixture
async def earlier(store):
    """A client whose secret an earlier version has hashed."""
    await store.replace("Client", "team", {"secret": f"old_{HUSH}", "grant_types": '["basic"]'}, expected=None)
    return await store.get("Client", "team")


async def test_a_hash_of_an_earlier_version_is_replaced_at_the_next_login(callers, store, earlier):
    name = await outcome(callers, basic("team", HUSH))
    found = await store.get("Client", "team")
    secret = StoredSecret.parse(found.fields["secret"])

    assert name == "Client/team"
    assert secret.current.hash.startswith("$argon2id$")
    assert secret.current.fingerprint == StoredSecret.parse(earlier.fields["secret"]).current.fingerprint
    assert found.meta == earlier.meta


async def test_a_replaced_hash_takes_no_further_hash(callers, hasher, earlier):
    names = [await outcome(callers, basic("team", HUSH)) for _ in range(3)]

    assert names == ["Client/team"] * 3
    assert hasher.verified == 1


async def test_a_wrong_secret_replaces_nothing(callers, store, earlier):
    assert await outcome(callers, basic("team", "wrong")) == "Unauthenticated"
    assert await store.get("Client", "team") is earlier


async def test_replicas_that_replace_a_hash_at_once_agree(store, repository, hasher, earlier):
    hasher.open.clear()
    replicas = [
        Authenticator(OWN, repository, hasher, Sessions(store, repository, seconds=60), RootTokens(OWN, seconds=60))
        for _ in range(5)
    ]
    logins = [asyncio.create_task(outcome(replica, basic("team", HUSH))) for replica in replicas]
    await asyncio.sleep(0.01)
    hasher.open.set()
    first = await asyncio.gather(*logins)
    again = [await outcome(replica, basic("team", HUSH)) for replica in replicas]

    assert [*first, *again] == ["Client/team"] * 10
    assert hasher.verified == 5
    assert (await store.get("Client", "team")).meta == earlier.meta


@pytest.mark.parametrize("change", ["another secret", "gone"])
async def test_a_client_that_changes_meanwhile_is_left_alone(callers, hasher, repository, write, store, change):
    seen = await store.get("Client", "team")
    await store.replace("Client", "team", {**seen.fields, "secret": f"old_{HUSH}"}, expected=seen)
    hasher.open.clear()
    login = asyncio.create_task(outcome(callers, basic("team", HUSH)))
    await asyncio.sleep(0.01)
    if change == "gone":
        await repository.delete(CLIENT, "team")
    else:
        await write(secret="another secret, longer")
    changed = await store.get("Client", "team")
    hasher.open.set()
    await login

    assert await store.get("Client", "team") is changed


async def test_a_hash_that_cannot_be_replaced_lets_its_client_in(callers, store, earlier, monkeypatch):
    async def rewrite(*_):
        raise StoreUnavailable("read-only")

    monkeypatch.setattr(store, "rewrite", rewrite)

    assert await outcome(callers, basic("team", HUSH)) == "Client/team"


async def test_a_short_secret_of_an_earlier_version_works_and_is_a_warning(callers, store, caplog):
    await store.replace("Client", "team", {"secret": "old_short-secret", "grant_types": '["basic"]'}, expected=None)
    names = [await outcome(callers, basic("team", "short-secret"), str(n)) for n in range(3)]

    assert names == ["Client/team"] * 3
    assert [record.getMessage() for record in caplog.records] == [
        "The secret of Client/team has fewer than 16 characters; replace it with POST /Client/team/$rotate-secret"
    ]


async def test_an_attempt_that_is_not_looked_at_displaces_nothing_that_was_counted(callers, hasher, write, monkeypatch):
    monkeypatch.setattr(throttle, "MAX_COUNTED", 3)
    for n in range(MOST_OF_PAIR - 1):
        await outcome(callers, basic("team", str(n)))
    hasher.busy = True
    for n in range(100):
        await outcome(callers, basic(f"other-{n}", "x"), f"there-{n}")
    hasher.busy = False
    outcomes = [await outcome(callers, basic("team", "x")), await outcome(callers, basic("team", "y"))]

    assert outcomes == ["Unauthenticated", "Throttled"]


async def test_a_secret_that_could_not_be_verified_was_no_guess(callers, hasher, write, monkeypatch):
    async def fail(*_):
        raise MemoryError

    with monkeypatch.context() as patched:
        patched.setattr(hasher, "verify", fail)
        for n in range(MOST_OF_PAIR):
            with pytest.raises(MemoryError):
                await outcome(callers, basic("team", str(n)))

    assert await outcome(callers, basic("team", HUSH)) == "Client/team"


async def test_a_known_client_logs_in_where_others_have_used_up_the_guesses_of_its_address(callers, repository, write):
    await outcome(callers, basic("team", HUSH))
    for n in range(MOST_OF_ADDRESS):
        await outcome(callers, basic(f"other-{n}", "x"))
    # What is remembered of the old secret does not help.
    await write(secret="another secret, longer")

    assert await outcome(callers, basic("stranger", "x")) == "Throttled"
    assert await outcome(callers, basic("team", "another secret, longer")) == "Client/team"


async def test_a_login_that_takes_no_hash_is_known_for_another_day(callers, write, clock, monkeypatch):
    monkeypatch.setattr(callers, "_throttle", throttle.Throttle(clock))
    for _ in range(2):
        await outcome(callers, basic("team", HUSH))
        clock.now += throttle.KNOWN_SECONDS - 1
    for n in range(MOST_OF_ADDRESS):
        await outcome(callers, basic(f"other-{n}", "x"))

    assert await outcome(callers, basic("stranger", "x")) == "Throttled"
    assert await outcome(callers, basic("team", "x")) == "Unauthenticated"
