"""Plants one fault at a time in a good overlay and sees each refused."""

import copy
import json
import os
import shutil
from pathlib import Path

import pytest
import typer
import yaml
from typer.testing import CliRunner

from cli.validate import validate as command
from localcluster.render import Objects, render
from localcluster.schemas.validators import Schemas
from localcluster.validation import validate, validate_all

ROOT = Path(__file__).parents[2]
CRDS = Path(os.environ.get("CRDS", ROOT.parent / "shared" / "crds"))
GONE = object()
SERVICE, RUNTIME, ROUTE = "InferenceService", "ServingRuntime", "HTTPRoute"
TRANSFORMER, PREDICTOR = "spec.transformer.containers.0", "spec.containers.0"
MODE = "serving.kserve.io/deploymentMode"


@pytest.fixture(scope="module")
def good():
    return render(ROOT / "kustomize" / "overlays" / "prod")


def plant(objects, kind, path, value):
    """The same objects with one value changed, or taken out, in the first object of a kind."""
    items = copy.deepcopy(list(objects))
    node = next(item for item in items if item["kind"] == kind)
    *parents, last = path.split(".")
    for part in parents:
        node = node[int(part)] if part.isdecimal() else node[part]
    key = int(last) if last.isdecimal() else last
    if value is GONE:
        del node[key]
    else:
        node[key] = value
    return Objects(tuple(items))


def messages(objects, crds=None):
    return [str(finding) for finding in validate(objects, Schemas(crds))]


def autoscaler(**spec):
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "extra", "namespace": "blueprints-prod"},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "credit-risk-predictor"},
            "maxReplicas": 3,
            **spec,
        },
    }


