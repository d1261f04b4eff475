"""Compare segments with the champion."""

from kfp.dsl import Dataset, Input, Metrics, Model, Output, OutputPath

from components import component


@component
def compare_segmentations(
    summary: Input[Dataset],
    package: Input[Model],
    metrics: Output[Metrics],
    reason: OutputPath(str),  # type: ignore[valid-type]
    registered_model: str = "segmentation",
    minimum_silhouette: float = 0.2,
    minimum_share: float = 0.001,
    minimum_kept: float = 0.5,
    tracking_uri: str = "",
) -> bool:
    """Says whether the challenger may be promoted: clear, no tiny segments, and most customers stay where they are.

    Args:
        summary: Summary of today's customers.
        package: The challenger's model package.
        metrics: Silhouette, share of the smallest segment, share of customers who keep theirs.
        reason: Why it may be promoted or not, in words.
        registered_model: Name in the registry.
        minimum_silhouette: Least silhouette of any champion.
        minimum_share: Least share of customers in a segment.
        minimum_kept: Least share of customers who must keep the segment that the champion gives them.
        tracking_uri: MLflow's store; the environment's if empty.

    Returns:
        Whether it may be promoted.
    """
    import tempfile
    from pathlib import Path

    from blueprints.governance.registry import CHAMPION, Registry
    from blueprints.model_package import open_package
    from blueprints.segmentation.comparison import compare
    from blueprints.segmentation.partitions import PartitionSummary

    registry = Registry(tracking_uri or None)
    champion = registry.by_alias(registered_model, CHAMPION)
    with tempfile.TemporaryDirectory() as folder:
        comparison = compare(
            open_package(Path(package.path)),
            None if champion is None else registry.fetch(champion, Path(folder) / "champion"),
            PartitionSummary.from_bytes(Path(summary.path).read_bytes()).sample,
            minimum_silhouette=minimum_silhouette,
            minimum_share=minimum_share,
            minimum_kept=minimum_kept,
        )
    metrics.log_metric("silhouette", comparison.silhouette)
    metrics.log_metric("smallest_share", comparison.smallest_share)
    if comparison.kept is not None:
        metrics.log_metric("kept", comparison.kept)
    metrics.metadata["reason"] = comparison.reason
    Path(reason).write_text(comparison.reason)
    return comparison.promote
