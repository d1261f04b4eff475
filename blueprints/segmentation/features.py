"""Features of customers as of a date, in SQL: only purchases before that date count.

Recency, frequency and monetary value (Hughes, 1994) and, beyond them, how amounts and the time between purchases vary.
"""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING

from blueprints.schema import Column
from blueprints.segmentation.transactions import CUSTOMER, TRANSACTIONS, USABLE
from blueprints.segmentation.warehouse import Warehouse, WarehouseError
from blueprints.segmentation.warehouse.publication import Publication, check_table

if TYPE_CHECKING:
    import pyarrow as pa

FEATURE_TABLE = "customer_features"
"""The published features, see `Warehouse.publish_query`."""

BASIC = (
    Column(
        name="recency_days",
        kind="integer",
        title="days since the last purchase",
        description="Whole days from the last day with a purchase to the date.",
        unit="days",
        minimum=1,
    ),
    Column(
        name="frequency",
        kind="integer",
        title="number of purchases",
        description="Purchases before the date.",
        minimum=1,
    ),
    Column(
        name="monetary",
        kind="number",
        title="amount spent",
        description="Sum of all purchases before the date.",
        minimum=0,
    ),
)
"""Recency, frequency and monetary value."""

RICH = (
    Column(
        name="average_amount",
        kind="number",
        title="amount of a purchase",
        description="Mean amount of a purchase.",
        minimum=0,
    ),
    Column(
        name="amount_deviation",
        kind="number",
        title="spread of the amounts",
        description="Standard deviation of the amounts; missing with fewer than 2 purchases.",
        minimum=0,
        nullable=True,
    ),
    Column(
        name="distinct_days",
        kind="integer",
        title="days with a purchase",
        description="Different days with at least one purchase.",
        minimum=1,
    ),
    Column(
        name="tenure_days",
        kind="integer",
        title="days since the first purchase",
        description="Whole days from the first day with a purchase to the date.",
        unit="days",
        minimum=1,
    ),
    Column(
        name="mean_gap_days",
        kind="number",
        title="days between purchases",
        description="Mean time between days with a purchase; missing with fewer than 2 of them.",
        unit="days",
        minimum=1,
        nullable=True,
    ),
    Column(
        name="gap_deviation",
        kind="number",
        title="irregularity of the purchases",
        description="Standard deviation of the time between days with a purchase; missing with fewer than 3 of them.",
        unit="days",
        minimum=0,
        nullable=True,
    ),
    Column(
        name="average_quantity",
        kind="number",
        title="items of a purchase",
        description="Mean number of items in a purchase.",
        minimum=0,
    ),
)
"""What the rich set adds."""

FEATURES = (*BASIC, *RICH)
"""All features, in the order of the feature matrix."""

# Deviations are those of a sample. Sums of squares would lose their digits where amounts are large and alike, so they
# are left to the database's own stddev_samp.
_BASIC = """
SELECT customer_id,
       CAST({until} - MAX({day}) AS INTEGER) AS recency_days,
       CAST(COUNT(*) AS INTEGER) AS frequency,
       CAST(SUM(amount) AS DOUBLE PRECISION) AS monetary
FROM {transactions}
WHERE {counts}
GROUP BY customer_id
"""
_RICH = """
WITH purchases AS (
    SELECT customer_id, {day} AS day, quantity, amount FROM {transactions} WHERE {counts}
),
spending AS (
    SELECT customer_id,
           COUNT(*) AS frequency,
           SUM(amount) AS monetary,
           AVG(CAST(amount AS DOUBLE PRECISION)) AS average_amount,
           STDDEV_SAMP(CAST(amount AS DOUBLE PRECISION)) AS amount_deviation,
           AVG(CAST(quantity AS DOUBLE PRECISION)) AS average_quantity
    FROM purchases GROUP BY customer_id
),
days AS (
    SELECT customer_id, day, day - LAG(day) OVER (PARTITION BY customer_id ORDER BY day) AS gap
    FROM (SELECT DISTINCT customer_id, day FROM purchases) AS visits
),
rhythm AS (
    SELECT customer_id,
           {until} - MAX(day) AS recency_days,
           COUNT(*) AS distinct_days,
           {until} - MIN(day) AS tenure_days,
           AVG(CAST(gap AS DOUBLE PRECISION)) AS mean_gap_days,
           STDDEV_SAMP(CAST(gap AS DOUBLE PRECISION)) AS gap_deviation
    FROM days GROUP BY customer_id
)
SELECT spending.customer_id,
       CAST(recency_days AS INTEGER) AS recency_days,
       CAST(frequency AS INTEGER) AS frequency,
       CAST(monetary AS DOUBLE PRECISION) AS monetary,
       average_amount,
       amount_deviation,
       CAST(distinct_days AS INTEGER) AS distinct_days,
       CAST(tenure_days AS INTEGER) AS tenure_days,
       mean_gap_days,
       gap_deviation,
       average_quantity
FROM spending JOIN rhythm ON spending.customer_id = rhythm.customer_id
"""


