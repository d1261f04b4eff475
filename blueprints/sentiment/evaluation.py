"""How good a text classifier is on texts that it has not seen, with intervals, beside its baselines."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from blueprints.estimates import Estimate, calibration_curve, calibration_error, estimate, resampled_sums
from blueprints.schema import TableSchema
from blueprints.sentiment.examples import VALENCE, Examples
from blueprints.sentiment.robustness import Robustness

if TYPE_CHECKING:
    import pandas as pd

SOURCE = "source"
NEAR_NEUTRAL = 0.5
"""Valences closer to zero than this are near-neutral; people give -4 to 4."""

Probabilities = NDArray[np.floating]


class Quality(BaseModel):
    """How well probabilities tell the label.

    Attributes:
        accuracy: Share of texts whose label is the likeliest.
        macro_f1: Mean over the labels of the F1 score.
        log_loss: Mean negative log-likelihood, nats a text.
        brier: Mean squared distance to the true label's one-hot vector (Brier 1950), 0 to 2.
        calibration_error: Expected calibration error of the likeliest label over ten equally filled bins (Guo et al.
            2017), 0 to 1. It has no interval: noise only ever adds to it, so a bootstrap would be biased.
    """

    accuracy: Estimate
    macro_f1: Estimate
    log_loss: Estimate
    brier: Estimate
    calibration_error: float


class LabelQuality(BaseModel):
    """One label: its test rows, the share of its predictions that are right, the share of its rows that are found."""

    label: str
    rows: int
    precision: float
    recall: float
    f1: float


class Slice(BaseModel):
    """The accuracy on some of the rows.

    Attributes:
        by: What the rows are told apart by: `source`, `characters`, `tokens`, `valence`.
        value: Which of them these are.
        rows: How many they are.
        accuracy: Share that is right.
        best_baseline: The same of the best baseline, None without one.
    """

    by: str
    value: str
    rows: int
    accuracy: Estimate
    best_baseline: float | None


class Mistake(BaseModel):
    """A text that the model is wrong about."""

    text: str
    label: str
    predicted: str
    probability: float


class TextEvaluation(BaseModel):
    """A text classifier on its test rows.

    Attributes:
        rows: Test rows.
        labels: Labels in the order of the probabilities.
        model: Figures of the classifier.
        baselines: Figures of each baseline on the same rows.
        best_baseline: The baseline of the highest accuracy; empty without any.
        margin: Accuracy of the classifier minus that of the best baseline, paired; None without any.
        by_label: Precision and recall of each label.
        confusion: Counts, one row a true label, one column a predicted one.
        slices: Accuracy on parts of the rows.
        robustness: What happens to changed texts.
        mistakes: Wrong answers that the model was surest of.
    """

    rows: int
    labels: tuple[str, ...]
    model: Quality
    baselines: dict[str, Quality]
    best_baseline: str
    margin: Estimate | None
    by_label: tuple[LabelQuality, ...]
    confusion: list[list[int]]
    slices: tuple[Slice, ...]
    robustness: Robustness
    mistakes: tuple[Mistake, ...]

    def sources(self) -> tuple[Slice, ...]:
        """The slices by source, largest first; none if all rows come from one."""
        return tuple(sorted((one for one in self.slices if one.by == SOURCE), key=lambda one: -one.rows))

    def metrics(self) -> dict[str, float]:
        """The headline figures by name."""
        estimates = {name: value for name, value in self.model if isinstance(value, Estimate)}
        figures = {name: estimate.value for name, estimate in estimates.items()}
        figures["calibration_error"] = self.model.calibration_error
        if self.margin is not None:
            figures["margin_over_best_baseline"] = self.margin.value
        for one in self.sources():
            figures[f"accuracy_{one.value}"] = one.accuracy.value
        for perturbation in self.robustness.perturbations:
            figures[f"accuracy_{perturbation.name.replace(' ', '_')}"] = perturbation.accuracy.value
        for kind in self.robustness.negation:
            figures[f"accuracy_suite_{kind.kind.replace(' ', '_')}"] = kind.accuracy
        return figures


def evaluate(
    examples: Examples,
    probabilities: Probabilities,
    baselines: Mapping[str, Probabilities],
    robustness: Robustness,
    *,
    frame: pd.DataFrame | None = None,
    groups: NDArray[np.integer] | None = None,
    tokens: NDArray[np.integer] | None = None,
    mistakes: int = 15,
    resamples: int = 1000,
    seed: int = 0,
) -> TextEvaluation:
    """Evaluates a text classifier on test rows.

    Args:
        examples: The test rows.
        probabilities: The classifier's, shape (n, labels).
        baselines: Probabilities of other models for the same rows, each of shape (n, labels).
        robustness: What changed texts did, see `robustness.test_robustness`.
        frame: The test rows with the columns `source` and `valence` that slices are cut by, where they exist.
        groups: Which rows belong together, see `row_groups`, shape (n,); intervals take it into account.
        tokens: Length of each text in tokens, shape (n,).
        mistakes: Wrong answers to keep.
        resamples: Bootstrap resamples.
        seed: Seed of the resampling.

    Raises:
        ValueError: There are no rows, or probabilities are of other rows or labels.
    """
    target, shape = examples.labels, (len(examples.texts), len(examples.names))
    if not len(target):
        raise ValueError("there are no test rows; give more rows or another split")
    for name, given in {"model": probabilities, **baselines}.items():
        if given.shape != shape:
            raise ValueError(
                f"{name}: probabilities of shape {given.shape} for {shape[0]:,} test rows and {shape[1]} labels; score "
                "the same rows"
            )
    hits = {name: _hits(given, target) for name, given in baselines.items()}
    best = max(hits, key=lambda name: hits[name].mean(), default="")
    right = _hits(probabilities, target)
    confusion = np.bincount(target * shape[1] + probabilities.argmax(axis=1), minlength=shape[1] ** 2)
    table = confusion.reshape(shape[1], shape[1])
    return TextEvaluation(
        rows=len(target),
        labels=examples.names,
        model=measure(probabilities, target, groups, resamples=resamples, seed=seed),
        baselines={
            name: measure(given, target, groups, resamples=resamples, seed=seed) for name, given in baselines.items()
        },
        best_baseline=best,
        margin=mean_estimate(right - hits[best], groups, resamples=resamples, seed=seed) if best else None,
        by_label=tuple(_of_label(name, table, code) for code, name in enumerate(examples.names)),
        confusion=table.tolist(),
        slices=tuple(
            Slice(
                by=by,
                value=value,
                rows=int(rows.sum()),
                accuracy=mean_estimate(
                    right[rows], None if groups is None else groups[rows], resamples=resamples, seed=seed
                ),
                best_baseline=float(hits[best][rows].mean()) if best else None,
            )
            for by, value, rows in _slices(examples, frame, tokens)
        ),
        robustness=robustness,
        mistakes=_mistakes(examples, probabilities, mistakes),
    )


def measure(
    probabilities: Probabilities,
    target: NDArray[np.integer],
    groups: NDArray[np.integer] | None = None,
    *,
    resamples: int = 1000,
    seed: int = 0,
) -> Quality:
    """Figures of one model.

    Args:
        probabilities: Shape (n, labels).
        target: Position of the true label, shape (n,).
        groups: Which rows belong together, as numbers from 0, shape (n,).
        resamples: Bootstrap resamples.
        seed: Seed of the resampling.
    """
    labels = probabilities.shape[1]
    rows = np.arange(len(target))
    truth = np.eye(labels)[target]
    predicted = probabilities.argmax(axis=1)
    confidence = probabilities[rows, predicted]
    values = np.column_stack(
        [
            -np.log(np.clip(probabilities[rows, target], 1e-12, 1)),
            ((probabilities - truth) ** 2).sum(axis=1),
            np.eye(labels * labels)[target * labels + predicted],
        ]
    )
    drawn = np.vstack([values.sum(axis=0), resampled_sums(values, groups, resamples=resamples, seed=seed)])
    loss, brier, cells = np.split(drawn, [1, 2], axis=1)
    table = cells.reshape(-1, labels, labels)
    size, diagonal = cells.sum(axis=1), np.einsum("bii->bi", table)
    f1 = 2 * diagonal / np.maximum(table.sum(axis=1) + table.sum(axis=2), 1)
    figures = {
        "accuracy": diagonal.sum(axis=1) / size,
        "macro_f1": f1.mean(axis=1),
        "log_loss": loss[:, 0] / size,
        "brier": brier[:, 0] / size,
    }
    return Quality(
        **{name: estimate(float(values[0]), values[1:]) for name, values in figures.items()},
        calibration_error=calibration_error(confidence, (predicted == target).astype(np.int64)),
    )


def mean_estimate(
    values: NDArray[np.floating], groups: NDArray[np.integer] | None = None, *, resamples: int = 1000, seed: int = 0
) -> Estimate:
    """The mean of values, such as hits or differences of hits, with its interval."""
    if groups is not None:
        groups = np.unique(groups, return_inverse=True)[1]
    pairs = np.column_stack([values, np.ones(len(values))])
    sums = resampled_sums(pairs, groups, resamples=resamples, seed=seed)
    return estimate(float(values.mean()), sums[:, 0] / sums[:, 1])


def row_groups(frame: pd.DataFrame, schema: TableSchema) -> NDArray[np.int64] | None:
    """Which rows belong together by the schema's group, as numbers from 0, shape (n,); None if it names none."""
    if schema.group is None:
        return None
    return np.asarray(frame.groupby(schema.group, sort=False, dropna=False, observed=True).ngroup(), np.int64)


