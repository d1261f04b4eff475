"""Features in Feast: published by the warehouse, kept offline for training, and put online for servers.

The definitions are made from `FEATURES`, so a feature has one name and one type everywhere.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from blueprints.segmentation.features import FEATURE_TABLE, FEATURES, features_of
from blueprints.segmentation.store_config import FEATURE_VIEW, StoreConfig, StoreConfigError
from blueprints.segmentation.transactions import CUSTOMER
from blueprints.segmentation.warehouse import Warehouse
from blueprints.segmentation.warehouse.publication import quote

if TYPE_CHECKING:
    import feast
    import pyarrow as pa

EVENT_TIMESTAMP = "event_timestamp"
"""Column of the offline files: midnight UTC at the beginning of the date that the features were computed as of."""

# Rows that are turned into Feast's values at once.
_ONLINE_ROWS = 10_000


def define(offline: Path) -> tuple[feast.Entity, feast.FeatureView]:
    """The entity `customer` and the feature view, over a folder of Parquet files.

    Args:
        offline: The folder, see `StoreConfig.offline`.
    """
    from feast import Entity, FeatureView, Field, FileSource, ValueType
    from feast.types import Float64, Int64

    kinds = {"integer": Int64, "number": Float64}
    customer = Entity(
        name="customer", join_keys=[CUSTOMER], value_type=ValueType.INT64, description="Someone who has bought."
    )
    source = FileSource(name="published_features", path=str(offline), timestamp_field=EVENT_TIMESTAMP)
    view = FeatureView(
        name=FEATURE_VIEW,
        entities=[customer],
        schema=[Field(name=one.name, dtype=kinds[one.kind], description=one.description) for one in FEATURES],
        source=source,
        description="How customers bought before a date.",
    )
    return customer, view


def open_store(config: StoreConfig) -> feast.FeatureStore:
    """Feast's store, with the definitions applied: their tables exist afterwards.

    Raises:
        StoreConfigError: Feast refuses the configuration.
    """
    os.environ.setdefault("FEAST_USAGE", "False")
    from feast import FeatureStore, RepoConfig
    from pydantic import ValidationError

    config.offline.mkdir(parents=True, exist_ok=True)
    try:
        repo = RepoConfig(**config.raw)
        repo.repo_path = config.path.parent
        if "skip_dedup" in type(repo.online_store).model_fields:
            # A date that is computed again has the same timestamp, and its features must replace those of before.
            repo.online_store.skip_dedup = True
    except ValidationError as error:
        fields = ", ".join(".".join(str(part) for part in problem["loc"]) for problem in error.errors())
        raise StoreConfigError(f"{config.path}: Feast refuses {fields}") from None
    store = FeatureStore(config=repo)
    store.apply(list(define(config.offline)))
    if config.online["type"] == "sqlite":
        # Servers go on reading while features are written.
        with closing(sqlite3.connect(config.online_path)) as connection:
            connection.execute("PRAGMA journal_mode=WAL")
    return store


def materialize(warehouse: Warehouse, as_of: date, config: StoreConfig, *, table: str = FEATURE_TABLE) -> int:
    """Writes the features of a date to the offline files, and puts them online if no later ones were published.

    Repeating a date replaces it. A back-fill of an earlier date goes to the offline files only: the online store holds
    what is newest. Rows are streamed, so memory does not grow with their number.

    Args:
        warehouse: Where the features are published, all of `FEATURES`.
        as_of: Their date.
        config: The feature store.
        table: Name under which they are published.

    Returns:
        Customers whose features went online; 0 for a back-fill.

    Raises:
        WarehouseError: The features are not published or lack a column.
        StoreConfigError: Feast refuses the configuration.
    """
    source = features_of(warehouse, table, as_of)
    _write_offline(warehouse, source, as_of, config.offline)
    store = open_store(config)
    dates = warehouse.run_dates(table)
    if dates and as_of < dates[-1]:
        return 0
    rows = 0
    for batch in _read(warehouse, source, as_of, _ONLINE_ROWS):
        store.write_to_online_store(FEATURE_VIEW, df=batch.to_pandas())
        rows += batch.num_rows
    return rows


def _read(warehouse: Warehouse, source: str, as_of: date, rows: int) -> Iterator[pa.RecordBatch]:
    """The features with their timestamp, in the types of the feature view."""
    import pyarrow as pa

    kinds = {"integer": pa.int64(), "number": pa.float64()}
    features = [pa.field(one.name, kinds[one.kind]) for one in FEATURES]
    schema = pa.schema([pa.field(CUSTOMER, pa.int64()), *features])
    moment = pa.scalar(datetime.combine(as_of, time(), UTC), pa.timestamp("us", tz="UTC"))
    names = ", ".join(quote(name) for name in schema.names)
    for batch in warehouse.read(f"SELECT {names} FROM {quote(source)}", rows=rows):  # noqa: S608 - checked names
        typed = batch.cast(schema)
        yield typed.append_column(EVENT_TIMESTAMP, pa.repeat(moment, batch.num_rows))


def _write_offline(warehouse: Warehouse, source: str, as_of: date, folder: Path) -> None:
    """Writes one Parquet file for the date, whole or not at all."""
    import pyarrow.parquet as pq

    folder.mkdir(parents=True, exist_ok=True)
    final = folder / f"{as_of.isoformat()}.parquet"
    # Readers of the folder take every file whose name does not begin with a dot.
    temporary = folder / f".{final.name}.{os.getpid()}"
    try:
        writer: Any = None
        for batch in _read(warehouse, source, as_of, 131_072):
            writer = writer or pq.ParquetWriter(temporary, batch.schema, compression="zstd")
            writer.write_batch(batch)
        if writer is not None:
            writer.close()
            temporary.replace(final)
    finally:
        temporary.unlink(missing_ok=True)
