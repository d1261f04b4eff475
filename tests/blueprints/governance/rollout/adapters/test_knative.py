from __future__ import annotations

import pytest

from blueprints.governance.rollout.adapters.assembly import ServiceRollout
from blueprints.governance.rollout.adapters.cluster import CONFIG_MAPS, INFERENCE_SERVICES, ClusterError
from blueprints.governance.rollout.adapters.inference_service import model_of
from blueprints.governance.rollout.adapters.knative import KnativeTraffic
from blueprints.governance.rollout.adapters.records import STATE
from blueprints.governance.rollout.adapters.release import KnativeRelease
from blueprints.governance.rollout.config import RolloutConfig
from blueprints.governance.rollout.ports import SupersededError
from blueprints.governance.rollout.state import Phase, Rollout, Stage, State

OLD, NEW = "s3://models/sentiment/aaaaaaaaaaaa", "s3://models/sentiment/bbbbbbbbbbbb"
ROLLOUT = Rollout(id="r1", service="sentiment", stable_model=OLD, candidate_model=NEW)


def state(weight: int, phase: Phase = Phase.ANALYSING, **more) -> State:
    return State.start(ROLLOUT, RolloutConfig(), 1.0).model_copy(update={"weight": weight, "phase": phase, **more})


@pytest.fixture
def service(cluster):
    annotations = {"serving.kserve.io/deploymentMode": "Knative"}
    model = {"modelFormat": {"name": "onnx"}, "storageUri": OLD}
    item = {"metadata": {"name": "sentiment", "annotations": annotations}, "spec": {"predictor": {"model": model}}}
    yield cluster.create(INFERENCE_SERVICES, item)
    for kept in cluster.list(CONFIG_MAPS, {}):
        if kept["metadata"]["name"].endswith("-rollout"):
            cluster.delete(CONFIG_MAPS, kept)


def percent(cluster):
    return cluster.require(INFERENCE_SERVICES, "sentiment")["spec"]["predictor"].get("canaryTrafficPercent")


@pytest.mark.usefixtures("service")
def test_the_percentage_follows_the_state_and_the_services_annotations_never_change(cluster):
    before = cluster.require(INFERENCE_SERVICES, "sentiment")["metadata"]["annotations"]
    traffic = KnativeTraffic(cluster, "sentiment")
    for weight in (0, 5, 50):
        traffic.write(state(weight), traffic.read().version)
        assert percent(cluster) == weight
        assert traffic.read()[:2] == (state(weight), weight)
    assert cluster.require(INFERENCE_SERVICES, "sentiment")["metadata"]["annotations"] == before


@pytest.mark.usefixtures("service")
def test_once_it_is_promoted_the_newest_revision_takes_everything(cluster):
    traffic = KnativeTraffic(cluster, "sentiment")
    traffic.write(state(50), traffic.read().version)
    for later in (
        state(100, Phase.PROMOTING, stage=Stage.MOVE_MODEL),
        state(0, Phase.PROMOTING, stage=Stage.DRAIN),
        state(0, Phase.PROMOTED),
    ):
        traffic.write(later, traffic.read().version)
        assert percent(cluster) is None
        assert traffic.read().weight == later.weight
    assert [one.phase for one in traffic.history()] == ["promoted"]


@pytest.mark.usefixtures("service")
def test_a_percentage_that_is_not_the_states_is_seen(cluster):
    traffic = KnativeTraffic(cluster, "sentiment")
    version = traffic.write(state(5), traffic.read().version)
    cluster.merge(INFERENCE_SERVICES, "sentiment", {"spec": {"predictor": {"canaryTrafficPercent": 80}}})
    assert traffic.read() == (state(5), 80, version)


@pytest.mark.usefixtures("service")
def test_a_state_that_cannot_be_read_is_discarded_without_traffic_for_the_newest_revision(cluster):
    traffic = KnativeTraffic(cluster, "sentiment")
    traffic.write(state(5), traffic.read().version)
    cluster.merge(CONFIG_MAPS, "sentiment-rollout", {"metadata": {"annotations": {STATE: '{"version":9}'}}})
    traffic.discard()
    assert (traffic.read().state, percent(cluster)) == (None, 0)


@pytest.mark.usefixtures("service")
def test_a_write_on_an_older_state_changes_neither_object(cluster):
    traffic = KnativeTraffic(cluster, "sentiment")
    old = traffic.read().version
    traffic.write(state(5), old)
    for late in (state(50), state(0, Phase.ABORTED)):
        with pytest.raises(SupersededError):
            traffic.write(late, old)
    assert (percent(cluster), traffic.read().state) == (5, state(5))


@pytest.mark.usefixtures("service")
def test_the_candidate_is_a_revision_without_traffic(cluster):
    release = KnativeRelease(cluster, "sentiment", None)
    release.prepare(NEW)
    there = cluster.require(INFERENCE_SERVICES, "sentiment")
    assert (model_of(there), percent(cluster)) == (NEW, 0)
    traffic = KnativeTraffic(cluster, "sentiment")
    revisions = {"latestRolledoutRevision": "s-1", "latestCreatedRevision": "s-2", "latestReadyRevision": "s-1"}
    for ready, expected in (("s-1", (True, False)), ("s-2", (True, True))):
        revisions["latestReadyRevision"] = ready
        tell(cluster, revisions)
        assert traffic.ready() == expected
    assert traffic.pods() == ("s-1-deployment-.+", "s-2-deployment-.+")
    assert not release.stable_ready(ROLLOUT)
    tell(cluster, {**revisions, "latestRolledoutRevision": "s-2"})
    assert release.stable_ready(ROLLOUT)


@pytest.mark.usefixtures("service")
def test_a_service_of_several_parts_is_refused_and_so_is_one_without_prometheus(cluster):
    with pytest.raises(ClusterError, match="explainer and a transformer"):
        KnativeRelease(cluster, "credit-risk", None).prepare(NEW)
    with pytest.raises(ClusterError, match="Prometheus"):
        ServiceRollout.of(cluster, "sentiment", registry=None)
    rollout = ServiceRollout.of(cluster, "sentiment", registry=None, prometheus="http://127.0.0.1:9")
    assert isinstance(rollout.traffic, KnativeTraffic)


def tell(cluster, revisions):
    path = INFERENCE_SERVICES.path(cluster.namespace, "sentiment") + "/status"
    conditions = [{"type": "Ready", "status": "True"}]
    cluster._call("PATCH", path, {"status": {"conditions": conditions, "components": {"predictor": revisions}}})
