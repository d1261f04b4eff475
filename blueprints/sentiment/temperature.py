"""Temperature scaling: one number that makes the probabilities of a classifier as sure as it is right."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

LOWEST, HIGHEST = 0.05, 20.0
_STEPS = 60
_GOLDEN = (np.sqrt(5) - 1) / 2


def fit_temperature(logits: NDArray[np.floating], labels: NDArray[np.integer]) -> float:
    """The temperature with the least mean log loss (Guo et al. 2017, "On Calibration of Modern Neural Networks").

    The loss has one minimum over the temperature's logarithm, which a golden-section search finds to 1e-9. No label
    changes its rank.

    Args:
        logits: Of rows that the model has not learned from, shape (n, labels).
        labels: Position of each row's label, shape (n,).

    Returns:
        Between `LOWEST` and `HIGHEST`; logits are to be divided by it.
    """
    low, high = np.log(LOWEST), np.log(HIGHEST)
    for _ in range(_STEPS):
        left, right = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
        if log_loss(logits / np.exp(left), labels) <= log_loss(logits / np.exp(right), labels):
            high = right
        else:
            low = left
    return float(np.exp((low + high) / 2))


def log_loss(logits: NDArray[np.floating], labels: NDArray[np.integer]) -> float:
    """Mean negative logarithm of the probability of the right label."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    right = shifted[np.arange(len(labels)), labels]
    return float(np.mean(np.log(np.exp(shifted).sum(axis=1)) - right))
