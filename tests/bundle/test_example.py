"""The example of the documentation is applied as it is, and a URL is signed with it."""

import shutil

from documents import ROOT
from support.logins import basic

SECRET = "a secret of the app"


async def test_the_documented_bundle_signs_an_upload(make_client, tmp_path, monkeypatch):
    shutil.copy(ROOT / "docs" / "examples" / "bundle.yaml", tmp_path)
    (tmp_path / "access-key-id").write_text("AKIAIOSFODNN7EXAMPLE\n")
    (tmp_path / "secret-access-key").write_text("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY\n")
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
