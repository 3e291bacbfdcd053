"""FHIR clients with the base ``/fhir`` find a CapabilityStatement, and all routes of accounts and signing."""

import pytest
from support.accounts import KEYS

ROOT = {"SIGNER_ROOT_CLIENT_ID": "root", "SIGNER_ROOT_CLIENT_SECRET": "a root secret, long enough"}


@pytest.mark.parametrize("path", ["/metadata", "/fhir/metadata", "/fhir/metadata?mode=full"])
async def test_the_capability_statement_needs_no_credentials(make_client, path):
    client = await make_client(**ROOT)
    response = await client.get(path, headers={"Accept": "application/fhir+json"})
    statement = await response.json(content_type="application/fhir+json")
    (rest,) = statement["rest"]

    assert (response.status, statement["resourceType"], statement["fhirVersion"]) == (
        200,
        "CapabilityStatement",
        "4.0.1",
    )
    assert [resource["type"] for resource in rest["resource"]] == ["AwsAccount", "Client", "AccessPolicy"]


async def test_urls_are_signed_under_the_fhir_prefix(client):
    await client.put("/fhir/AwsAccount/a", json=KEYS)
    storage = "/fhir/aws/storage/a/bucket"
    up = await client.post(storage, json={"filename": "k"})
    down = await client.get(f"{storage}/some%2Fkey")
    many = await client.post(f"{storage}/$sign", json={"items": [{"filename": "k"}]})
    form = await client.post(f"{storage}/$upload-form", json={"filename": "k"})

    assert [answer.status for answer in (up, down, many, form)] == [200] * 4
    assert (await down.json())["url"].startswith("http://bucket.s3.amazonaws.com/some/key?")
