from __future__ import annotations

from pathlib import Path

from components.evaluation.evaluate_credit_risk.component import evaluate_credit_risk


def test_a_model_is_evaluated_by_a_real_run(run_component, credit_chain):
    run = run_component(evaluate_credit_risk, {name: credit_chain[name] for name in ("test", "model", "baselines")})
    assert (run.folder / "evaluation").read_text() == Path(credit_chain["evaluation"].path).read_text()
    assert (run.folder / "report").read_text().startswith("<!doctype html>")
    assert run.metadata["metrics"] == credit_chain["metrics"].logged
    curves = run.metadata["curves"]
    assert len(curves["confidenceMetrics"]) > 10
    assert [spec["displayName"] for spec in curves["confusionMatrix"]["annotationSpecs"]] == ["paid", "defaulted"]
