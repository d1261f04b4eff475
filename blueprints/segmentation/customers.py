"""The features of customers as they stream out of the warehouse: all of them, or one of several parts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date
from typing import TYPE_CHECKING

from blueprints.segmentation.features import FEATURE_TABLE, features_of
from blueprints.segmentation.transactions import CUSTOMER
from blueprints.segmentation.warehouse import Warehouse
from blueprints.segmentation.warehouse.publication import check_columns, quote

if TYPE_CHECKING:
    import pyarrow as pa


def feature_batches(
    warehouse: Warehouse,
    run_date: date,
    columns: Sequence[str],
    *,
    table: str = FEATURE_TABLE,
    part: int = 0,
    parts: int = 1,
) -> Iterator[pa.RecordBatch]:
    """Streams `customer_id` and the features of a date.

    Args:
        warehouse: Where they are published.
        run_date: Their date.
        columns: Names of the features.
        table: Name that they are published under.
        part: Which part, from 0: customers whose number leaves this remainder.
        parts: Into how many parts all customers are cut.

    Raises:
        WarehouseError: Nothing is published for the date, or a name or the part is none.
        ValueError: There is no such part.
    """
    if not 0 <= part < parts:
        raise ValueError(f"part {part} of {parts}: parts are numbered from 0 to {parts - 1}")
    check_columns(columns)
    names = ", ".join(quote(name) for name in (CUSTOMER, *columns))
    # The remainder of a negative number is negative.
    chosen = f" WHERE ABS(MOD({CUSTOMER}, {parts})) = {part}" if parts > 1 else ""
    source = quote(features_of(warehouse, table, run_date))
    return warehouse.read(f"SELECT {names} FROM {source}{chosen}")  # noqa: S608 - checked names and numbers
