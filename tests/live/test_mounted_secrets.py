"""A service without Redis follows its mounted secrets: the accounts of a bundle, the root secret and the keys."""

import base64
import os

import pytest
from live.raw_http import send
from support.bundles import SECRET, account, client, policy, text
from support.logins import basic
from support.service import running
from support.volumes import Volume
from support.waiting import eventually

pytestmark = pytest.mark.heavy  # it starts many processes

FIRST, SECOND = "the first root secret", "the second root secret"


def key(id_):
    return f"{id_}: {base64.b64encode(os.urandom(32)).decode()}\n"


@pytest.fixture
def volume(tmp_path):
    (tmp_path / "volume").mkdir()
    return Volume(
        tmp_path / "volume",
        **{
            "bundle.json": text(
                account("a", **{"access-key-id": {"$file": "id"}, "secret-access-key": {"$file": "key"}}),
                client("b"),
                policy("c", "b"),
            ),
            "id": "AKIAFIRST\n",
            "key": "the first secret key of the account\n",
            "root": FIRST,
            "keys": key("k1"),
        },
    )


@pytest.fixture
def process(volume):
    with running(
        SIGNER_INIT_BUNDLE=str(volume / "bundle.json"),
        SIGNER_ROOT_CLIENT_ID="root",
        SIGNER_ROOT_CLIENT_SECRET_FILE=str(volume / "root"),
        SIGNER_ENCRYPTION_KEYS_FILE=str(volume / "keys"),
    ) as process:
        yield process


def files(volume, **changes):
    """Return the files of the volume with changes."""
    names = ("bundle.json", "id", "key", "root", "keys")
    return {name: (volume / name).read_text() for name in names} | changes


def ask(process, path, authorization, method="GET", body=None):
    headers = {"Authorization": authorization, "Content-Type": "application/json"}
    return send(process.url + path, method, body, headers)


def signed(process):
    return ask(process, "/aws/storage/a/bucket/key", basic("b", SECRET)).json()["url"]


def test_an_aws_key_is_rotated_by_a_new_secret_of_the_volume(process, volume):
    before = signed(process)
    volume.update(files(volume, id="AKIASECOND\n", key="the second secret key of the account\n"))
    process.wait_for("SIGNER_INIT_BUNDLE has new contents, which are in use now")
    after = signed(process)

    assert "X-Amz-Credential=AKIAFIRST%2F" in before
    assert "X-Amz-Credential=AKIASECOND%2F" in after
    log = "\n".join(process.messages)
    assert not [secret for secret in ("secret key of the account", SECRET, FIRST) if secret in log]


def test_a_new_root_secret_ends_the_logins_and_tokens_of_the_old_one(process, volume):
    def statuses(*authorizations):
        return [ask(process, "/Client", authorization).status for authorization in authorizations]

    issued = ask(process, "/auth/token", basic("root", FIRST), "POST", b'{"grant_type": "client_credentials"}').json()
    old, token = basic("root", FIRST), f"Bearer {issued['access_token']}"
    before = statuses(old, token)
    volume.update(files(volume, root=SECOND))
    process.wait_for("SIGNER_ROOT_CLIENT_SECRET_FILE has new contents, which are in use now")

    assert before == [200, 200]
    assert statuses(old, token, basic("root", SECOND)) == [401, 401, 200]


@pytest.mark.parametrize("root", ["", "short"])
def test_an_invalid_root_secret_keeps_the_one_before(process, volume, root):
    volume.update(files(volume, root=root))
    process.wait_for("SIGNER_ROOT_CLIENT_SECRET_FILE has new contents that cannot be used; what was in use stays")

    assert ask(process, "/Client", basic("root", FIRST)).status == 200
    assert "SIGNER_ROOT_CLIENT_SECRET_FILE" in ask(process, "/health", "").json()["checks"]["files"]["output"]


def test_keys_that_stored_secrets_need_stay_in_use(process, volume):
    old, new = (volume / "keys").read_text(), key("k2")
    volume.update(files(volume, keys=new))
    process.wait_for("SIGNER_ENCRYPTION_KEYS_FILE has new contents that cannot be used; trying again: it lacks")
    while_refused = signed(process)
    volume.update(files(volume, keys=new + old))
    process.wait_for("SIGNER_ENCRYPTION_KEYS_FILE has new contents, which are in use now")

    assert "X-Amz-Signature" in while_refused
    assert "X-Amz-Signature" in signed(process)
    assert eventually(lambda: ask(process, "/health", "").json()["status"] == "pass")
