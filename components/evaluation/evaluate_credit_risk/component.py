"""Evaluate the credit-risk scorecard on held-out rows."""

from kfp.dsl import HTML, Artifact, ClassificationMetrics, Dataset, Input, Metrics, Model, Output

from components import component


@component
def evaluate_credit_risk(
    test: Input[Dataset],
    model: Input[Model],
    baselines: Input[Dataset],
    evaluation: Output[Artifact],
    metrics: Output[Metrics],
    curves: Output[ClassificationMetrics],
    report: Output[HTML],
    seed: int = 7,
) -> None:
    """Measures ranking, calibration and decisions with bootstrap intervals, beside the baselines.

    Args:
        test: Snapshot of the test rows.
        model: The trained model.
        baselines: Scores of the baselines on the same rows.
        evaluation: All figures as JSON.
        metrics: The headline figures.
        curves: ROC curve and confusion matrix for the Kubeflow UI.
        report: The evaluation as a page.
        seed: Seed of the bootstrap.
    """
    from pathlib import Path

    import numpy as np
    import pandas as pd
    from sklearn.metrics import roc_curve

    from blueprints.credit_risk.evaluation import evaluate
    from blueprints.credit_risk.reports import evaluation_report
    from blueprints.credit_risk.training import TrainedModel
    from blueprints.datasets import read_snapshot

    held_out = read_snapshot(Path(test.path))
    target = held_out.frame[held_out.schema.target].to_numpy()
    trained = TrainedModel.load(Path(model.path))
    margins = trained.margins(held_out.frame)
    others = {str(name): scores.to_numpy() for name, scores in pd.read_parquet(baselines.path).items()}
    result = evaluate(margins, target, trained.policy, others, seed=seed)
    Path(evaluation.path).write_text(result.model_dump_json(indent=2))
    Path(report.path).write_text(evaluation_report(result, margins, target, trained.policy, others), encoding="utf-8")
    for name, value in result.metrics().items():
        metrics.log_metric(name, value)
    false_positive, true_positive, thresholds = roc_curve(target, trained.policy.calibration(margins))
    points = np.unique(np.linspace(0, len(thresholds) - 1, 200).astype(int))
    curves.log_roc_curve(
        false_positive[points].tolist(), true_positive[points].tolist(), np.minimum(thresholds[points], 1.0).tolist()
    )
    curves.log_confusion_matrix(["paid", "defaulted"], result.confusion)
