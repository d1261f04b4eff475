"""Train the credit-risk scorecard."""

from kfp.dsl import Dataset, Input, Metrics, Model, Output

from components import component


@component
def train_credit_risk(
    train: Input[Dataset],
    validation: Input[Dataset],
    model: Output[Model],
    metrics: Output[Metrics],
    trials: int = 12,
    cost_false_negative: float = 5.0,
    cost_false_positive: float = 1.0,
    mitigation: str = "none",
    mitigation_column: str = "",
    seed: int = 7,
) -> None:
    """Searches, trains and calibrates an XGBoost scorecard, and chooses its decision threshold.

    Args:
        train: Snapshot of the training rows.
        validation: Snapshot of rows for calibration and threshold.
        model: The trained model, a folder; `unmitigated/` inside holds the model before mitigation.
        metrics: Best cross-validated ROC-AUC, rounds, threshold.
        trials: Settings that the search tries.
        cost_false_negative: Cost of accepting an applicant who defaults.
        cost_false_positive: Cost of declining an applicant who would have paid.
        mitigation: `none`, `equalized_odds` or `demographic_parity`.
        mitigation_column: Protected column that the mitigation looks at; the first one if empty.
        seed: Seed of search, folds and booster.
    """
    from pathlib import Path

    from pydantic import TypeAdapter

    from blueprints.credit_risk.mitigation import Constraint, check_protected, mitigate
    from blueprints.credit_risk.training import TrainingConfig
    from blueprints.credit_risk.training import train as fit
    from blueprints.datasets import read_snapshot
    from blueprints.progress import report_progress

    fitting, choosing = read_snapshot(Path(train.path)), read_snapshot(Path(validation.path))
    config = TrainingConfig(
        trials=trials, cost_false_negative=cost_false_negative, cost_false_positive=cost_false_positive, seed=seed
    )
    constraint = TypeAdapter(Constraint | None).validate_python(None if mitigation == "none" else mitigation)
    protected = mitigation_column or next(iter(fitting.schema.protected), "")
    if constraint is not None:
        check_protected(protected, fitting.schema)
    trained = fit(fitting.frame, choosing.frame, fitting.schema, config, progress=report_progress)
    metrics.log_metric("best_cross_validated_roc_auc", max(trained.report.trials))
    if constraint is not None:
        trained.save(Path(model.path) / "unmitigated")
        trained = mitigate(
            trained,
            fitting.frame,
            choosing.frame,
            fitting.schema,
            protected=protected,
            constraint=constraint,
        )
    trained.save(Path(model.path))
    metrics.log_metric("rounds", trained.report.parameters["rounds"])
    metrics.log_metric("threshold", trained.policy.threshold)
    model.metadata.update({"framework": "xgboost", "dataset": fitting.info.name, "mitigation": mitigation})
