import os
from pathlib import Path

import pytest

from localcluster.component_objects import deployment
from localcluster.container import Surroundings, pod_process_spec
from localcluster.inference_service import components
from localcluster.render import render
from localcluster.schemas.validators import Schemas
from localcluster.validation import validate

ROOT = Path(__file__).parents[2]
OVERLAYS = ("local", "dev", "staging", "prod")
CRDS = Path(os.environ.get("CRDS", ROOT.parent / "shared" / "crds"))
SERVING = "ml-deployment-blueprints/credit-risk:0.1.0"


@pytest.fixture(scope="module")
def overlays():
    return {name: render(ROOT / "kustomize" / "overlays" / name) for name in OVERLAYS}


@pytest.fixture(scope="module")
def crds():
    if not CRDS.is_dir():
        pytest.skip(f"{CRDS}: no CustomResourceDefinitions there; name a folder of them with CRDS=…")
    return Schemas(CRDS)


@pytest.mark.parametrize("name", OVERLAYS)
def test_every_object_passes_every_check_also_by_the_crds(overlays, crds, name):
    assert [str(finding) for finding in validate(overlays[name], crds)] == []


@pytest.mark.parametrize("name", OVERLAYS)
def test_without_crds_every_kind_has_a_schema_and_passes(overlays, name):
    assert [str(finding) for finding in validate(overlays[name], Schemas())] == []


@pytest.mark.parametrize("name", OVERLAYS)
def test_every_object_lives_in_the_overlays_namespace(overlays, name):
    for item in overlays[name]:
        expected = None if item["kind"] == "Namespace" else f"blueprints-{name}"
        assert item["metadata"].get("namespace") == expected
    assert overlays[name].of_kind("Namespace")[0]["metadata"]["name"] == f"blueprints-{name}"


@pytest.mark.parametrize("name", OVERLAYS)
def test_explanations_go_to_the_explainer_and_all_else_to_the_transformer(overlays, name):
    (route,) = overlays[name].of_kind("HTTPRoute")
    targets = {
        match["path"]["value"]: (match["path"]["type"], [backend["name"] for backend in rule["backendRefs"]])
        for rule in route["spec"]["rules"]
        for match in rule["matches"]
    }
    assert targets.pop("/v1/models/credit-risk:explain") == ("Exact", ["credit-risk-explainer"])
    assert {tuple(backends) for _, backends in targets.values()} == {("credit-risk-transformer",)}
    assert not any(path.startswith(("/metrics", "/healthz", "/readyz")) or path == "/" for path in targets)


def test_clusters_get_the_decisions_url_from_a_secret_and_the_laptop_gets_none(overlays):
    for name in OVERLAYS:
        service = overlays[name].get("InferenceService", "credit-risk")
        env = {entry["name"]: entry for entry in service["spec"]["transformer"]["containers"][0]["env"]}
        if name == "local":
            assert "DECISIONS_URL" not in env
        else:
            assert set(env["DECISIONS_URL"]["valueFrom"]) == {"secretKeyRef"}


def test_no_overlay_holds_a_secret(overlays):
    assert not any(objects.of_kind("Secret") for objects in overlays.values())


def test_production_survives_the_loss_of_a_replica(overlays):
    service = overlays["prod"].get("InferenceService", "credit-risk")
    budgets = {
        budget["spec"]["selector"]["matchLabels"]["component"]: budget["spec"]["maxUnavailable"]
        for budget in overlays["prod"].of_kind("PodDisruptionBudget")
    }
    for role in ("predictor", "transformer", "explainer"):
        assert service["spec"][role]["minReplicas"] > budgets[role]


def test_nobody_writes_an_autoscaler_beside_kserves(overlays):
    assert not any(objects.of_kind("HorizontalPodAutoscaler") for objects in overlays.values())


def test_the_local_overlay_runs_as_processes(overlays, tmp_path):
    objects = overlays["local"]
    metadata = {"name": "credit-risk", "namespace": "blueprints-local"}
    stable = {"spec": {"clusterIP": "127.0.0.2", "ports": [{"port": 80, "targetPort": 8080}]}}
    around = Surroundings(
        address="127.0.0.3",
        folder=tmp_path,
        find=lambda kind, name, _: stable if (kind, name) == ("Service", "credit-risk-predictor") else None,
        holds_service=lambda _: True,
        claim=lambda _: None,
        model=tmp_path,
        environment={"PATH": os.defpath},
    )
    pods = [
        {"kind": "Pod", "metadata": metadata, "spec": deployment(part, {})["spec"]["template"]["spec"]}
        for part in components(objects.get("InferenceService", "credit-risk"), objects)
    ]
    predictor, transformer, explainer = specs = [pod_process_spec(pod, around) for pod in pods]
    assert "--model_name=credit-risk" in predictor.command
    assert transformer.command[-2:] == ("--predictor_host", "127.0.0.2:8080")
    assert [set(spec.ports) for spec in specs] == [{"http", "grpc"}, {"http", "grpc"}, {"http"}]
    for spec in specs:
        assert f"--model_dir={tmp_path}" in spec.command
        assert spec.readiness.action.path == "/readyz"
        assert spec.liveness.action.path == "/healthz"
    assert "inference_services.credit_risk.explainer" in explainer.command


def test_the_manifests_name_one_image(overlays):
    for objects in overlays.values():
        runtime = objects.get("ServingRuntime", "credit-risk-xgboost")["spec"]["containers"][0]["image"]
        service = objects.get("InferenceService", "credit-risk")["spec"]
        assert {runtime} | {service[role]["containers"][0]["image"] for role in ("transformer", "explainer")} == {
            SERVING
        }


@pytest.mark.parametrize("folder", ["manifests", "kustomize/overlays", "kustomize/components"])
def test_overlays_and_components_hold_patches_and_every_file_is_used(folder):
    for kustomization in (ROOT / folder).rglob("kustomization.yaml"):
        text = kustomization.read_text()
        for beside in kustomization.parent.glob("*.yaml"):
            assert beside.name == "kustomization.yaml" or beside.name in text, f"{beside}: nobody uses it"
        if folder == "kustomize/overlays":
            assert [path.name for path in kustomization.parent.glob("*.yaml")] == ["kustomization.yaml"]
