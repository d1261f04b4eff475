"""Compare a text classifier with the champion."""

from kfp.dsl import Dataset, Input, Metrics, Model, Output, OutputPath

from components import component


@component
def compare_text_classifiers(
    test: Input[Dataset],
    package: Input[Model],
    metrics: Output[Metrics],
    reason: OutputPath(str),  # type: ignore[valid-type]
    registered_model: str = "sentiment",
    minimum_accuracy: float = 0.7,
    tolerance: float = 0.02,
    tracking_uri: str = "",
    seed: int = 7,
) -> bool:
    """Classifies the same texts with both packages and says whether the challenger may be promoted.

    Args:
        test: Snapshot of the test rows.
        package: The challenger's model package.
        metrics: Accuracy, and its difference to the champion's.
        reason: Why it may be promoted or not, in words.
        registered_model: Name in the registry.
        minimum_accuracy: Least accuracy of any champion.
        tolerance: Loss of accuracy that a promotion may cost at the most.
        tracking_uri: MLflow's store; the environment's if empty.
        seed: Seed of the bootstrap.

    Returns:
        Whether it may be promoted.
    """
    import tempfile
    from pathlib import Path

    from blueprints.datasets import read_snapshot
    from blueprints.governance.registry import CHAMPION, Registry
    from blueprints.model_package import open_package
    from blueprints.sentiment.comparison import compare

    registry = Registry(tracking_uri or None)
    champion = registry.by_alias(registered_model, CHAMPION)
    with tempfile.TemporaryDirectory() as folder:
        comparison = compare(
            open_package(Path(package.path)),
            None if champion is None else registry.fetch(champion, Path(folder) / "champion"),
            read_snapshot(Path(test.path)),
            minimum_accuracy=minimum_accuracy,
            tolerance=tolerance,
            seed=seed,
        )
    metrics.log_metric("accuracy", comparison.accuracy)
    if comparison.accuracy_difference is not None:
        metrics.log_metric("accuracy_difference", comparison.accuracy_difference.value)
        metrics.log_metric("accuracy_difference_low", comparison.accuracy_difference.low)
    metrics.metadata["reason"] = comparison.reason
    Path(reason).write_text(comparison.reason)
    return comparison.promote
