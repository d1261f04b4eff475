"""What the scorecard is held against: a logistic-regression scorecard and LightGBM."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from blueprints.credit_risk.application import encode_frame
from blueprints.schema import TableSchema

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

SCORECARD = "logistic-regression scorecard"
LIGHTGBM = "LightGBM"


def baseline_scores(
    training: pd.DataFrame, test: pd.DataFrame, schema: TableSchema, *, with_protected: bool = False, seed: int = 0
) -> dict[str, NDArray[np.float64]]:
    """Trains both baselines and scores the test rows with them.

    The scorecard is the classic one: numbers in quantile bins, categories and missing values as bins of their own,
    logistic regression over the bins. LightGBM runs with its defaults.

    Returns:
        Probability of default of each test row, shape (n,), by baseline.
    """
    columns = schema.features(with_protected=with_protected)
    fit, score = encode_frame(training, columns), encode_frame(test, columns)
    target = training[schema.target].to_numpy()
    categorical = [i for i, column in enumerate(columns) if column.kind == "category"]
    return {
        SCORECARD: _scorecard(fit, target, score, categorical),
        LIGHTGBM: _lightgbm(fit, target, score, categorical, seed),
    }


def _scorecard(
    fit: NDArray[np.float32], target: NDArray[np.integer], score: NDArray[np.float32], categorical: list[int]
) -> NDArray[np.float64]:
    from sklearn.linear_model import LogisticRegression

    def bins(column: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        if column in categorical:
            edges = np.arange(0.5, max(1.0, float(np.nanmax(fit[:, column]))))
        else:
            edges = np.unique(np.nanquantile(fit[:, column], np.linspace(0, 1, 13)[1:-1]))
        missing = len(edges) + 1
        return tuple(  # type: ignore[return-value]
            np.where(np.isnan(rows[:, column]), missing, np.searchsorted(edges, rows[:, column], side="right"))
            for rows in (fit, score)
        )

    fit_columns, score_columns = [], []
    for column in range(fit.shape[1]):
        fit_bins, score_bins = bins(column)
        for value in np.unique(fit_bins)[1:]:
            fit_columns.append(fit_bins == value)
            score_columns.append(score_bins == value)
    model = LogisticRegression(C=0.1, max_iter=1000)
    model.fit(np.column_stack(fit_columns).astype(np.float32), target)
    probabilities: NDArray[np.float64] = model.predict_proba(np.column_stack(score_columns).astype(np.float32))[:, 1]
    return probabilities


def _lightgbm(
    fit: NDArray[np.float32],
    target: NDArray[np.integer],
    score: NDArray[np.float32],
    categorical: list[int],
    seed: int,
) -> NDArray[np.float64]:
    import lightgbm

    parameters = {
        "objective": "binary",
        "seed": seed,
        "deterministic": True,
        # Its loops are short here: two threads were slower on free cores and ten times slower on busy ones.
        "num_threads": 1,
        "verbosity": -1,
    }
    data = lightgbm.Dataset(fit, target, categorical_feature=categorical)
    booster = lightgbm.train(parameters, data, num_boost_round=100)
    return np.asarray(booster.predict(score), dtype=np.float64)
