"""Evaluation of a text classifier: figures equal scikit-learn's, intervals are honest, slices are of the right rows."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, f1_score, log_loss, precision_recall_fscore_support

from blueprints.schema import Column, TableSchema
from blueprints.sentiment.evaluation import TextEvaluation, evaluate, mean_estimate, measure, row_groups
from blueprints.sentiment.examples import Examples
from blueprints.sentiment.robustness import Robustness

NOTHING = Robustness(rows=0, perturbations=())
NAMES = ("bad", "middling", "good")


def sample(rows: int = 400, labels: int = 3, seed: int = 0, skill: float = 1.5):
    """Labels, and probabilities that know something of them."""
    rng = np.random.default_rng(seed)
    target = rng.integers(0, labels, rows)
    scores = rng.normal(size=(rows, labels)) + skill * np.eye(labels)[target]
    return target, np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)


def examples(target, names=NAMES, texts=None) -> Examples:
    return Examples(texts or [f"text {'x' * (place % 40)}" for place in range(len(target))], target, names)


@given(st.integers(2, 4), st.integers(0, 10_000))
def test_figures_equal_those_of_scikit_learn(labels, seed):
    target, probabilities = sample(60, labels, seed)
    found, predicted = measure(probabilities, target, resamples=2), probabilities.argmax(axis=1)
    every = list(range(labels))
    assert found.accuracy.value == pytest.approx(accuracy_score(target, predicted))
    assert found.macro_f1.value == pytest.approx(f1_score(target, predicted, labels=every, average="macro"))
    assert found.log_loss.value == pytest.approx(log_loss(target, probabilities, labels=every))
    assert found.brier.value == pytest.approx(((probabilities - np.eye(labels)[target]) ** 2).sum(axis=1).mean())
    assert 0 <= found.calibration_error <= 1


def test_calibration_error_is_small_for_honest_probabilities_and_large_for_boasting_ones():
    target, probabilities = sample(20_000, 2, skill=1.0)
    boasting = probabilities**4 / (probabilities**4).sum(axis=1, keepdims=True)
    honest = measure(probabilities, target, resamples=2).calibration_error
    assert honest < 0.02
    assert measure(boasting, target, resamples=2).calibration_error > 0.1


def test_intervals_cover_the_truth_about_as_often_as_they_say():
    covered = 0
    for seed in range(100):
        target, probabilities = sample(200, 2, seed, skill=1.0)
        found = measure(probabilities, target, resamples=200, seed=seed).accuracy
        covered += found.low <= 0.76 <= found.high  # Normal noise of variance 2 stays below 1 in 76 % of all cases.
    assert 88 <= covered <= 100


def test_by_label_and_confusion_equal_those_of_scikit_learn():
    target, probabilities = sample()
    result = evaluate(examples(target), probabilities, {}, NOTHING, resamples=20)
    precision, recall, f1, rows = precision_recall_fscore_support(target, probabilities.argmax(axis=1))
    assert [one.label for one in result.by_label] == list(NAMES)
    np.testing.assert_allclose([one.precision for one in result.by_label], precision)
    np.testing.assert_allclose([one.recall for one in result.by_label], recall)
    np.testing.assert_allclose([one.f1 for one in result.by_label], f1)
    assert [one.rows for one in result.by_label] == rows.tolist()
    assert np.sum(result.confusion, axis=1).tolist() == rows.tolist()


def test_the_margin_is_paired_and_over_the_best_baseline():
    target, probabilities = sample()
    worse, worst = sample(seed=1, skill=0)[1], np.full_like(probabilities, 1 / 3)
    result = evaluate(examples(target), probabilities, {"worst": worst, "itself": probabilities}, NOTHING)
    assert (result.best_baseline, result.margin.value, result.margin.low, result.margin.high) == ("itself", 0, 0, 0)
    result = evaluate(examples(target), probabilities, {"worse": worse}, NOTHING)
    assert result.margin.value == pytest.approx(result.model.accuracy.value - result.baselines["worse"].accuracy.value)
    assert result.margin.low > 0
    assert result.metrics()["margin_over_best_baseline"] == result.margin.value


def test_without_baselines_there_is_no_margin():
    target, probabilities = sample()
    result = evaluate(examples(target), probabilities, {}, NOTHING, resamples=20)
    assert (result.margin, result.best_baseline) == (None, "")
    assert "margin_over_best_baseline" not in result.metrics()


def test_slices_by_source_strength_and_length_hold_the_rows_that_they_name():
    target, probabilities = sample()
    rng = np.random.default_rng(3)
    frame = pd.DataFrame(
        {"source": rng.choice(["film", "news"], 400, p=[0.7, 0.3]), "valence": rng.normal(0, 1.5, 400)}
    )
    given = examples(target)
    result = evaluate(given, probabilities, {"b": probabilities}, NOTHING, frame=frame, tokens=np.arange(400) % 30)
    right, lengths = probabilities.argmax(axis=1) == target, np.array([len(text) for text in given.texts])
    parts = {(part.by, part.value): part for part in result.slices}
    for source in ("film", "news"):
        rows = (frame["source"] == source).to_numpy()
        assert parts["source", source].rows == rows.sum()
        assert parts["source", source].accuracy.value == pytest.approx(right[rows].mean())
        assert result.metrics()[f"accuracy_{source}"] == pytest.approx(right[rows].mean())
    near = (frame["valence"].abs() < 0.5).to_numpy()
    assert parts["valence", "near-neutral (below 0.5)"].accuracy.value == pytest.approx(right[near].mean())
    assert parts["valence", "clear"].rows == (~near).sum()
    for by, values in (("characters", lengths), ("tokens", np.arange(400) % 30)):
        quartiles = [part for (name, _), part in parts.items() if name == by]
        assert sum(part.rows for part in quartiles) == 400
        for part in quartiles:
            low, high = map(int, part.value.split(" to "))
            assert part.rows == ((values >= low) & (values <= high)).sum()
    assert [one.value for one in result.sources()] == ["film", "news"]
    assert parts["source", "film"].best_baseline == parts["source", "film"].accuracy.value


def test_one_source_is_no_slice_and_one_length_is_one_slice():
    target, probabilities = sample(20)
    given = examples(target, texts=["same length"] * 20)
    result = evaluate(given, probabilities, {}, NOTHING, frame=pd.DataFrame({"source": ["film"] * 20}), resamples=5)
    assert [(part.by, part.rows) for part in result.slices] == [("characters", 20)]
    assert result.sources() == ()


def test_rows_of_one_document_widen_the_interval():
    target, probabilities = np.repeat([0, 1, 0, 1] * 10, 10), np.tile([[0.9, 0.1]], (400, 1))
    given, documents = examples(target, ("a", "b")), np.repeat(np.arange(40), 10)
    alone = evaluate(given, probabilities, {}, NOTHING).model.accuracy
    together = evaluate(given, probabilities, {}, NOTHING, groups=documents).model.accuracy
    assert together.value == alone.value
    assert together.high - together.low > 2 * (alone.high - alone.low)


def test_groups_come_from_the_schema():
    columns = (Column(name="text", kind="text"), Column(name="document", kind="text"), Column(name="n", kind="integer"))
    frame = pd.DataFrame({"text": ["a", "b", "c"], "document": ["x", "y", "x"], "n": [0, 1, 0]})
    schema = TableSchema(columns=columns, target="n", group="document")
    assert row_groups(frame, schema).tolist() == [0, 1, 0]
    assert row_groups(frame, schema.model_copy(update={"group": None})) is None


def test_a_mean_over_some_groups_counts_only_those():
    found = mean_estimate(np.array([1.0, 0.0, 1.0]), np.array([5, 5, 90]))
    assert (found.value, found.low, found.high) == (pytest.approx(2 / 3), 0.5, 1)


def test_mistakes_are_the_surest_wrong_answers():
    probabilities = np.array([[0.9, 0.1], [0.2, 0.8], [0.3, 0.7], [0.6, 0.4]])
    given = Examples(["right", "surest", "wrong", "less sure"], np.array([0, 0, 0, 1]), ("a", "b"))
    found = evaluate(given, probabilities, {}, NOTHING, mistakes=2, resamples=5).mistakes
    assert [(one.text, one.label, one.predicted, one.probability) for one in found] == [
        ("surest", "a", "b", 0.8),
        ("wrong", "a", "b", 0.7),
    ]


def test_the_evaluation_survives_json():
    target, probabilities = sample(50)
    result = evaluate(examples(target), probabilities, {"b": probabilities}, NOTHING, resamples=5)
    assert TextEvaluation.model_validate_json(result.model_dump_json()) == result


def test_probabilities_of_other_rows_or_no_rows_are_refused():
    target, probabilities = sample(20)
    with pytest.raises(ValueError, match=r"short: probabilities of shape \(19, 3\) for 20 test rows and 3 labels"):
        evaluate(examples(target), probabilities, {"short": probabilities[:-1]}, NOTHING)
    with pytest.raises(ValueError, match="there are no test rows"):
        evaluate(Examples([], np.array([], int), NAMES), np.empty((0, 3)), {}, NOTHING)
