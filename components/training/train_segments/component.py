"""Choose the number of segments, find and name them."""

from kfp.dsl import HTML, Artifact, Dataset, Input, Metrics, Model, Output

from components import component


@component
def train_segments(
    run_date: str,
    summaries: Input[list[Dataset]],
    model: Output[Model],
    summary: Output[Dataset],
    evaluation: Output[Artifact],
    metrics: Output[Metrics],
    report: Output[HTML],
    minimum_segments: int = 2,
    maximum_segments: int = 10,
    bootstraps: int = 10,
    registered_model: str = "segmentation",
    tracking_uri: str = "",
    seed: int = 7,
) -> None:
    """Clusters the customers into each number of segments, takes the one with the best silhouette, and names them.

    Ids stay with the segments of the champion wherever they are the same. Every number of segments is logged to MLflow,
    with the plots.

    Args:
        run_date: Date of the features.
        summaries: Summaries of all partitions.
        model: The fitted pipeline and the segments, a folder.
        summary: The merged summary.
        evaluation: Every number of segments with its figures, as JSON.
        metrics: Figures of the chosen one.
        report: How many segments, and why.
        minimum_segments: Least number of segments to try.
        maximum_segments: Largest number of segments to try.
        bootstraps: Bootstraps that tell how stable the segments are; 0 leaves that out.
        registered_model: Name in the registry, to find the segments of the last run.
        tracking_uri: MLflow's store; the environment's if empty.
        seed: Seed of everything that is random.
    """
    from datetime import date
    from pathlib import Path

    from blueprints.progress import report_progress
    from blueprints.segmentation.customers import feature_batches
    from blueprints.segmentation.features import FEATURES
    from blueprints.segmentation.partitions import PartitionSummary, merge
    from blueprints.segmentation.tracking import champion_segmenter, log_choice
    from blueprints.segmentation.training import train_segments
    from blueprints.segmentation.warehouse import open_warehouse
    from blueprints.workspace import Workspace

    merged = merge(PartitionSummary.from_bytes(Path(part.path).read_bytes()) for part in summaries)
    Path(summary.path).write_bytes(merged.to_bytes())
    with open_warehouse(Workspace.current().warehouse_url, read_only=True) as warehouse:
        trained = train_segments(
            merged,
            FEATURES,
            all_rows=lambda: feature_batches(warehouse, date.fromisoformat(run_date), merged.columns),
            previous=champion_segmenter(registered_model, tracking_uri),
            ks=range(minimum_segments, maximum_segments + 1),
            bootstraps=bootstraps,
            seed=seed,
            progress=report_progress,
        )
    trained.save(Path(model.path))
    Path(evaluation.path).write_text(trained.choice.model_dump_json(indent=2))
    Path(report.path).write_text(trained.report(), encoding="utf-8")
    log_choice(registered_model, run_date, trained, tracking_uri)
    for name, value in trained.metrics().items():
        metrics.log_metric(name, value)
