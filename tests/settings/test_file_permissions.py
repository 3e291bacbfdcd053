import pytest
from processes import ServiceProcess

from service.settings.environment import secret_files, trusted_files
from service.settings.file_permissions import in_container, warnings


@pytest.fixture
def secret(tmp_path):
    """A file in a directory that every user may enter."""
    for directory in (tmp_path, *tmp_path.parents):
        if directory.stat().st_mode & 0o001:
            break
        directory.chmod(directory.stat().st_mode | 0o001)
    path = tmp_path / "secret"
    path.write_text("hush")
    return path


@pytest.mark.parametrize(
    ("mode", "verb"),
    [(0o600, None), (0o400, None), (0o640, None), (0o660, None), (0o644, "read"), (0o604, "read"), (0o602, "change")],
)
def test_a_file_that_others_can_read_or_change_is_a_warning(secret, mode, verb):
    secret.chmod(mode)
    found = warnings([("SIGNER_TLS_KEY", str(secret))])

    expected = f"SIGNER_TLS_KEY names a file that other users of this machine can {verb}"
    assert [text.partition(";")[0] for text in found] == ([expected] if verb else [])


def test_a_link_has_the_permissions_of_its_target(secret, tmp_path):
    secret.chmod(0o644)
    (tmp_path / "link").symlink_to(secret)

    assert warnings([("X", str(tmp_path / "link"))])


def test_a_file_in_a_private_directory_is_no_warning(tmp_path):
    (tmp_path / "private").mkdir(mode=0o700)
    path = tmp_path / "private" / "secret"
    path.touch(mode=0o644)

    assert not warnings([("X", str(path))])


@pytest.mark.parametrize(
    ("mode", "verb"), [(0o711, "read"), (0o731, "read"), (0o713, "change"), (0o1777, "read"), (0o777, "change")]
)
def test_a_file_that_others_can_replace_counts_as_one_that_they_can_change(secret, tmp_path, mode, verb):
    (tmp_path / "etc").mkdir()
    path = secret.rename(tmp_path / "etc" / "secret")
    path.chmod(0o644)
    (tmp_path / "etc").chmod(mode)

    assert [f"machine can {verb};" in text for text in warnings([("X", str(path))])] == [True]


@pytest.mark.parametrize(("mode", "warned"), [(0o644, False), (0o646, True), (0o642, True)])
def test_a_key_set_that_others_can_change_is_a_warning(secret, mode, warned):
    secret.chmod(mode)
    files = trusted_files({"SIGNER_JWT_JWKS": str(secret)})

    assert [text.partition(" names")[0] for text in warnings([], files)] == ["SIGNER_JWT_JWKS"] * warned


def test_a_key_set_at_a_url_is_not_checked():
    assert not trusted_files({"SIGNER_JWT_JWKS": "https://issuer.example/keys"})
    assert not trusted_files({})


@pytest.mark.parametrize("name", ["absent", ".", "a\0b"])
def test_a_path_that_is_no_file_is_no_warning(tmp_path, name):
    assert not warnings([("X", f"{tmp_path}/{name}")])


def test_warnings_do_not_contain_the_path(secret):
    secret.chmod(0o644)

    assert str(secret) not in str(warnings([("X", str(secret))]))


@pytest.mark.parametrize("mark", [".dockerenv", "run/.containerenv"])
def test_a_container_is_recognised_by_its_file(tmp_path, mark):
    before = in_container({}, tmp_path)
    (tmp_path / mark).parent.mkdir(exist_ok=True)
    (tmp_path / mark).touch()

    assert (before, in_container({}, tmp_path)) == (False, True)


@pytest.mark.parametrize("variable", ["container", "KUBERNETES_SERVICE_HOST"])
def test_a_container_is_recognised_by_its_variables(tmp_path, variable):
    assert in_container({variable: "x"}, tmp_path)
    assert not in_container({variable: ""}, tmp_path)


def test_every_setting_that_names_a_file_with_a_secret_is_checked():
    environ = {
        "SIGNER_ROOT_CLIENT_SECRET_FILE": "/a",
        "SIGNER_STORE_URL_FILE": "/b",
        "SIGNER_ENCRYPTION_KEYS_FILE": "/c",
        "SIGNER_TLS_KEY": "/d",
        "SIGNER_INIT_BUNDLE": "/e",
        "SIGNER_TLS_CERT": "/f",
        "SIGNER_JWT_JWKS": "/g",
    }

    assert [path for _, path in secret_files(environ)] == ["/a", "/b", "/c", "/d", "/e"]
    assert secret_files({"SIGNER_TLS_KEY": " "}) == []


def test_the_start_logs_the_warnings(secret):
    secret.write_text("a root secret, long enough")
    secret.chmod(0o644)
    code = """
from service import __main__
from service.settings import file_permissions
file_permissions.in_container = lambda _: False
__main__.main()
"""
    keys = secret.with_name("keys")
    keys.write_text('{"keys": []}')
    keys.chmod(0o646)
    environ = {
        "SIGNER_ROOT_CLIENT_ID": "root",
        "SIGNER_ROOT_CLIENT_SECRET_FILE": str(secret),
        "SIGNER_JWT_ISSUER": "issuer",
        "SIGNER_JWT_AUDIENCE": "signer",
        "SIGNER_JWT_JWKS": str(keys),
    }
    process = ServiceProcess(code=code, **environ)
    process.stop()

    for name in ("ROOT_CLIENT_SECRET_FILE", "JWT_JWKS"):
        assert any(f"SIGNER_{name} names a file" in message for message in process.messages)
