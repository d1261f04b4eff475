"""Mean, variance and skewness of columns, in one pass, of parts that are merged afterwards."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray


def signed_log(values: NDArray[np.floating], columns: list[int] | None = None) -> NDArray[np.floating]:
    """The logarithm that keeps zero and the sign, `sign(x) * log(1 + |x|)`, of chosen columns.

    Args:
        values: Rows, shape (n, k); missing values stay missing.
        columns: Positions of the columns; all of them by default.
    """
    if columns is None:
        logged: NDArray[np.floating] = np.copysign(np.log1p(np.abs(values)), values)
        return logged
    result = np.array(values, copy=True)
    result[:, columns] = signed_log(result[:, columns])
    return result


@dataclass(frozen=True)
class Moments:
    """Sums of powers of columns around their means, each of shape (k,).

    Parts merge exactly (Pébay, 2008, "Formulas for robust, one-pass parallel computation of covariances and
    arbitrary-order statistical moments"), so a table is described without being held.

    Attributes:
        counts: Values that are there.
        missing: Values that are missing.
        means: Means.
        squares: Sums of squared deviations.
        cubes: Sums of cubed deviations.
        minima: Smallest values; infinity where nothing is there.
        maxima: Largest values; minus infinity where nothing is there.
    """

    counts: NDArray[np.float64]
    missing: NDArray[np.float64]
    means: NDArray[np.float64]
    squares: NDArray[np.float64]
    cubes: NDArray[np.float64]
    minima: NDArray[np.float64]
    maxima: NDArray[np.float64]

    @classmethod
    def of(cls, values: NDArray[np.floating]) -> Self:
        """Moments of rows, shape (n, k), NaN where a value is missing."""
        values = np.asarray(values, np.float64)
        there = ~np.isnan(values)
        counts = there.sum(axis=0).astype(np.float64)
        with np.errstate(invalid="ignore", over="ignore"):
            means = np.where(there, values, 0).sum(axis=0) / np.maximum(counts, 1)
            deviations = np.where(there, values - means, 0)
            squared = deviations * deviations
            squares, cubes = squared.sum(axis=0), (squared * deviations).sum(axis=0)
        return cls(
            counts=counts,
            missing=len(values) - counts,
            means=means,
            squares=squares,
            cubes=cubes,
            minima=np.where(there, values, np.inf).min(axis=0, initial=np.inf),
            maxima=np.where(there, values, -np.inf).max(axis=0, initial=-np.inf),
        )

    def merged(self, other: Moments) -> Moments:
        """Moments of the rows of both."""
        counts = self.counts + other.counts
        safe = np.maximum(counts, 1)
        gap = other.means - self.means
        ours, theirs = self.counts / safe, other.counts / safe
        with np.errstate(invalid="ignore", over="ignore"):
            spread = gap * gap * ours * theirs * counts
            cubes = self.cubes + other.cubes + gap * spread * (ours - theirs)
            cubes += 3 * gap * (ours * other.squares - theirs * self.squares)
            squares = self.squares + other.squares + spread
        return Moments(
            counts=counts,
            missing=self.missing + other.missing,
            means=self.means + gap * theirs,
            squares=squares,
            cubes=cubes,
            minima=np.minimum(self.minima, other.minima),
            maxima=np.maximum(self.maxima, other.maxima),
        )

    def imputed(self, values: NDArray[np.float64]) -> Moments:
        """Moments once every missing value is replaced by its column's value, shape (k,)."""
        nothing = np.zeros_like(self.means)
        replaced = self.missing > 0
        filled = Moments(
            counts=self.missing,
            missing=nothing,
            means=np.where(replaced, values, 0),
            squares=nothing,
            cubes=nothing,
            minima=np.where(replaced, values, np.inf),
            maxima=np.where(replaced, values, -np.inf),
        )
        return replace(self, missing=nothing).merged(filled)

    @property
    def deviations(self) -> NDArray[np.float64]:
        """Standard deviations of the population, as scikit-learn's scaler has them."""
        result: NDArray[np.float64] = np.sqrt(self.squares / np.maximum(self.counts, 1))
        return result

    @property
    def skewness(self) -> NDArray[np.float64]:
        """Fisher-Pearson skewness; 0 where nothing varies."""
        with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
            result = np.sqrt(self.counts) * self.cubes / self.squares**1.5
        return np.where(np.isfinite(result), result, 0.0)
