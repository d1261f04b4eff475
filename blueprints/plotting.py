"""What the plots of all reports share: colours, axes, the confusion matrix."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLUE, ORANGE, GREY, RED = "#1f6feb", "#d9822b", "#8a94a0", "#b3261e"


def new_axes(count: int, *, width: float | None = None, height: float = 3.6) -> tuple[Figure, tuple[Axes, ...]]:
    """A figure with axes side by side, in the style of the house; sizes in inches."""
    from matplotlib.figure import Figure as NewFigure

    figure = NewFigure(figsize=(width or 5.0 * count, height), layout="constrained")
    axes = tuple(figure.subplots(1, count, squeeze=False)[0])
    for one in axes:
        one.grid(visible=True, lw=0.4, alpha=0.5)
        one.set_axisbelow(True)
        one.spines[["top", "right"]].set_visible(False)
    return figure, axes


def label(axes: Axes, title: str, x: str, y: str) -> None:
    """Title and axis labels."""
    axes.set_title(title, fontsize=10, loc="left")
    axes.set_xlabel(x, fontsize=9)
    axes.set_ylabel(y, fontsize=9)
    axes.tick_params(labelsize=8)


def plain(text: str) -> str:
    """A text of the data's, in which a dollar is no mathematics."""
    return text.replace("$", r"\$")


def confusion_matrix(
    counts: Sequence[Sequence[int]], outcomes: Sequence[str], decisions: Sequence[str], title: str, x: str, y: str
) -> Figure:
    """Counts by outcome (rows) and decision (columns), coloured by their share of the outcome."""
    figure, (axes,) = new_axes(1, width=max(4.2, 1.2 * len(decisions)), height=max(3.6, 0.9 * len(outcomes)))
    table = np.asarray(counts)
    share = table / np.maximum(table.sum(axis=1, keepdims=True), 1)
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for (row, column), count in np.ndenumerate(table):
        axes.text(
            column,
            row,
            f"{count:,}\n{share[row, column]:.0%}",
            ha="center",
            va="center",
            color="white" if share[row, column] > 0.55 else "black",
        )
    axes.set_xticks(range(len(decisions)), [plain(name) for name in decisions])
    axes.set_yticks(range(len(outcomes)), [plain(name) for name in outcomes])
    axes.grid(visible=False)
    label(axes, title, x, y)
    return figure
