"""Put features online."""

from kfp.dsl import Metrics, Output

from components import component


@component
def materialize_features(run_date: str, metrics: Output[Metrics]) -> None:
    """Writes the features of a date to the feature store: offline files, and online if they are the newest.

    FEATURE_STORE_CONFIG names Feast's configuration; SQLite in the workspace without it.

    Args:
        run_date: Date of the features.
        metrics: Customers whose features went online; 0 for a back-fill.
    """
    from datetime import date

    from blueprints.segmentation.feature_store import materialize
    from blueprints.segmentation.store_config import StoreConfig
    from blueprints.segmentation.warehouse import open_warehouse
    from blueprints.workspace import Workspace

    with open_warehouse(Workspace.current().warehouse_url, read_only=True) as warehouse:
        rows = materialize(warehouse, date.fromisoformat(run_date), StoreConfig.current())
    metrics.log_metric("online_customers", rows)
