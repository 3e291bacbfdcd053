"""Swift and ministack do with signed URLs what docs/reference/s3-servers.md says of them."""

import pytest
from live.installation import constraints
from live.signer import Signer
from s3_check import page
from s3_check.features import FEATURES, LIVE_CHECK, clean, run, storage
from support.service import running

pytestmark = pytest.mark.timeout(300)  # the first test may install the servers

# The service finds no address for the name of a bucket below a domain of tests, so its own check is for one style.
CASES = [
    ((style, scheme), name)
    for style, scheme in (("path", "http"), ("virtual", "https"))
    for name in FEATURES
    if not (name == LIVE_CHECK and style == "virtual")
]


@pytest.fixture(scope="module")
def signer():
    with running(SIGNER_LIVE_CHECK="true") as service:
        yield Signer(service.url)


@pytest.fixture(scope="module")
def s3(request, signer, s3_server, bucket):
    style, scheme = request.param
    made = storage(signer, s3_server, s3_server.account(f"{s3_server.name}-{style}", style, scheme), bucket)
    yield made
    assert clean(made) == []


@pytest.mark.parametrize(("s3", "name"), CASES, indirect=["s3"], ids=str)
def test_a_server_does_what_its_column_says(s3, name):
    expected = {use: verdict for (feature, use), verdict in page.read()[s3.server.name].items() if feature == name}
    found = list(run(name, s3))

    assert {use.name: use.verdict for use in found} == expected, found


@pytest.mark.parametrize("server", ["swift", "ministack"])
def test_a_column_is_of_the_version_that_tests_run(server):
    pinned = constraints(server).read_text(encoding="utf-8")

    assert f"\n{server}=={page.read()[server][page.VERSION]} " in f"\n{pinned}", (
        "run make s3-check and write the column"
    )
