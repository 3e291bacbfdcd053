"""The guide on uploads in parts, whose commands run as they are printed."""

import json

from documents import blocks
from live.pages import shell, steps
from support.tools import tool

PAGE = "docs/how-to/large-uploads.md"


def test_the_commands_of_the_guide_print_what_it_shows(signer, s3_server, tmp_path):
    tool("curl", package="curl")
    account = signer.put_account(s3_server.account(f"{s3_server.name}-large"))
    bucket = s3_server.make_bucket("large-uploads")
    here = {"http://127.0.0.1:8080": signer.url, "my-account": account, "my-bucket": bucket}
    found = [*steps(PAGE)]

    assert len(found) >= 8
    with shell(tmp_path, here) as run:
        for commands, shown in found:
            printed = run(commands)
            assert shown is None or shown.strip() == printed, commands


def test_the_rule_of_the_guide_is_one_of_s3(ministack):
    (rule,) = (json.loads(block) for info, block in blocks(PAGE) if info == "json lifecycle.json")
    s3 = ministack.client()
    bucket = ministack.make_bucket("large-uploads")
    s3.put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration=rule)
    (kept,) = s3.get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"]

    assert kept["AbortIncompleteMultipartUpload"] == {"DaysAfterInitiation": 7}
