"""The manifests and the chart render, are valid, agree with each other, and name settings that exist."""

import json
import os
import re
import shutil
import subprocess

import pytest
import yaml
from documents import ROOT, blocks

from service.settings.environment import unknown_variables

pytestmark = pytest.mark.heavy

KUSTOMIZE = ROOT / "deploy" / "kubernetes"
CHART = ROOT / "deploy" / "helm" / "s3-signer"
OVERLAYS = ["gateway", "sentinel", "sidecar"]
VERSIONS = ["1.31.0", "1.34.0", "1.37.0"]
# Labels that only the chart has.
OF_HELM = {"app.kubernetes.io/instance", "app.kubernetes.io/managed-by", "app.kubernetes.io/version", "helm.sh/chart"}
# Each optional object, and each optional field of the Deployment.
PAGE = "docs/deployment/kubernetes.md"
EVERYTHING = {
    "image": {"digest": f"sha256:{'0' * 64}"},
    "imagePullSecrets": [{"name": "pull"}],
    "settings": {"SIGNER_ALLOWED_HOSTS": "aws", "SIGNER_STALE_SECONDS": 300, "SIGNER_REQUIRE_SSL": True},
    "extraEnv": [{"name": "SIGNER_LOG_LEVEL", "value": "debug"}],
    "extraVolumes": [{"name": "more", "emptyDir": {}}],
    "extraVolumeMounts": [{"name": "more", "mountPath": "/more"}],
    "extraContainers": [{"name": "proxy", "image": "proxy:1"}],
    "networkPolicy": {
        "from": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "ingress-nginx"}}}],
        "extraEgress": [{"ports": [{"port": 443}]}],
    },
    "ingress": {"enabled": True, "className": "nginx", "host": "signer.example.com", "tlsSecret": "signer-tls"},
    "httpRoute": {"enabled": True, "parentRefs": [{"name": "gateway"}], "hostnames": ["signer.example.com"]},
    "podMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
    "prometheusRule": {"enabled": True, "labels": {"release": "prometheus"}},
    "autoscaling": {"enabled": False},
    "serviceAccount": {"annotations": {"a": "b"}},
    "service": {"annotations": {"a": "b"}},
    "podSecurityContext": {"runAsUser": None, "runAsGroup": None, "fsGroup": None},
    "affinity": {"podAntiAffinity": {}},
    "nodeSelector": {"disk": "fast"},
    "tolerations": [{"key": "a", "operator": "Exists"}],
    "priorityClassName": "high",
    "annotations": {"a": "b"},
    "podAnnotations": {"a": "b"},
    "podLabels": {"a": "b"},
}


def output_of(*command, **options):
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, check=False, timeout=60, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="session")
def render(programs, tmp_path_factory):
    """Render an overlay, or the chart with values, as a file."""
    directory = tmp_path_factory.mktemp("rendered")

    def render(name, values=None):
        if values is None:
            text = output_of(programs / "kubectl", "kustomize", KUSTOMIZE / name)
        else:
            command = [programs / "helm", "template", "s3-signer", CHART, "--values", "-"]
            text = output_of(*command, input=json.dumps(values))
        path = directory / f"{name}.yaml"
        path.write_text(text)
        return path

    return render


@pytest.fixture(scope="session")
def rendered(render):
    """All files that are rendered from the repository."""
    return [*map(render, OVERLAYS), render("chart", {}), render("everything", EVERYTHING)]


def objects(path):
    return [each for each in yaml.safe_load_all(path.read_text()) if each]


def without_names(value):
    """The value without the chart's own labels."""
    if isinstance(value, dict):
        return {name: without_names(inner) for name, inner in value.items() if name not in OF_HELM}
    return [*map(without_names, value)] if isinstance(value, list) else value


def test_the_values_of_the_page_make_valid_objects(programs, render):
    values = [yaml.safe_load(block) for info, block in blocks(PAGE) if info == "yaml"]
    made = [render(f"page-{number}", each) for number, each in enumerate(values)]

    assert len(made) == 2
    output_of(programs / "kubernetes-validate", "--strict", "--kubernetes-version", VERSIONS[0], "--quiet", *made)


