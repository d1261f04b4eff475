"""A profile of a table for people: what each column holds, as figures and as one self-contained HTML page."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

from blueprints.datasets.conform import accepted
from blueprints.datasets.snapshot import Snapshot, SnapshotInfo
from blueprints.schema import Column, TableSchema

if TYPE_CHECKING:
    import pandas as pd

BINS = 24
TOP_CATEGORIES = 6

_STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 72rem; padding: 0 1rem; color: #1d2733 }
h1 { font-size: 1.5rem; margin-bottom: .2rem } .sub { color: #5b6876; margin-top: 0; overflow-wrap: anywhere }
dl { display: flex; flex-wrap: wrap; gap: .5rem 2.5rem; margin: 1.2rem 0 } dt { color: #5b6876; font-size: .85rem }
dd { margin: 0; font-size: 1.25rem; font-variant-numeric: tabular-nums }
table { border-collapse: collapse; width: 100% } th { text-align: left; color: #5b6876; font-weight: 600 }
th, td { padding: .45rem .7rem .45rem 0; border-bottom: 1px solid #e3e8ee; vertical-align: top }
td.number { font-variant-numeric: tabular-nums; white-space: nowrap }
code { color: #5b6876; font-size: .85rem }
.role { background: #e8eef6; border-radius: 3px; padding: 0 .4em; font-size: .8rem }
.bar { background: #4c78a8; display: inline-block; height: .6em; margin-right: .5em } svg { display: block }
"""


@dataclass(frozen=True)
class ColumnProfile:
    """What one column holds.

    Attributes:
        column: Its description.
        missing_share: Share of missing values, 0 to 1.
        span: Smallest, median and largest number, or first and last timestamp; empty for categories.
        histogram: Rows in equally wide bins from the smallest to the largest value; empty for categories.
        shares: Categories with their share of the rows, most frequent first; empty for numbers.
    """

    column: Column
    missing_share: float
    span: tuple[str, ...]
    histogram: tuple[int, ...]
    shares: tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class Profile:
    """What a table holds.

    Attributes:
        info: The snapshot's description.
        schema: Columns and roles.
        columns: One profile a column, in order.
        event_rate: Share of rows with the event, 0 to 1.
        duplicate_share: Share of rows that repeat an earlier one in all but the identifier, 0 to 1.
    """

    info: SnapshotInfo
    schema: TableSchema
    columns: tuple[ColumnProfile, ...]
    event_rate: float
    duplicate_share: float

    def metrics(self) -> dict[str, float]:
        """The figures of the whole table, for a pipeline's metrics."""
        return {
            "rows": self.info.rows,
            "columns": len(self.columns),
            "event_rate": self.event_rate,
            "missing_share": float(np.mean([column.missing_share for column in self.columns])),
            "duplicate_share": self.duplicate_share,
        }

    def html(self) -> str:
        """One page without scripts or outside resources; every text is escaped."""
        title = f"{self.info.name} {self.info.version}"
        figures = {
            "rows": f"{self.info.rows:,}",
            "event rate": f"{self.event_rate:.2%}",
            "repeated rows": f"{self.duplicate_share:.2%}",
            "licence": self.info.licence or "not stated",
            "SHA-256": self.info.sha256[:12],
        }
        return (
            f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(title)}</title>'
            f"<style>{_STYLE}</style>"
            f'<h1>{escape(title)}</h1><p class="sub">{escape(self.info.source)}</p><dl>'
            + "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(text)}</dd></div>" for name, text in figures.items())
            + "</dl><table><tr><th>column<th>accepts<th>missing<th>holds<th>distribution</tr>"
            + "".join(self._row(column) for column in self.columns)
            + "</table></html>\n"
        )

    def _row(self, profile: ColumnProfile) -> str:
        column = profile.column
        roles = "".join(f' <span class="role">{escape(role)}</span>' for role in _roles(column, self.schema))
        unit = f" ({escape(column.unit)})" if column.unit else ""
        holds = " … ".join(escape(text) for text in profile.span) or f"{len(profile.shares)} categories"
        return (
            f"<tr><td>{escape(column.label)}{unit}{roles}<br><code>{escape(column.name)}</code>"
            f"<td>{escape(accepted(column, self.schema) if column.kind != 'category' else 'a category')}"
            f'<td class="number">{profile.missing_share:.2%}<td class="number">{holds}<td>{_distribution(profile)}</tr>'
        )


def profile(snapshot: Snapshot) -> Profile:
    """The profile of a snapshot."""
    frame, schema = snapshot.frame, snapshot.schema
    compared = [column.name for column in schema.columns if column.name != schema.identifier]
    return Profile(
        info=snapshot.info,
        schema=schema,
        columns=tuple(_profile_column(frame[column.name], column) for column in schema.columns),
        event_rate=float(frame[schema.target].mean()),
        duplicate_share=float(frame.duplicated(compared).mean()),
    )


def _profile_column(values: pd.Series[Any], column: Column) -> ColumnProfile:
    present = values.dropna()
    missing = 1 - len(present) / len(values)
    if column.kind == "category":
        shares = (present.value_counts() / len(values)).items()
        return ColumnProfile(column, missing, (), (), tuple((str(label), float(share)) for label, share in shares))
    if present.empty:
        return ColumnProfile(column, missing, (), (), ())
    if column.kind == "timestamp":
        span: tuple[str, ...] = tuple(moment.strftime("%Y-%m-%d %H:%M") for moment in (present.min(), present.max()))
        numbers = present.astype("int64").to_numpy()
    else:
        numbers = present.to_numpy(dtype="float64")
        span = tuple(f"{value:,.6g}" for value in (numbers.min(), np.median(numbers), numbers.max()))
    counts, _ = np.histogram(numbers, bins=BINS)
    return ColumnProfile(column, missing, span, tuple(int(count) for count in counts), ())


def _roles(column: Column, schema: TableSchema) -> list[str]:
    roles = {"target": schema.target, "time": schema.time, "identifier": schema.identifier}
    named = [role for role, name in roles.items() if name == column.name]
    return [*named, "protected"] if column.name in schema.protected else named


def _distribution(profile: ColumnProfile) -> str:
    if profile.histogram:
        top = max(profile.histogram)
        bars = "".join(
            f'<rect x="{7 * place}" y="{34 * (1 - count / top):.1f}" width="6" height="{34 * count / top:.1f}"/>'
            for place, count in enumerate(profile.histogram)
        )
        return f'<svg width="{7 * BINS}" height="34" fill="#4c78a8" role="img" aria-label="histogram">{bars}</svg>'
    shown = [
        f'<span class="bar" style="width:{100 * share:.0f}px"></span>{escape(label)} {share:.1%}'
        for label, share in profile.shares[:TOP_CATEGORIES]
    ]
    if len(profile.shares) > TOP_CATEGORIES:
        shown.append(f"and {len(profile.shares) - TOP_CATEGORIES} more")
    return "<br>".join(shown)
