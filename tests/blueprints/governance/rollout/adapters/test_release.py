from __future__ import annotations

import copy

import pytest

from blueprints.governance.registry import CHAMPION, RegisteredModel, RegistryError
from blueprints.governance.rollout.adapters.cluster import INFERENCE_SERVICES, ClusterError
from blueprints.governance.rollout.adapters.inference_service import candidate_of, model_of, serves, with_model
from blueprints.governance.rollout.adapters.release import DERIVED, KubernetesRelease, resolve_model
from blueprints.governance.rollout.ports import UnavailableError
from blueprints.governance.rollout.state import Rollout

OLD, NEW = "pvc://models/credit-risk/champion", "pvc://models/credit-risk/0123456789ab"
ROLLOUT = Rollout(id="r1", service="credit-risk", stable_model=OLD, candidate_model=NEW, started_by="alice")


class FakeRegistry:
    """A registry of one model."""

    def __init__(self) -> None:
        self.model = RegisteredModel(
            name="credit-risk", number="3", package_version="0123456789ab", run_id="r", source="s"
        )
        self.promoted: list[tuple[str, str, str]] = []
        self.fails = False

    def by_package_version(self, version):
        if self.fails:
            raise RegistryError("down")
        return self.model if version == self.model.package_version else None

    def by_alias(self, name, alias):
        return self.model if (name, alias) == ("credit-risk", "challenger") else None

    def by_number(self, name, number):
        if number == "3":
            return self.model
        raise RegistryError(f"no version {number!r}")

    def promote(self, model, *, by, reason):
        self.promoted.append((model.number, by, reason))


@pytest.fixture
def registry():
    return FakeRegistry()


@pytest.fixture
def release(cluster, registry):
    return KubernetesRelease(cluster, "credit-risk", registry)


@pytest.fixture
def stable(local_objects):
    return next(item for item in local_objects if item["kind"] == "InferenceService")


def test_a_candidate_is_the_stable_service_with_another_name_and_model(stable):
    live = copy.deepcopy(stable)
    live["metadata"] |= {"uid": "u", "resourceVersion": "5", "generation": 2}
    live["metadata"]["annotations"]["kubectl.kubernetes.io/last-applied-configuration"] = "{}"
    candidate = candidate_of(live, NEW)
    assert candidate["metadata"]["name"] == "credit-risk-candidate"
    assert candidate["metadata"]["labels"] == stable["metadata"]["labels"]
    assert candidate["metadata"]["annotations"] == stable["metadata"]["annotations"]
    assert set(candidate["metadata"]) == {"name", "namespace", "labels", "annotations"}
    assert "status" not in candidate
    assert model_of(candidate) == NEW
    assert str(candidate["spec"]).count(NEW) == 3
    assert OLD not in str(candidate["spec"])
    assert with_model(candidate["spec"], OLD) == stable["spec"]


def test_a_candidate_never_calls_or_counts_the_stable_versions_pods(stable):
    live = copy.deepcopy(stable)
    live["spec"]["transformer"]["containers"][0]["args"] += [
        "--predictor_host=credit-risk-predictor.ns",
        "credit-risk-x",
    ]
    selector = {"matchLabels": {"serving.kserve.io/inferenceservice": "credit-risk", "component": "predictor"}}
    live["spec"]["predictor"]["topologySpreadConstraints"] = [{"labelSelector": selector}]
    spec = candidate_of(live, NEW)["spec"]
    assert spec["transformer"]["containers"][0]["args"][-2:] == [
        "--predictor_host=credit-risk-candidate-predictor.ns",
        "credit-risk-x",
    ]
    (constraint,) = spec["predictor"]["topologySpreadConstraints"]
    assert constraint["labelSelector"]["matchLabels"]["serving.kserve.io/inferenceservice"] == "credit-risk-candidate"


def test_a_part_with_a_model_of_its_own_keeps_it(stable):
    live = copy.deepcopy(stable)
    live["spec"]["explainer"]["containers"][0]["env"][0]["value"] = "pvc://models/explainer/1"
    changed = with_model(live["spec"], NEW)
    assert changed["explainer"]["containers"][0]["env"][0]["value"] == "pvc://models/explainer/1"
    assert changed["transformer"]["containers"][0]["env"][0]["value"] == NEW


def test_a_service_without_a_model_or_with_too_long_a_name_is_refused(stable):
    with pytest.raises(ClusterError, match="names no model"):
        model_of({"metadata": {"name": "x"}, "spec": {"predictor": {"containers": [{"name": "c"}]}}})
    with pytest.raises(ClusterError, match="at most 41 characters"):
        candidate_of({**stable, "metadata": {**stable["metadata"], "name": "x" * 42}}, NEW)


