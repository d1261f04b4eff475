"""Load purchases into the warehouse."""

from kfp.dsl import OutputPath

from components import component


@component
def load_purchases(
    name: OutputPath(str),  # type: ignore[valid-type]
    dataset: str = "cdnow",
    data_uri: str = "",
    sql_query: str = "",
    schema_yaml: str = "",
    transactions: str = "transactions",
    run_date: str = "",
) -> str:
    """Brings purchases into the warehouse and says which date the run is for.

    The warehouse's URL is read from the environment variable WAREHOUSE_URL, never from a parameter.

    Args:
        name: What the purchases are called from here on: the dataset's name, `own` for unnamed ones of one's own.
        dataset: Name of a dataset of purchases to load, or `warehouse` if the table is there already.
        data_uri: Own CSV or Parquet file: a path or a URI (s3://, gs://, file://).
        sql_query: Own data as one SELECT; BLUEPRINTS_DATABASE_URL says where.
        schema_yaml: Schema of one's own data, as YAML text, with the columns customer_id, purchased_at, quantity and
            amount.
        transactions: Table of the purchases.
        run_date: Date that features are computed as of (YYYY-MM-DD); `today` takes the day on which the step runs, UTC,
            and empty the day after the newest purchase.

    Returns:
        The run's date, ISO 8601.
    """
    from pathlib import Path

    from blueprints.datasets import resolve
    from blueprints.segmentation.transactions import newest_purchase, run_date_of, transaction_batches
    from blueprints.segmentation.warehouse import open_warehouse
    from blueprints.workspace import Workspace

    with open_warehouse(Workspace.current().warehouse_url) as warehouse:
        if dataset != "warehouse" or data_uri or sql_query:
            chosen = resolve(dataset, data_uri=data_uri, sql_query=sql_query, schema_yaml=schema_yaml)
            dataset = chosen.name
            warehouse.load(transactions, transaction_batches(chosen.load()))
        newest = newest_purchase(warehouse, transactions)
    Path(name).write_text(dataset)
    return run_date_of(run_date, newest).isoformat()
