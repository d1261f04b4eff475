import itertools
import os
import re
from pathlib import Path

import pytest
import yaml

from localcluster.component_objects import deployment
from localcluster.container import Surroundings, pod_process_spec
from localcluster.inference_service import components
from localcluster.render import render
from localcluster.schemas.validators import Schemas
from localcluster.validation import validate

ROOT = Path(__file__).parents[2]
OVERLAYS = ("local", "dev", "staging", "prod")
CRDS = Path(os.environ.get("CRDS", ROOT.parent / "shared" / "crds"))
# Which part requests enter by, the others that are routed to, and the parts in all.
ENTRIES = {"credit-risk": "transformer", "segmentation": "transformer", "sentiment": "predictor"}
ROLES = {
    "credit-risk": ("predictor", "transformer", "explainer"),
    "segmentation": ("predictor", "transformer", "explainer"),
    "sentiment": ("predictor", "explainer"),
}
RUNTIMES = {
    "credit-risk": "credit-risk-xgboost",
    "segmentation": "segmentation-sklearn",
    "sentiment": "sentiment-onnx",
}
everywhere = pytest.mark.parametrize(("name", "blueprint"), [*itertools.product(OVERLAYS, ENTRIES)])


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


@everywhere
def test_explanations_go_to_the_explainer_and_all_else_to_where_requests_enter(overlays, name, blueprint):
    route = overlays[name].get("HTTPRoute", blueprint)
    targets = {
        match["path"]["value"]: (match["path"]["type"], [backend["name"] for backend in rule["backendRefs"]])
        for rule in route["spec"]["rules"]
        for match in rule["matches"]
    }
    assert targets.pop(f"/v1/models/{blueprint}:explain") == ("Exact", [f"{blueprint}-explainer"])
    assert {tuple(backends) for _, backends in targets.values()} == {(f"{blueprint}-{ENTRIES[blueprint]}",)}
    assert not any(path.startswith(("/metrics", "/healthz", "/readyz")) or path == "/" for path in targets)


@pytest.mark.parametrize("name", OVERLAYS)
def test_every_blueprint_has_a_host_name_of_its_own(overlays, name):
    hosts = [host for route in overlays[name].of_kind("HTTPRoute") for host in route["spec"]["hostnames"]]
    suffix = "localhost" if name == "local" else f"{name}.example.com"
    assert sorted(hosts) == sorted(f"{blueprint}.{suffix}" for blueprint in ENTRIES)


@everywhere
def test_every_object_of_a_blueprint_says_so(overlays, name, blueprint):
    shared = {("Namespace", f"blueprints-{name}"), ("NetworkPolicy", "object-storage")}
    for item in overlays[name]:
        of = item["metadata"].get("labels", {}).get("app.kubernetes.io/name")
        if item["metadata"]["name"].startswith(blueprint):
            assert of == blueprint, item["metadata"]["name"]
        elif (item["kind"], item["metadata"]["name"]) in shared:
            assert of is None


def test_clusters_get_the_decisions_url_from_a_secret_and_the_laptop_gets_none(overlays):
    for name in OVERLAYS:
        service = overlays[name].get("InferenceService", "credit-risk")
        env = {entry["name"]: entry for entry in service["spec"]["transformer"]["containers"][0]["env"]}
        if name == "local":
            assert "DECISIONS_URL" not in env
        else:
            assert set(env["DECISIONS_URL"]["valueFrom"]) == {"secretKeyRef"}


def test_clusters_read_features_from_a_store_that_secrets_name_and_the_laptop_from_the_workspace(overlays):
    stores = {"local": None, "dev": "postgres", "staging": "redis", "prod": "redis"}
    for name, kind in stores.items():
        service = overlays[name].get("InferenceService", "segmentation")
        for role in ("transformer", "explainer"):
            env = {entry["name"]: entry for entry in service["spec"][role]["containers"][0]["env"]}
            variables = {key for key in env if key.startswith("FEATURE_STORE_")}
            if kind is None:
                assert not variables
                continue
            config = ROOT / env["FEATURE_STORE_CONFIG"]["value"]
            asked = set(re.findall(r"\$\{(\w+)\}", config.read_text())) - {"FEATURE_STORE_DATA"}
            assert config.name == f"feature_store.{kind}.yaml"
            assert variables == asked | {"FEATURE_STORE_CONFIG"}
            secret = {key for key in asked if "valueFrom" in env[key]}
            assert asked - secret <= {"FEATURE_STORE_POSTGRES_SSLMODE"}
            assert all(set(env[key]["valueFrom"]) == {"secretKeyRef"} for key in secret)


@pytest.mark.parametrize(("name", "port"), [("dev", 5432), ("staging", 6379), ("prod", 6379)])
def test_those_who_read_features_may_reach_the_store_and_the_predictor_may_not(overlays, name, port):
    policy = overlays[name].get("NetworkPolicy", "segmentation-feature-store")["spec"]
    assert policy["podSelector"]["matchLabels"] == {"model": "segmentation"}
    assert policy["podSelector"]["matchExpressions"][0]["values"] == ["transformer", "explainer"]
    assert policy["egress"][0]["ports"] == [{"port": port, "protocol": "TCP"}]