def test_a_candidate_is_made_once_and_anew_for_the_next_rollout(release, cluster):
    release.prepare(NEW)
    first = cluster.require(INFERENCE_SERVICES, "credit-risk-candidate")
    release.prepare(NEW)
    cluster.merge(INFERENCE_SERVICES, "credit-risk", {"spec": {"predictor": {"maxReplicas": 7}}})
    release.prepare("pvc://models/credit-risk/ffffffffffff")
    later = cluster.require(INFERENCE_SERVICES, "credit-risk-candidate")
    assert later["metadata"]["uid"] == first["metadata"]["uid"]
    assert model_of(later) == "pvc://models/credit-risk/ffffffffffff"
    assert later["spec"]["predictor"]["maxReplicas"] == 7


def test_a_candidate_that_someone_else_made_keeps_all_but_its_model(release, cluster):
    candidate = candidate_of(cluster.require(INFERENCE_SERVICES, "credit-risk"), OLD)
    candidate["spec"]["predictor"]["maxReplicas"] = 2
    cluster.create(INFERENCE_SERVICES, candidate)
    release.prepare(NEW)
    there = cluster.require(INFERENCE_SERVICES, "credit-risk-candidate")
    assert DERIVED not in there["metadata"]["annotations"]
    assert (model_of(there), there["spec"]["predictor"]["maxReplicas"]) == (NEW, 2)


def test_a_promotion_moves_the_model_waits_and_removes_the_candidate(release, cluster, operator, eventually):
    release.prepare(NEW)
    eventually(lambda: serving(cluster, "credit-risk"))
    assert not release.stable_ready(ROLLOUT)
    for _ in range(2):
        release.move_model(ROLLOUT)
    assert model_of(cluster.require(INFERENCE_SERVICES, "credit-risk")) == NEW
    eventually(lambda: release.stable_ready(ROLLOUT))
    for _ in range(2):
        release.remove_candidate(ROLLOUT)
    assert cluster.get(INFERENCE_SERVICES, "credit-risk-candidate") is None
    release.move_model(ROLLOUT)
    assert release.stable_ready(ROLLOUT)


def test_nothing_is_done_for_a_rollout_that_is_not_the_present_one(release, cluster):
    release.prepare("pvc://models/credit-risk/ffffffffffff")
    release.move_model(ROLLOUT)
    release.remove_candidate(ROLLOUT)
    assert model_of(cluster.require(INFERENCE_SERVICES, "credit-risk")) == OLD
    assert cluster.get(INFERENCE_SERVICES, "credit-risk-candidate") is not None


def test_the_alias_moves_with_the_analysis_as_reason(release, registry):
    release.register(ROLLOUT, "error rate 0.0 % against 0.0 %")
    assert registry.promoted == [("3", "alice", "error rate 0.0 % against 0.0 %")]
    release.register(ROLLOUT.model_copy(update={"candidate_model": "file:///models/x"}), "why")
    assert len(registry.promoted) == 1
    registry.fails = True
    with pytest.raises(UnavailableError):
        release.register(ROLLOUT, "why")
    KubernetesRelease(None, "credit-risk", None).register(ROLLOUT, "no registry is no error")


@pytest.mark.parametrize("package", ["challenger", "3", "0123456789ab"])
def test_a_candidates_model_is_always_a_fixed_version(registry, package):
    assert resolve_model(package, stable_model=OLD, name="credit-risk", registry=registry) == NEW


def test_models_that_nobody_knows_are_refused(registry):
    known = {"stable_model": OLD, "name": "credit-risk"}
    assert resolve_model("s3://b/x/y", registry=registry, **known) == "s3://b/x/y"
    assert resolve_model("0123456789ab", registry=None, **known) == NEW
    with pytest.raises(RegistryError, match="'shiny' is neither"):
        resolve_model("shiny", registry=registry, **known)
    with pytest.raises(RegistryError, match="without a registry"):
        resolve_model(CHAMPION, registry=None, **known)


def serving(cluster, name):
    from blueprints.governance.rollout.adapters.service_metrics import ready

    return ready(cluster, name)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, True),
        ({"observedGeneration": 1}, False),
        ({"replicas": 3}, False),
        ({"replicas": 3, "updatedReplicas": 3}, False),
        ({"replicas": 3, "updatedReplicas": 3, "availableReplicas": 3}, True),
        ({"availableReplicas": 0}, False),
    ],
)
def test_a_rolling_update_is_over_when_every_replica_is_new_and_available(stable, change, expected):
    service = {**stable, "status": {"conditions": [{"type": "Ready", "status": "True"}]}}
    labels = {"component": "predictor"}
    annotations = {"internal.serving.kserve.io/storage-initializer-sourceuri": OLD}
    deployment = {
        "metadata": {"generation": 2},
        "spec": {"template": {"metadata": {"labels": labels, "annotations": annotations}}},
        "status": {"observedGeneration": 2, "replicas": 1, "updatedReplicas": 1, "availableReplicas": 1, **change},
    }
    assert serves(service, [deployment], complete=True) is expected
    changed = {**service, "spec": with_model(stable["spec"], NEW)}
    assert not serves(changed, [deployment], complete=True)
    assert not serves({**service, "status": {"conditions": [{"type": "Ready", "status": "False"}]}}, [deployment])
