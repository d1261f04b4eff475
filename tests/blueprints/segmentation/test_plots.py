from __future__ import annotations

from itertools import combinations

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from blueprints.estimates import Estimate
from blueprints.schema import Column
from blueprints.segmentation import plots
from blueprints.segmentation.choose_k import Candidate, ChoiceReport
from blueprints.segmentation.migration import count_moves
from blueprints.segmentation.profiles import profile
from blueprints.segmentation.segments import Segment, Segments

COLUMNS = (
    Column(name="a", kind="number", title="yearly income in $", unit="$"),
    Column(name="b", kind="number", title="a very long title that has to be wrapped to fit below its column"),
    Column(name="c", kind="number"),
)
MEAN = Estimate(value=0.4, low=0.39, high=0.41)


def made(shares=(0.9, 0.08, 0.015, 0.004, 0.001), seed=0, rows=3_000):
    """Rows, labels and segments; the smallest segments are few customers of thousands."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(len(shares)), np.maximum(np.array(shares) * rows, 1).astype(int))
    points = rng.normal(size=(len(labels), 3)) + 6 * labels[:, None] * [1, 0.3, -0.5]
    sizes = np.bincount(labels)
    names = ["long lapsed one-time small spenders with small orders", r"$\frac$ & low", "c", "d", "e", *"fghij"]
    segments = Segments(
        segments=tuple(
            Segment(id=place + 1, name=names[place], size=size, share=size / len(labels),
                    centroid=dict(zip("abc", points[labels == place].mean(axis=0).tolist(), strict=True)))
            for place, size in enumerate(sizes.tolist())
        ),
        next_id=len(shares) + 1,
    )  # fmt: skip
    return points, labels, segments


def texts(figure):
    """Texts with something to read, after the figure was laid out."""
    FigureCanvasAgg(figure).draw()
    found = [text for text in figure.findobj(mpl.text.Text) if text.get_text() and text.get_visible()]
    return {text.get_text().replace("\n", " "): text.get_window_extent() for text in found}


def assert_nothing_overlaps(figure):
    boxes = texts(figure)
    overlapping = [
        (one, other)
        for (one, first), (other, second) in combinations(boxes.items(), 2)
        if min(first.x1, second.x1) - max(first.x0, second.x0) > 1
        and min(first.y1, second.y1) - max(first.y0, second.y0) > 1
    ]
    assert not overlapping


@pytest.mark.parametrize("shares", [(0.9, 0.08, 0.015, 0.004, 0.001), (0.5, 0.5), (0.1,) * 10])
def test_no_label_covers_another(shares):
    points, labels, segments = made(shares)
    values = np.random.default_rng(1).uniform(-0.2, 0.8, len(labels))
    centers = np.stack([points[labels == place].mean(axis=0) for place in range(len(shares))])
    before = labels + 1
    after = np.where(np.arange(len(labels)) % 7 == 0, np.random.default_rng(2).permutation(before), before)
    names = {segment.id: segment.name for segment in segments.segments}
    for figure in (
        plots.silhouettes(values, labels, segments, MEAN),
        plots.projection(points, labels, centers, segments),
        plots.heat_map(profile(points, labels, list("abc")), segments, COLUMNS),
        plots.sankey(count_moves(before, after), names, names),
    ):
        assert_nothing_overlaps(figure)


def test_the_sankey_shows_who_joined_and_who_left():
    migration = count_moves(np.array([1, 1, 2, 0, 2]), np.array([1, 3, 2, 3, 0]))
    shown = texts(plots.sankey(migration, {1: "one", 2: "two"}, {1: "one", 2: "two", 3: "three"}))
    assert {"one 2 (40%)", "two 2 (40%)", "three 2 (40%)", "new customers 1 (20%)"} <= set(shown)
    assert "not scored any more 1 (20%)" in shown


def test_bands_are_as_thick_as_their_customers_are_many():
    migration = count_moves(np.array([1] * 6 + [2] * 4), np.array([1] * 5 + [2] * 5))
    figure = plots.sankey(migration, {1: "one", 2: "two"}, {1: "one", 2: "two"})
    bands = [patch for patch in figure.axes[0].patches if isinstance(patch, mpl.patches.PathPatch)]
    heights = sorted(round(band.get_path().vertices[7, 1] - band.get_path().vertices[0, 1], 6) for band in bands)
    assert heights == [0.1, 0.4, 0.5]


def test_a_segment_keeps_its_colour_when_another_is_gone():
    before, after = plots.segment_colours([1, 2, 3, 4]), plots.segment_colours([4, 1, 7])
    assert after[4] == before[4]
    assert after[1] == before[1]
    for ids in (range(1, 11), [1, 11, 21], [5, 15, 2, 12, 3, 13]):
        colours = plots.segment_colours(ids)
        assert len(set(colours.values())) == len(colours)


def candidates(stability):
    return tuple(
        Candidate(k=k, silhouette=Estimate(value=1 / k, low=1 / k - 0.02, high=1 / k + 0.02), calinski_harabasz=100.0,
                  davies_bouldin=1.0, inertia=100.0 / k, stability=stability)
        for k in range(2, 11)
    )  # fmt: skip


@pytest.mark.parametrize("stability", [None, Estimate(value=0.9, low=0.8, high=1.0)])
def test_the_knee_marks_the_choice(stability):
    choice = ChoiceReport(k=3, method="sampled", rows=100, sampled_rows=50, candidates=candidates(stability))
    figure = plots.knee(choice)
    assert len(figure.axes) == (2 if stability is None else 3)
    assert_nothing_overlaps(figure)
    rings = [line.get_xydata().tolist() for line in figure.axes[1].lines if line.get_markersize() > 10]
    assert rings == [[[3.0, pytest.approx(1 / 3)]]]


def test_a_median_of_few_values_says_how_many_have_one():
    points, labels, segments = made((0.5, 0.5))
    points[(labels == 0) & (np.arange(len(labels)) % 4 > 0), 2] = np.nan
    shown = texts(plots.heat_map(profile(points, labels, list("abc")), segments, COLUMNS))
    assert sum(text.endswith("25% have one") for text in shown) == 1


def test_a_single_feature_can_be_projected():
    points, labels, segments = made((0.5, 0.5))
    centers = np.stack([points[labels == place, :1].mean(axis=0) for place in (0, 1)])
    figure = plots.projection(points[:, :1], labels, centers, segments)
    assert "first principal component (100% of the variance)" in texts(figure)