FAULTS = [
    # Form, of core and custom kinds: an unknown field, a wrong type, a missing field, a value that none may be.
    ("PodDisruptionBudget", "spec.maxUnavailible", 1, "spec.maxUnavailible: unknown field"),
    ("PodDisruptionBudget", "spec.maxUnavailable", [], "must be of type integer,string"),
    ("NetworkPolicy", "spec.podSelector", {"matchLabel": {}}, "spec.podSelector.matchLabel: unknown field"),
    (SERVICE, "spec.predictor.minReplica", 1, "spec.predictor.minReplica: unknown field"),
    (SERVICE, "spec.predictor.minReplicas", "three", "must be of type integer"),
    (SERVICE, f"{TRANSFORMER}.securityContext.runAsRoot", True, "securityContext.runAsRoot: unknown field"),
    (SERVICE, "spec.predictor.model.modelFormat.name", GONE, "modelFormat.name: Required value"),
    (SERVICE, "spec.predictor.scaleMetric", "gpu", 'Unsupported value: "gpu"'),
    (SERVICE, "apiVersion", "serving.kserve.io/v1", "no schema for serving.kserve.io/v1 InferenceService"),
    (RUNTIME, f"{PREDICTOR}.ports.0.containerPort", "http", "must be of type integer"),
    (ROUTE, "spec.rules.0.matches.0.path.type", "Regex", 'Unsupported value: "Regex"'),
    (ROUTE, "spec.rules.0.backendRefs.0.weight", 2_000_000, "less than or equal to 1000000"),
    (ROUTE, "spec.hostnames.0", "NOT_A_HOST", "should match"),
    (ROUTE, "spec.rules.0.matches.0.path.value", "explain", "must be an absolute path"),
    (ROUTE, "spec.rules.0.backendRefs.0.port", GONE, "Must have port for Service reference"),
    # What a cluster, and KServe on it, would refuse.
    ("NetworkPolicy", "metadata.name", "Not_A_Name", "metadata.name: Invalid value"),
    ("NetworkPolicy", "metadata.labels", {"a": "b c"}, "metadata.labels: Invalid value"),
    ("NetworkPolicy", "spec.policyTypes", ["Inbound"], 'Unsupported value: "Inbound"'),
    (SERVICE, "metadata.name", "credit.risk", "a InferenceService name must consist of"),
    (SERVICE, "spec.predictor.maxReplicas", 1, "'MinReplicas' cannot be greater than MaxReplicas"),
    (SERVICE, "spec.predictor.scaleTarget", 0, "should be a [1-100] integer"),
    (SERVICE, "spec.predictor.model", GONE, "exactly one of [Name, SKLearn"),
    (SERVICE, f"{TRANSFORMER}.env.0", {"name": "PYTHONPATH", "value": "/x"}, "setting PYTHONPATH in container"),
    (SERVICE, f"{TRANSFORMER}.env.0.value", "ftp://models/x", "StorageUri [ftp://models/x] is not supported"),
    # Our policies.
    (SERVICE, "metadata.annotations", GONE, "must be Standard or Knative"),
    (SERVICE, "metadata.annotations", {MODE: "Raw"}, "must be Standard or Knative"),
    (SERVICE, "spec.predictor.canaryTrafficPercent", 10, "is accepted and ignored in Standard mode"),
    (
        SERVICE,
        "spec.canary",
        [{"predictor": {"name": "next", "model": {"name": "x", "modelFormat": {"name": "x"}}}, "trafficPercent": 10}],
        "the HTTPRoute's weights split the traffic",
    ),
    (SERVICE, f"{TRANSFORMER}.image", "ml-deployment-blueprints/credit-risk", "moves"),
    (SERVICE, f"{TRANSFORMER}.image", "registry:5000/credit-risk", "moves"),
    (RUNTIME, f"{PREDICTOR}.image", "credit-risk:latest", "moves"),
    (RUNTIME, f"{PREDICTOR}.image", GONE, "has no image"),
    (RUNTIME, f"{PREDICTOR}.resources.limits.memory", GONE, "resources.limits: memory is missing"),
    (SERVICE, f"{TRANSFORMER}.resources", GONE, "resources.requests: cpu is missing"),
    (RUNTIME, f"{PREDICTOR}.securityContext", GONE, "runAsNonRoot must be true"),
    (SERVICE, f"{TRANSFORMER}.securityContext.allowPrivilegeEscalation", True, "allowPrivilegeEscalation"),
    (SERVICE, f"{TRANSFORMER}.securityContext.privileged", True, "privileged must not"),
    (SERVICE, f"{TRANSFORMER}.securityContext.readOnlyRootFilesystem", False, "readOnlyRootFilesystem"),
    (SERVICE, f"{TRANSFORMER}.securityContext.runAsUser", 0, "runAsUser must not be 0"),
    (SERVICE, f"{TRANSFORMER}.securityContext.seccompProfile.type", "Unconfined", "seccompProfile"),
    (SERVICE, f"{TRANSFORMER}.securityContext.capabilities.drop", ["NET_RAW"], "capabilities"),
    (SERVICE, f"{TRANSFORMER}.securityContext.capabilities.add", ["SYS_ADMIN"], "capabilities"),
    (SERVICE, "spec.predictor.model.securityContext", {"runAsUser": 0}, "spec.predictor.model.securityContext"),
    (SERVICE, "spec.explainer.hostNetwork", True, "hostNetwork must not"),
    (SERVICE, "spec.explainer.volumes", [{"name": "tmp", "hostPath": {"path": "/"}}], "hostPath is not restricted"),
    (SERVICE, f"{TRANSFORMER}.ports.0.hostPort", 80, "hostPort"),
    ("ServiceAccount", "automountServiceAccountToken", True, "must be false"),
    (ROUTE, "spec.rules.0.backendRefs.0.name", "credit-risk-explain", "no Service 'credit-risk-explain'"),
    (ROUTE, "spec.rules.0.backendRefs.0.port", 8080, "Service 'credit-risk-explainer' has no port 8080; it has [80]"),
    (ROUTE, "spec.parentRefs.0.name", "ingress", "no Gateway 'kserve/ingress'"),
    (ROUTE, "spec.parentRefs", [], "names no Gateway"),
    (SERVICE, "metadata.namespace", "elsewhere", "no Service 'credit-risk-explainer'"),
    (SERVICE, "spec.explainer", GONE, "no Service 'credit-risk-explainer'"),
    (ROUTE, "spec.rules.0.backendRefs.0.weight", 0, "no backend has a weight above 0"),
    (SERVICE, f"{TRANSFORMER}.env.0.value", "s3://models/other", "different packages"),
    (SERVICE, "spec.predictor.model.modelFormat.name", "sklearn", "no runtime serves modelFormat"),
    (SERVICE, "metadata.labels.model", GONE, "has no such value"),
    (RUNTIME, "spec.protocolVersions", ["v1"], "does not support protocol v2"),
    ("NetworkPolicy", "metadata.name", "credit-risk-predictor", "is there twice"),
]


@pytest.mark.parametrize(("kind", "path", "value", "reason"), FAULTS)
def test_a_planted_fault_is_found(good, kind, path, value, reason):
    found = messages(plant(good, kind, path, value))
    assert any(reason in message for message in found), found


def test_without_a_fault_nothing_is_found(good):
    assert messages(good) == []


