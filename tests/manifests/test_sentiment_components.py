"""The options of the sentiment blueprint, in an overlay that takes them."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
import yaml

from localcluster.render import render
from localcluster.schemas.validators import Schemas
from localcluster.validation import validate

ROOT = Path(__file__).parents[2]
CRDS = Path(os.environ.get("CRDS", ROOT.parent / "shared" / "crds"))
CHAMPION = "s3://ml-blueprints-prod/sentiment/champion"


def patch(kind, values):
    """A kustomize patch that replaces values by path."""
    operations = [{"op": "replace", "path": path, "value": value} for path, value in values.items()]
    return {"target": {"kind": kind, "name": "sentiment"}, "patch": json.dumps(operations)}


THE_SAME_PACKAGE = patch("InferenceService", {"/spec/transformer/containers/0/env/0/value": CHAMPION})
TO_ITS_TRANSFORMER = patch(
    "HTTPRoute",
    {f"/spec/rules/{rule}/backendRefs/1/name": "sentiment-candidate-transformer" for rule in (1, 2)},
)


@pytest.fixture
def prod_with(tmp_path):
    """Production's overlay in which sentiment takes components, and patches after them; some the overlay itself."""
    for folder in ("manifests", "kustomize"):
        shutil.copytree(ROOT / folder, tmp_path / folder)

    prod = tmp_path / "kustomize" / "overlays" / "prod"

    def edit(folder, components, patches=()):
        file = folder / "kustomization.yaml"
        kustomization = yaml.safe_load(file.read_text())
        paths = [os.path.relpath(tmp_path / "kustomize" / "components" / name, folder) for name in components]
        kustomization["components"] = [*kustomization.get("components", []), *paths]
        kustomization["patches"] = [*kustomization.get("patches", []), *patches]
        file.write_text(yaml.safe_dump(kustomization))

    def rendered(*components, patches=(), overall=()):
        edit(prod / "sentiment", components, patches)
        edit(prod, overall)
        return render(prod)

    return rendered


def findings(objects):
    return [str(finding) for finding in validate(objects, Schemas(CRDS if CRDS.is_dir() else None))]


def changed(objects):
    """Kinds and names of what differs from the overlay without components."""
    plain = list(render(ROOT / "kustomize" / "overlays" / "prod"))
    return {(item["kind"], item["metadata"]["name"]) for item in objects if item not in plain}


def may_call(objects, caller, called):
    """Whether a NetworkPolicy lets pods of one component call those of another."""
    return any(
        source.get("podSelector", {}).get("matchLabels", {}).get("component") == caller
        for policy in objects.of_kind("NetworkPolicy")
        if policy["spec"]["podSelector"]["matchLabels"] == {"model": "sentiment", "component": called}
        for rule in policy["spec"].get("ingress", [])
        for source in rule["from"]
    )


def open_to_the_gateway(objects):
    (expression,) = objects.get("NetworkPolicy", "sentiment-entry")["spec"]["podSelector"]["matchExpressions"]
    return set(expression["values"])


def test_a_transformer_takes_the_predictors_place_at_the_gateway(prod_with):
    objects = prod_with("sentiment-transformer", patches=[THE_SAME_PACKAGE])
    assert findings(objects) == []
    backends = [
        backend["name"]
        for rule in objects.get("HTTPRoute", "sentiment")["spec"]["rules"]
        for backend in rule["backendRefs"]
    ]
    assert backends == ["sentiment-explainer", "sentiment-transformer", "sentiment-transformer"]
    assert open_to_the_gateway(objects) == {"transformer", "explainer"}
    assert may_call(objects, "transformer", "predictor")
    assert ("PodDisruptionBudget", "sentiment-transformer") in changed(objects)


def test_what_a_component_adds_belongs_to_the_blueprint(prod_with):
    objects = prod_with("sentiment-transformer", patches=[THE_SAME_PACKAGE])
    for kind, name in changed(objects):
        assert objects.get(kind, name)["metadata"]["labels"]["app.kubernetes.io/name"] == "sentiment", name


def test_a_transformer_of_another_package_is_found(prod_with):
    assert any("different packages" in finding for finding in findings(prod_with("sentiment-transformer")))


def test_a_candidate_may_have_a_transformer_too(prod_with):
    objects = prod_with("sentiment-canary", "sentiment-transformer", patches=[THE_SAME_PACKAGE, TO_ITS_TRANSFORMER])
    assert findings(objects) == []
    stable, candidate = (objects.get("InferenceService", name)["spec"] for name in ("sentiment", "sentiment-candidate"))
    assert candidate == stable
    assert "transformer" in candidate


def test_a_candidate_that_is_reached_past_its_transformer_is_found(prod_with):
    objects = prod_with("sentiment-canary", "sentiment-transformer", patches=[THE_SAME_PACKAGE])
    found = [finding for finding in findings(objects) if "leads to a predictor and to a transformer" in finding]
    assert [finding.split(": ")[1] for finding in found] == [f"spec.rules[{rule}].backendRefs" for rule in (1, 2)]


def test_keda_scales_on_requests_under_way_and_cpu(prod_with):
    objects = prod_with("keda")
    assert findings(objects) == []
    assert changed(objects) == {("InferenceService", "sentiment")}
    service = objects.get("InferenceService", "sentiment")
    assert service["metadata"]["annotations"]["serving.kserve.io/autoscalerClass"] == "keda"
    requests, cpu = service["spec"]["predictor"]["autoScaling"]["metrics"]
    assert "requests_in_flight" in requests["external"]["metric"]["query"]
    assert 'namespace="blueprints-prod"' in requests["external"]["metric"]["query"]
    assert cpu["resource"]["name"] == "cpu"
    # A ScaledObject without a trigger would be refused by KEDA.
    assert all(service["spec"][role]["autoScaling"]["metrics"] for role in ("predictor", "explainer"))


def test_the_edge_image_answers_rest_alone(prod_with):
    objects = prod_with(overall=["sentiment-edge"])
    assert findings(objects) == []
    (container,) = objects.get("ServingRuntime", "sentiment-onnx")["spec"]["containers"]
    assert container["image"].startswith("ml-deployment-blueprints/sentiment-edge:")
    assert container["command"] == ["python", "-m", "inference_services.sentiment.edge"]
    assert [port["name"] for port in container["ports"]] == ["http"]
    small = {"cpu": "500m", "memory": "256Mi"}
    assert container["resources"] == {"requests": small, "limits": small}
    assert [rule["name"] for rule in objects.get("HTTPRoute", "sentiment")["spec"]["rules"]] == ["explain", "predict"]
