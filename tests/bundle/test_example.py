"""The examples are applied as they are, and a URL is signed with each."""

import json
import shutil

import yaml
from documents import ROOT
from plugins.redis_server import free_port
from support.logins import basic
from support.service import running

SECRET = "a secret of the app"
SIDECAR = ROOT / "deploy/kubernetes/sidecar"


def write_keys(directory):
    (directory / "access-key-id").write_text("AKIAIOSFODNN7EXAMPLE\n")
    (directory / "secret-access-key").write_text("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY\n")


async def test_the_documented_bundle_signs_an_upload(make_client, tmp_path, monkeypatch):
    shutil.copy(ROOT / "docs" / "examples" / "bundle.yaml", tmp_path)
    write_keys(tmp_path)
    monkeypatch.setenv("APP_SECRET", SECRET)
    client = await make_client(
        SIGNER_INIT_BUNDLE=str(tmp_path / "bundle.yaml"),
        SIGNER_ROOT_CLIENT_ID="root",
        SIGNER_ROOT_CLIENT_SECRET="a root secret, long enough",
    )
    headers = {"Authorization": basic("app", SECRET)}
    allowed = await client.post("/aws/storage/documents/incoming", json={"filename": "a.pdf"}, headers=headers)
    denied = await client.get("/aws/storage/documents/incoming/a.pdf", headers=headers)

    url = (await allowed.json())["url"]
    assert url.startswith("https://incoming.s3.eu-central-1.amazonaws.com/a.pdf?")
    assert "X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F" in url
    assert denied.status == 403


def test_the_bundle_of_the_sidecar_works_with_the_settings_of_its_manifest(tmp_path):
    manifest = yaml.safe_load((SIDECAR / "sidecar.yaml").read_text())
    (sidecar,) = manifest["spec"]["template"]["spec"]["initContainers"]
    settings = {entry["name"]: entry["value"] for entry in sidecar["env"]}
    for mount in sidecar["volumeMounts"]:
        directory = tmp_path / mount["name"]
        directory.mkdir()
        settings = {name: text.replace(mount["mountPath"], str(directory)) for name, text in settings.items()}
    shutil.copy(SIDECAR / "bundle.yaml", settings["SIGNER_INIT_BUNDLE"])
    write_keys(directory)
    # The image's own host, and here a free port.
    settings |= {"SIGNER_HOST": "0.0.0.0", "SIGNER_OPS_HOST": "127.0.0.1", "SIGNER_OPS_PORT": str(free_port())}  # noqa: S104

    with running(**settings) as service:
        answer = service.exchange(
            b"GET /aws/storage/my-account/my-bucket/example.txt HTTP/1.1\r\nHost: localhost\r\n"
            b"Accept: application/json\r\nConnection: close\r\n\r\n"
        )

    assert service.url == f"unix:{settings['SIGNER_SOCKET']}"
    url = json.loads(answer.partition(b"\r\n\r\n")[2])["url"]
    assert url.startswith("https://my-bucket.s3.amazonaws.com/example.txt?")
