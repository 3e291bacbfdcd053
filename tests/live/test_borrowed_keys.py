"""Real uploads with URLs of borrowed keys: a real STS gives them, and a real S3 server verifies them."""

import json
from base64 import urlsafe_b64encode

import pytest
from live.forms import post_form
from live.raw_http import send
from live.signer import Signer, Storage
from support.service import running

pytestmark = pytest.mark.timeout(300)  # the first test may install the server

CONTENT = b"hello"
ISSUER = "https://issuer.example.com"
ALL = {"Effect": "Allow", "Action": "s3:*", "Resource": "*"}
READ = {**ALL, "Action": "s3:GetObject"}


@pytest.fixture(scope="module")
def make_role(ministack):
    """Makes a role that the server's own user may assume with the external id `team`, and returns its ARN."""
    iam = ministack.client("iam")

    def make(name, rights, *, action="sts:AssumeRole", condition=None, principal=None):
        trust = {"Effect": "Allow", "Principal": principal or {"AWS": "*"}, "Action": action}
        if condition:
            trust["Condition"] = condition
        document = json.dumps({"Version": "2012-10-17", "Statement": [trust]})
        role = iam.create_role(RoleName=name, AssumeRolePolicyDocument=document)["Role"]
        policy = json.dumps({"Version": "2012-10-17", "Statement": [rights]})
        iam.put_role_policy(RoleName=name, PolicyName="rights", PolicyDocument=policy)
        return role["Arn"]

    return make


@pytest.fixture(scope="module")
def role(make_role):
    return make_role("uploads", ALL, condition={"StringEquals": {"sts:ExternalId": "team"}})


@pytest.fixture(scope="module")
def aws(ministack, tmp_path_factory):
    """The variables of a service whose STS is the server's, and that has no credentials of its own."""
    nothing = str(tmp_path_factory.mktemp("aws") / "none")
    return {
        "AWS_ENDPOINT_URL_STS": f"http://{ministack.http}",
        "AWS_REGION": ministack.region,
        "AWS_CONFIG_FILE": nothing,
        "AWS_SHARED_CREDENTIALS_FILE": nothing,
        "AWS_EC2_METADATA_DISABLED": "true",
    }


@pytest.fixture(scope="module")
def with_roles(aws):
    with running(SIGNER_LIVE_CHECK="true", **aws) as process:
        yield process


@pytest.fixture(scope="module")
def bucket(ministack):
    return ministack.make_bucket("borrowed-keys")


def storage(process, ministack, bucket, **changes):
    """Return the storage of an account with these fields; None removes a field of the server's own account."""
    fields = ministack.account("borrowed") | {name.replace("_", "-"): value for name, value in changes.items()}
    account = {name: value for name, value in fields.items() if value is not None}
    signer = Signer(process.url)
    return Storage(signer, ministack, signer.put_account(account), bucket)


def check(process, bucket):
    body = json.dumps({"bucket": bucket, "live": True}).encode()
    url = f"{process.url}/AwsAccount/borrowed/$check"
    answer = send(url, "POST", body, {"Content-Type": "application/json"}).json()
    return {it["name"]: it for it in answer["checks"]}["credentials"]


def test_files_are_uploaded_and_read_with_the_keys_of_a_role(with_roles, ministack, bucket, role):
    files = storage(with_roles, ministack, bucket, role_arn=role, external_id="team")
    form = files.details("POST", "/$upload-form", {"filename": "form"})

    assert "X-Amz-Security-Token=" in files.download_url("file")
    assert ministack.access_key_id not in files.download_url("file")
    assert files.upload("file", CONTENT).status == 200
    assert files.download("file").body == CONTENT
    assert post_form(ministack, form, CONTENT).status in {200, 201, 204}
    assert files.download("form").body == CONTENT
    assert files.delete("file").status == 204
    assert check(with_roles, bucket)["status"] == "pass"


def test_a_url_has_the_rights_of_the_role_and_not_those_of_the_account(with_roles, ministack, bucket, make_role):
    files = storage(with_roles, ministack, bucket, role_arn=make_role("reader", READ))

    assert files.upload("denied", CONTENT).status == 403


@pytest.mark.parametrize("external_id", [None, "others"])
def test_a_role_that_cannot_be_assumed_is_a_503_and_a_failed_check(with_roles, ministack, bucket, role, external_id):
    files = storage(with_roles, ministack, bucket, role_arn=role, external_id=external_id)
    answer = send(f"{with_roles.url}/aws/storage/{files.account}/{bucket}/file", "GET")
    found = check(with_roles, bucket)

    assert answer.status == 503
    assert "AccessDenied" in answer.body.decode()
    assert (found["status"], "AccessDenied" in found["output"]) == ("fail", True)
    with_roles.wait_for("No new keys for the role")


def test_files_are_uploaded_with_a_web_identity_token(ministack, bucket, make_role, aws, tmp_path):
    host = ISSUER.removeprefix("https://")
    role = make_role(
        "web",
        ALL,
        action="sts:AssumeRoleWithWebIdentity",
        principal={"Federated": f"arn:aws:iam::000000000000:oidc-provider/{host}"},
        condition={"StringEquals": {f"{host}:sub": "system:serviceaccount:default:s3-signer"}},
    )
    claims = {"iss": ISSUER, "sub": "system:serviceaccount:default:s3-signer", "aud": "sts.amazonaws.com"}
    parts = [urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in ({"alg": "RS256"}, claims)]
    token = tmp_path / "token"
    token.write_text(".".join([*parts, "signature"]))
    # As the webhook of EKS sets them for IRSA.
    irsa = {"AWS_ROLE_ARN": role, "AWS_WEB_IDENTITY_TOKEN_FILE": str(token)}
    with running(SIGNER_AMBIENT_CREDENTIALS="true", **aws, **irsa) as process:
        files = storage(process, ministack, bucket, access_key_id=None, secret_access_key=None)
        details = files.details("POST", "", {"filename": "web"})

        assert files.upload("web", CONTENT).status == 200
        assert files.download("web").body == CONTENT
        assert details["warnings"]


def test_files_are_uploaded_with_a_role_that_the_keys_of_the_environment_assume(ministack, bucket, role, aws):
    own = {"AWS_ACCESS_KEY_ID": ministack.access_key_id, "AWS_SECRET_ACCESS_KEY": ministack.secret_access_key}
    with running(SIGNER_AMBIENT_CREDENTIALS="true", **aws, **own) as process:
        fields = {"access_key_id": None, "secret_access_key": None, "role_arn": role, "external_id": "team"}
        files = storage(process, ministack, bucket, **fields)

        assert files.upload("ambient", CONTENT).status == 200
        assert files.download("ambient").body == CONTENT
