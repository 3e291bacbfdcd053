"""The dashboard and the alert rules use metrics that the service shows, and the rules fire as they promise."""

import json
import os
import re
import shutil
import subprocess

import pytest
import yaml
from documents import ROOT, blocks
from support.tools import missing

DASHBOARD = ROOT / "deploy/grafana/s3-signer.json"
RULES = ROOT / "deploy/prometheus/alerts.yaml"
RULE_TESTS = ROOT / "deploy/prometheus/alerts_test.yaml"
RUNBOOK = "docs/deployment/alerts.md"
# `.ci/run` extracts the program here, because its package would start a daemon.
EXTRACTED = ROOT / ".cache/prometheus/usr/bin"
SUFFIXES = {"histogram": ["_bucket", "_count", "_sum"]}
SCRAPE_LABELS = {"job", "instance", "pid", "le"}


def rules():
    return yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"][0]["rules"]


def panels():
    return json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"]


def expressions():
    """The queries of the rules and of the dashboard, and the series of the tests of the rules."""
    tests = yaml.safe_load(RULE_TESTS.read_text(encoding="utf-8"))["tests"]
    variables = json.loads(DASHBOARD.read_text(encoding="utf-8"))["templating"]["list"]
    return [
        *(rule["expr"] for rule in rules()),
        *(target["expr"] for panel in panels() for target in panel["targets"]),
        *(variable["query"]["query"] for variable in variables if variable["type"] == "query"),
        *(series["series"] for test in tests for series in test["input_series"]),
    ]


async def test_every_metric_of_the_dashboard_and_the_rules_is_shown(client):
    text = await (await client.get("/metrics")).text()
    shown = {
        f"{name}{suffix}"
        for name, kind in re.findall(r"^# TYPE (\w+) (\w+)$", text, re.MULTILINE)
        for suffix in SUFFIXES.get(kind, [""])
    }
    used = {name for expression in expressions() for name in re.findall(r"\b(?:s3_signer|process)_\w+", expression)}

    assert len(used) >= 20
    assert used <= shown


def test_every_label_of_the_dashboard_and_the_rules_exists():
    page = (ROOT / "docs/metrics.md").read_text(encoding="utf-8")
    known = SCRAPE_LABELS | set(re.findall(r"`(\w+)`: ", page))
    used = set()
    for expression in expressions():
        used |= set(re.findall(r'(\w+)\s*(?:=~|!~|!=|=)\s*"', expression))
        for names in re.findall(r"\b(?:by|on) \(([^)]*)\)", expression):
            used |= set(re.split(r",\s*", names))

    assert {"status", "reason", "le"} <= used <= known


def test_every_alert_has_texts_a_section_of_the_runbook_and_a_test():
    sections = re.findall("^## (S3Signer.+)$", (ROOT / RUNBOOK).read_text(encoding="utf-8"), re.MULTILINE)
    tests = yaml.safe_load(RULE_TESTS.read_text(encoding="utf-8"))["tests"]
    fired = [case["alertname"] for test in tests for case in test["alert_rule_test"] if "exp_alerts" in case]

    for rule in rules():
        assert rule["labels"]["severity"] in {"critical", "warning"}
        assert rule["annotations"].keys() == {"summary", "description", "runbook_url"}
        assert rule["annotations"]["runbook_url"] == f"{RUNBOOK}#{rule['alert'].lower()}"
    assert [rule["alert"] for rule in rules()] == sections == fired


def test_panels_have_numbers_and_places_of_their_own():
    places = {(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels()}

    assert len({panel["id"] for panel in panels()}) == len(places) == len(panels()) >= 10
    assert all(panel["title"] and panel["description"] for panel in panels())


def run_promtool(*arguments):
    promtool = shutil.which("promtool", path=f"{EXTRACTED}{os.pathsep}{os.environ['PATH']}") or missing(
        "promtool is not installed; on Debian: apt-get download prometheus, and dpkg-deb -x it to .cache/prometheus"
    )
    done = subprocess.run([promtool, *arguments], capture_output=True, text=True, timeout=60, check=False)

    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.heavy
@pytest.mark.parametrize("arguments", [("check", "rules", RULES), ("test", "rules", RULE_TESTS)], ids=["check", "test"])
def test_promtool_accepts_the_rules(arguments):
    run_promtool(*arguments)


@pytest.mark.heavy
def test_promtool_accepts_the_documented_scrape(tmp_path):
    (scrape,) = [block for info, block in blocks("docs/deployment/telemetry.md") if info == "yaml"]
    (tmp_path / "prometheus.yaml").write_text(scrape)
    run_promtool("check", "config", tmp_path / "prometheus.yaml")
