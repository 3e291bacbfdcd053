"""Each example of a page is run by a test, or listed here with the reason why not."""

import json
import subprocess

import pytest
import yaml
from documents import ROOT, blocks

PAGES = [str(page.relative_to(ROOT)) for page in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]]

# The test that runs the examples of a page. A block in "text" is an answer or a drawing.
RUN_BY = {
    "README.md": "live/test_readme.py",
    "docs/api.md": "test_documents.py",
    "docs/deployment/backup.md": "live/test_backup.py",
    "docs/deployment/gateway.md": "live/test_gateway.py",
    "docs/deployment/kubernetes.md": "deploy/test_kubernetes.py",
    "docs/deployment/rotation.md": "test_documents.py",
    "docs/deployment/telemetry.md": "monitoring/test_monitoring.py",
    "docs/embedding.md": "test_documents.py",
    "docs/how-to/aws.md": "test_documents.py",
    "docs/how-to/ceph.md": "test_documents.py",
    "docs/how-to/cloudflare-r2.md": "test_documents.py",
    "docs/how-to/debug-signature-does-not-match.md": "live/test_commands.py",
    "docs/how-to/first-requests.md": "test_documents.py",
    "docs/how-to/garage.md": "test_documents.py",
    "docs/how-to/give-a-partner-access.md": "test_documents.py",
    "docs/how-to/large-uploads.md": "live/test_large_uploads.py",
    "docs/how-to/minio.md": "test_documents.py",
    "docs/how-to/require-credentials.md": "test_documents.py",
    "docs/how-to/upload-from-a-browser.md": "live/test_upload_from_a_browser.py",
    "docs/how-to/use-it-from.md": "live/test_use_it_from.py",
    "docs/redis.md": "stores/test_rights.py",
    "docs/security/access.md": "web/test_access_recipes.py",
    "docs/security/audit.md": "telemetry/test_audit.py",
    "docs/tutorial.md": "live/test_tutorial.py",
}

NO_CLUSTER = "no test has a cluster; the manifests and the chart are rendered and validated"
NO_ENGINE = "no test has a container engine; the image is built, started and checked by other means"
NO_SERVER = "was run by hand on the day that the page names"
# By page and the beginning of the block.
NOT_RUN = {
    ("CONTRIBUTING.md", "make check"): "runs tests itself",
    ("README.md", "make run"): "serves until somebody ends it; CI installs by the same rules",
    ("docs/api.md", "_secret-access-key:"): "a part of an answer, which other examples show",
    ("docs/deployment/compose.md", "export ROOT_CLIENT_SECRET"): NO_ENGINE,
    ("docs/deployment/compose.md", "docker compose"): NO_ENGINE,
    ("docs/deployment/container.md", "docker build"): NO_ENGINE,
    ("docs/deployment/container.md", "docker run"): NO_ENGINE,
    ("docs/deployment/gateway.md", "apt-get install"): "installs programs",
    ("docs/deployment/gateway.md", "python3 -m venv"): "installs the service; test_release.py does the same",
    ("docs/deployment/kubernetes.md", "kubectl create secret generic s3-signer"): NO_CLUSTER,
    ("docs/deployment/kubernetes.md", "kubectl apply"): NO_CLUSTER,
    ("docs/deployment/kubernetes.md", "curl --unix-socket"): NO_CLUSTER,
    ("docs/deployment/rotation.md", "kubectl exec"): NO_CLUSTER,
    (
        "docs/deployment/rotation.md",
        "SIGNER_STORE_URL_FILE=",
    ): "needs an installation by systemd; test_rekey.py runs rekey",
    ("docs/deployment/sidecar.md", "containers:"): "a part of a Deployment; that of deploy/kubernetes is validated",
    ("docs/deployment/systemd.md", "python3 -m venv"): "installs into the machine; systemd-analyze checks the units",
    ("docs/deployment/systemd.md", "umask 077"): "installs into the machine; systemd-analyze checks the units",
    ("docs/deployment/systemd.md", "install --mode"): "installs into the machine; systemd-analyze checks the units",
    ("docs/deployment/telemetry.md", "pip install"): "installs packages",
    ("docs/how-to/aws.md", "aws s3api"): "needs an account at AWS",
    ("docs/how-to/aws.md", "{"): "needs an account at AWS",
    ("docs/how-to/ceph.md", "radosgw-admin"): NO_SERVER,
    ("docs/how-to/garage.md", "garage bucket"): NO_SERVER,
    ("docs/how-to/minio.md", "{"): NO_SERVER,
    ("docs/how-to/minio.md", "mc alias"): NO_SERVER,
    ("docs/how-to/upload-from-a-browser.md", "$enum:"): "a part of a policy; the test has the whole",
    ("docs/reference/s3-servers.md", "export S3_TEST_ENDPOINT"): "runs tests itself, at a server of yours",
    ("docs/release.md", "git tag"): "signs with the key of a maintainer",
    ("docs/release.md", "ssh-keygen -Y verify"): "needs a signed release",
    ("docs/release.md", "python3 -m venv"): "test_release.py does the same with the wheel that it builds",
    ("docs/security/access.md", "volumes:"): "a part of a Pod",
}


def reason(page, block):
    """Why a block is not run; None if it is."""
    return next((why for (of, start), why in NOT_RUN.items() if of == page and block.startswith(start)), None)


def examples_of(page):
    return [(info, block) for info, block in blocks(page) if info.split()[:1] != ["text"]]


@pytest.mark.parametrize("page", [page for page in PAGES if examples_of(page)])
def test_each_example_is_run_by_a_test_or_has_a_reason_why_not(page):
    is_run = [block for _, block in examples_of(page) if not reason(page, block)]

    assert bool(is_run) == (page in RUN_BY), is_run
    if is_run:
        test = (ROOT / "tests" / RUN_BY[page]).read_text(encoding="utf-8")
        assert page.rpartition("/")[2].removesuffix(".md") in test


def test_each_reason_belongs_to_an_example():
    found = [(page, block) for page in PAGES for _, block in examples_of(page)]
    unused = [key for key in NOT_RUN if not any(of == key[0] and block.startswith(key[1]) for of, block in found)]

    assert unused == []
    assert RUN_BY.keys() <= {page for page, _ in found}


@pytest.mark.parametrize("page", sorted({page for page, _ in NOT_RUN}))
def test_an_example_that_is_not_run_is_well_formed(page):
    for info, block in examples_of(page):
        if not reason(page, block):
            continue
        match info.split()[0]:
            case "sh":
                subprocess.run(["bash", "-n"], input=block, text=True, check=True)
            case "json":
                json.loads(block)
            case "yaml":
                yaml.safe_load(block)
            case other:
                pytest.fail(f"{page} has an example in {other} that no test reads")
