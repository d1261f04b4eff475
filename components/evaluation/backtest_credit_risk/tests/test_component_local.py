from __future__ import annotations

from components.evaluation.backtest_credit_risk.component import backtest_credit_risk


def test_a_model_is_backtested_by_a_real_run(run_component, credit_chain):
    inputs = {name: credit_chain[name] for name in ("train", "validation", "model")}
    run = run_component(backtest_credit_risk, inputs, periods=2)
    assert run.metadata["metrics"]["method"] == "repeated hold-out"
    assert run.metadata["metrics"]["worst_roc_auc"] > 0.6
    assert "<svg" in (run.folder / "report").read_text()