@pytest.mark.parametrize("version", VERSIONS)
def test_all_objects_are_valid(programs, rendered, version):
    validate = [programs / "kubernetes-validate", "--strict", "--kubernetes-version", version]
    report = output_of(*validate, "--quiet", *rendered)

    # Custom resources have no schema here.
    unknown = set(re.findall(r"Couldn't find schema for kind (\w+)", report))
    assert unknown == {"HTTPRoute", "PodMonitor", "PrometheusRule"}
    assert len(report.splitlines()) == 3


# Installs checkov, which takes a minute or more.
@pytest.mark.timeout(400)
def test_checkov_finds_a_fault_that_is_made_and_no_other(checkov, render, tmp_path):
    faulty = render("faulty", {"securityContext": {"allowPrivilegeEscalation": True}})
    for path in [*map(render, OVERLAYS), render("chart", {}), faulty]:
        shutil.copy(path, tmp_path)
    command = [checkov, "--config-file", ROOT / "deploy/checkov.yaml", "--directory", tmp_path, "--output", "json"]
    # Without the variable, it asks for a newer version of itself.
    environment = os.environ | {"CKV_SKIP_PACKAGE_UPDATE_CHECK": "true"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=100)
    report = json.loads(done.stdout)

    assert {(check["file_path"], check["check_id"]) for check in report["results"]["failed_checks"]} == {
        ("/faulty.yaml", "CKV_K8S_20")
    }
    assert report["summary"]["parsing_errors"] == 0


def test_each_check_that_is_left_out_has_a_reason(rendered):
    text = (ROOT / "deploy/checkov.yaml").read_text()
    entries = re.findall(r"^((?:# .*\n)*)- (CKV\w+)$", text, re.MULTILINE)

    assert [name for _, name in entries] == yaml.safe_load(text)["skip-check"]
    assert all(reason for reason, _ in entries)
    # Without a reason behind it, an annotation ends after the check.
    assert not [path for path in rendered if re.search(r"checkov\.io/skip\d+: \w+$", path.read_text(), re.MULTILINE)]


def test_the_oldest_version_that_is_promised_is_checked():
    oldest = VERSIONS[0]
    page = (ROOT / PAGE).read_text()

    assert yaml.safe_load((CHART / "Chart.yaml").read_text())["kubeVersion"] == f">={oldest}-0"
    assert f"Kubernetes {oldest.removesuffix('.0')} or newer" in page


def test_a_misspelt_field_would_be_found(programs, tmp_path):
    path = tmp_path / "service.yaml"
    path.write_text((KUSTOMIZE / "base" / "service.yaml").read_text().replace("targetPort", "tragetPort"))

    done = subprocess.run([programs / "kubernetes-validate", "--strict", path], capture_output=True, check=False)
    assert done.returncode != 0


def test_the_chart_has_the_objects_of_the_gateway(render):
    expected = {each["kind"]: each for each in objects(render("gateway"))}
    found = {each["kind"]: without_names(each) for each in objects(render("chart", {})) if each["kind"] != "Pod"}

    assert found == expected


def test_the_chart_has_the_alert_rules(render):
    (rule,) = [each for each in objects(render("everything", EVERYTHING)) if each["kind"] == "PrometheusRule"]

    assert rule["spec"] == yaml.safe_load((ROOT / "deploy/prometheus/alerts.yaml").read_text())


def test_the_chart_has_no_fault(programs):
    output_of(programs / "helm", "lint", "--strict", CHART)


@pytest.mark.parametrize(
    "values",
    [
        {"drainSecond": 10},
        {"drainSeconds": "10s"},
        {"drainSeconds": 16},
        {"terminationGracePeriodSeconds": 24},
        {"image": {"digest": "latest"}},
        {"settings": {"SIGNER_PORT": 80}},
        {"settings": {"SIGNER_SOCKET": "/run/s3-signer.sock"}},
        {"settings": {"PORT": 80}},
        {"extraEnv": [{"name": "SIGNER_PORT", "value": "80"}]},
        {"ingress": {"enabled": True}},
        {"httpRoute": {"enabled": True}},
        # The default policy would block these.
        {"ingress": EVERYTHING["ingress"]},
        {"httpRoute": EVERYTHING["httpRoute"]},
        {"settings": {"SIGNER_JWT_JWKS": "https://issuer.example.com/keys"}},
        {"settings": {"SIGNER_AMBIENT_CREDENTIALS": "true"}},
        {"extraEnv": [{"name": "OTEL_EXPORTER_OTLP_ENDPOINT", "value": "http://collector:4318"}]},
    ],
    ids=str,
)
def test_the_chart_refuses_wrong_values(programs, values):
    command = [programs / "helm", "template", "s3-signer", CHART, "--values", "-"]
    done = subprocess.run(command, input=json.dumps(values).encode(), capture_output=True, check=False, timeout=60)

    assert done.returncode != 0


