from __future__ import annotations

from pathlib import Path

from components.evaluation.evaluate_text_classifier.component import evaluate_text_classifier


def test_a_model_is_evaluated_by_a_real_run(run_component, text_chain):
    inputs = {name: text_chain[name] for name in ("test", "model", "baselines")}
    run = run_component(evaluate_text_classifier, inputs, robustness_rows=20)
    assert (run.folder / "evaluation").read_text() == Path(text_chain["evaluation"].path).read_text()
    assert (run.folder / "report").read_text().startswith("<!doctype html>")
    assert run.metadata["metrics"] == text_chain["metrics"].logged
    matrix = run.metadata["confusion"]["confusionMatrix"]
    assert [spec["displayName"] for spec in matrix["annotationSpecs"]] == ["negative", "positive"]
