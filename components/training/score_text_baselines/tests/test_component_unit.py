from __future__ import annotations

from pathlib import Path

from blueprints.datasets import read_snapshot
from blueprints.sentiment.baselines import CHARACTERS, SVM, WORDS, read_scores
from components.training.score_text_baselines.component import score_text_baselines


def test_every_test_row_gets_probabilities_of_each_baseline(text_chain, artifact):
    scores = artifact("scores")
    score_text_baselines.python_func(*(text_chain[part] for part in ("train", "validation", "test")), scores)
    found = read_scores(Path(scores.path))
    assert scores.metadata == {"baselines": f"{WORDS}, {CHARACTERS}, {SVM}"}
    labels = read_snapshot(Path(text_chain["test"].path)).frame["label"].to_numpy()
    for name in (WORDS, CHARACTERS, SVM):
        assert ((found[name][:, 1] > 0.5) == (labels == "positive")).mean() > 0.75
