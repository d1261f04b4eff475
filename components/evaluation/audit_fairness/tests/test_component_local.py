from __future__ import annotations

from pathlib import Path

from components.evaluation.audit_fairness.component import audit_fairness


def test_decisions_are_audited_by_a_real_run(run_component, credit_chain):
    run = run_component(
        audit_fairness,
        {name: credit_chain[name] for name in ("test", "model")},
        demographic_parity_difference=1.0,
        equalized_odds_difference=1.0,
    )
    assert (run.folder / "audit").read_text() == Path(credit_chain["audit"].path).read_text()
    assert run.metadata["metrics"] == credit_chain["audit_metrics"].logged
    assert "Decisions by sex" in (run.folder / "report").read_text()
