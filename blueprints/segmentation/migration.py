"""How customers moved between segments from one run to the next."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import date
from typing import TYPE_CHECKING

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from blueprints.segmentation.scoring import SEGMENT_TABLE
from blueprints.segmentation.transactions import CUSTOMER, USABLE
from blueprints.segmentation.warehouse import Warehouse
from blueprints.segmentation.warehouse.publication import Publication, check_table

if TYPE_CHECKING:
    from numpy.typing import NDArray

SEGMENT = "segment_id"


class Move(BaseModel):
    """Customers who went one way.

    Attributes:
        before: Segment's id in the earlier run; None for customers that it did not have.
        after: Segment's id in the later run; None for customers that it does not have any more.
        customers: How many they are, those who bought in between included.
        unchanged: Those of them who bought nothing in between; 0 if that is not known.
    """

    model_config = ConfigDict(frozen=True)

    before: int | None
    after: int | None
    customers: int = Field(ge=0)
    unchanged: int = Field(default=0, ge=0)


class Migration(BaseModel):
    """All moves between two runs.

    Attributes:
        moves: One each pair of segments that has customers, in the order of the ids, None last.
        before: Date of the earlier run, if it has one.
        after: Date of the later run.
    """

    model_config = ConfigDict(frozen=True)

    moves: tuple[Move, ...]
    before: date | None = None
    after: date | None = None

    @property
    def customers(self) -> int:
        """Customers of either run."""
        return sum(move.customers for move in self.moves)

    @property
    def joined(self) -> int:
        """Customers of the later run only."""
        return sum(move.customers for move in self.moves if move.before is None)

    @property
    def left(self) -> int:
        """Customers of the earlier run only."""
        return sum(move.customers for move in self.moves if move.after is None)

    @property
    def stayed(self) -> float | None:
        """Share of the customers of both runs who kept their segment's id; None without any."""
        return _share((move.customers, move) for move in self.moves)

    @property
    def stayed_unchanged(self) -> float | None:
        """The same share of those who bought nothing in between; None if there are none, or none are known."""
        return _share((move.unchanged, move) for move in self.moves)

    def ids(self, *, later: bool) -> tuple[int, ...]:
        """Ids of the segments of one of the runs that has customers, ascending."""
        found = {move.after if later else move.before for move in self.moves}
        return tuple(sorted(identifier for identifier in found if identifier is not None))

    def table(self, before: Sequence[int | None], after: Sequence[int | None]) -> NDArray[np.int64]:
        """Customers by earlier segment (rows) and later one (columns), in the given order; None for not scored."""
        cells = {(move.before, move.after): move.customers for move in self.moves}
        return np.array([[cells.get((row, column), 0) for column in after] for row in before], np.int64).reshape(
            len(before), len(after)
        )


def count_moves(
    before: NDArray[np.integer],
    after: NDArray[np.integer],
    *,
    unchanged: NDArray[np.bool_] | None = None,
    dates: tuple[date, date] | None = None,
) -> Migration:
    """The migration of customers whose ids of both runs are at hand.

    Args:
        before: Segment's id of each customer in the earlier run, 0 for not scored, shape (n,).
        after: The same in the later run, for the same customers.
        unchanged: Whether a customer bought nothing in between, shape (n,).
        dates: Dates of the runs.

    Raises:
        ValueError: The shapes differ, or an id is negative.
    """
    same = np.zeros(len(before), np.bool_) if unchanged is None else unchanged
    if not len(before) == len(after) == len(same):
        raise ValueError(f"one value a customer in each column: got {len(before)}, {len(after)} and {len(same)}")
    if min(before.min(initial=0), after.min(initial=0)) < 0:
        raise ValueError("segment ids start at 1; 0 says that a customer was not scored")
    pairs, place = np.unique(np.stack([before, after], axis=1), axis=0, return_inverse=True)
    customers = np.bincount(place.ravel(), minlength=len(pairs))
    still = np.bincount(place.ravel(), weights=same, minlength=len(pairs))
    return _migration(
        (
            (int(first) or None, int(second) or None, int(count), int(kept))
            for (first, second), count, kept in zip(pairs, customers, still, strict=True)
        ),
        dates,
    )


