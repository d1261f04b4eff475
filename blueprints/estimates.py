"""Figures that are estimated from a sample of rows: their intervals, and how well probabilities are calibrated."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from pydantic import BaseModel, ConfigDict

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Estimate(BaseModel):
    """A figure with its 95 % bootstrap interval."""

    model_config = ConfigDict(frozen=True)

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.4f} ({self.low:.4f} to {self.high:.4f})"


def estimate(value: float, resampled: NDArray[np.floating]) -> Estimate:
    """A figure with the percentile interval of its resampled values, shape (resamples,)."""
    low, high = np.quantile(resampled, [0.025, 0.975])
    return Estimate(value=value, low=float(low), high=float(high))


def resampled_sums(
    values: NDArray[np.floating],
    groups: NDArray[np.integer] | None = None,
    *,
    resamples: int = 1000,
    seed: int = 0,
) -> NDArray[np.float64]:
    """Column sums over bootstrap resamples of the rows; whatever is a ratio of sums has its interval from them.

    Rows that belong together, such as sentences of one document, are drawn together (cluster bootstrap, Cameron,
    Gelbach and Miller 2008): they agree more than strangers do, and intervals that forget it are too narrow.

    Args:
        values: What is summed up, shape (n, k).
        groups: Group of each row as a number from 0, shape (n,); without it every row is one of its own.
        resamples: Bootstrap resamples.
        seed: Seed of the resampling.

    Returns:
        Sums, shape (resamples, k).
    """
    rows = np.asarray(values, np.float64)
    if groups is not None:
        sums = np.zeros((int(groups.max()) + 1, rows.shape[1]))
        np.add.at(sums, groups, rows)
        rows = sums
    rng = np.random.default_rng(seed)
    result = np.empty((resamples, rows.shape[1]))
    for index in range(resamples):
        drawn = np.bincount(rng.integers(0, len(rows), len(rows)), minlength=len(rows))
        result[index] = drawn @ rows
    return result


def calibration_curve(
    probabilities: NDArray[np.floating], target: NDArray[np.integer], *, bins: int = 10
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    """Mean prediction, observed share and size of equally filled bins, each of shape (bins,)."""
    groups = np.array_split(np.argsort(probabilities, kind="stable"), bins)
    groups = [group for group in groups if len(group)]
    return (
        np.array([probabilities[group].mean() for group in groups]),
        np.array([target[group].mean() for group in groups]),
        np.array([len(group) for group in groups]),
    )


def calibration_error(probabilities: NDArray[np.floating], target: NDArray[np.integer]) -> float:
    """Expected calibration error (Naeini et al., 2015) over ten equally filled bins, 0 to 1."""
    predicted, observed, sizes = calibration_curve(probabilities, target)
    return float(np.average(np.abs(predicted - observed), weights=sizes))
