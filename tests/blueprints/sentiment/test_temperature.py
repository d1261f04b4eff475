from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blueprints.sentiment.temperature import HIGHEST, LOWEST, fit_temperature, log_loss


def drawn(temperature: float, rows: int = 20_000):
    """Logits, and labels drawn with the probabilities that these have at a temperature."""
    random = np.random.default_rng(0)
    logits = random.normal(scale=3, size=(rows, 3))
    return logits, (logits / temperature + random.gumbel(size=logits.shape)).argmax(axis=1)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
def test_the_temperature_that_labels_were_drawn_with_is_found(temperature):
    assert fit_temperature(*drawn(temperature)) == pytest.approx(temperature, rel=0.05)


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_no_other_temperature_has_less_loss(seed):
    random = np.random.default_rng(seed)
    logits, labels = random.normal(scale=2, size=(60, 2)), random.integers(2, size=60)
    found = fit_temperature(logits, labels)
    least = log_loss(logits / found, labels)
    assert all(least <= log_loss(logits / other, labels) + 1e-9 for other in np.geomspace(LOWEST, HIGHEST, 50))


def test_a_model_that_is_always_right_gets_the_lowest_temperature():
    assert fit_temperature(np.array([[2.0, 0], [0, 3.0]]), np.array([0, 1])) == pytest.approx(LOWEST)
