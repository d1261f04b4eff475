"""Compare a challenger with the champion."""

from kfp.dsl import Dataset, Input, Metrics, Model, Output, OutputPath

from components import component


@component
def compare_with_champion(
    test: Input[Dataset],
    package: Input[Model],
    metrics: Output[Metrics],
    reason: OutputPath(str),  # type: ignore[valid-type]
    registered_model: str = "credit-risk",
    minimum_auc: float = 0.6,
    tolerance: float = 0.005,
    tracking_uri: str = "",
    seed: int = 7,
) -> bool:
    """Scores both packages on the same rows and says whether the challenger may be promoted.

    Args:
        test: Snapshot of the test rows.
        package: The challenger's model package.
        metrics: Difference in ROC-AUC and in cost.
        reason: Why it may be promoted or not, in words.
        registered_model: Name in the registry.
        minimum_auc: Least ROC-AUC of any champion.
        tolerance: Loss of ROC-AUC that a promotion may cost at the most.
        tracking_uri: MLflow's store; the environment's if empty.
        seed: Seed of the bootstrap.

    Returns:
        Whether it may be promoted.
    """
    import tempfile
    from pathlib import Path

    from blueprints.credit_risk.comparison import compare
    from blueprints.datasets import read_snapshot
    from blueprints.governance.registry import CHAMPION, Registry
    from blueprints.model_package import open_package

    held_out = read_snapshot(Path(test.path))
    registry = Registry(tracking_uri or None)
    champion = registry.by_alias(registered_model, CHAMPION)
    with tempfile.TemporaryDirectory() as folder:
        in_service = None if champion is None else registry.fetch(champion, Path(folder) / "champion")
        comparison = compare(
            open_package(Path(package.path)),
            in_service,
            held_out.frame,
            held_out.schema,
            minimum_auc=minimum_auc,
            tolerance=tolerance,
            seed=seed,
        )
    if comparison.auc_difference is not None:
        metrics.log_metric("roc_auc_difference", comparison.auc_difference.value)
        metrics.log_metric("roc_auc_difference_low", comparison.auc_difference.low)
    if comparison.cost_difference is not None:
        metrics.log_metric("cost_difference", comparison.cost_difference)
    metrics.metadata["reason"] = comparison.reason
    Path(reason).write_text(comparison.reason)
    return comparison.promote
