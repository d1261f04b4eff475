"""How a server decides to batch when it starts: calls on a core each, or on all of them."""

from __future__ import annotations

import pytest

from inference_services.sentiment import batch_planning
from inference_services.sentiment.batch_planning import BatchSettings, planned


@pytest.mark.parametrize(
    ("alone", "together", "slots"),
    [(1.0, 2.0, 4), (1.0, 1.0, 4), (1.0, 0.95, 4), (1.0, 0.85, 1), (1.0, 0.25, 1)],
)
def test_all_cores_share_a_call_only_if_that_is_clearly_faster(text_package, monkeypatch, alone, together, slots):
    monkeypatch.setattr(
        batch_planning, "_seconds_a_call", lambda _, slots, threads: {(4, 1): alone, (1, 4): together}[slots, threads]
    )
    _, plan = planned(text_package, BatchSettings(), cores=4)
    assert (plan.slots, plan.threads) == (slots, 4 // slots)
    assert plan.by_cost


def test_what_a_user_fixed_is_not_measured(text_package, monkeypatch):
    monkeypatch.setattr(batch_planning, "_seconds_a_call", None)
    for settings, layout in (
        (BatchSettings(slots=3), (3, 1)),
        (BatchSettings(threads=2), (2, 2)),
        (BatchSettings(slots=1, threads=2, max_batch=5), (1, 2)),
    ):
        _, plan = planned(text_package, settings, cores=4)
        assert (plan.slots, plan.threads) == layout
    assert (plan.max_batch, plan.by_cost) == (5, False)


def test_a_plan_is_measured_once_for_a_machine_and_a_model(text_package, monkeypatch, tmp_path):
    settings = BatchSettings(plan=tmp_path / "plans" / "plan.json")
    _, first = planned(text_package, settings, cores=2)
    monkeypatch.setattr(batch_planning, "measure_costs", None)
    _, second = planned(text_package, settings, cores=2)
    assert second == first
    with pytest.raises(TypeError):
        planned(text_package, settings, cores=1)
    with pytest.raises(TypeError):
        planned(text_package, BatchSettings(plan=settings.plan, slots=5), cores=2)
