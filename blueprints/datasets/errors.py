"""The one error of datasets, and how it names rows, columns and values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

SHOWN = 5


@dataclass(frozen=True)
class Violation:
    """One value that does not fit its column.

    Attributes:
        row: Data row, 1 is the first below the header.
        column: Column name.
        value: The value as found, shortened.
        accepted: What the column accepts, in words.
    """

    row: int
    column: str
    value: str
    accepted: str

    def __str__(self) -> str:
        return f"row {self.row}, column {self.column!r}: found {self.value}, expected {self.accepted}"


class DatasetError(Exception):
    """A dataset cannot be had as described; the message names the file and what to do.

    Attributes:
        violations: The first values that do not fit (at most five); empty if values are not the problem.
        count: How many values do not fit altogether.
    """

    def __init__(self, message: str, violations: Sequence[Violation] = (), count: int = 0) -> None:
        super().__init__(message)
        self.violations = tuple(violations)
        self.count = count

    @classmethod
    def of_values(cls, origin: str, violations: Sequence[Violation]) -> DatasetError:
        """The error for values that do not fit, ordered by row, the first five spelled out."""
        ordered = sorted(violations, key=lambda violation: violation.row)
        shown = ordered[:SHOWN]
        what = "1 value does" if len(ordered) == 1 else f"{len(ordered)} values do"
        more = f", the first {SHOWN}" if len(ordered) > SHOWN else ""
        lines = "".join(f"\n  {violation}" for violation in shown)
        return cls(f"{origin}: {what} not fit the schema{more}:{lines}", shown, len(ordered))
