from __future__ import annotations

import pytest

from components.deployment.rollout_candidate.component import rollout_candidate

NEW = "pvc://models/credit-risk/0123456789ab"


@pytest.mark.usefixtures("in_registry_home", "nearly_promoted")
def test_a_rollout_is_ended_by_a_real_run(run_component):
    done = run_component(
        rollout_candidate, {}, service="credit-risk", package=NEW, namespace="blueprints-local", started_by="a run"
    )
    assert done.value == NEW
    assert done.metadata["metrics"]["stable_requests"] == 0
