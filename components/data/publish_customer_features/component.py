"""Publish the features of customers."""

from kfp.dsl import Metrics, Output

from components import component


@component
def publish_customer_features(
    run_date: str,
    metrics: Output[Metrics],
    transactions: str = "transactions",
    rows_per_partition: int = 5_000_000,
) -> list[dict]:  # type: ignore[type-arg]
    """Computes the features of all customers as of a date, in the warehouse, and publishes them there.

    Repeating a date replaces its features, so late data is handled by running the date again.

    Args:
        run_date: Date that features are computed as of: only purchases before it count.
        metrics: Customers.
        transactions: Table of the purchases.
        rows_per_partition: Customers that one task is to summarise.

    Returns:
        Partitions of the customers: `run_date`, `part` from 0, and `parts`, their number.
    """
    import math
    from datetime import date

    from blueprints.segmentation.features import publish_features
    from blueprints.segmentation.warehouse import open_warehouse
    from blueprints.workspace import Workspace

    if rows_per_partition < 1:
        raise ValueError(f"rows_per_partition is {rows_per_partition}: give 1 or more")
    with open_warehouse(Workspace.current().warehouse_url) as warehouse:
        rows = publish_features(warehouse, date.fromisoformat(run_date), transactions=transactions)
    metrics.log_metric("customers", rows)
    parts = max(1, math.ceil(rows / rows_per_partition))
    return [{"run_date": run_date, "part": part, "parts": parts} for part in range(parts)]
