"""Plots of a scorecard's reports; each function returns one matplotlib figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from blueprints.credit_risk.backtest import Backtest
from blueprints.credit_risk.fairness import ColumnFairness
from blueprints.estimates import calibration_curve
from blueprints.plotting import BLUE, GREY, ORANGE, RED, confusion_matrix, label, new_axes, plain

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

_LINES = (BLUE, ORANGE, GREY)


def ranking_curves(scores: Mapping[str, NDArray[np.floating]], target: NDArray[np.integer]) -> Figure:
    """ROC and precision-recall curves side by side, one line a model, the first one emphasised."""
    from sklearn.metrics import precision_recall_curve, roc_auc_score, roc_curve

    figure, (roc, recall) = new_axes(2)
    for index, (name, score) in enumerate(scores.items()):
        style: dict[str, Any] = {"color": _LINES[index % len(_LINES)], "lw": 2.2 if index == 0 else 1.3}
        false_positive, true_positive, _ = roc_curve(target, score)
        roc.plot(false_positive, true_positive, label=f"{name} ({roc_auc_score(target, score):.3f})", **style)
        precision, sensitivity, _ = precision_recall_curve(target, score)
        recall.plot(sensitivity, precision, **style)
    roc.plot([0, 1], [0, 1], color=GREY, lw=0.8, ls=":")
    recall.axhline(target.mean(), color=GREY, lw=0.8, ls=":")
    roc.legend(loc="lower right", frameon=False, fontsize=8, title="ROC-AUC", title_fontsize=8)
    label(roc, "ROC", "false-positive rate", "true-positive rate")
    label(recall, "Precision and recall", "recall", "precision")
    recall.set_ylim(0, 1)
    return figure


def calibration(
    before: NDArray[np.floating], after: NDArray[np.floating], target: NDArray[np.integer], threshold: float
) -> Figure:
    """Reliability before and after calibration, and where the probabilities of both outcomes lie."""
    figure, (reliability, spread) = new_axes(2)
    reliability.plot([0, 1], [0, 1], color=GREY, lw=0.8, ls=":")
    for name, probabilities, colour in (("before", before, ORANGE), ("after", after, BLUE)):
        predicted, observed, _ = calibration_curve(probabilities, target)
        reliability.plot(predicted, observed, marker="o", ms=4, color=colour, label=f"{name} calibration")
    reliability.legend(frameon=False, fontsize=8)
    label(reliability, "Calibration", "predicted probability of default", "observed share of defaults")
    bins = [edge / 40 for edge in range(41)]
    for name, outcome, colour in (("paid", 0, BLUE), ("defaulted", 1, RED)):
        spread.hist(after[target == outcome], bins=bins, density=True, alpha=0.55, color=colour, label=name)
    spread.axvline(threshold, color="black", lw=1, ls="--")
    spread.margins(y=0.15)
    right = threshold < 0.7
    spread.annotate(
        f"threshold {threshold:.3f}", (threshold, 0.99), xycoords=("data", "axes fraction"), fontsize=8, va="top",
        xytext=(5 if right else -5, 0), textcoords="offset points", ha="left" if right else "right",
    )  # fmt: skip
    spread.legend(frameon=False, fontsize=8, loc="center right")
    label(spread, "Scores by outcome", "probability of default", "density")
    return figure


def confusion(counts: Sequence[Sequence[int]]) -> Figure:
    """Confusion matrix as shares of each outcome, with the counts."""
    return confusion_matrix(
        counts, ("paid", "defaulted"), ("approved", "declined"), "Decisions by outcome", "decision", "outcome"
    )


def backtest(result: Backtest) -> Figure:
    """ROC-AUC and stability index by period."""
    figure, (ranking, stability) = new_axes(2)
    positions = np.arange(len(result.periods))
    names = [period.period for period in result.periods]
    # Hold-outs do not follow one another.
    line = "-" if result.periods[0].train_end else ""
    ranking.plot(positions, [period.roc_auc for period in result.periods], marker="o", ls=line, color=BLUE)
    label(ranking, f"Ranking ({result.method})", "period", "ROC-AUC")
    stability.bar(positions, [period.stability_index for period in result.periods], color=ORANGE, width=0.6)
    for level, words in ((0.1, "0.1: watch"), (0.25, "0.25: shifted")):
        if max(period.stability_index for period in result.periods) > level / 2:
            stability.axhline(level, color=GREY, lw=0.8, ls=":")
            stability.annotate(words, (0, level), fontsize=7, va="bottom")
    label(stability, "Population stability index", "period", "index")
    for axes in (ranking, stability):
        axes.set_xticks(
            positions, names, rotation=30 if len(names[0]) > 3 else 0, ha="right" if len(names[0]) > 3 else "center"
        )
    return figure


def fairness(column: ColumnFairness) -> Figure:
    """Selection, true-positive and false-positive rates by group; groups with too few rows are pale."""
    figure, (axes,) = new_axes(1, width=7.2)
    positions = np.arange(len(column.groups))
    series = (("selection_rate", "approved", BLUE), ("true_positive_rate", "defaulters declined", ORANGE),
              ("false_positive_rate", "payers declined", GREY))  # fmt: skip
    for offset, (name, words, colour) in enumerate(series):
        bars = axes.bar(
            positions + (offset - 1) * 0.26, [getattr(group, name) or 0.0 for group in column.groups], 0.24,
            color=colour, label=words,
        )  # fmt: skip
        for bar, group in zip(bars, column.groups, strict=True):
            bar.set_alpha(1.0 if group.judged else 0.35)
    axes.set_xticks(positions, [plain(f"{group.group}\n(n = {group.rows:,})") for group in column.groups])
    axes.set_ylim(0, 1)
    axes.legend(frameon=False, fontsize=8, ncols=3, loc="lower right", bbox_to_anchor=(1, 1), borderaxespad=0)
    label(axes, plain(f"Decisions by {column.label}"), "", "share of the group")
    return figure


def importance(names: Sequence[str], contributions: NDArray[np.floating], values: NDArray[np.floating]) -> Figure:
    """SHAP's beeswarm of the features with the largest mean contribution.

    Args:
        names: Feature names in plain words, length k.
        contributions: SHAP values in log-odds, shape (n, k).
        values: Feature values that colour the points, shape (n, k).
    """
    import matplotlib.pyplot as plt
    import shap

    explanation = shap.Explanation(values=contributions, data=values, feature_names=[plain(name) for name in names])
    figure = plt.figure(figsize=(8.5, 5.2))
    shap.plots.beeswarm(explanation, max_display=12, show=False, plot_size=None)
    axes = figure.axes[0]
    axes.set_xlabel("contribution to the log-odds of default", fontsize=9)
    axes.tick_params(labelsize=9)
    scale = figure.axes[-1]
    scale.set_ylabel("value of the feature", fontsize=9)
    scale.tick_params(labelsize=8)
    plt.close(figure)
    return figure
