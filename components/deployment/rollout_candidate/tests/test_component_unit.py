from __future__ import annotations

from types import SimpleNamespace

import pytest

from blueprints.governance.rollout.adapters.cluster import INFERENCE_SERVICES
from blueprints.governance.rollout.adapters.inference_service import model_of
from blueprints.governance.rollout.config import ConfigError
from components.deployment.rollout_candidate.component import rollout_candidate

pytestmark = pytest.mark.usefixtures("in_registry_home")
NEW = "pvc://models/credit-risk/0123456789ab"


def run(**more):
    logged = {}
    metrics = SimpleNamespace(log_metric=logged.__setitem__)
    value = rollout_candidate.python_func(metrics, "credit-risk", NEW, "blueprints-local", **more)
    return value, logged


def test_a_candidate_that_never_becomes_ready_fails_the_step_and_says_why(cluster):
    with pytest.raises(RuntimeError, match=r"not promoted \(rolled_back\): .*not ready"):
        run(config="{interval_s: 0.1, ready_limit_s: 0.3}")
    assert model_of(cluster.require(INFERENCE_SERVICES, "credit-risk-candidate")) == NEW
    assert model_of(cluster.require(INFERENCE_SERVICES, "credit-risk")) != NEW


@pytest.mark.usefixtures("nearly_promoted")
def test_a_rollout_under_way_is_gone_on_with(cluster):
    value, logged = run()
    assert value == NEW
    assert logged["candidate_requests"] == 0


@pytest.mark.usefixtures("cluster")
def test_a_configuration_that_cannot_be_is_refused():
    with pytest.raises(ConfigError, match="first step"):
        run(config="{steps: []}")
