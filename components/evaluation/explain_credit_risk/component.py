"""Explain what drives the credit-risk scorecard."""

from kfp.dsl import HTML, Dataset, Input, Model, Output

from components import component


@component
def explain_credit_risk(
    test: Input[Dataset], model: Input[Model], report: Output[HTML], rows: int = 1500, seed: int = 7
) -> None:
    """Computes exact SHAP values on a sample of the test rows and ranks the features by them.

    Args:
        test: Snapshot of the test rows.
        model: The trained model.
        report: Beeswarm and ranking as a page.
        rows: Size of the sample.
        seed: Seed of the sample.
    """
    from pathlib import Path

    from blueprints.credit_risk.explanation import explain_model
    from blueprints.credit_risk.reports import explanation_report
    from blueprints.credit_risk.training import TrainedModel
    from blueprints.datasets import read_snapshot

    held_out = read_snapshot(Path(test.path))
    explanation = explain_model(TrainedModel.load(Path(model.path)), held_out.frame, rows=rows, seed=seed)
    Path(report.path).write_text(explanation_report(explanation), encoding="utf-8")
    report.metadata["most_important"] = explanation.ranking[0].feature
