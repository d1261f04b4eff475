"""The kustomize component `canary`, on every overlay."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import yaml

from blueprints.governance.rollout.adapters.http_route import weighted_rules
from blueprints.governance.rollout.adapters.inference_service import candidate_of, model_of
from localcluster.render import render

ROOT = Path(__file__).parents[2]
OVERLAYS = ("local", "dev", "staging", "prod")


@pytest.fixture(scope="module")
def with_canary(tmp_path_factory):
    """Every overlay with the component as its first."""
    root = tmp_path_factory.mktemp("tree")
    for folder in ("manifests", "kustomize"):
        shutil.copytree(ROOT / folder, root / folder)
    rendered = {}
    for name in OVERLAYS:
        file = root / "kustomize" / "overlays" / name / "kustomization.yaml"
        kustomization = yaml.safe_load(file.read_text())
        kustomization["components"] = ["../../components/canary", *kustomization.get("components", [])]
        file.write_text(yaml.safe_dump(kustomization))
        rendered[name] = render(file.parent)
    return rendered


@pytest.mark.parametrize("name", OVERLAYS)
def test_the_candidate_is_the_stable_version_under_another_name(with_canary, name):
    stable, candidate = (
        with_canary[name].get("InferenceService", service) for service in ("credit-risk", "credit-risk-candidate")
    )
    assert candidate["spec"] == stable["spec"]
    assert candidate["metadata"] == {**stable["metadata"], "name": "credit-risk-candidate"}


@pytest.mark.parametrize("name", OVERLAYS)
def test_a_rollout_makes_the_same_candidate_from_the_live_service(with_canary, name):
    stable, candidate = (
        with_canary[name].get("InferenceService", service) for service in ("credit-risk", "credit-risk-candidate")
    )
    assert candidate_of(stable, model_of(stable)) == candidate


@pytest.mark.parametrize("name", OVERLAYS)
def test_a_rollout_gives_the_route_the_same_backends(with_canary, name):
    (plain,) = render(ROOT / "kustomize" / "overlays" / name).of_kind("HTTPRoute")
    (route,) = with_canary[name].of_kind("HTTPRoute")
    assert weighted_rules(plain, "credit-risk", 0) == route["spec"]["rules"]


@pytest.mark.parametrize("name", OVERLAYS)
def test_the_component_adds_nothing_but_the_candidate_and_its_backends(with_canary, name):
    plain = render(ROOT / "kustomize" / "overlays" / name)
    added = [item for item in with_canary[name] if item not in list(plain)]
    assert sorted((item["kind"], item["metadata"]["name"]) for item in added) == [
        ("HTTPRoute", "credit-risk"),
        ("InferenceService", "credit-risk-candidate"),
    ]


@pytest.mark.parametrize("name", OVERLAYS)
def test_every_rule_has_the_candidate_at_weight_zero(with_canary, name):
    (route,) = with_canary[name].of_kind("HTTPRoute")
    for rule in route["spec"]["rules"]:
        stable, candidate = rule["backendRefs"]
        assert candidate == {
            "name": stable["name"].replace("credit-risk-", "credit-risk-candidate-"),
            "port": stable["port"],
            "weight": 0,
        }
        assert stable["weight"] == 100


@pytest.mark.parametrize("name", OVERLAYS)
def test_policies_and_budgets_cover_both_versions(with_canary, name):
    objects = with_canary[name]
    labels = objects.get("InferenceService", "credit-risk-candidate")["metadata"]["labels"]
    assert labels["model"] == "credit-risk"
    selectors = [item["spec"]["podSelector"] for item in objects.of_kind("NetworkPolicy")]
    selectors += [item["spec"]["selector"] for item in objects.of_kind("PodDisruptionBudget")]
    assert selectors
    for selector in selectors:
        assert selector["matchLabels"]["model"] == "credit-risk"
        assert "serving.kserve.io/inferenceservice" not in selector["matchLabels"]


@pytest.mark.parametrize("name", OVERLAYS)
def test_the_engines_identity_has_its_rights_in_the_services_namespace(tmp_path, name):
    for folder in ("manifests", "kustomize"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    file = tmp_path / "kustomize" / "overlays" / name / "kustomization.yaml"
    kustomization = yaml.safe_load(file.read_text())
    kustomization["components"] = [*kustomization.get("components", []), "../../components/rollout-engine"]
    file.write_text(yaml.safe_dump(kustomization))
    objects = render(file.parent)
    binding, role = objects.get("RoleBinding", "rollout-engine"), objects.get("Role", "rollout-engine")
    namespace = f"blueprints-{name}"
    assert {item["metadata"]["namespace"] for item in (binding, role)} == {namespace}
    assert binding["subjects"] == [{"kind": "ServiceAccount", "name": "rollout-engine", "namespace": namespace}]
    assert binding["roleRef"]["name"] == role["metadata"]["name"]
    assert not any("*" in verbs for rule in role["rules"] for verbs in (rule["verbs"], rule["resources"]))
