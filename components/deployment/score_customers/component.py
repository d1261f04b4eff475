"""Score all customers in the warehouse."""

from kfp.dsl import HTML, Input, Metrics, Model, Output

from components import component


@component
def score_customers(
    run_date: str,
    package: Input[Model],
    promote: bool,
    metrics: Output[Metrics],
    report: Output[HTML],
    transactions: str = "transactions",
    registered_model: str = "segmentation",
    tracking_uri: str = "",
) -> None:
    """Gives every customer a segment with the champion, and publishes them in the warehouse for the run's date.

    The rows of a date appear at once or not at all; repeating a date replaces its rows. Without a champion, nothing is
    written.

    Args:
        run_date: Date of the features, and of the segments.
        package: The model package that this run made.
        promote: Whether it becomes the champion; else the one in service scores.
        metrics: Customers scored, and share that kept their segment since the last date.
        report: Segments, their customers, and who moved since the last date.
        transactions: Table of the purchases, which tells who bought in between.
        registered_model: Name in the registry.
        tracking_uri: MLflow's store; the environment's if empty.
    """
    from datetime import date
    from pathlib import Path

    from blueprints.governance.registry import CHAMPION, Registry
    from blueprints.model_package import open_package
    from blueprints.progress import report_progress
    from blueprints.segmentation.batch import score_and_report
    from blueprints.segmentation.warehouse import open_warehouse
    from blueprints.workspace import Workspace

    registry = Registry(tracking_uri or None)
    chosen = open_package(Path(package.path)) if promote else None
    if chosen is None and registry.by_alias(registered_model, CHAMPION) is not None:
        chosen = registry.champion(registered_model)
    with open_warehouse(Workspace.current().warehouse_url) as warehouse:
        done = score_and_report(
            warehouse, chosen, date.fromisoformat(run_date), transactions=transactions, progress=report_progress
        )
    for name, value in done.metrics.items():
        metrics.log_metric(name, value)
    Path(report.path).write_text(done.page, encoding="utf-8")
