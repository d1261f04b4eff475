"""Validate the purchases in the warehouse."""

from kfp.dsl import HTML, Metrics, Output

from components import component


@component
def validate_purchases(
    run_date: str,
    metrics: Output[Metrics],
    report: Output[HTML],
    transactions: str = "transactions",
    tolerance: float = 0.0,
) -> None:
    """Checks the purchases in the warehouse; the step fails if features must not be made of them.

    Args:
        run_date: Date that features are computed as of.
        metrics: Rows, customers, and the rows of every finding.
        report: What was found.
        transactions: Table of the purchases.
        tolerance: Share of the rows that may be wrong; features are made without those.
    """
    from datetime import date
    from pathlib import Path

    from blueprints.segmentation.validation import validate
    from blueprints.segmentation.warehouse import open_warehouse
    from blueprints.workspace import Workspace

    with open_warehouse(Workspace.current().warehouse_url) as warehouse:
        found = validate(warehouse, date.fromisoformat(run_date), transactions=transactions, tolerance=tolerance)
    for name, value in found.metrics().items():
        metrics.log_metric(name, value)
    Path(report.path).write_text(found.html(), encoding="utf-8")
    if not found.passed:
        raise ValueError("; ".join(f"{one.rows:,} rows: {one.message}" for one in found.failures))
