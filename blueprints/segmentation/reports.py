"""The HTML reports of a segmentation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from blueprints.report import Report
from blueprints.schema import Column
from blueprints.segmentation import plots
from blueprints.segmentation.choose_k import CONTINUED_SILHOUETTE, ChoiceReport
from blueprints.segmentation.matching import Match
from blueprints.segmentation.migration import Migration
from blueprints.segmentation.profiles import FeatureProfile, Profiles, show, show_share
from blueprints.segmentation.segments import Segments

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.figure import Figure
    from numpy.typing import NDArray


# Rows whose silhouettes are drawn, and how many of them each segment has at least.
_ROWS, _OF_EACH = 2_000, 50


def choice_report(choice: ChoiceReport, drawn: Mapping[str, Figure]) -> str:
    """The choice of K as a page: every K with its figures, the silhouettes of the chosen one, a projection.

    Args:
        choice: Every K that was tried.
        drawn: What `choice_plots` drew.
    """
    best = choice.candidate(choice.k)
    sampled = choice.method == "sampled"
    how = f"from {choice.sampled_rows:,} rows against all" if sampled else "of all rows"
    report = Report("How many segments", f"{choice.rows:,} customers; silhouettes {how}.").tiles(
        [
            ("segments", str(choice.k)),
            ("silhouette", f"{best.silhouette.value:.3f}"),
            *([("stability", f"{best.stability.value:.3f}")] if best.stability else []),
        ]
    )
    if choice.continued:
        report.text(
            "The segments of the last run go on: their silhouette is the best, or within "
            f"{CONTINUED_SILHOUETTE:g} of it."
        )
    if choice.rivals:
        rivals = ", ".join(map(str, choice.rivals))
        report.verdict(f"The silhouette of {choice.k} segments cannot be told from that of {rivals}.", good=False)
    report.figure(drawn["knee"], "The ring is the choice; bars are 95 % intervals.")
    report.table(
        ("segments", "", "silhouette", "Calinski–Harabasz", "Davies–Bouldin", "inertia", "stability"),
        [
            (
                one.k,
                "chosen" if one.k == choice.k else "",
                str(one.silhouette) if sampled else f"{one.silhouette.value:.4f}",
                f"{one.calinski_harabasz:,.1f}",
                f"{one.davies_bouldin:.3f}",
                f"{one.inertia:,.4g}" if one.inertia < 1000 else f"{one.inertia:,.0f}",
                str(one.stability) if one.stability else "–",
            )
            for one in choice.candidates
        ],
    )
    report.text(
        "Silhouette, Calinski–Harabasz and stability are better the higher, Davies–Bouldin the lower; inertia always "
        "falls with more segments. Stability is the adjusted Rand index of bootstraps: 1 where each finds the same."
    )
    report.heading("The chosen segments").figure(
        drawn["silhouettes"],
        "Left of 0 are customers who are nearer to another segment than to their own.",
    )
    report.figure(
        drawn["projection"],
        "Customers on the two principal components of the standardised features; crosses are the centroids.",
    )
    return report.html()


def choice_plots(
    choice: ChoiceReport,
    segments: Segments,
    points: NDArray[np.floating],
    labels: NDArray[np.integer],
    centers: NDArray[np.floating],
    *,
    seed: int = 0,
) -> dict[str, Figure]:
    """The plots of the choice of K: `knee`, `silhouettes`, `projection`.

    Args:
        choice: Every K that was tried.
        segments: The segments of the chosen one.
        points: Rows in the space that was clustered, shape (n, features).
        labels: Place of each row's segment, shape (n,).
        centers: Centroids in the same space, shape (segments, features).
        seed: Seed of the rows whose silhouettes are drawn.
    """
    from blueprints.segmentation.silhouette import silhouette_values

    rows = _sample(labels, len(segments), seed)
    values = silhouette_values(points, labels[None], rows=rows)[0]
    return {
        "knee": plots.knee(choice),
        "silhouettes": plots.silhouettes(values, labels[rows], segments, choice.candidate(choice.k).silhouette),
        "projection": plots.projection(points, labels, centers, segments),
    }


def segments_report(
    segments: Segments,
    profiles: Profiles,
    columns: Sequence[Column],
    match: Match | None = None,
    *,
    old: Segments | None = None,
    migration: Migration | None = None,
    names_before: Mapping[int, str] | None = None,
) -> str:
    """The segments as a page: names, profiles, what became of the ids of the last run, who moved.

    Args:
        segments: The segments.
        profiles: Their customers.
        columns: The features, for titles and units.
        match: Where their ids come from, if they are new.
        old: The segments of the last run, if there was one.
        migration: Moves of customers since then, if they were counted.
        names_before: Names of the segments that customers moved from, by id; those of `old` by default.
    """
    largest = max(segments.segments, key=lambda segment: segment.size)
    customers = sum(segment.size for segment in segments.segments)
    tiles = [
        ("customers", f"{customers:,}"),
        ("segments", str(len(segments))),
        ("in the largest", show_share(largest.share)),
    ]
    if migration is not None and migration.stayed is not None:
        tiles.append(("kept their segment", f"{migration.stayed:.1%}"))
    report = Report("Segments", f"{customers:,} customers in {len(segments)} segments.").tiles(tiles)
    report.table(
        ("id", "segment", "customers", "share", "what they have in common"),
        [
            (segment.id, segment.name, segment.size, show_share(segment.share), segment.description)
            for segment in sorted(segments.segments, key=lambda segment: -segment.size)
        ],
    )
    report.heading("Profiles")
    if profiles.rows < customers:
        report.text(f"From a sample of {profiles.rows:,} customers.")
    report.figure(
        plots.heat_map(profiles, segments, columns),
        "Medians. Colours: how far a segment stands out from all others (Cliff's delta).",
    )
    _profile_tables(report, segments, profiles, columns)
    if old is not None and match is not None:
        _identity(report, segments, match, old)
    if migration is not None:
        if names_before is None:
            names_before = {segment.id: segment.name for segment in (old or segments).segments}
        _moves(report, segments, names_before, migration)
    return report.html()


def _sample(labels: NDArray[np.integer], segments: int, seed: int) -> NDArray[np.int64]:
    """Positions of some rows of each segment: its share of `_ROWS`, and a few at least."""
    import numpy as np

    rng = np.random.default_rng(seed)
    chosen = []
    for place in range(segments):
        own = np.flatnonzero(labels == place)
        wanted = max(round(_ROWS * len(own) / len(labels)), _OF_EACH)
        chosen.append(rng.permutation(own)[:wanted])
    return np.sort(np.concatenate(chosen))


def _profile_tables(report: Report, segments: Segments, profiles: Profiles, columns: Sequence[Column]) -> None:
    titles = {column.name: column for column in columns}
    header = ("feature", "median", "quartiles", "mean", "missing", "of all: median", "median ratio",
              "difference, standard deviations", "Cliff's delta")  # fmt: skip
    for segment, profile in sorted(
        zip(segments.segments, profiles.segments, strict=True), key=lambda pair: -pair[0].size
    ):
        report.heading(f"{segment.id}: {segment.name}").text(segment.description)
        report.table(
            header, [_feature(titles[name], one, profiles.overall[name]) for name, one in profile.features.items()]
        )


def _feature(column: Column, one: FeatureProfile, everyone: FeatureProfile) -> tuple[str, ...]:
    unit = f", {column.unit}" if column.unit and column.unit not in column.label else ""
    return (
        column.label + unit,
        show(one.median),
        f"{show(one.lower)} to {show(one.upper)}",
        show(one.mean),
        show_share(one.missing),
        show(everyone.median),
        show(one.ratio),
        _signed(one.difference),
        _signed(one.dominance),
    )


def _signed(value: float | None) -> str:
    return "–" if value is None else f"{value:+.2f}"


def _identity(report: Report, segments: Segments, match: Match, old: Segments) -> None:
    """Which ids stayed, which are new, which are gone."""
    how = {
        "centroids": "Ids stay with the centroids that are nearest to the old ones.",
        "none": "These ids were given without a look at the last run.",
    }
    report.heading("Since the last run").text(how[match.method])
    report.table(
        ("id", "segment", "last run", "distance moved, 1 is to the nearest other"),
        [
            (segment.id, segment.name, "new" if not kept else _before(old, segment.id, segment.name), score)
            for segment, kept, score in zip(segments.segments, match.kept, match.scores, strict=True)
        ]
        + [(identifier, "–", f"{old.name_of(identifier)}: no segment any more", None) for identifier in match.retired],
    )


def _before(old: Segments, identifier: int, name: str) -> str:
    before = old.name_of(identifier)
    return "same name" if before == name else f"was: {before}"


def _moves(report: Report, segments: Segments, names_before: Mapping[int, str], migration: Migration) -> None:
    names_after = {segment.id: segment.name for segment in segments.segments}
    between = f" from {migration.before} to {migration.after}" if migration.before and migration.after else ""
    report.heading(f"Moves{between}")
    words = [
        f"{migration.stayed:.1%} of the customers of both runs kept their segment."
        if migration.stayed is not None
        else "",
        f"Of those who bought nothing in between, {migration.stayed_unchanged:.1%} did."
        if migration.stayed_unchanged is not None
        else "",
        f"{migration.joined:,} customers are new, {migration.left:,} are not scored any more.",
    ]
    report.text(" ".join(word for word in words if word))
    report.figure(
        plots.sankey(migration, names_before, names_after),
        "Pale bands stayed; full ones moved. Each side is one run; thickness is the number of customers.",
    )
    moved = [move for move in migration.moves if move.before != move.after]
    report.table(
        ("from", "to", "customers", "of the segment they left"),
        [
            (
                names_before.get(move.before, f"segment {move.before}") if move.before else "new customers",
                names_after.get(move.after, f"segment {move.after}") if move.after else "not scored any more",
                move.customers,
                show_share(move.customers / leaving) if move.before else "–",
            )
            for move in sorted(moved, key=lambda one: -one.customers)
            for leaving in (sum(one.customers for one in migration.moves if one.before == move.before),)
        ],
    )
