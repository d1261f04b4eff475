from __future__ import annotations

from pathlib import Path

import pandas as pd
from sklearn.metrics import roc_auc_score

from blueprints.datasets import read_snapshot
from components.training.score_baselines.component import score_baselines


def test_every_test_row_gets_a_score_of_each_baseline(credit_chain, artifact):
    scores = artifact("scores")
    score_baselines.python_func(credit_chain["train"], credit_chain["test"], scores)
    table = pd.read_parquet(scores.path)
    assert scores.metadata == {"baselines": "logistic-regression scorecard, LightGBM"}
    assert list(table) == ["logistic-regression scorecard", "LightGBM"]
    target = read_snapshot(Path(credit_chain["test"].path)).frame["defaulted"]
    for name in table:
        assert roc_auc_score(target, table[name]) > 0.65