def test_no_overlay_holds_a_secret(overlays):
    assert not any(objects.of_kind("Secret") for objects in overlays.values())


@pytest.mark.parametrize("blueprint", ENTRIES)
def test_production_survives_the_loss_of_a_replica(overlays, blueprint):
    service = overlays["prod"].get("InferenceService", blueprint)
    budgets = {
        budget["spec"]["selector"]["matchLabels"]["component"]: budget["spec"]["maxUnavailable"]
        for budget in overlays["prod"].of_kind("PodDisruptionBudget")
        if budget["spec"]["selector"]["matchLabels"]["model"] == blueprint
    }
    assert budgets.keys() == set(ROLES[blueprint]) == service["spec"].keys()
    for role in ROLES[blueprint]:
        assert service["spec"][role]["minReplicas"] > budgets[role]


@pytest.mark.parametrize("blueprint", ENTRIES)
def test_production_spreads_the_pods_of_each_version_over_zones(overlays, blueprint):
    service = overlays["prod"].get("InferenceService", blueprint)
    for role in ROLES[blueprint]:
        (spread,) = service["spec"][role]["topologySpreadConstraints"]
        assert spread["topologyKey"] == "topology.kubernetes.io/zone"
        assert spread["labelSelector"]["matchLabels"] == {"model": blueprint, "component": role}


def test_nobody_writes_an_autoscaler_beside_kserves(overlays):
    assert not any(objects.of_kind("HorizontalPodAutoscaler") for objects in overlays.values())


def processes(objects, blueprint, folder):
    """What the laptop cluster would start for a blueprint, by role."""
    stable = {"spec": {"clusterIP": "127.0.0.2", "ports": [{"port": 80, "targetPort": 8080}]}}
    around = Surroundings(
        address="127.0.0.3",
        folder=folder,
        find=lambda kind, name, _: stable if (kind, name) == ("Service", f"{blueprint}-predictor") else None,
        holds_service=lambda _: True,
        claim=lambda _: None,
        model=folder,
        environment={"PATH": os.defpath},
    )
    metadata = {"name": blueprint, "namespace": "blueprints-local"}
    return {
        part.role: pod_process_spec(
            {"kind": "Pod", "metadata": metadata, "spec": deployment(part, {})["spec"]["template"]["spec"]}, around
        )
        for part in components(objects.get("InferenceService", blueprint), objects)
    }


@pytest.mark.parametrize("blueprint", ENTRIES)
def test_the_local_overlay_runs_as_processes(overlays, tmp_path, blueprint):
    specs = processes(overlays["local"], blueprint, tmp_path)
    assert tuple(specs) == ROLES[blueprint]
    module = f"inference_services.{blueprint.replace('-', '_')}"
    for role, spec in specs.items():
        assert f"{module}.{role}" in spec.command
        assert f"--model_name={blueprint}" in spec.command
        assert f"--model_dir={tmp_path}" in spec.command
        assert set(spec.ports) == ({"http"} if role == "explainer" else {"http", "grpc"})
        assert spec.readiness.action.path == "/readyz"
        assert spec.liveness.action.path == "/healthz"


@pytest.mark.parametrize("blueprint", [one for one, entry in ENTRIES.items() if entry == "transformer"])
def test_a_transformer_knows_its_predictor(overlays, tmp_path, blueprint):
    specs = processes(overlays["local"], blueprint, tmp_path)
    assert specs["transformer"].command[-2:] == ("--predictor_host", "127.0.0.2:8080")


def test_the_text_servers_start_as_many_threads_as_their_container_may_use(overlays, tmp_path):
    for spec in processes(overlays["local"], "sentiment", tmp_path).values():
        assert (spec.environment["OMP_NUM_THREADS"], spec.environment["RAYON_NUM_THREADS"]) == ("2", "2")


@everywhere
def test_a_blueprint_names_one_image(overlays, name, blueprint):
    service = overlays[name].get("InferenceService", blueprint)["spec"]
    containers = overlays[name].get("ServingRuntime", RUNTIMES[blueprint])["spec"]["containers"]
    containers += [one for role in ROLES[blueprint] for one in service[role].get("containers", [])]
    assert {one["image"] for one in containers} == {f"ml-deployment-blueprints/{blueprint}:0.1.0"}


@pytest.mark.parametrize("folder", ["manifests", "kustomize/overlays", "kustomize/components"])
def test_overlays_and_components_hold_patches_and_every_file_is_used(folder):
    for kustomization in (ROOT / folder).rglob("kustomization.yaml"):
        text = kustomization.read_text()
        if folder == "kustomize/overlays" and kustomization.parent.parent.name != "overlays":
            assert "namespace" not in yaml.safe_load(text), "the overlay names it, for all its blueprints"
        for beside in kustomization.parent.glob("*.yaml"):
            assert beside.name == "kustomization.yaml" or beside.name in text, f"{beside}: nobody uses it"
        if folder == "kustomize/overlays":
            assert [path.name for path in kustomization.parent.glob("*.yaml")] == ["kustomization.yaml"]
