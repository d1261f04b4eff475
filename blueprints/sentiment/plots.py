"""Plots of a text classifier's report; each function returns one matplotlib figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from blueprints.estimates import Estimate
from blueprints.plotting import BLUE, GREY, ORANGE, RED, label, new_axes, plain
from blueprints.sentiment.evaluation import Slice, reliability
from blueprints.sentiment.robustness import Robustness

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray


def accuracies(estimates: Mapping[str, Estimate]) -> Figure:
    """Accuracy of each model with its interval, the first one emphasised."""
    figure, (axes,) = new_axes(1, width=7.2, height=0.9 + 0.42 * len(estimates))
    _intervals(axes, list(estimates), list(estimates.values()), [BLUE] + [GREY] * (len(estimates) - 1))
    label(axes, "Accuracy with 95 % interval", "accuracy", "")
    return figure


def calibration(probabilities: NDArray[np.floating], target: NDArray[np.integer]) -> Figure:
    """Reliability of the likeliest label, and how sure the model is when it is right and when it is wrong."""
    figure, (curve, spread) = new_axes(2)
    confidence, accuracy, _ = reliability(probabilities, target)
    low = 1 / probabilities.shape[1]
    curve.plot([low, 1], [low, 1], color=GREY, lw=0.8, ls=":")
    curve.plot(confidence, accuracy, marker="o", ms=4, color=BLUE)
    label(curve, "Calibration", "confidence in the likeliest label", "share that is right")
    right = probabilities.argmax(axis=1) == target
    surest = probabilities.max(axis=1)
    bins = np.linspace(low, 1, 26).tolist()
    spread.hist([surest[right], surest[~right]], bins=bins, stacked=True, color=[BLUE, RED], label=["right", "wrong"])
    spread.legend(frameon=False, fontsize=8, loc="upper left")
    label(spread, "Confidence", "confidence in the likeliest label", "texts")
    return figure


def slices(parts: Sequence[Slice], overall: Estimate) -> Figure:
    """Accuracy on parts of the rows, with intervals; the dotted line is that of all rows, crosses the best baseline."""
    figure, (axes,) = new_axes(1, width=8.2, height=0.9 + 0.34 * len(parts))
    names = [plain(f"{part.by}: {part.value}  (n = {part.rows:,})") for part in parts]
    axes.axvline(overall.value, color=GREY, lw=0.8, ls=":")
    _intervals(axes, names, [part.accuracy for part in parts], [BLUE] * len(parts))
    others = [(part.best_baseline, place) for place, part in enumerate(parts) if part.best_baseline is not None]
    if others:
        values, places = zip(*others, strict=True)
        axes.plot(values, places, ls="", marker="x", ms=5, color=ORANGE, label="best baseline")
        axes.legend(frameon=False, fontsize=8, loc="lower right", bbox_to_anchor=(1, 1), borderaxespad=0.2)
    label(axes, "Accuracy on parts of the test rows", "accuracy", "")
    return figure


def robustness(found: Robustness) -> Figure:
    """Accuracy lost to each perturbation; and the accuracy on each kind of small sentences, where there are some."""
    figure, (losses, *rest) = new_axes(
        2 if found.negation else 1, width=10.4 if found.negation else 6.2, height=0.9 + 0.36 * len(found.perturbations)
    )
    losses.axvline(0, color=GREY, lw=0.8, ls=":")
    names = [change.name for change in found.perturbations]
    _intervals(losses, names, [change.loss for change in found.perturbations], [ORANGE] * len(names), digits=3)
    label(losses, "Lost by a change that keeps the meaning", "loss of accuracy", "")
    for axes in rest:
        values = [kind.accuracy for kind in found.negation]
        bars = axes.barh(
            range(len(values)), values, height=0.6, color=[BLUE if value >= 0.5 else RED for value in values]
        )
        axes.bar_label(bars, [f"{value:.0%}" for value in values], fontsize=8, padding=3)
        axes.set_yticks(range(len(values)), [kind.kind for kind in found.negation])
        axes.invert_yaxis()
        axes.set_xlim(0, 1.12)
        label(axes, "Small sentences with a known label", "accuracy", "")
    return figure


def _intervals(
    axes: Axes, names: Sequence[str], estimates: Sequence[Estimate], colours: Sequence[str], *, digits: int = 3
) -> None:
    """One row a name: a dot with its interval, and the value beside it."""
    for place, (one, colour) in enumerate(zip(estimates, colours, strict=True)):
        axes.plot([one.low, one.high], [place, place], color=colour, lw=2, alpha=0.5, solid_capstyle="round")
        axes.plot([one.value], [place], marker="o", ms=5, color=colour)
        axes.annotate(
            f"{one.value:.{digits}f}", (one.value, place), xytext=(0, 5), textcoords="offset points", fontsize=7,
            ha="center",
        )  # fmt: skip
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.4, -0.7)