def read_migration(
    warehouse: Warehouse,
    before: date,
    after: date,
    *,
    table: str = SEGMENT_TABLE,
    transactions: str | None = None,
) -> Migration:
    """The migration between two published runs, counted in the warehouse.

    Args:
        warehouse: Where the segments are published.
        before: Date of the earlier run.
        after: Date of the later run.
        table: Table that they are published as.
        transactions: Table of purchases, which tells who bought in between; without it nobody counts as unchanged.

    Raises:
        WarehouseError: A run is not there, or the warehouse fails.
    """
    query = migration_sql(before, after, table=table, transactions=transactions)
    rows = (row for batch in warehouse.read(query) for row in batch.to_pylist())
    return _migration(
        (
            (row["before_segment"], row["after_segment"], int(row["customers"]), int(row["unchanged"]))
            for row in rows
            if row["before_segment"] is not None or row["after_segment"] is not None
        ),
        (before, after),
    )


def read_names(warehouse: Warehouse, run_date: date, *, table: str = SEGMENT_TABLE) -> dict[int, str]:
    """Names of the segments that have customers in a published run, by id.

    Args:
        warehouse: Where the segments are published.
        run_date: Date of the run.
        table: Table that they are published as.

    Raises:
        WarehouseError: The run is not there, or the warehouse fails.
    """
    query = f"SELECT DISTINCT {SEGMENT}, segment_name FROM {_dated(table, run_date)}"  # noqa: S608 - checked names
    rows = (row for batch in warehouse.read(query) for row in batch.to_pylist())
    return {row[SEGMENT]: row["segment_name"] for row in rows}


def migration_sql(before: date, after: date, *, table: str = SEGMENT_TABLE, transactions: str | None = None) -> str:
    """The SELECT behind `read_migration`: one row each pair of segments."""
    if transactions is None:
        unchanged, bought = "0", ""
    else:
        unchanged = f"CASE WHEN bought.{CUSTOMER} IS NULL THEN 1 ELSE 0 END"
        bought = f"""
    LEFT JOIN (
        SELECT DISTINCT {CUSTOMER} FROM "{check_table(transactions)}"
        WHERE purchased_at >= TIMESTAMP '{before.isoformat()} 00:00:00'
          AND purchased_at < TIMESTAMP '{after.isoformat()} 00:00:00' AND {USABLE}
    ) AS bought ON bought.{CUSTOMER} = COALESCE(later.{CUSTOMER}, earlier.{CUSTOMER})"""  # noqa: S608 - checked names
    return f"""
SELECT before_segment, after_segment, COUNT(*) AS customers, SUM(unchanged) AS unchanged
FROM (
    SELECT earlier.{SEGMENT} AS before_segment, later.{SEGMENT} AS after_segment, {unchanged} AS unchanged
    FROM {_dated(table, before)} AS earlier
    FULL JOIN {_dated(table, after)} AS later ON later.{CUSTOMER} = earlier.{CUSTOMER}{bought}
) AS moves
GROUP BY before_segment, after_segment
"""  # noqa: S608 - checked names


def _dated(table: str, run_date: date) -> str:
    return f'"{Publication(table, run_date).dated}"'


def _migration(rows: Iterable[tuple[int | None, int | None, int, int]], dates: tuple[date, date] | None) -> Migration:
    customers, unchanged = Counter[tuple[int | None, int | None]](), Counter[tuple[int | None, int | None]]()
    for before, after, count, still in rows:
        customers[before, after] += count
        unchanged[before, after] += still

    def order(pair: tuple[int | None, int | None]) -> tuple[float, float]:
        first, second = (float("inf") if one is None else one for one in pair)
        return first, second

    return Migration(
        moves=tuple(
            Move(before=before, after=after, customers=customers[before, after], unchanged=unchanged[before, after])
            for before, after in sorted(customers, key=order)
        ),
        before=dates[0] if dates else None,
        after=dates[1] if dates else None,
    )


def _share(moves: Iterable[tuple[int, Move]]) -> float | None:
    """Share that keeps its id, of those who are in both runs."""
    both = stayed = 0
    for customers, move in moves:
        if move.before is not None and move.after is not None:
            both += customers
            stayed += customers if move.before == move.after else 0
    return stayed / both if both else None