def reliability(
    probabilities: Probabilities, target: NDArray[np.integer]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    """Confidence in the likeliest label, its accuracy and size of ten equally filled bins, each of shape (bins,)."""
    return calibration_curve(probabilities.max(axis=1), _hits(probabilities, target).astype(np.int64))


def _hits(probabilities: Probabilities, target: NDArray[np.integer]) -> NDArray[np.float64]:
    return np.asarray(probabilities.argmax(axis=1) == target, np.float64)


def _of_label(name: str, table: NDArray[np.integer], code: int) -> LabelQuality:
    found, predicted, there = int(table[code, code]), int(table[:, code].sum()), int(table[code].sum())
    return LabelQuality(
        label=name,
        rows=there,
        precision=found / max(1, predicted),
        recall=found / max(1, there),
        f1=2 * found / max(1, predicted + there),
    )


def _slices(
    examples: Examples, frame: pd.DataFrame | None, tokens: NDArray[np.integer] | None
) -> list[tuple[str, str, NDArray[np.bool_]]]:
    found: list[tuple[str, str, NDArray[np.bool_]]] = []
    if frame is not None and SOURCE in frame:
        sources = frame[SOURCE].astype(str).to_numpy()
        names = np.unique(sources)
        if len(names) > 1:
            found += [(SOURCE, str(name), sources == name) for name in names]
    found += _quartiles("characters", np.array([len(text) for text in examples.texts]))
    if tokens is not None:
        found += _quartiles("tokens", tokens)
    if frame is not None and VALENCE in frame:
        strength = np.abs(frame[VALENCE].to_numpy(np.float64))
        near, clear = strength < NEAR_NEUTRAL, strength >= NEAR_NEUTRAL
        found += [(VALENCE, f"near-neutral (below {NEAR_NEUTRAL:g})", near), (VALENCE, "clear", clear)]
    return [(by, value, rows) for by, value, rows in found if rows.any()]


def _quartiles(by: str, lengths: NDArray[np.integer]) -> list[tuple[str, str, NDArray[np.bool_]]]:
    edges = np.unique(np.quantile(lengths, [0, 0.25, 0.5, 0.75, 1], method="lower")).tolist()
    result, low = [], edges[0]
    for high in edges[1:] or edges:
        result.append((by, f"{low} to {high}", (lengths >= low) & (lengths <= high)))
        low = high + 1
    return result


def _mistakes(examples: Examples, probabilities: Probabilities, count: int) -> tuple[Mistake, ...]:
    predicted = probabilities.argmax(axis=1)
    wrong = np.flatnonzero(predicted != examples.labels)
    surest = wrong[np.argsort(-probabilities.max(axis=1)[wrong], kind="stable")][:count]
    return tuple(
        Mistake(
            text=examples.texts[row],
            label=examples.names[examples.labels[row]],
            predicted=examples.names[predicted[row]],
            probability=float(probabilities[row].max()),
        )
        for row in surest
    )
