"""The local overlay's service on a real API server, no process behind it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from blueprints.governance.rollout.adapters.cluster import INFERENCE_SERVICES, Cluster
from blueprints.governance.rollout.adapters.http_route import HttpRouteTraffic
from blueprints.governance.rollout.adapters.inference_service import model_of, with_model
from blueprints.governance.rollout.config import RolloutConfig
from blueprints.governance.rollout.state import Phase, Rollout, Stage, State
from tests.api_server import api_server, with_service


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """The cluster that `KUBECONFIG` names, for this process and those that it starts."""
    with api_server(tmp_path) as kubeconfig:
        monkeypatch.setenv("KUBECONFIG", str(kubeconfig))
        yield with_service(kubeconfig)


@pytest.fixture
def nearly_promoted(cluster: Cluster) -> None:
    """A rollout whose last step is left: the registry's."""
    stable = cluster.require(INFERENCE_SERVICES, "credit-risk")
    new = "pvc://models/credit-risk/0123456789ab"
    rollout = Rollout(id="r1", service="credit-risk", stable_model=model_of(stable), candidate_model=new)
    cluster.merge(INFERENCE_SERVICES, "credit-risk", {"spec": with_model(stable["spec"], new)})
    state = State.start(rollout, RolloutConfig.laptop(), time.time())
    traffic = HttpRouteTraffic(cluster, "credit-risk")
    late = {"phase": Phase.PROMOTING, "stage": Stage.REGISTER, "step": 3}
    traffic.write(state.model_copy(update=late), traffic.read().version)
