"""A profile of a table for people: what each column holds, as figures and as one self-contained HTML page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from textwrap import shorten
from typing import TYPE_CHECKING, Any

import numpy as np

from blueprints.datasets.conform import accepted
from blueprints.datasets.snapshot import Snapshot, SnapshotInfo
from blueprints.datasets.text_profile import TextProfile, describe_texts, profile_texts
from blueprints.plotting import BLUE, label, new_axes, plain
from blueprints.report import Report
from blueprints.schema import Column, TableSchema

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

BINS = 24
TOP_CATEGORIES = 6

PLOTS_A_ROW = 4


@dataclass(frozen=True)
class ColumnProfile:
    """What one column holds.

    Attributes:
        column: Its description.
        missing_share: Share of missing values, 0 to 1.
        span: Smallest, median and largest number or length, or first and last timestamp; empty for categories.
        edges: Limits of the bins, one more than these: numbers, nanoseconds since 1970 or characters.
        histogram: Rows in equally wide bins from the smallest to the largest value; empty for categories.
        shares: Categories with their share of the rows, most frequent first; empty for numbers.
    """

    column: Column
    missing_share: float
    span: tuple[str, ...]
    edges: tuple[float, ...]
    histogram: tuple[int, ...]
    shares: tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class Profile:
    """What a table holds.

    Attributes:
        info: The snapshot's description.
        schema: Columns and roles.
        columns: One profile a column, in order.
        event_rate: Share of rows with the event, 0 to 1; None if the target is a category or there is none.
        duplicate_share: Share of rows that repeat an earlier one in all but the identifier, 0 to 1.
        texts: What the texts are like, if the table has some and a target.
    """

    info: SnapshotInfo
    schema: TableSchema
    columns: tuple[ColumnProfile, ...]
    event_rate: float | None
    duplicate_share: float
    texts: TextProfile | None

    def metrics(self) -> dict[str, float]:
        """The figures of the whole table, for a pipeline's metrics."""
        rates = {} if self.event_rate is None else {"event_rate": self.event_rate}
        return {
            "rows": self.info.rows,
            "columns": len(self.columns),
            **rates,
            "missing_share": float(np.mean([column.missing_share for column in self.columns])),
            "duplicate_share": self.duplicate_share,
            **(self.texts.metrics() if self.texts else {}),
        }

    def html(self) -> str:
        """One page without scripts or outside resources; every text is escaped."""
        report = Report(f"{self.info.name} {self.info.version}", self.info.source)
        rate = [] if self.event_rate is None else [("event rate", f"{self.event_rate:.2%}")]
        report.tiles(
            [
                ("rows", f"{self.info.rows:,}"),
                *rate,
                ("repeated rows", f"{self.duplicate_share:.2%}"),
                ("licence", self.info.licence or "not stated"),
                ("SHA-256", self.info.sha256[:12]),
            ]
        )
        if self.texts:
            describe_texts(report, self.texts)
        report.heading("Columns")
        report.table(
            ("column", "name", "role", "accepts", "missing", "holds"), [self._row(column) for column in self.columns]
        )
        drawn = [one for one in self.columns if one.column.kind != "text" and one.column.name != self.schema.identifier]
        for start in range(0, len(drawn), PLOTS_A_ROW):
            report.figure(_distributions(drawn[start : start + PLOTS_A_ROW]))
        return report.html()

    def _row(self, profile: ColumnProfile) -> tuple[str, ...]:
        column = profile.column
        return (
            column.label + (f" ({column.unit})" if column.unit else ""),
            column.name,
            ", ".join(_roles(column, self.schema)),
            accepted(column, self.schema) if column.kind != "category" else "a category",
            f"{profile.missing_share:.2%}",
            " … ".join(profile.span) or _most_frequent(profile.shares),
        )


def profile(snapshot: Snapshot) -> Profile:
    """The profile of a snapshot."""
    frame, schema = snapshot.frame, snapshot.schema
    compared = [column.name for column in schema.columns if column.name != schema.identifier]
    return Profile(
        info=snapshot.info,
        schema=schema,
        columns=tuple(_profile_column(frame[column.name], column) for column in schema.columns),
        event_rate=float(frame[schema.target].mean()) if schema.target and schema.outcome().kind == "integer" else None,
        duplicate_share=float(frame.duplicated(compared).mean()),
        texts=profile_texts(frame, schema) if schema.text and schema.target else None,
    )


def _profile_column(values: pd.Series[Any], column: Column) -> ColumnProfile:
    present = values.dropna()
    missing = 1 - len(present) / len(values)
    if column.kind == "category":
        shares = (present.value_counts() / len(values)).items()
        return ColumnProfile(column, missing, (), (), (), tuple((str(label), float(share)) for label, share in shares))
    if present.empty:
        return ColumnProfile(column, missing, (), (), (), ())
    if column.kind == "timestamp":
        span: tuple[str, ...] = tuple(moment.strftime("%Y-%m-%d %H:%M") for moment in (present.min(), present.max()))
        numbers = present.astype("int64").to_numpy()
    else:
        texts = column.kind == "text"
        numbers = (present.str.len() if texts else present).to_numpy(dtype="float64")
        span = tuple(f"{value:,.6g}" for value in (numbers.min(), np.median(numbers), numbers.max()))
        span = (*span[:2], f"{span[2]} characters") if texts else span
    counts, edges = np.histogram(numbers, bins=BINS)
    return ColumnProfile(column, missing, span, tuple(map(float, edges)), tuple(map(int, counts)), ())


def _roles(column: Column, schema: TableSchema) -> list[str]:
    roles = {
        "target": schema.target,
        "time": schema.time,
        "group": schema.group,
        "identifier": schema.identifier,
    }
    named = [role for role, name in roles.items() if name == column.name]
    return [*named, "protected"] if column.name in schema.protected else named


def _most_frequent(shares: tuple[tuple[str, float], ...]) -> str:
    shown = [f"{label} {share:.1%}" for label, share in shares[:TOP_CATEGORIES]]
    if len(shares) > TOP_CATEGORIES:
        shown.append(f"and {len(shares) - TOP_CATEGORIES} more")
    return ", ".join(shown)


def _distributions(profiles: Sequence[ColumnProfile]) -> Figure:
    """The distribution of each column, side by side."""
    import pandas as pd

    figure, plots = new_axes(PLOTS_A_ROW, width=11, height=1.9)
    for axes in plots[len(profiles) :]:
        axes.set_visible(False)
    for axes, profile in zip(plots, profiles, strict=False):
        column = profile.column
        unit = "characters" if column.kind == "text" else column.unit
        label(axes, plain(shorten(column.label, 34, placeholder="…")), plain(unit), "")
        axes.grid(visible=False)
        if profile.histogram:
            edges: Sequence[Any] = profile.edges
            if column.kind == "timestamp":
                edges = list(pd.to_datetime(list(profile.edges)))
                axes.set_xticks([edges[0], edges[-1]], [f"{edge:%Y-%m-%d}" for edge in (edges[0], edges[-1])])
            axes.stairs(profile.histogram, edges, fill=True, color=BLUE)
            axes.set_yticks([])
        else:
            names = [plain(shorten(name, 24, placeholder="…")) for name, _ in profile.shares[:TOP_CATEGORIES]]
            axes.barh(range(len(names)), [share for _, share in profile.shares[:TOP_CATEGORIES]], color=BLUE)
            axes.set_yticks(range(len(names)), names)
            axes.invert_yaxis()
            axes.xaxis.set_major_formatter("{x:.0%}")
    return figure
