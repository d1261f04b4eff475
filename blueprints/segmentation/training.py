"""Trains segments on a table of any size: chosen on a sample, finished on all rows, named and numbered for good."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from blueprints.schema import Column
from blueprints.segmentation.choose_k import ChoiceReport, choose_k
from blueprints.segmentation.matching import Match, continue_segments, first_ids, match_centroids
from blueprints.segmentation.nearest_centroid import NearestCentroid
from blueprints.segmentation.partitions import PartitionSummary, accumulate
from blueprints.segmentation.preprocessing import Preprocessing, dump_model, fitted_pipeline
from blueprints.segmentation.profiles import Profiles, profile
from blueprints.segmentation.reports import choice_plots, choice_report
from blueprints.segmentation.segmenter import WEIGHTS, Segmenter
from blueprints.segmentation.segments import SEGMENTS, Segments

if TYPE_CHECKING:
    import pyarrow as pa
    from matplotlib.figure import Figure

CHOICE = "choice.json"
"""File beside the model with every number of segments that was tried."""

PASSES = 10
"""Passes of Lloyd's algorithm over all rows, at the most."""

# Passes end when no centroid moves further than this, in standard deviations.
_SETTLED = 1e-3

Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Trained:
    """Trained segments.

    Attributes:
        model: The fitted pipeline, see `dump_model`.
        segmenter: The same with its segments.
        choice: Every number of segments that was tried.
        match: Where the ids come from.
        profiles: What the sampled customers of each segment are like.
        points: Sampled rows in standardised space, shape (sampled, features).
        labels: Place of the segment of each sampled row, shape (sampled,).
    """

    model: bytes
    segmenter: Segmenter
    choice: ChoiceReport
    match: Match
    profiles: Profiles
    points: NDArray[np.float64]
    labels: NDArray[np.int32]

    def save(self, folder: Path) -> None:
        """Writes what a model package is made from: the pipeline, the segments, and the choice of their number."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / WEIGHTS).write_bytes(self.model)
        (folder / SEGMENTS).write_text(self.segmenter.segments.model_dump_json(indent=2))
        (folder / CHOICE).write_text(self.choice.model_dump_json(indent=2))

    def metrics(self) -> dict[str, float]:
        """Figures of the chosen number of segments, for a pipeline."""
        best = self.choice.candidate(self.choice.k)
        return {
            "segments": float(self.choice.k),
            "silhouette": best.silhouette.value,
            "smallest_share": min(segment.share for segment in self.segmenter.segments.segments),
            **({"stability": best.stability.value} if best.stability else {}),
        }

    def report(self) -> str:
        """How many segments, and why, as a page."""
        return choice_report(self.choice, self.plots)

    @cached_property
    def plots(self) -> dict[str, Figure]:
        """The plots of the report, by name; drawn once."""
        return choice_plots(self.choice, self.segmenter.segments, self.points, self.labels, self.segmenter.centers)


def train_segments(
    summary: PartitionSummary,
    columns: Sequence[Column],
    *,
    all_rows: Callable[[], Iterable[pa.RecordBatch]] | None = None,
    previous: Segmenter | None = None,
    ks: Sequence[int] = range(2, 11),
    log: Sequence[str] | Literal["auto"] = "auto",
    method: Literal["auto", "exact", "sampled"] = "auto",
    bootstraps: int = 10,
    seed: int = 0,
    progress: Progress | None = None,
) -> Trained:
    """Chooses the number of segments, finds them, and carries on the ids of the last run.

    Args:
        summary: The merged summary of all customers.
        columns: The features, in the order of the summary.
        all_rows: Streams all customers' features, for the last passes; not needed if the summary sampled every row.
        previous: The champion, whose ids are carried on if it has the same features, and else not given again.
        ks: Numbers of segments to try.
        log: Columns whose logarithm is taken; `auto` takes the skewed ones.
        method: How silhouettes are measured, see `choose_k`.
        bootstraps: Bootstraps for the stability.
        seed: Seed of everything that is drawn.
        progress: Called with (step, steps, words).

    Raises:
        DegenerateDataError: The customers cannot be told apart; the message says why.
    """
    tell = progress or (lambda *_: None)
    names = tuple(column.name for column in columns)
    preprocessing = summary.preprocessing(log=log)
    points = preprocessing.transform(summary.sample)
    old = previous.segments if previous is not None and previous.columns == names else None
    earlier = None
    if previous is not None and old is not None:
        earlier = preprocessing.transform(old.centroids())
    tell(0, 3, "choosing the number of segments")
    chosen = choose_k(points, ks, method=method, bootstraps=bootstraps, seed=seed, earlier=earlier)
    centers, sizes = chosen.best.centers, np.bincount(chosen.best.labels, minlength=chosen.k)
    if all_rows is not None and summary.rows > len(summary.sample):
        tell(1, 3, "passing over all customers")
        centers, sizes = finish(all_rows, preprocessing, centers)
    tell(2, 3, "naming the segments")
    model = fitted_pipeline(preprocessing, centers, seed=seed)
    labels = NearestCentroid(preprocessing, centers).predict(list(summary.sample.T))
    profiles = profile(summary.sample, labels, names, chosen.k, seed=seed)
    centroids = preprocessing.inverse(centers)
    if previous is not None and old is not None:
        match = match_centroids(old, centroids, sizes, previous.preprocessing.transform)
    else:
        match = first_ids(centroids, sizes, old=previous.segments if previous is not None else None)
    segments = with_sizes(continue_segments(match, centroids, profiles, columns, old=old), sizes)
    tell(3, 3, "done")
    return Trained(
        model=dump_model(model),
        segmenter=Segmenter(model, segments),
        choice=chosen.report,
        match=match,
        profiles=profiles,
        points=points,
        labels=labels,
    )


def finish(
    all_rows: Callable[[], Iterable[pa.RecordBatch]],
    preprocessing: Preprocessing,
    centers: NDArray[np.float64],
    *,
    passes: int = PASSES,
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Moves centroids by passes of Lloyd's algorithm over all rows until they settle.

    Args:
        all_rows: Streams them; called once a pass.
        preprocessing: How feature rows become points.
        centers: Centroids, shape (k, features).
        passes: Passes at the most.

    Returns:
        The centroids, and how many rows the last pass counted for each.
    """
    counts = np.zeros(len(centers), np.int64)
    for _ in range(passes):
        sums = accumulate(all_rows(), preprocessing, centers)
        moved, counts = sums.centers(centers), sums.counts
        settled = float(np.abs(moved - centers).max()) < _SETTLED
        centers = moved
        if settled:
            break
    return centers, counts


def with_sizes(segments: Segments, sizes: NDArray[np.integer]) -> Segments:
    """Segments with the sizes that all customers give, instead of those of the sample."""
    total = max(int(sizes.sum()), 1)
    return segments.model_copy(
        update={
            "segments": tuple(
                segment.model_copy(update={"size": int(size), "share": int(size) / total})
                for segment, size in zip(segments.segments, sizes, strict=True)
            )
        }
    )
