"""Audit the decisions of a scorecard by protected group."""

from kfp.dsl import HTML, Artifact, Dataset, Input, Metrics, Model, Output

from components import component


@component
def audit_fairness(
    test: Input[Dataset],
    model: Input[Model],
    audit: Output[Artifact],
    metrics: Output[Metrics],
    report: Output[HTML],
    demographic_parity_difference: float = 0.15,
    equalized_odds_difference: float = 0.15,
    group_rows: int = 200,
) -> None:
    """Measures selection, error rates and ranking by group; a mitigated model is shown beside the one before.

    Args:
        test: Snapshot of the test rows, protected columns included.
        model: The trained model.
        audit: All figures and the gate's verdict as JSON.
        metrics: Both differences of every protected column.
        report: The audit as a page.
        demographic_parity_difference: Largest gap in selection rates that the gate allows.
        equalized_odds_difference: Largest gap in error rates that the gate allows.
        group_rows: Rows below which a group is shown and not judged.
    """
    from pathlib import Path

    from sklearn.metrics import roc_auc_score

    from blueprints.credit_risk.fairness import FairnessAudit, FairnessGate
    from blueprints.credit_risk.fairness import audit as audit_groups
    from blueprints.credit_risk.reports import fairness_report
    from blueprints.credit_risk.training import TrainedModel
    from blueprints.datasets import read_snapshot

    held_out = read_snapshot(Path(test.path))
    target = held_out.frame[held_out.schema.target]
    gate = FairnessGate(
        demographic_parity_difference=demographic_parity_difference,
        equalized_odds_difference=equalized_odds_difference,
        group_rows=group_rows,
    )

    def judge(folder: Path) -> tuple[FairnessAudit, float]:
        trained = TrainedModel.load(folder)
        probabilities = trained.probabilities(held_out.frame)
        result = audit_groups(held_out.frame, probabilities, trained.policy.threshold, held_out.schema, gate)
        return result, float(roc_auc_score(target, probabilities))

    result, roc_auc = judge(Path(model.path))
    before = Path(model.path) / "unmitigated"
    unmitigated = judge(before) if before.is_dir() else None
    mitigation = TrainedModel.load(Path(model.path)).report.mitigation
    for column in result.columns:
        metrics.log_metric(f"{column.column}_demographic_parity_difference", column.demographic_parity_difference)
        metrics.log_metric(f"{column.column}_equalized_odds_difference", column.equalized_odds_difference)
    if unmitigated is not None:
        metrics.log_metric("mitigation_price_roc_auc", roc_auc - unmitigated[1])
    Path(audit.path).write_text(result.model_dump_json(indent=2))
    Path(report.path).write_text(fairness_report(result, roc_auc, unmitigated, mitigation), encoding="utf-8")
