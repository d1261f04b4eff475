from __future__ import annotations

from components.evaluation.explain_credit_risk.component import explain_credit_risk


def test_a_model_is_explained_by_a_real_run(run_component, credit_chain):
    run = run_component(explain_credit_risk, {name: credit_chain[name] for name in ("test", "model")}, rows=100)
    assert run.metadata["report"]["most_important"] == "amount"
    assert "<svg" in (run.folder / "report").read_text()
