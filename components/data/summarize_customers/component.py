"""Summarise one partition of the customers."""

from kfp.dsl import Dataset, Output

from components import component


@component
def summarize_customers(
    partition: dict,  # type: ignore[type-arg]
    summary: Output[Dataset],
    sample_rows: int = 50_000,
    seed: int = 7,
) -> None:
    """Streams the features of one partition: their moments and a sample of the customers, whatever their number.

    Summaries of all partitions merge to that of all customers, so the tasks can run beside each other.

    Args:
        partition: One of those that `publish_customer_features` returns.
        summary: The summary, a Parquet file.
        sample_rows: Customers to sample.
        seed: Seed of the sample.
    """
    from datetime import date
    from pathlib import Path

    from blueprints.segmentation.customers import feature_batches
    from blueprints.segmentation.features import FEATURES
    from blueprints.segmentation.partitions import summarize
    from blueprints.segmentation.transactions import CUSTOMER
    from blueprints.segmentation.warehouse import open_warehouse
    from blueprints.workspace import Workspace

    columns = [column.name for column in FEATURES]
    with open_warehouse(Workspace.current().warehouse_url, read_only=True) as warehouse:
        batches = feature_batches(
            warehouse,
            date.fromisoformat(partition["run_date"]),
            columns,
            part=int(partition["part"]),
            parts=int(partition["parts"]),
        )
        found = summarize(batches, columns, identifier=CUSTOMER, capacity=sample_rows, seed=seed)
    Path(summary.path).write_bytes(found.to_bytes())
    summary.metadata.update({"rows": found.rows, "sampled": len(found.sample)})
