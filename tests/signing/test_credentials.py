"""Borrowed keys: those of roles, from a fake STS, and those of the service's environment, from fake endpoints."""

import asyncio
import re
from contextlib import suppress
from dataclasses import replace
from time import time

import pytest
from aiohttp.test_utils import TestServer
from hypothesis import given
from hypothesis import strategies as st
from support.sts import ROLE, metadata_application
from support.waiting import PerTurn, until

from service.errors import KeysUnavailable
from service.resources.types import AwsAccount
from service.signing import credentials, renewal
from service.signing.credentials import BorrowedKeys, session_name
from service.stores import pacing

KEYS = {"access_key_id": "AKIAIOSFODNN7EXAMPLE", "secret_access_key": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"}
ACCOUNT = AwsAccount(id="a", **KEYS, role_arn=ROLE, external_id="team/7", region="eu-west-1")
KEYLESS = AwsAccount(id="keyless")
CALLER = "Client/reports"


class Clock:
    def __init__(self):
        self.offset = 0

    def __call__(self):
        return time() + self.offset


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
async def make_keys(clock):
    """Makes borrowed keys, with a clock that the test moves."""
    made = []

    def make(*, ambient=False):
        made.append(BorrowedKeys(ambient=ambient, clock=clock))
        return made[-1]

    yield make
    for keys in made:
        await keys.close()


@pytest.fixture
def keys(make_keys, sts, clock):
    sts.clock = clock
    return make_keys()


@pytest.fixture
async def metadata():
    """The addresses at which clouds serve credentials, on loopback: a server, and what it has served."""
    served = []
    async with TestServer(metadata_application(served)) as server:
        yield server, served


async def test_an_account_gets_the_keys_of_its_role(keys, sts):
    lent = await keys.lend(ACCOUNT, CALLER)
    (asked,) = sts.requests

    assert (lent.access_key_id, lent.secret_access_key) == ("ASIA0000000000000001", "temporary-secret-1")
    assert (lent.session_token, lent.role_session) == ("temporary-token-1", "Client-reports")
    assert abs(lent.keys_end - time() - 3600) < 60
    assert not lent.borrows_keys
    assert (asked["RoleArn"], asked["RoleSessionName"], asked["ExternalId"]) == (ROLE, "Client-reports", "team/7")
    assert re.search(rf"Credential={ACCOUNT.access_key_id}/\d+/eu-west-1/sts/", asked["Authorization"])


async def test_a_role_without_external_id_sends_none(keys, sts):
    await keys.lend(replace(ACCOUNT, external_id=None), CALLER)

    assert "ExternalId" not in sts.requests[0]


async def test_waiters_share_one_request(keys, sts):
    lent = await asyncio.gather(*(keys.lend(ACCOUNT, CALLER) for _ in range(50)))

    assert {it.access_key_id for it in lent} == {"ASIA0000000000000001"}
    assert len(sts.requests) == 1


async def test_clients_of_many_callers_are_made_without_holding_the_event_loop(keys, sts, monkeypatch):
    made = PerTurn()
    connections_of_client = credentials._Connections.__call__

    def counted(connections, **options):
        made.count()
        return connections_of_client(connections, **options)

    await keys.lend(ACCOUNT, "first")
    monkeypatch.setattr(credentials._Connections, "__call__", counted)
    monkeypatch.setattr(pacing, "MAX_BLOCK_SECONDS", 0)
    await made.during(asyncio.gather(*(keys.lend(ACCOUNT, f"caller{number}") for number in range(5))))

    assert len(sts.requests) == 6
    assert made.most == 1


async def test_valid_keys_need_no_request_and_no_switch_of_tasks(keys, sts):
    await keys.lend(ACCOUNT, CALLER)
    lending = keys.lend(ACCOUNT, CALLER)

    with pytest.raises(StopIteration) as stopped:
        lending.send(None)
    assert stopped.value.value.access_key_id == "ASIA0000000000000001"
    assert len(sts.requests) == 1


async def test_each_caller_and_each_version_of_an_account_has_keys_of_its_own(keys, sts):
    for account, caller in [
        (ACCOUNT, CALLER),
        (ACCOUNT, "Client/others"),
        (replace(ACCOUNT, role_arn=f"{ROLE}-2"), CALLER),
        (replace(ACCOUNT, external_id="team/8"), CALLER),
        (replace(ACCOUNT, secret_access_key="another"), CALLER),
        (replace(ACCOUNT, max_size=1), CALLER),
    ]:
        await keys.lend(account, caller)

    # The size of uploads does not concern the keys.
    assert len(sts.requests) == 5


async def test_keys_are_renewed_before_they_end_and_nobody_waits(keys, sts, clock):
    await keys.lend(ACCOUNT, CALLER)
    clock.offset = 3600 - renewal.RENEW_SECONDS + 1
    during = await keys.lend(ACCOUNT, CALLER)

    assert during.access_key_id == "ASIA0000000000000001"
    await until(lambda: len(sts.requests) == 2)

    async def renewed():
        return (await keys.lend(ACCOUNT, CALLER)).access_key_id == "ASIA0000000000000002"

    await until(renewed)
    assert len(sts.requests) == 2


@pytest.mark.parametrize("url", ["sts.example.com:9000", '"http://sts.example.com"', "http://sts.example.com\r"])
async def test_an_endpoint_of_sts_that_is_no_url_is_a_503_that_names_the_variable(keys, no_aws, url):
    no_aws.setenv("AWS_ENDPOINT_URL_STS", url)

    with pytest.raises(KeysUnavailable, match="is no URL; write AWS_ENDPOINT_URL_STS as http://host:port") as raised:
        await keys.lend(ACCOUNT, CALLER)

    assert "sts.example.com" not in str(raised.value)


async def test_an_sts_that_hangs_delays_nobody_while_keys_are_valid(keys, sts, clock):
    await keys.lend(ACCOUNT, CALLER)
    sts.hanging, clock.offset = {ROLE}, 3600 - 60
    await keys.lend(ACCOUNT, CALLER)
    await until(lambda: len(sts.requests) == 2)
    lending = keys.lend(ACCOUNT, CALLER)

    with pytest.raises(StopIteration) as stopped:
        lending.send(None)
    assert stopped.value.value.access_key_id == "ASIA0000000000000001"


async def test_all_accounts_use_the_same_connections(keys, sts):
    for account, caller in [(ACCOUNT, CALLER), (ACCOUNT, "Client/others"), (replace(ACCOUNT, id="b"), CALLER)]:
        await keys.lend(account, caller)

    assert (len(sts.requests), len(sts.clients)) == (3, 1)


async def test_a_failed_renewal_uses_the_valid_keys_until_they_end(keys, sts, clock, caplog):
    await keys.lend(ACCOUNT, CALLER)
    sts.refusal = "AccessDenied"
    clock.offset = 3600 - 60
    during = await keys.lend(ACCOUNT, CALLER)
    await until(lambda: "still valid" in caplog.text)

    assert during.access_key_id == "ASIA0000000000000001"
    assert (await keys.lend(ACCOUNT, CALLER)).access_key_id == "ASIA0000000000000001"

    clock.offset = 3600 + 1
    with pytest.raises(KeysUnavailable):
        await keys.lend(ACCOUNT, CALLER)


async def test_a_refusal_names_the_account_and_its_code_and_is_not_repeated_at_once(keys, sts, clock, caplog):
    sts.refusal = "AccessDenied"
    for _ in range(3):
        with pytest.raises(KeysUnavailable, match=r"AwsAccount/a cannot sign .*\(AccessDenied\)") as raised:
            await keys.lend(ACCOUNT, CALLER)

        assert raised.value.headers["Retry-After"] == str(renewal.RETRY_SECONDS)
    assert len(sts.requests) == 1
    assert caplog.text.count("No new keys for the role") == 1
    assert ACCOUNT.secret_access_key not in caplog.text

    sts.refusal = None
    clock.offset = renewal.RETRY_SECONDS + 1
    assert (await keys.lend(ACCOUNT, CALLER)).access_key_id == "ASIA0000000000000002"


async def test_an_sts_that_is_down_is_a_503(keys, no_aws, unused_tcp_port):
    no_aws.setenv("AWS_ENDPOINT_URL_STS", f"http://127.0.0.1:{unused_tcp_port}")
    # aiobotocore tries four times, after pauses.
    no_aws.setenv("AWS_MAX_ATTEMPTS", "1")

    with pytest.raises(KeysUnavailable, match="EndpointConnectionError"):
        await keys.lend(ACCOUNT, CALLER)


async def test_an_sts_that_hangs_delays_a_caller_for_a_bounded_time_and_no_other_account(keys, sts, monkeypatch):
    sts.hanging = {ROLE}
    slow = asyncio.create_task(keys.lend(ACCOUNT, CALLER))
    await until(lambda: len(sts.requests) == 1)
    other = await keys.lend(replace(ACCOUNT, id="b", role_arn=f"{ROLE}-2"), CALLER)

    assert other.access_key_id == "ASIA0000000000000002"
    assert not slow.done()
    slow.cancel()

    monkeypatch.setattr(renewal, "TIMEOUT_SECONDS", 0.1)
    with pytest.raises(KeysUnavailable, match=r"within 0\.1 seconds"):
        await keys.lend(replace(ACCOUNT, id="c"), CALLER)


async def test_while_sts_hangs_later_callers_wait_for_a_short_time(keys, sts, clock, monkeypatch):
    sts.refusal = "AccessDenied"
    with pytest.raises(KeysUnavailable):
        await keys.lend(ACCOUNT, CALLER)
    monkeypatch.setattr(renewal, "RETRY_WAIT_SECONDS", 0.05)
    sts.hanging, clock.offset = {ROLE}, renewal.RETRY_SECONDS + 1
    with pytest.raises(KeysUnavailable, match="AccessDenied"):
        await keys.lend(ACCOUNT, CALLER)

    sts.refusal = None
    sts.closing.set()

    async def received():
        with suppress(KeysUnavailable):
            return (await keys.lend(ACCOUNT, CALLER)).access_key_id == "ASIA0000000000000002"

    await until(received)


async def test_a_caller_that_leaves_does_not_end_the_request_of_the_others(keys, sts):
    leaving = asyncio.create_task(keys.lend(ACCOUNT, CALLER))
    await asyncio.sleep(0)
    staying = asyncio.create_task(keys.lend(ACCOUNT, CALLER))
    await asyncio.sleep(0)
    leaving.cancel()

    assert (await staying).access_key_id == "ASIA0000000000000001"
    assert len(sts.requests) == 1


async def test_keys_that_have_ended_never_sign(keys, sts):
    sts.seconds = -1

    with pytest.raises(KeysUnavailable, match="have ended"):
        await keys.lend(ACCOUNT, CALLER)


async def test_keys_of_a_short_life_are_renewed_after_half_of_it(keys, sts, clock):
    sts.seconds = 600
    await keys.lend(ACCOUNT, CALLER)
    clock.offset = 290
    await keys.lend(ACCOUNT, CALLER)

    assert not [task for task in asyncio.all_tasks() if "Renewal._renew" in repr(task.get_coro())]

    clock.offset = 310
    await keys.lend(ACCOUNT, CALLER)
    await until(lambda: len(sts.requests) == 2)


async def test_the_keys_in_memory_are_bounded(make_keys, sts, monkeypatch):
    monkeypatch.setattr(credentials, "MAX_ROLE_SESSIONS", 2)
    keys = make_keys()
    for caller in ("1st", "2nd", "3rd", "3rd", "2nd", "1st"):
        await keys.lend(ACCOUNT, caller)

    assert len(sts.requests) == 4


@pytest.mark.parametrize("field", ["access_key_id", "secret_access_key"])
async def test_an_account_with_half_of_its_keys_borrows_none(make_keys, sts, field):
    account = replace(ACCOUNT, **{field: None})

    assert await make_keys(ambient=True).lend(account, CALLER) is account


@pytest.mark.parametrize("account", [KEYLESS, replace(KEYLESS, role_arn=ROLE)], ids=["no role", "role"])
async def test_the_environment_is_used_only_if_the_settings_allow_it(make_keys, sts, no_aws, account):
    no_aws.setenv("AWS_ACCESS_KEY_ID", "AKIAENVIRONMENT")
    no_aws.setenv("AWS_SECRET_ACCESS_KEY", "environment-secret")

    assert await make_keys(ambient=False).lend(account, CALLER) is account
    assert not (await make_keys(ambient=True).lend(account, CALLER)).borrows_keys


async def test_keys_of_variables_have_no_known_end(make_keys, no_aws):
    no_aws.setenv("AWS_ACCESS_KEY_ID", "AKIAENVIRONMENT")
    no_aws.setenv("AWS_SECRET_ACCESS_KEY", "environment-secret")
    lent = await make_keys(ambient=True).lend(KEYLESS, CALLER)

    assert (lent.access_key_id, lent.secret_access_key) == ("AKIAENVIRONMENT", "environment-secret")
    assert (lent.session_token, lent.keys_end, lent.role_session) == (None, None, None)


@pytest.mark.parametrize("with_role", [False, True])
@pytest.mark.parametrize(
    ("variable", "pasted", "named"),
    [
        ("AWS_ACCESS_KEY_ID", "AKIA ENVIRONMENT", "access key id .*U+0020 SPACE"),
        ("AWS_SECRET_ACCESS_KEY", "environment-secret\n", "secret access key .*U+000A LINE FEED"),
        ("AWS_SECRET_ACCESS_KEY", " environment-secret", "secret access key .*U+0020 SPACE"),
        ("AWS_SECRET_ACCESS_KEY", "environment\u200b-secret", "secret access key .*U+200B ZERO WIDTH SPACE"),
        ("AWS_SESSION_TOKEN", "FwoGZXIvYXdzE\u00a0", "session token .*U+00A0 NO-BREAK SPACE"),
        ("AWS_ACCESS_KEY_ID", "AKIA\udcff", "access key id .* not UTF-8"),
        ("AWS_SECRET_ACCESS_KEY", "\udc80secret", "secret access key .* not UTF-8"),
        ("AWS_SESSION_TOKEN", "FwoG\udcffZXIvYXdzE", "session token .* not UTF-8"),
    ],
)
async def test_keys_of_variables_with_a_pasted_character_are_a_503_that_names_it(
    make_keys, sts, no_aws, variable, pasted, named, with_role
):
    no_aws.setenv("AWS_ACCESS_KEY_ID", "AKIAENVIRONMENT")
    no_aws.setenv("AWS_SECRET_ACCESS_KEY", "environment-secret")
    no_aws.setenv(variable, pasted)
    account = replace(KEYLESS, role_arn=ROLE) if with_role else KEYLESS

    with pytest.raises(KeysUnavailable, match=named.replace("+", "[+]")) as raised:
        await make_keys(ambient=True).lend(account, CALLER)

    assert pasted.strip() not in str(raised.value)
    assert not sts.requests


@pytest.mark.parametrize(
    ("variable", "text", "reason"),
    [
        ("AWS_ACCESS_KEY_ID", '"AKIAENVIRONMENT"', "the access key id in the environment of the service is "),
        (
            "AWS_SECRET_ACCESS_KEY",
            "'environment-secret'",
            "the secret access key in the environment of the service is ",
        ),
        ("AWS_SESSION_TOKEN", '""', "the session token in the environment of the service is "),
        ("AWS_SECRET_ACCESS_KEY", "$(SECRET_KEY)", "the secret access key in the environment of the service is "),
        *(
            ("AWS_ACCESS_KEY_ID", text, "the access key id in the environment of the service must be ")
            for text in ("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "AKIA,ENVIRONMENT", "AKI\u00c4ENVIRONMENT")
        ),
        (
            "AWS_SECRET_ACCESS_KEY",
            "AKIAIOSFODNN7EXAMPLE",
            "the secret access key in the environment of the service must be ",
        ),
        ("AWS_ACCESS_KEY_ID", "ASIAIOSFODNN7EXAMPLE", "the session token in the environment of the service must be "),
    ],
)
async def test_keys_of_variables_that_no_account_may_have_are_a_503_that_names_them(
    make_keys, no_aws, variable, text, reason
):
    no_aws.setenv("AWS_ACCESS_KEY_ID", "AKIAENVIRONMENT")
    no_aws.setenv("AWS_SECRET_ACCESS_KEY", "environment-secret")
    no_aws.setenv(variable, text)

    with pytest.raises(KeysUnavailable, match=reason) as raised:
        await make_keys(ambient=True).lend(KEYLESS, CALLER)

    assert text not in str(raised.value)


async def test_variables_with_a_secret_in_place_of_the_session_token_are_a_503(make_keys, no_aws):
    secret = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
    no_aws.setenv("AWS_ACCESS_KEY_ID", "ASIAIOSFODNN7EXAMPLE")
    no_aws.setenv("AWS_SECRET_ACCESS_KEY", "FwoGZXIvYXdzE" * 20)
    no_aws.setenv("AWS_SESSION_TOKEN", secret)

    with pytest.raises(KeysUnavailable, match="the session token in the environment of the service must be") as raised:
        await make_keys(ambient=True).lend(KEYLESS, CALLER)

    assert secret not in str(raised.value)


async def test_a_secret_of_variables_may_have_spaces_inside(make_keys, no_aws):
    no_aws.setenv("AWS_ACCESS_KEY_ID", "minio")
    no_aws.setenv("AWS_SECRET_ACCESS_KEY", "a pass phrase")

    assert (await make_keys(ambient=True).lend(KEYLESS, CALLER)).secret_access_key == "a pass phrase"


async def test_keys_of_a_shared_file_are_read_again(make_keys, no_aws, tmp_path, clock):
    path = tmp_path / "credentials"
    path.write_text("[default]\naws_access_key_id = AKIAFILE1\naws_secret_access_key = x\n")
    no_aws.setenv("AWS_SHARED_CREDENTIALS_FILE", str(path))
    keys = make_keys(ambient=True)

    assert (await keys.lend(KEYLESS, CALLER)).access_key_id == "AKIAFILE1"

    path.write_text("[default]\naws_access_key_id = AKIAFILE2\naws_secret_access_key = x\n")
    clock.offset = renewal.RELOAD_SECONDS + 1

    async def changed():
        return (await keys.lend(KEYLESS, CALLER)).access_key_id == "AKIAFILE2"

    await until(changed)


async def test_keys_of_a_shared_file_end_when_they_are_removed(make_keys, no_aws, tmp_path, clock):
    path = tmp_path / "credentials"
    path.write_text("[default]\naws_access_key_id = AKIAFILE1\naws_secret_access_key = x\n")
    no_aws.setenv("AWS_SHARED_CREDENTIALS_FILE", str(path))
    no_aws.setenv("AWS_EC2_METADATA_DISABLED", "true")
    keys = make_keys(ambient=True)
    await keys.lend(KEYLESS, CALLER)
    path.write_text("")
    clock.offset = renewal.RELOAD_SECONDS + 1

    async def refused():
        try:
            await keys.lend(KEYLESS, CALLER)
        except KeysUnavailable as error:
            return "has no credentials" in str(error)

    await until(refused)


async def test_keys_of_a_container(make_keys, no_aws, metadata, tmp_path):
    server, served = metadata
    token = tmp_path / "token"
    token.write_text("container-token")
    # As the agent of EKS Pod Identity sets them.
    no_aws.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", str(server.make_url("/container")))
    no_aws.setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", str(token))
    keys = make_keys(ambient=True)
    lent = await asyncio.gather(*(keys.lend(replace(KEYLESS, id=f"{number}"), CALLER) for number in range(20)))

    assert {(it.access_key_id, it.session_token) for it in lent} == {("ASIAcontainer", "container-token")}
    assert abs(lent[0].keys_end - time() - 3600) < 60
    assert served == ["container"]


async def test_keys_of_an_instance(make_keys, no_aws, metadata):
    server, served = metadata
    no_aws.delenv("AWS_EC2_METADATA_DISABLED")
    no_aws.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", str(server.make_url("/")))
    lent = await make_keys(ambient=True).lend(KEYLESS, CALLER)

    assert (lent.access_key_id, lent.session_token) == ("ASIAinstance", "instance-token")
    assert abs(lent.keys_end - time() - 3600) < 60
    assert served == ["instance"]


async def test_a_role_is_assumed_with_the_keys_of_the_environment(make_keys, sts, no_aws):
    no_aws.setenv("AWS_ACCESS_KEY_ID", "AKIAENVIRONMENT")
    no_aws.setenv("AWS_SECRET_ACCESS_KEY", "environment-secret")
    lent = await make_keys(ambient=True).lend(replace(KEYLESS, role_arn=ROLE), CALLER)

    assert lent.access_key_id == "ASIA0000000000000001"
    assert "Credential=AKIAENVIRONMENT/" in sts.requests[0]["Authorization"]


@pytest.mark.parametrize("account", [KEYLESS, replace(KEYLESS, role_arn=ROLE)], ids=["no role", "role"])
async def test_an_environment_without_credentials_is_a_503(make_keys, sts, no_aws, account):
    with pytest.raises(KeysUnavailable, match=r"AwsAccount/keyless cannot sign .* environment of the service"):
        await make_keys(ambient=True).lend(account, CALLER)


async def test_a_profile_that_does_not_exist_is_a_503(make_keys, no_aws):
    no_aws.setenv("AWS_PROFILE", "nope")

    with pytest.raises(KeysUnavailable, match="ProfileNotFound"):
        await make_keys(ambient=True).lend(KEYLESS, CALLER)


@pytest.mark.parametrize("blank", ["", " "])
@pytest.mark.parametrize(
    "variable",
    [
        "AWS_PROFILE",
        "AWS_MAX_ATTEMPTS",
        "AWS_CA_BUNDLE",
        "AWS_RETRY_MODE",
        "AWS_METADATA_SERVICE_NUM_ATTEMPTS",
        "HTTP_PROXY",
    ],
)
async def test_a_variable_that_is_set_to_nothing_counts_as_not_set(make_keys, sts, no_aws, variable, blank):
    no_aws.setenv("AWS_ACCESS_KEY_ID", "AKIAENVIRONMENT")
    no_aws.setenv("AWS_SECRET_ACCESS_KEY", "environment-secret")
    no_aws.setenv(variable, blank)
    lent = await make_keys(ambient=True).lend(replace(KEYLESS, role_arn=ROLE), CALLER)

    assert lent.access_key_id == "ASIA0000000000000001"


async def test_a_blank_proxy_in_lower_case_still_takes_the_place_of_one_in_capitals(make_keys, sts, no_aws):
    no_aws.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    no_aws.setenv("http_proxy", " ")

    assert (await make_keys().lend(ACCOUNT, CALLER)).access_key_id == "ASIA0000000000000001"


@given(st.text(max_size=200), st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", fullmatch=True))
def test_a_session_name_is_one_that_sts_accepts(caller, account_id):
    assert re.fullmatch(r"[A-Za-z0-9_+=,.@-]{2,64}", session_name(caller, account_id))
    assert re.fullmatch(r"[A-Za-z0-9_+=,.@-]{2,64}", session_name("anonymous", account_id))


def test_a_session_name_shows_the_caller_or_the_account_of_anonymous_callers():
    assert session_name("Client/reports", "a") == "Client-reports"
    assert session_name("jwt:system:serviceaccount:team:app", "a") == "jwt-system-serviceaccount-team-app"
    assert session_name("anonymous", "my-account") == "my-account"
    assert session_name("anonymous", "a") == "s3-signer-a"


def test_long_callers_that_begin_alike_have_different_session_names():
    names = {session_name(f"jwt:{'x' * 100}{number}", "a") for number in range(10)}

    assert len(names) == 10
