"""What a text classifier is held against: linear models on counted words."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from blueprints.sentiment.examples import Examples

WORDS = "TF-IDF words + logistic regression"
CHARACTERS = "TF-IDF words and characters + logistic regression"
SVM = "TF-IDF words and characters + linear SVM"

_WORD = r"(?u)\b\w+\b|[!?]"
_LOGISTIC = (0.5, 1.0, 2.0, 5.0, 10.0, 20.0)
_MARGIN = (0.02, 0.05, 0.1, 0.2, 0.5, 1.0)


def baseline_scores(
    training: Examples, validation: Examples, test: Examples, *, seed: int = 7
) -> dict[str, NDArray[np.float64]]:
    """Trains each baseline and scores the test rows with it.

    Words are counted alone and in pairs, characters in runs of 2 to 5 inside of words. Each model's C is the one with
    the highest accuracy on the validation rows; on these the SVM's margins become probabilities, too (Platt 1999).

    Args:
        training: What to learn from.
        validation: What to choose with.
        test: What to score.
        seed: Seed of the SVM's solver.

    Returns:
        Probabilities of the test rows, shape (rows, labels), by baseline.
    """
    from sklearn.calibration import CalibratedClassifierCV
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.frozen import FrozenEstimator
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import FeatureUnion
    from sklearn.svm import LinearSVC

    words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, token_pattern=_WORD)
    characters = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), min_df=2, sublinear_tf=True)
    both = FeatureUnion([("words", words), ("characters", characters)])

    def chosen(model: Callable[[float], Any], values: tuple[float, ...], parts: list[Any]) -> Any:
        models = [model(value).fit(parts[0], training.labels) for value in values]
        return max(models, key=lambda fitted: fitted.score(parts[1], validation.labels))

    def logistic(value: float) -> Any:
        return LogisticRegression(C=value, max_iter=1000)

    scores = {}
    for name, vectorizer in ((WORDS, words), (CHARACTERS, both)):
        vectorizer.fit(training.texts)
        parts = [vectorizer.transform(part.texts) for part in (training, validation, test)]
        scores[name] = chosen(logistic, _LOGISTIC, parts).predict_proba(parts[2])
    svm = chosen(lambda value: LinearSVC(C=value, random_state=seed), _MARGIN, parts)
    calibrated = CalibratedClassifierCV(FrozenEstimator(svm)).fit(parts[1], validation.labels)
    scores[SVM] = calibrated.predict_proba(parts[2])
    return scores


def write_scores(scores: dict[str, NDArray[np.float64]], names: tuple[str, ...], file: Path) -> None:
    """Writes probabilities as Parquet: a column for each baseline and label, `<baseline>: <label>`."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = {
        f"{baseline}: {name}": probabilities[:, position]
        for baseline, probabilities in scores.items()
        for position, name in enumerate(names)
    }
    pq.write_table(pa.table(columns), file)


def read_scores(file: Path) -> dict[str, NDArray[np.float64]]:
    """Probabilities of shape (rows, labels) by baseline, as `write_scores` wrote them."""
    import pyarrow.parquet as pq

    table = pq.read_table(file)
    columns: dict[str, list[NDArray[np.float64]]] = {}
    for name in table.column_names:
        columns.setdefault(name.partition(": ")[0], []).append(table[name].to_numpy())
    return {baseline: np.column_stack(values) for baseline, values in columns.items()}
