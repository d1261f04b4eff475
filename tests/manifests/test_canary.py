"""The kustomize components `<blueprint>-canary`, on every overlay."""

from __future__ import annotations

import itertools
import os
import shutil
from pathlib import Path

import pytest
import yaml

from blueprints.governance.rollout.adapters.http_route import weighted_rules
from blueprints.governance.rollout.adapters.inference_service import candidate_of, model_of
from localcluster.render import render

ROOT = Path(__file__).parents[2]
OVERLAYS = ("local", "dev", "staging", "prod")


BLUEPRINTS = ("credit-risk", "segmentation", "sentiment")
everywhere = pytest.mark.parametrize(("name", "blueprint"), [*itertools.product(OVERLAYS, BLUEPRINTS)])


def with_component(root, overlay, component, *, first=False):
    """Adds a component to a kustomization in a copy of the tree."""
    folder = root / "kustomize" / "overlays" / overlay
    kustomization = yaml.safe_load((folder / "kustomization.yaml").read_text())
    path, others = (
        os.path.relpath(root / "kustomize/components" / component, folder),
        kustomization.get("components", []),
    )
    kustomization["components"] = [path, *others] if first else [*others, path]
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))


@pytest.fixture
def tree(tmp_path):
    """A copy of the manifests."""
    for folder in ("manifests", "kustomize"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    return tmp_path


@pytest.fixture(scope="module")
def with_canary(tmp_path_factory):
    """Every overlay with a candidate of each blueprint, the components being the first."""
    root = tmp_path_factory.mktemp("tree")
    for folder in ("manifests", "kustomize"):
        shutil.copytree(ROOT / folder, root / folder)
    for name, blueprint in itertools.product(OVERLAYS, BLUEPRINTS):
        with_component(root, f"{name}/{blueprint}", f"{blueprint}-canary", first=True)
    return {name: render(root / "kustomize" / "overlays" / name) for name in OVERLAYS}


@everywhere
def test_the_candidate_is_the_stable_version_under_another_name(with_canary, name, blueprint):
    stable, candidate = (
        with_canary[name].get("InferenceService", service) for service in (blueprint, f"{blueprint}-candidate")
    )
    assert candidate["spec"] == stable["spec"]
    assert candidate["metadata"] == {**stable["metadata"], "name": f"{blueprint}-candidate"}


@everywhere
def test_a_rollout_makes_the_same_candidate_from_the_live_service(with_canary, name, blueprint):
    stable, candidate = (
        with_canary[name].get("InferenceService", service) for service in (blueprint, f"{blueprint}-candidate")
    )
    assert candidate_of(stable, model_of(stable)) == candidate


@everywhere
def test_a_rollout_gives_the_route_the_same_backends(with_canary, name, blueprint):
    plain = render(ROOT / "kustomize" / "overlays" / name).get("HTTPRoute", blueprint)
    route = with_canary[name].get("HTTPRoute", blueprint)
    assert weighted_rules(plain, blueprint, 0) == route["spec"]["rules"]


@pytest.mark.parametrize("name", OVERLAYS)
def test_the_components_add_nothing_but_candidates_and_their_backends(with_canary, name):
    plain = render(ROOT / "kustomize" / "overlays" / name)
    added = [item for item in with_canary[name] if item not in list(plain)]
    assert sorted((item["kind"], item["metadata"]["name"]) for item in added) == [
        *(("HTTPRoute", blueprint) for blueprint in BLUEPRINTS),
        *(("InferenceService", f"{blueprint}-candidate") for blueprint in BLUEPRINTS),
    ]


@everywhere
def test_every_rule_has_the_candidate_at_weight_zero(with_canary, name, blueprint):
    for rule in with_canary[name].get("HTTPRoute", blueprint)["spec"]["rules"]:
        stable, candidate = rule["backendRefs"]
        assert candidate == {
            "name": stable["name"].replace(f"{blueprint}-", f"{blueprint}-candidate-"),
            "port": stable["port"],
            "weight": 0,
        }
        assert stable["weight"] == 100


@everywhere
def test_policies_and_budgets_cover_both_versions(with_canary, name, blueprint):
    objects = with_canary[name]
    labels = objects.get("InferenceService", f"{blueprint}-candidate")["metadata"]["labels"]
    stable = objects.get("InferenceService", blueprint)["metadata"]["labels"]
    assert labels == stable
    assert labels["model"] == blueprint
    selectors = [item["spec"]["podSelector"] for item in objects.of_kind("NetworkPolicy")]
    selectors += [item["spec"]["selector"] for item in objects.of_kind("PodDisruptionBudget")]
    covering = [one for one in selectors if one["matchLabels"].items() <= {**labels, "component": "predictor"}.items()]
    assert len(covering) >= 3
    assert not any("serving.kserve.io/inferenceservice" in selector["matchLabels"] for selector in selectors)


@pytest.mark.parametrize("name", OVERLAYS)
def test_the_engines_identity_has_its_rights_in_the_services_namespace(tree, name):
    with_component(tree, name, "rollout-engine")
    objects = render(tree / "kustomize" / "overlays" / name)
    binding, role = objects.get("RoleBinding", "rollout-engine"), objects.get("Role", "rollout-engine")
    namespace = f"blueprints-{name}"
    assert {item["metadata"]["namespace"] for item in (binding, role)} == {namespace}
    assert binding["subjects"] == [{"kind": "ServiceAccount", "name": "rollout-engine", "namespace": namespace}]
    assert binding["roleRef"]["name"] == role["metadata"]["name"]
    assert not any("*" in verbs for rule in role["rules"] for verbs in (rule["verbs"], rule["resources"]))
    named = {name for rule in role["rules"] for name in rule.get("resourceNames", [])}
    assert named == {f"{blueprint}{suffix}" for blueprint in BLUEPRINTS for suffix in ("", "-candidate", "-rollout")}
