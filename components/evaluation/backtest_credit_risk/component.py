"""Backtest the credit-risk scorecard."""

from kfp.dsl import HTML, Dataset, Input, Metrics, Model, Output

from components import component


@component
def backtest_credit_risk(
    train: Input[Dataset],
    validation: Input[Dataset],
    model: Input[Model],
    metrics: Output[Metrics],
    report: Output[HTML],
    periods: int = 6,
    seed: int = 7,
) -> None:
    """Refits the model's settings before each period and scores the period that follows.

    Args:
        train: Snapshot of the training rows.
        validation: Snapshot of the validation rows.
        model: The trained model, whose settings are used; of a mitigated one those before mitigation.
        metrics: Worst and mean ROC-AUC, largest stability index.
        report: The backtest as a page.
        periods: Number of origins.
        seed: Seed of the hold-outs where rows have no time.
    """
    from pathlib import Path

    import numpy as np
    import pandas as pd

    from blueprints.credit_risk.backtest import backtest
    from blueprints.credit_risk.reports import backtest_report
    from blueprints.credit_risk.training import TrainedModel
    from blueprints.datasets import read_snapshot
    from blueprints.progress import report_progress

    # Mitigation reweights the training rows; what a backtest replays are the settings of the model before it.
    unmitigated = Path(model.path) / "unmitigated"
    settings = unmitigated if unmitigated.is_dir() else Path(model.path)
    parts = [read_snapshot(Path(part.path)) for part in (train, validation)]
    result = backtest(
        pd.concat([part.frame for part in parts], ignore_index=True),
        parts[0].schema,
        TrainedModel.load(settings),
        periods=periods,
        seed=seed,
        progress=report_progress,
    )
    aucs = [period.roc_auc for period in result.periods]
    metrics.log_metric("worst_roc_auc", float(np.nanmin(aucs)))
    metrics.log_metric("mean_roc_auc", float(np.nanmean(aucs)))
    metrics.log_metric("largest_stability_index", max(period.stability_index for period in result.periods))
    metrics.metadata["method"] = result.method
    Path(report.path).write_text(backtest_report(result), encoding="utf-8")
