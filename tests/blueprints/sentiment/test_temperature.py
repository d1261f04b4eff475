from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blueprints.sentiment.temperature import HIGHEST, LOWEST, SPREAD, fit_temperature, log_loss


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
def test_no_other_temperature_is_likelier(seed):
    random = np.random.default_rng(seed)
    logits, labels = random.normal(scale=2, size=(60, 2)), random.integers(2, size=60)

    def loss(temperature):
        return 60 * log_loss(logits / temperature, labels) + (np.log(temperature) / SPREAD) ** 2 / 2

    least = loss(fit_temperature(logits, labels))
    assert all(least <= loss(other) + 1e-7 for other in np.geomspace(LOWEST, HIGHEST, 50))


@pytest.mark.parametrize("rows", [2, 10, 30])
@pytest.mark.parametrize("margin", [2.0, 6.0])
def test_a_few_rows_that_are_all_right_move_it_little(rows, margin):
    labels = np.arange(rows) % 2
    logits = margin * np.eye(2)[labels]
    assert 0.5 < fit_temperature(logits, labels) < 1


def test_many_rows_outweigh_what_was_likely_before():
    logits, labels = drawn(1.5)
    others = np.geomspace(1.2, 1.8, 2001)
    least = others[np.argmin([log_loss(logits / other, labels) for other in others])]
    assert fit_temperature(logits, labels) == pytest.approx(least, rel=0.01)
