from __future__ import annotations

import numpy as np
import pytest

from blueprints.sentiment.baselines import CHARACTERS, SVM, WORDS, baseline_scores, read_scores, write_scores
from blueprints.sentiment.examples import Examples
from tests.tiny_encoder import examples


@pytest.fixture(scope="module")
def scores():
    return baseline_scores(examples(300), examples(100, seed=1), examples(100, seed=2))


@pytest.mark.parametrize("name", [WORDS, CHARACTERS, SVM])
def test_each_baseline_learns_and_gives_probabilities(scores, name):
    assert (scores[name].argmax(axis=1) == examples(100, seed=2).labels).mean() > 0.9
    assert scores[name].shape == (100, 2)
    assert np.allclose(scores[name].sum(axis=1), 1)


def test_scores_are_read_as_they_were_written(scores, tmp_path):
    write_scores(scores, ("negative", "positive"), tmp_path / "scores")
    found = read_scores(tmp_path / "scores")
    assert list(found) == [WORDS, CHARACTERS, SVM]
    assert all(np.array_equal(found[name], scores[name]) for name in scores)


def test_baselines_tell_more_than_two_labels_apart():
    source = examples(300)
    texts = source.texts + ["the film is a story", "a story and a film", "the music"] * 30
    three = Examples(texts, np.concatenate([source.labels, np.full(90, 2)]), ("bad", "good", "none"))
    for probabilities in baseline_scores(three, three, three).values():
        assert probabilities.shape == (390, 3)
        assert (probabilities.argmax(axis=1) == three.labels).mean() > 0.9
