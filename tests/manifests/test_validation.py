"""Plants one fault at a time in a good overlay and sees each refused."""

import copy
import os
from pathlib import Path

import pytest

from localcluster.render import Objects, render
from localcluster.schemas.validators import Schemas, strict
from localcluster.validation import validate

ROOT = Path(__file__).parents[2]
CRDS = Path(os.environ.get("CRDS", ROOT.parent / "shared" / "crds"))
GONE = object()
SERVICE, RUNTIME, ROUTE = "InferenceService", "ServingRuntime", "HTTPRoute"
TRANSFORMER, PREDICTOR = "spec.transformer.containers.0", "spec.containers.0"


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


def messages(objects):
    return [str(finding) for finding in validate(objects, Schemas()) if "no schema for" not in str(finding)]


@pytest.mark.parametrize(
    ("kind", "path", "value", "reason"),
    [
        (SERVICE, "metadata.annotations", GONE, "must be Standard or Knative"),
        (SERVICE, "metadata.annotations", {"serving.kserve.io/deploymentMode": "Raw"}, "must be Standard or Knative"),
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
        (SERVICE, "metadata.namespace", "elsewhere", "no Service 'credit-risk-explainer'"),
        (SERVICE, "spec.explainer", GONE, "no Service 'credit-risk-explainer'"),
        (ROUTE, "spec.rules.0.backendRefs.0.weight", 0, "no backend has a weight above 0"),
        (SERVICE, "spec.predictor.maxReplicas", 1, "below minReplicas"),
        (SERVICE, f"{TRANSFORMER}.env.0.value", "ftp://models/x", "KServe knows"),
        (SERVICE, f"{TRANSFORMER}.env.0.value", "s3://models/other", "different packages"),
        (SERVICE, "spec.predictor.model.modelFormat.name", "sklearn", "no runtime serves modelFormat"),
        (SERVICE, "metadata.labels.model", GONE, "has no such value"),
        (RUNTIME, "spec.protocolVersions", ["v1"], "does not support protocol v2"),
        ("PodDisruptionBudget", "spec.maxUnavailible", 1, "Additional properties are not allowed"),
        ("PodDisruptionBudget", "spec.maxUnavailable", [], "is not"),
        ("NetworkPolicy", "spec.podSelector", {"matchLabel": {}}, "Additional properties are not allowed"),
        ("NetworkPolicy", "metadata.name", "credit-risk-predictor", "is there twice"),
    ],
)
def test_a_planted_fault_is_found(good, kind, path, value, reason):
    assert messages(good) == []
    found = messages(plant(good, kind, path, value))
    assert any(reason in message for message in found), found


@pytest.mark.parametrize(
    ("kind", "path", "value", "reason"),
    [
        (SERVICE, "spec.predictor.minReplica", 1, "'minReplica' was unexpected"),
        (SERVICE, "spec.predictor.minReplicas", "three", "'three' is not of type"),
        (SERVICE, f"{TRANSFORMER}.securityContext.runAsRoot", True, "'runAsRoot' was unexpected"),
        (SERVICE, "spec.predictor.model.modelFormat.name", GONE, "'name' is a required property"),
        (SERVICE, "apiVersion", "serving.kserve.io/v1", "no schema for serving.kserve.io/v1 InferenceService"),
        (RUNTIME, f"{PREDICTOR}.ports.0.containerPort", "http", "is not of type 'integer'"),
        (ROUTE, "spec.rules.0.matches.0.path.type", "Regex", "is not one of"),
        (ROUTE, "spec.rules.0.backendRefs.0.weight", 2_000_000, "maximum"),
        (ROUTE, "spec.hostnames.0", "NOT_A_HOST", "does not match"),
    ],
)
def test_a_planted_fault_in_a_custom_kind_is_found_by_its_crd(good, kind, path, value, reason):
    if not CRDS.is_dir():
        pytest.skip(f"{CRDS}: no CustomResourceDefinitions there; name a folder of them with CRDS=…")
    found = [str(finding) for finding in validate(plant(good, kind, path, value), Schemas(CRDS))]
    assert any(reason in message for message in found), found


def test_a_strict_schema_follows_the_api_servers_extensions():
    schema = strict(
        {
            "type": "object",
            "properties": {
                "port": {"x-kubernetes-int-or-string": True, "anyOf": [{"type": "integer"}, {"type": "string"}]},
                "open": {"type": "object", "properties": {}, "x-kubernetes-preserve-unknown-fields": True},
                "maybe": {"type": "string", "enum": ["a"], "nullable": True},
                "labels": {"type": "object", "additionalProperties": {"type": "string"}},
            },
        }
    )
    from jsonschema import Draft4Validator

    validator = Draft4Validator(schema)
    good = {"port": "http", "open": {"x": 1}, "maybe": None, "labels": {"a": "b"}}
    assert validator.is_valid(good)
    assert validator.is_valid({"port": 80, "maybe": "a"})
    for bad in ({"port": 1.5}, {"other": 1}, {"maybe": "b"}, {"labels": {"a": 1}}):
        assert not validator.is_valid(good | bad), bad
