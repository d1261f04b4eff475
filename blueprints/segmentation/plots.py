"""Plots of a segmentation's reports; each function returns one matplotlib figure."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from blueprints.estimates import Estimate
from blueprints.plotting import label, new_axes, plain
from blueprints.schema import Column
from blueprints.segmentation.choose_k import ChoiceReport
from blueprints.segmentation.migration import Migration
from blueprints.segmentation.profiles import MOSTLY, Profiles, show, show_share
from blueprints.segmentation.segments import Segments

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

Key = TypeVar("Key")

PALETTE = (
    "#0072B2", "#E69F00", "#009E73", "#D55E00", "#56B4E9", "#CC79A7", "#F0E442", "#5B5B5B", "#8C6D31", "#6A4C93",
)  # fmt: skip
"""Colours of segments: those of Okabe and Ito (2008), that the colour-blind can tell apart too, and three more."""

# Points that a scatter plot draws, and points of a curve.
_POINTS, _CURVE = 4_000, 200
# Heights, where all customers together are 1: what a bar's label needs, the space between bars, what is still seen.
_ROOM, _GAP, _LEAST = 0.13, 0.02, 0.008
# Share from which a segment's centroid is always in view.
_SEEN = 0.005
# How bright the eye finds red, green and blue.
_LUMINANCE = (0.299, 0.587, 0.114)
_INK, _ABSENT = "#24292f", "#b8bec5"


def segment_colours(ids: Iterable[int]) -> dict[int, str]:
    """A colour for each id: the same in every plot and, while ids stay below the number of colours, in every run."""
    colours: dict[int, str] = {}
    for identifier in sorted(ids):
        wanted = (identifier - 1) % len(PALETTE)
        free = [PALETTE[(wanted + step) % len(PALETTE)] for step in range(len(PALETTE))]
        colours[identifier] = next((one for one in free if one not in colours.values()), free[0])
    return colours


def silhouettes(
    values: NDArray[np.floating], labels: NDArray[np.integer], segments: Segments, mean: Estimate
) -> Figure:
    """Silhouette of each customer (Rousseeuw 1987) by segment, largest first: the wider right of 0, the better apart.

    Args:
        values: Silhouettes of a sample of customers, shape (n,); it may hold any share of each segment.
        labels: Places of their segments, shape (n,).
        segments: The segments.
        mean: The mean silhouette of all customers.
    """
    colours = segment_colours(segments.ids)
    order = [place for place in _by_size(segments) if (labels == place).any()]
    sizes = {place: segments.segments[place].size for place in order}
    bars = _bars(sizes, max(sum(sizes.values()), 1))
    figure, (axes,) = new_axes(1, width=9.2, height=1.0 + 4.0 * _depth(bars))
    for place, (start, height, _) in bars.items():
        own = np.sort(values[labels == place])
        curve = np.quantile(own, np.linspace(1, 0, min(_CURVE, max(len(own), 2))))
        pad = max(_LEAST - height, 0.0) / 2
        depth = np.linspace(start - pad, start + height + pad, len(curve))
        axes.fill_betweenx(depth, 0, curve, color=colours[segments.ids[place]], alpha=0.85, lw=0)
    middles = [start + height / 2 for start, height, _ in bars.values()]
    names = [f"{_wrapped(segments.names[place])}\nmean {values[labels == place].mean():.2f}" for place in order]
    axes.axvline(0, color=_INK, lw=0.8)
    axes.axvline(mean.value, color=_INK, lw=1, ls="--")
    axes.annotate(
        f"mean {mean.value:.3f}", (mean.value, 1), xycoords=("data", "axes fraction"), xytext=(4, 2),
        textcoords="offset points", fontsize=8, va="bottom",
    )  # fmt: skip
    axes.set_yticks(middles, names)
    axes.set_ylim(_depth(bars), -0.02)
    axes.set_xlim(min(-0.1, float(values.min())) - 0.02, 1)
    axes.grid(visible=False, axis="y")
    label(axes, "", "silhouette of a customer", "")
    return figure


def knee(choice: ChoiceReport) -> Figure:
    """Inertia, silhouette and, where it was measured, stability by number of segments.

    Bars are 95 % intervals, the ring is the choice.
    """
    stable = [one.stability for one in choice.candidates if one.stability is not None]
    measured = len(stable) == len(choice.candidates)
    figure, (fall, rise, *rest) = new_axes(3 if measured else 2, width=13.2 if measured else 9.2)
    ks = [one.k for one in choice.candidates]
    chosen = ks.index(choice.k)
    inertia = [one.inertia for one in choice.candidates]
    fall.plot(ks, inertia, marker="o", ms=5, color=PALETTE[0])
    fall.set_ylim(0, 1.1 * max(inertia) or 1.0)
    _ring(fall, choice.k, inertia[chosen])
    label(fall, "Inertia", "segments", "sum of squared distances to the centroids")
    means = [one.silhouette for one in choice.candidates]
    _intervals(rise, ks, means, PALETTE[2])
    _ring(rise, choice.k, means[chosen].value)
    label(rise, "Silhouette", "segments", "mean silhouette")
    for axes in rest:
        _intervals(axes, ks, stable, PALETTE[5])
        _ring(axes, choice.k, stable[chosen].value)
        axes.set_ylim(top=1.03)
        label(axes, "Stability", "segments", "adjusted Rand index of bootstraps")
    for axes in (fall, rise, *rest):
        axes.set_xticks(ks)
    return figure


def projection(
    points: NDArray[np.floating], labels: NDArray[np.integer], centers: NDArray[np.floating], segments: Segments
) -> Figure:
    """Customers on the two principal components of the space that they were clustered in; crosses are the centroids.

    Args:
        points: Standardised rows, shape (n, features); a sample of them is drawn.
        labels: Places of their segments, shape (n,).
        centers: Centroids in the same space, shape (segments, features).
        segments: The segments.
    """
    colours = segment_colours(segments.ids)
    middle = points.mean(axis=0)
    _, strengths, axes_of = np.linalg.svd(np.cov(points.T - middle[:, None]).reshape(points.shape[1], -1))
    plane = axes_of[:2]
    # A direction has no sign of its own: its largest part points right and up.
    plane = plane * np.sign(plane[np.arange(len(plane)), np.abs(plane).argmax(axis=1)])[:, None]
    if len(plane) < 2:
        plane = np.vstack([plane, np.zeros_like(plane)])
    rng = np.random.default_rng(0)
    drawn = rng.permutation(len(points))[:_POINTS]
    flat, marks = (points[drawn] - middle) @ plane.T, (centers - middle) @ plane.T
    figure, (axes,) = new_axes(1, width=8.6, height=5.0)
    figure.set_dpi(150)
    axes.scatter(
        flat[:, 0], flat[:, 1], s=7, lw=0, alpha=0.55, rasterized=True,
        c=[colours[segments.ids[place]] for place in labels[drawn]],
    )  # fmt: skip
    # Neither the furthest few customers nor a handful of a segment may squeeze all others.
    seen = [place for place, segment in enumerate(segments.segments) if segment.share >= _SEEN] or [0]
    low = np.minimum(np.quantile(flat, 0.002, axis=0), marks[seen].min(axis=0))
    high = np.maximum(np.quantile(flat, 0.998, axis=0), marks[seen].max(axis=0))
    pad = np.where(high > low, 0.06 * (high - low), 1.0)
    inside = ((marks >= low - pad) & (marks <= high + pad)).all(axis=1)
    for place in _by_size(segments):
        segment = segments.segments[place]
        axes.plot(
            *marks[place], marker="X", ms=10, mfc=colours[segment.id], mec=_INK, mew=0.9, ls="",
            label=f"{_wrapped(segment.name)} ({show_share(segment.share)}){'' if inside[place] else ', outside'}",
        )  # fmt: skip
    axes.set(xlim=(low[0] - pad[0], high[0] + pad[0]), ylim=(low[1] - pad[1], high[1] + pad[1]))
    shares = strengths / (strengths.sum() or 1.0)
    axes.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1.01, 0.5), labelspacing=0.9)
    words = [f"{share:.0%} of the variance" for share in (*shares[:2].tolist(), 0.0)[:2]]
    label(axes, "", f"first principal component ({words[0]})", f"second principal component ({words[1]})")
    return figure


def heat_map(profiles: Profiles, segments: Segments, columns: Sequence[Column]) -> Figure:
    """Median of each feature by segment, coloured by how far the segment stands out (Cliff's delta)."""
    titles = {column.name: column for column in columns}
    features = [titles[name] for name in profiles.features]
    order = _by_size(segments)
    figure, (axes,) = new_axes(1, width=3.0 + 1.05 * len(features), height=1.7 + 0.55 * len(segments))
    table = profiles.dominance()[order]
    image = axes.imshow(table, cmap="PuOr_r", vmin=-1, vmax=1, aspect="auto")
    for (row, column), strength in np.ndenumerate(table):
        profile = profiles.segments[order[row]].features[profiles.features[column]]
        dark = float(np.dot(image.to_rgba(np.asarray(strength))[:3], _LUMINANCE)) < 0.45
        colour = "white" if dark else _INK
        few = f"\n{show_share(1 - profile.missing)} have one" if profile.missing > MOSTLY else ""
        axes.text(column, row, show(profile.median) + few, ha="center", va="center", fontsize=8, color=colour)
    axes.set_xticks(range(len(features)), [plain(_wrapped(_with_unit(column), 16)) for column in features])
    axes.set_yticks(
        range(len(order)),
        [f"{_wrapped(segments.names[place])} ({show_share(segments.segments[place].share)})" for place in order],
    )
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    axes.set_xticks(np.arange(len(features) - 1) + 0.5, minor=True)
    axes.set_yticks(np.arange(len(order) - 1) + 0.5, minor=True)
    axes.grid(visible=True, which="minor", color="white", lw=2)
    label(axes, "", "", "")
    axes.tick_params(which="both", length=0)
    scale = figure.colorbar(image, ax=axes, ticks=[-1, 0, 1], fraction=0.04, pad=0.02)
    scale.ax.set_yticklabels(["lower than\nall others", "as others", "higher than\nall others"], fontsize=8)
    scale.outline.set_visible(False)
    return figure


def sankey(migration: Migration, before: Mapping[int, str], after: Mapping[int, str]) -> Figure:
    """Customers who moved between the segments of two runs: bands from left to right, as thick as they are many.

    Args:
        migration: The moves.
        before: Name of each id in the earlier run.
        after: Name of each id in the later run.
    """
    rows: list[int | None] = list(migration.ids(later=False))
    columns: list[int | None] = list(migration.ids(later=True))
    if migration.joined:
        rows.append(None)
    if migration.left:
        columns.append(None)
    table = migration.table(rows, columns)
    # Equal ids face each other: the order on both sides is that of the larger side.
    sizes = {one: int(table[place].sum()) for place, one in enumerate(rows)}
    for place, one in enumerate(columns):
        sizes[one] = max(sizes.get(one, 0), int(table[:, place].sum()))
    colours = segment_colours(one for one in sizes if one is not None)
    order = sorted(sizes, key=lambda one: (one is None, -sizes[one], one or 0))
    total = migration.customers
    left = _bars({one: int(table[rows.index(one)].sum()) for one in order if one in rows}, total)
    right = _bars({one: int(table[:, columns.index(one)].sum()) for one in order if one in columns}, total)
    depth = max(_depth(left), _depth(right))
    figure, (axes,) = new_axes(1, width=10.4, height=0.6 + 4.0 * depth)
    leaving, entering = ({one: start for one, (start, _, _) in bars.items()} for bars in (left, right))
    for row in left:
        for column in right:
            count = int(table[rows.index(row), columns.index(column)])
            if count:
                ends = leaving[row], entering[column], count / total
                _band(axes, *ends, colours.get(row or 0, _ABSENT), same=row == column)
                leaving[row] += count / total
                entering[column] += count / total
    for side, bars, names, absent in ((0, left, before, "new customers"), (1, right, after, "not scored any more")):
        for one, (start, height, count) in bars.items():
            middle, tall = start + height / 2, max(height, _LEAST)
            axes.barh(middle, 0.02, height=tall, left=1.0 if side else -0.02, color=colours.get(one or 0, _ABSENT))
            name = absent if one is None else names.get(one, f"segment {one}")
            axes.annotate(
                f"{_wrapped(name)}\n{count:,} ({show_share(count / total)})", (1.03 if side else -0.03, middle),
                fontsize=8, va="center", ha="left" if side else "right", color=_INK,
            )  # fmt: skip
    axes.set_xlim(-0.62, 1.62)
    axes.set_ylim(depth, -0.08)
    for side, when, words in ((0, migration.before, "before"), (1, migration.after, "after")):
        axes.annotate(when.isoformat() if when else words, (side, -0.04), fontsize=9, ha="center", weight="bold")
    axes.axis("off")
    return figure


def _ring(axes: Axes, k: int, value: float) -> None:
    axes.plot([k], [value], marker="o", ms=13, mfc="none", mec=PALETTE[3], mew=1.8)


def _intervals(axes: Axes, ks: Sequence[int], estimates: Sequence[Estimate], colour: str) -> None:
    """A line of estimates with their intervals."""
    below = [max(one.value - one.low, 0.0) for one in estimates]
    above = [max(one.high - one.value, 0.0) for one in estimates]
    axes.errorbar(ks, [one.value for one in estimates], [below, above], marker="o", ms=5, color=colour, capsize=3)
    axes.margins(y=0.2)


def _by_size(segments: Segments) -> list[int]:
    """Places of the segments, the largest first."""
    return sorted(range(len(segments)), key=lambda place: -segments.segments[place].size)


def _bars(sizes: Mapping[Key, int], total: int) -> dict[Key, tuple[float, float, int]]:
    """Start, height and customers of each bar of a stack from 0 downwards; a thin bar has room for its label."""
    start = 0.0
    bars: dict[Key, tuple[float, float, int]] = {}
    for key, count in sizes.items():
        height = count / total
        pad = max(_ROOM - height, 0.0) / 2
        bars[key] = (start + pad, height, count)
        start += height + 2 * pad + _GAP
    return bars


def _depth(bars: Mapping[Key, tuple[float, float, int]]) -> float:
    """Where the room of the last bar of a stack ends."""
    return max(start + height + max(_ROOM - height, 0.0) / 2 for start, height, _ in bars.values()) + _GAP


def _band(axes: Axes, start: float, end: float, thick: float, colour: str, *, same: bool) -> None:
    """One band, an S-curve above and one below."""
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path

    points = [(0, start), (0.5, start), (0.5, end), (1, end), (1, end + thick), (0.5, end + thick),
              (0.5, start + thick), (0, start + thick), (0, start)]  # fmt: skip
    codes = [Path.MOVETO, *[Path.CURVE4] * 3, Path.LINETO, *[Path.CURVE4] * 3, Path.CLOSEPOLY]
    axes.add_patch(PathPatch(Path(points, codes), facecolor=colour, alpha=0.28 if same else 0.75, lw=0))


def _with_unit(column: Column) -> str:
    return f"{column.label}, {column.unit}" if column.unit and column.unit not in column.label else column.label


def _wrapped(text: str, width: int = 34) -> str:
    return plain(textwrap.fill(text, width))
