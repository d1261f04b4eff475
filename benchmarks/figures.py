"""What a benchmark reports."""

from __future__ import annotations

from typing import TypedDict


class Figure(TypedDict):
    """One figure with its baseline.

    Attributes:
        value: The median, in `unit`.
        unit: Seconds, requests/s, fraction or the like.
        baseline: The same quantity of the baseline; None if there is none.
        ratio: What the goal is stated in, or None.
        how: How it was measured, in one sentence.
    """

    value: float
    unit: str
    baseline: float | None
    ratio: float | None
    how: str


def figure(value: float, unit: str, how: str, *, baseline: float | None = None, ratio: float | None = None) -> Figure:
    """A figure, rounded to what a reader can use."""
    return Figure(
        value=_rounded(value),
        unit=unit,
        baseline=None if baseline is None else _rounded(baseline),
        ratio=None if ratio is None else _rounded(ratio),
        how=how,
    )


def _rounded(value: float) -> float:
    return float(f"{value:.4g}")
