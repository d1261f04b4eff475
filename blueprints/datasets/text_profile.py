"""What the texts of a table are like: labels by source, lengths, groups, duplicates, some of them to read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from blueprints.datasets.duplicates import DuplicateReport, distinct_texts
from blueprints.plotting import BLUE, GREY, ORANGE, RED, label, new_axes, plain
from blueprints.schema import TableSchema

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from blueprints.report import Report

EXAMPLES = 5
BINS = 32

_COLOURS = (ORANGE, BLUE, GREY, RED)


@dataclass(frozen=True)
class TextProfile:
    """What the texts are like.

    Attributes:
        sources: What `counts` is broken down by: the title of the first category that is no target, or empty.
        counts: Rows by source (one, `all`, where there are none) and label, in the schema's order.
        lengths: Characters of the texts of each label.
        groups: Rows of each group, largest first; empty without groups.
        duplicates: What a split drops.
        examples: Texts of each label, evenly spread over the table.
    """

    sources: str
    counts: dict[str, dict[str, int]]
    lengths: dict[str, NDArray[np.intp]]
    groups: tuple[int, ...]
    duplicates: DuplicateReport
    examples: dict[str, tuple[str, ...]]

    def metrics(self) -> dict[str, float]:
        """Shares of the labels and of what a split drops, for a pipeline's metrics."""
        rows = self.duplicates.rows
        labels = {f"share_{name}": len(lengths) / rows for name, lengths in self.lengths.items()}
        return {**labels, "dropped_by_split": self.duplicates.dropped / rows}


def profile_texts(frame: pd.DataFrame, schema: TableSchema) -> TextProfile:
    """The profile of the texts of a typed table that has some, see `TableSchema.text`."""
    text = next(frame[column.name] for column in schema.features() if column is schema.text)
    target = frame[schema.target]
    source = next((column for column in schema.features() if column.kind == "category"), None)
    breakdown = {"all": target} if source is None else dict(iter(target.groupby(frame[source.name], observed=True)))
    texts = {str(name): text[target == name] for name in target.cat.categories}
    return TextProfile(
        sources=source.label if source else "",
        counts={
            str(name): {str(one): int(count) for one, count in rows.value_counts(sort=False).items()}
            for name, rows in breakdown.items()
        },
        lengths={name: rows.str.len().to_numpy(np.intp) for name, rows in texts.items()},
        groups=tuple(frame[schema.group].value_counts()) if schema.group else (),
        duplicates=distinct_texts(text.tolist(), target.cat.codes.to_numpy()).report,
        examples={name: tuple(rows.iloc[:: max(1, len(rows) // EXAMPLES)][:EXAMPLES]) for name, rows in texts.items()},
    )


def describe_texts(report: Report, texts: TextProfile) -> None:
    """Adds the sections about texts to a report."""
    names = list(texts.lengths)
    report.heading("Labels").figure(_labels_and_lengths(texts))
    totals = [(name, sum(counts.values()), counts) for name, counts in texts.counts.items()]
    report.table(
        (texts.sources or "rows", "rows", *names),
        [
            (name, rows, *(f"{counts[one]:,} ({counts[one] / rows:.1%})" for one in names))
            for name, rows, counts in totals
        ],
    )
    if texts.groups and texts.groups[0] > 1:
        report.text(
            f"The rows belong to {len(texts.groups):,} groups, of which the largest has {texts.groups[0]:,}; a split "
            "keeps those of one on one side."
        )
    found = texts.duplicates
    report.heading("Duplicates").text(
        f"A split drops {found.dropped:,} of {found.rows:,} rows: texts are the same but for case and white space, or "
        "similar (0.8 of their character 5-grams are common)."
    )
    if found.dropped == found.rows:
        report.text("Nothing is left to split: each text is there as often with another label. Correct the labels.")
    report.table(
        ("rows", "", "what becomes of them"),
        [
            (found.repeated, "the same text and label as an earlier row", "dropped"),
            (found.outvoted, "the same text, and most rows say another label", "dropped"),
            (found.undecided, "the same text, and as many rows say another label", "dropped"),
            (found.similar, "a similar text with the same label", "dropped"),
            (found.contrasting, "a similar text with another label", "kept, on one side of the split"),
        ],
    )
    report.heading("Examples").table(
        ("label", "text"), [(name, text) for name, examples in texts.examples.items() for text in examples]
    )


def _labels_and_lengths(texts: TextProfile) -> Figure:
    figure, (shares, lengths) = new_axes(2, width=11, height=max(2.6, 1.4 + 0.4 * len(texts.counts)))
    rows = np.array([sum(counts.values()) for counts in texts.counts.values()])
    start = np.zeros(len(rows))
    edges = np.histogram_bin_edges(np.concatenate(list(texts.lengths.values())), bins=BINS)
    for index, (name, length) in enumerate(texts.lengths.items()):
        colour = _COLOURS[index % len(_COLOURS)]
        share = np.array([counts[name] for counts in texts.counts.values()]) / rows
        shares.barh(range(len(rows)), share, left=start, color=colour, label=plain(name))
        lengths.hist(length, bins=list(edges), histtype="step", lw=1.6, color=colour, label=plain(name))
        start += share
    shares.set_yticks(range(len(rows)), [plain(name) for name in texts.counts])
    shares.invert_yaxis()
    shares.xaxis.set_major_formatter("{x:.0%}")
    label(shares, f"Labels by {texts.sources}" if texts.sources else "Labels", "share of the rows", "")
    label(lengths, "Lengths", "characters", "rows")
    lengths.legend(frameon=False, fontsize=8)
    return figure
