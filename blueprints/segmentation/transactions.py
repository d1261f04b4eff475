"""The raw table: every purchase of every customer."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING

from blueprints.schema import Column
from blueprints.segmentation.warehouse import Warehouse, WarehouseError
from blueprints.segmentation.warehouse.publication import check_table

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

TRANSACTIONS = "transactions"
"""Name of the table, unless another one is asked for."""

CUSTOMER = "customer_id"

COLUMNS = (
    Column(name=CUSTOMER, kind="integer", title="customer number", description="Names the customer who bought."),
    Column(name="purchased_at", kind="timestamp", title="time of the purchase", description="When, UTC."),
    Column(name="quantity", kind="integer", title="quantity", description="Items in the purchase.", minimum=0),
    Column(name="amount", kind="number", title="amount", description="Price of the purchase.", minimum=0),
)
"""What the table must have. It may have more, which nobody reads."""

# NaN is above every number in both DuckDB and PostgreSQL.
LARGEST_AMOUNT = "1.7e308"
USABLE = f"{CUSTOMER} IS NOT NULL AND quantity >= 0 AND amount >= 0 AND amount <= {LARGEST_AMOUNT}"
"""The purchases that features are made of, as SQL: no value is missing or impossible; time is for who asks."""


def arrow_schema() -> pa.Schema:
    """The table as Arrow: customers in 64 bits, times without a zone (they are UTC), as the warehouses keep them."""
    import pyarrow as pa

    return pa.schema(
        {
            CUSTOMER: pa.int64(),
            "purchased_at": pa.timestamp("us"),
            "quantity": pa.int32(),
            "amount": pa.float64(),
        }
    )


def transaction_batches(frame: pd.DataFrame, *, rows: int = 131_072) -> Iterator[pa.RecordBatch]:
    """A typed frame of purchases, such as the dataset `cdnow`, as batches to load into a warehouse.

    Args:
        frame: Has at least the columns of `COLUMNS`; times with a zone become UTC.
        rows: Most rows of one batch.

    Raises:
        ValueError: A column is missing.
    """
    import pyarrow as pa

    schema = arrow_schema()
    if missing := [name for name in schema.names if name not in frame.columns]:
        raise ValueError(f"purchases need the columns {', '.join(schema.names)}; {', '.join(missing)} is missing")
    times = frame["purchased_at"]
    if getattr(times.dt, "tz", None) is not None:
        times = times.dt.tz_convert("UTC").dt.tz_localize(None)
    # What is finer than a microsecond goes, as it does in the warehouses.
    typed = frame[schema.names].assign(purchased_at=times.astype("datetime64[us]"))
    yield from pa.Table.from_pandas(typed, schema=schema, preserve_index=False).to_batches(max_chunksize=rows)


def newest_purchase(warehouse: Warehouse, transactions: str = TRANSACTIONS) -> datetime:
    """Time of the newest purchase, UTC.

    Raises:
        WarehouseError: There is no such table, or it is empty.
    """
    if not warehouse.exists(check_table(transactions)):
        raise WarehouseError(f"there is no table {transactions!r} of purchases; load them first")
    for batch in warehouse.read(f'SELECT MAX(purchased_at) AS newest FROM "{transactions}"'):  # noqa: S608 - checked
        newest: datetime | None = batch.column("newest")[0].as_py()
        if newest is not None:
            return newest
    raise WarehouseError(f"the table {transactions!r} holds no purchase; load some")


def run_date_of(given: str, newest: datetime) -> date:
    """The date that a run is for.

    Args:
        given: ISO 8601 date; `today`, UTC; or empty for the day after the newest purchase.
        newest: Time of the newest purchase.

    Raises:
        ValueError: It is no date.
    """
    if not given:
        return newest.date() + timedelta(days=1)
    if given == "today":
        return datetime.now(UTC).date()
    try:
        return date.fromisoformat(given)
    except ValueError:
        raise ValueError(f"run_date {given!r}: write it as 2026-01-31, today, or leave it out") from None