def test_crds_that_are_given_are_held_against_too(good, tmp_path):
    if not CRDS.is_dir():
        pytest.skip(f"{CRDS}: no CustomResourceDefinitions there; name a folder of them with CRDS=…")
    assert messages(good, CRDS) == []
    route = yaml.safe_load((CRDS / "gateway-api_httproute.yaml").read_text())
    for version in route["spec"]["versions"]:
        spec = version["schema"]["openAPIV3Schema"]["properties"]["spec"]
        spec["properties"]["hostnames"]["items"]["maxLength"] = 5
    (tmp_path / "route.yaml").write_text(yaml.safe_dump(route))
    assert messages(good, tmp_path) == [
        f"HTTPRoute/{blueprint}: spec.hostnames[0]: Too long: may not be more than 5 bytes"
        for blueprint in ("credit-risk", "segmentation", "sentiment")
    ]


def test_a_kind_without_a_schema_is_an_error(good):
    strange = {"apiVersion": "example.com/v1", "kind": "Strange", "metadata": {"name": "x"}}
    (message,) = messages(Objects((*good, strange)))
    assert "no schema for example.com/v1 Strange; add one" in message


def test_nothing_is_scaled_by_two(good):
    (message,) = messages(Objects((*good, autoscaler())))
    assert "'credit-risk-predictor' is scaled by KServe already" in message
    others = plant(
        good, SERVICE, "metadata.annotations", {MODE: "Standard", "serving.kserve.io/autoscalerClass": "external"}
    )
    assert messages(Objects((*others, autoscaler()))) == []


def test_an_account_may_have_a_token_if_it_may_call_the_api(good):
    binding = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": {"name": "a", "namespace": "blueprints-prod"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "a"},
        "subjects": [{"kind": "ServiceAccount", "name": "credit-risk"}],
    }
    objects = plant(good, "ServiceAccount", "automountServiceAccountToken", True)
    assert len(messages(objects)) == 1
    assert messages(Objects((*objects, binding))) == []


def test_runtimes_of_one_format_and_priority_are_refused_as_by_kserve(good):
    twin = copy.deepcopy(good.get(RUNTIME, "credit-risk-xgboost"))
    twin["metadata"]["name"] = "twin"
    found = messages(Objects((*good, twin)))
    assert any("same priority assigned for the model format credit-risk-xgboost" in message for message in found), found


def test_a_gateway_of_the_overlay_is_known_with_its_listeners(good):
    gateway = {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "Gateway",
        "metadata": {"name": "own", "namespace": "blueprints-prod"},
        "spec": {"gatewayClassName": "x", "listeners": [{"name": "web", "port": 80, "protocol": "HTTP"}]},
    }
    for section, count in (("web", 0), ("tls", 1)):
        routed = plant(good, ROUTE, "spec.parentRefs", [{"name": "own", "sectionName": section}])
        assert len(messages(Objects((*routed, gateway)))) == count


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A copy of the project's manifests, to be broken."""
    for folder in ("manifests", "kustomize"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_every_overlay_is_validated_and_every_component_that_none_of_them_uses(project):
    reports = list(validate_all(project / "kustomize", Schemas()))
    overlays = sorted(path.name for path in (ROOT / "kustomize" / "overlays").iterdir() if path.is_dir())
    names = [report.overlay for report in reports]
    assert names[: len(overlays)] == overlays
    assert {"local + alibi", "local + keda", "local + sentiment-canary"} <= set(names[len(overlays) :])
    assert not {"local + object-storage", "local + decisions-database"} & set(names)
    assert all(report.objects > 10 and report.findings == () for report in reports), reports


def test_what_cannot_be_built_is_a_finding(project):
    component = project / "kustomize" / "components" / "alibi" / "kustomization.yaml"
    component.write_text(component.read_text().replace("patches:", "patchez:"))
    reports = {report.overlay: report for report in validate_all(project / "kustomize", Schemas())}
    assert "patchez" in reports["local + alibi"].findings[0].message
    assert reports["local"].findings == ()


def run(*arguments):
    app = typer.Typer()
    app.command()(command)
    return CliRunner().invoke(app, arguments, env={"CRDS": ""})


def test_the_command_says_what_is_wrong_and_exits_with_1(project):
    route = project / "manifests" / "credit-risk" / "http-route.yaml"
    route.write_text(route.read_text().replace("name: credit-risk-explainer", "name: credit-risk-nobody"))
    ended = run("--json")
    assert ended.exit_code == 1
    said = json.loads(ended.stdout)
    assert said["valid"] is False
    finding = said["overlays"][0]["findings"][0]
    assert (finding["item"], finding["path"]) == ("HTTPRoute/credit-risk", "spec.rules[0].backendRefs[0].name")
    assert finding["message"].startswith("no Service 'credit-risk-nobody'; there is credit-risk-explainer")


def test_the_command_is_content_with_what_ships(project):
    ended = run(str(project / "kustomize" / "overlays" / "local"), "--json")
    assert (ended.exit_code, json.loads(ended.stdout)["valid"]) == (0, True)
    assert run("--crds", "nowhere").exit_code == 1
