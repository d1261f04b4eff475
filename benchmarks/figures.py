"""What a benchmark reports."""

from __future__ import annotations

import math
from typing import TypedDict


class Figure(TypedDict):
    """One figure with its baseline.

    Attributes:
        value: The median, in `unit`; None if there is none, and `how` says why.
        unit: Seconds, requests/s, fraction or the like.
        baseline: The same quantity of the baseline; None if there is none.
        ratio: What the goal is stated in, or None.
        how: How it was measured, in one sentence.
    """

    value: float | None
    unit: str
    baseline: float | None
    ratio: float | None
    how: str


def figure(value: float, unit: str, how: str, *, baseline: float | None = None, ratio: float | None = None) -> Figure:
    """A figure, rounded to what a reader can use; what is not finite is None, since JSON knows no infinity."""
    return Figure(
        value=_rounded(value),
        unit=unit,
        baseline=_rounded(baseline),
        ratio=_rounded(ratio),
        how=how,
    )


def _rounded(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else float(f"{value:.4g}")
