"""What a call of the model costs by the number and the size of its units, measured on the machine that serves."""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

# A unit joins a batch only if that saves this share of what it costs alone: less is noise.
_MARGIN = 0.02
_ROWS = (1, 2, 4, 8, 16, 32)


class BatchCosts(BaseModel):
    """Seconds of a call, interpolated in a table.

    Attributes:
        rows: Numbers of units, ascending from 1.
        sizes: Sizes of the largest unit, ascending.
        table: Seconds of a call, by rows and sizes.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    rows: tuple[int, ...] = Field(min_length=1)
    sizes: tuple[int, ...] = Field(min_length=1)
    table: tuple[tuple[float, ...], ...]

    @model_validator(mode="after")
    def _is_a_table(self) -> Self:
        for axis in (self.rows, self.sizes):
            if list(axis) != sorted(set(axis)) or axis[0] < 1:
                raise ValueError("rows and sizes must ascend from 1 or more")
        if self.rows[0] != 1:
            raise ValueError("rows must begin with 1")
        if len(self.table) != len(self.rows) or any(len(line) != len(self.sizes) for line in self.table):
            raise ValueError("the table must have a line for each of rows and a column for each of sizes")
        if any(value <= 0 for line in self.table for value in line):
            raise ValueError("times must be above 0")
        return self

    def seconds(self, rows: int, size: int) -> float:
        """Time of a call of so many units, the largest of this size."""
        known = self._known.get((rows, size))
        if known is None:
            lower, upper, share = _between(self.rows, rows)
            at = [_interpolate(self.sizes, self.table[index], size) for index in (lower, upper)]
            known = self._known[rows, size] = at[0] + share * (at[1] - at[0])
        return known

    def gain(self, rows: int, largest: int, size: int) -> float:
        """Seconds saved when a unit joins a batch instead of being alone; above 0 only if that is worth it.

        Args:
            rows: Units in the batch.
            largest: Size of its largest unit.
            size: Size of the unit that may join.
        """
        alone = self.seconds(1, size)
        joining = self.seconds(rows + 1, max(largest, size)) - self.seconds(rows, largest)
        return alone * (1 - _MARGIN) - joining

    def amortized(self, size: int) -> float:
        """Time of a unit in the batch that suits it best; of a longer text, the sum over its units."""
        whole, rest = divmod(size, self.sizes[-1])
        return whole * self._best[-1] + (_interpolate(self.sizes, self._best, rest) if rest else 0.0)

    @cached_property
    def _known(self) -> dict[tuple[int, int], float]:
        return {}

    @cached_property
    def _best(self) -> list[float]:
        return [
            min(line[column] / rows for rows, line in zip(self.rows, self.table, strict=True))
            for column in range(len(self.sizes))
        ]


def measure_costs(
    run: Callable[[int, int], object], sizes: Sequence[int], *, max_rows: int = 32, seconds: float = 1.0
) -> BatchCosts:
    """Measures a table of costs; each cell is the shortest of a few calls, since others can only lengthen one.

    Larger batches of a size are not tried once a batch is not clearly cheaper a unit than the one before.

    Args:
        run: Calls the model with so many units of such a size.
        sizes: Sizes to try, ascending.
        max_rows: Most units in a batch.
        seconds: About how long the measurement may take; each cell is called at least twice.
    """
    tried = [rows for rows in _ROWS if rows <= max_rows]
    share = seconds / (len(sizes) * len(tried))
    columns = []
    for size in sizes:
        column: list[float] = []
        for position, rows in enumerate(tried):
            column.append(max(_shortest(run, rows, size, share), column[-1] if column else 0.0))
            before = column[position - 1] / tried[position - 1] if position else float("inf")
            if column[-1] / rows > before * (1 - _MARGIN):
                break
        # What was not tried costs as much a unit as alone, so nothing is gained by it.
        while len(column) < len(tried):
            more = tried[len(column)] - tried[len(column) - 1]
            column.append(column[-1] + more * column[0])
        columns.append(column)
    table = [[column[position] for column in columns] for position in range(len(tried))]
    for line in table:
        for index in range(1, len(line)):
            line[index] = max(line[index], line[index - 1])
    return BatchCosts(rows=tuple(tried), sizes=tuple(sizes), table=tuple(map(tuple, table)))


def _shortest(run: Callable[[int, int], object], rows: int, size: int, seconds: float) -> float:
    shortest, spent, calls = float("inf"), 0.0, 0
    while calls < 2 or (spent < seconds and calls < 10):
        begun = time.perf_counter()
        run(rows, size)
        took = time.perf_counter() - begun
        shortest, spent, calls = min(shortest, took), spent + took, calls + 1
    return shortest


def _between(axis: Sequence[int], value: int) -> tuple[int, int, float]:
    """Two positions on an axis and how far a value is from the one to the other; above 1 beyond the last."""
    if len(axis) == 1:
        return 0, 0, 0.0
    upper = min(max(bisect_left(axis, value), 1), len(axis) - 1)
    share = (value - axis[upper - 1]) / (axis[upper] - axis[upper - 1])
    return upper - 1, upper, max(share, 0.0)


def _interpolate(axis: Sequence[int], values: Sequence[float], at: int) -> float:
    lower, upper, share = _between(axis, at)
    return values[lower] + share * (values[upper] - values[lower])