def containers(path):
    for each in objects(path):
        if each["kind"] in {"Deployment", "Pod"}:
            pod = each["spec"]["template"]["spec"] if each["kind"] == "Deployment" else each["spec"]
            yield from ((pod, one) for one in [*pod.get("initContainers", []), *pod["containers"]])


@pytest.mark.parametrize(
    "values",
    [
        {"ingress": EVERYTHING["ingress"], "networkPolicy": {"enabled": False}},
        {"httpRoute": EVERYTHING["httpRoute"], "networkPolicy": {"from": [{"ipBlock": {"cidr": "10.0.0.0/8"}}]}},
        {"settings": {"SIGNER_JWT_JWKS": "/etc/keys.json"}},
    ],
    ids=str,
)
def test_the_chart_accepts_what_the_network_policy_allows(render, values):
    assert objects(render("accepted", values))


@pytest.mark.parametrize("name", ["gateway", "chart"])
def test_the_network_policy_allows_the_dns_of_each_platform(render, name):
    (policy,) = [
        each for each in objects(render(name, {} if name == "chart" else None)) if each["kind"] == "NetworkPolicy"
    ]
    dns = policy["spec"]["egress"][0]
    (selected,) = dns["to"][0]["namespaceSelector"]["matchExpressions"]

    assert selected["values"] == ["kube-system", "openshift-dns"]
    assert {(port["port"], port["protocol"]) for port in dns["ports"]} == {
        *((53, "UDP"), (53, "TCP"), (5353, "UDP"), (5353, "TCP")),
    }


def test_each_setting_of_a_container_exists(rendered):
    named = {entry["name"] for path in rendered for _, one in containers(path) for entry in one.get("env", [])}

    assert len(named) > 10
    assert unknown_variables(dict.fromkeys(named, "x")) == []


@pytest.mark.parametrize("number", [0, 1_048_576, 10_000_000_000])
def test_the_chart_writes_a_number_as_it_is(render, number):
    path = render("number", {"settings": {"SIGNER_MAX_BODY": number, "SIGNER_ALLOWED_HOSTS": "aws"}})
    (env,) = [one["env"] for _, one in containers(path) if one["name"] == "s3-signer"]

    assert {"name": "SIGNER_MAX_BODY", "value": str(number)} in env
    assert {"name": "SIGNER_ALLOWED_HOSTS", "value": "aws"} in env


def test_each_pod_has_time_to_drain(rendered):
    for path in rendered:
        for pod, one in containers(path):
            env = {entry["name"]: entry["value"] for entry in one.get("env", [])}
            grace = pod.get("terminationGracePeriodSeconds", 30)
            assert grace >= int(env.get("SIGNER_DRAIN_SECONDS", 0)) + 15


def test_each_secret_of_a_setting_is_a_file_of_a_mounted_secret(rendered):
    for path in rendered:
        for pod, one in containers(path):
            mounts = {mount["mountPath"]: mount["name"] for mount in one.get("volumeMounts", [])}
            secret = {volume["name"] for volume in pod.get("volumes", []) if "secret" in volume}
            for entry in one.get("env", []):
                if entry["name"].endswith(("_FILE", "_BUNDLE")):
                    assert mounts[entry["value"].rpartition("/")[0]] in secret


def test_the_sidecar_shares_its_socket_with_the_application(render):
    (deployment,) = objects(render("sidecar"))
    pod = deployment["spec"]["template"]["spec"]
    (sidecar,), (app,) = pod["initContainers"], pod["containers"]
    env = {entry["name"]: entry["value"] for entry in sidecar["env"]}
    mounts = [{mount["mountPath"]: mount["name"] for mount in one["volumeMounts"]} for one in (sidecar, app)]
    directory = env["SIGNER_SOCKET"].rpartition("/")[0]

    assert sidecar["restartPolicy"] == "Always"
    assert mounts[0][directory] == mounts[1][directory]
    assert pod["securityContext"]["fsGroup"]