def columns(*, rich: bool = True) -> tuple[Column, ...]:
    """The features of the rich or of the basic set, in order."""
    return FEATURES if rich else BASIC


def features_sql(as_of: date, *, dialect: str, transactions: str = TRANSACTIONS, rich: bool = True) -> str:
    """The SELECT that gives one row a customer: `customer_id` and the features, as they were known on a date.

    Only purchases before midnight UTC at the beginning of `as_of` count, and only customers who have one are there.
    Purchases with a missing or impossible value do not count, see `USABLE`.

    Args:
        as_of: The date.
        dialect: Of the warehouse, see `Warehouse.dialect`.
        transactions: Table or view of the purchases.
        rich: All features, or the basic ones.

    Raises:
        ValueError: No SQL is written for the dialect.
        WarehouseError: The table's name is none.
    """
    if dialect not in ("duckdb", "postgresql"):
        raise ValueError(f"features are written for DuckDB and PostgreSQL, not for {dialect!r}; add its SQL here")
    return (_RICH if rich else _BASIC).format(
        transactions=f'"{check_table(transactions)}"',
        day="CAST(purchased_at AS DATE)",
        until=f"DATE '{as_of.isoformat()}'",
        counts=f"purchased_at < TIMESTAMP '{as_of.isoformat()} 00:00:00' AND {USABLE}",
    )


def publish_features(
    warehouse: Warehouse,
    as_of: date,
    *,
    transactions: str = TRANSACTIONS,
    table: str = FEATURE_TABLE,
    rich: bool = True,
) -> int:
    """Computes the features as of a date in the warehouse and publishes them there for that date.

    Returns:
        How many customers have features.

    Raises:
        WarehouseError: The purchases are not there, or the database fails.
    """
    query = features_sql(as_of, dialect=warehouse.dialect, transactions=transactions, rich=rich)
    return warehouse.publish_query(table, as_of, query)


def features_of(warehouse: Warehouse, table: str, run_date: date) -> str:
    """The table that holds the features of a run date: the published one, or a table that is no publication.

    Raises:
        WarehouseError: Nothing is published for the date, or there is no such table.
    """
    publication = Publication(table, run_date)
    dates = warehouse.run_dates(table)
    if run_date in dates:
        return publication.dated
    if dates:
        raise WarehouseError(
            f"{table!r} has no rows of {run_date.isoformat()}, only of {', '.join(str(one) for one in dates[-5:])}; "
            "publish the features of that date first"
        )
    if not warehouse.exists(table):
        raise WarehouseError(f"there is no table {table!r} of features; publish them first")
    return table


def arrow_schema(*, rich: bool = True) -> pa.Schema:
    """What `features_sql` gives, as Arrow."""
    import pyarrow as pa

    kinds = {"integer": pa.int32(), "number": pa.float64()}
    return pa.schema({CUSTOMER: pa.int64(), **{one.name: kinds[one.kind] for one in columns(rich=rich)}})
