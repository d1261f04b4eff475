"""Train, validation and test: by time where rows have one, stratified by the target otherwise.

Tables of texts lose their duplicates first, and similar texts and rows of one group stay together: what a model is
tested on, it has not learned from.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict

from blueprints.datasets.duplicates import DuplicateReport, distinct_texts
from blueprints.datasets.errors import DatasetError
from blueprints.datasets.units import divide, join_units, strata
from blueprints.schema import TableSchema

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

PARTS = ("train", "validation", "test")

Method = Literal["time-aware", "stratified", "grouped"]


class SplitReport(BaseModel):
    """How a table was split.

    Attributes:
        method: `time-aware` (chronological), `stratified` (by the target) or `grouped` (by the target and the
            categories, rows that belong together on one side).
        reason: Why, in one sentence.
        seed: Seed of the draw; without effect on a time-aware split.
        rows: Rows of each part.
        event_rate: Share of the event in each part, 0 to 1; empty if the target is a category.
        label_shares: Share of each label in each part, 0 to 1; empty if the target is 0 or 1.
        starts: First timestamp of each part, ISO 8601; empty if not by time.
        ends: Last timestamp of each part, ISO 8601; empty if not by time.
        duplicates: What was dropped before the split; only for texts.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    method: Method
    reason: str
    seed: int
    rows: dict[str, int]
    event_rate: dict[str, float]
    label_shares: dict[str, dict[str, float]] = {}
    starts: dict[str, str]
    ends: dict[str, str]
    duplicates: DuplicateReport | None = None


@dataclass(frozen=True)
class Split:
    """Three disjoint parts that make up the table, less duplicates; each keeps the table's index.

    Attributes:
        train: Rows to learn from.
        validation: Rows for early stopping, calibration and the threshold.
        test: Rows held out to the end.
        report: How the rows were divided.
    """

    train: pd.DataFrame
    validation: pd.DataFrame
    test: pd.DataFrame
    report: SplitReport


def split(
    frame: pd.DataFrame, schema: TableSchema, *, test_share: float = 0.2, validation_share: float = 0.2, seed: int = 7
) -> Split:
    """Divides a table into train, validation and test.

    With a time column, every row of train is earlier than every row of validation, and these earlier than test; rows
    with one timestamp stay together, so shares can be off by such a group. Without one, each part has the target's
    share of events, off by at most one row a class. A table of texts is divided without its duplicates (see
    `distinct_texts`), by label and categories, and rows of one group or with similar texts stay on one side; if such
    rows have times on both sides of a cut, the later ones are left out.

    Args:
        frame: Typed table.
        schema: Its columns and roles.
        test_share: Share of rows for test, above 0.
        validation_share: Share of rows for validation, above 0.
        seed: Seed of the stratified draw.

    Raises:
        DatasetError: The shares leave nothing for train, the table has no target, or there are too few rows, events or
            distinct timestamps.
    """
    if not (test_share > 0 and validation_share > 0 and test_share + validation_share < 1):
        raise DatasetError(
            f"split: shares must be above 0 and sum to less than 1, not {test_share} and {validation_share}"
        )
    if not schema.target:
        raise DatasetError("split: the table has no target to stratify by and to test on; name one in the schema")
    if schema.text is not None:
        return _split_texts(frame, schema.text.name, schema, (test_share, validation_share), seed)
    if schema.group is not None:
        raise DatasetError(f"split: the group {schema.group!r} needs a column of texts; leave out the role 'group'")
    if schema.time is None:
        parts = _stratified(frame[schema.target].to_numpy(), test_share, validation_share, seed)
        method: Method = "stratified"
        reason = f"the table has no time column, so each part has the same share of {schema.target!r}"
    else:
        parts = _by_time(frame[schema.time], test_share, validation_share)
        method = "time-aware"
        reason = (
            f"the table has the time column {schema.time!r}, so a model is tested on later rows than it learns from"
        )
    tables = dict(zip(PARTS, (frame.iloc[rows] for rows in parts), strict=True))
    report = SplitReport(
        method=method,
        reason=reason,
        seed=seed,
        rows={part: len(table) for part, table in tables.items()},
        event_rate={part: float(table[schema.target].mean()) for part, table in tables.items()},
        starts=_moments(tables, schema, "min"),
        ends=_moments(tables, schema, "max"),
    )
    return Split(tables["train"], tables["validation"], tables["test"], report)


def _split_texts(frame: pd.DataFrame, text: str, schema: TableSchema, shares: tuple[float, float], seed: int) -> Split:
    distinct = distinct_texts(frame[text].tolist(), frame[schema.target].cat.codes.to_numpy())
    if not len(distinct.rows):
        raise DatasetError(
            f"split: all of the {distinct.report.undecided} rows contradict each other: each text is there as "
            f"often with another {schema.target!r}, so none is left; correct the labels"
            if len(frame)
            else "split: the table has no rows"
        )
    frame = frame.iloc[distinct.rows]
    unit = join_units(distinct.family, frame[schema.group] if schema.group else None)
    together = f"rows of one {schema.group!r} and similar texts" if schema.group else "similar texts"
    method: Method = "grouped"
    reason = f"{together} stay on one side, and each part has the same share of {schema.target!r}"
    if schema.time is None:
        test, validation, train = divide(unit, strata(frame, schema), frame[text].tolist(), shares, seed)
    else:
        train, validation, test = _by_time(frame[schema.time], *shares)
        validation = validation[~np.isin(unit[validation], unit[train])]
        test = test[~np.isin(unit[test], unit[np.concatenate([train, validation])])]
        method = "time-aware"
        reason = (
            f"a model is tested on rows with a later {schema.time!r} than it learns from; later rows that belong to "
            f"earlier ones ({together}) are left out"
        )
    tables = dict(zip(PARTS, (frame.iloc[rows] for rows in (train, validation, test)), strict=True))
    label_shares = {part: _label_shares(table[schema.target]) for part, table in tables.items()}
    for part, labels in label_shares.items():
        absent = [label for label, share in labels.items() if share == 0]
        if absent:
            raise DatasetError(
                f"split: no row of {part} has {schema.target} {absent[0]!r}; each part needs one: add rows, or choose "
                "larger shares"
            )
    report = SplitReport(
        method=method,
        reason=reason,
        seed=seed,
        rows={part: len(table) for part, table in tables.items()},
        event_rate={},
        label_shares=label_shares,
        starts=_moments(tables, schema, "min"),
        ends=_moments(tables, schema, "max"),
        duplicates=distinct.report,
    )
    return Split(tables["train"], tables["validation"], tables["test"], report)


def _moments(tables: dict[str, pd.DataFrame], schema: TableSchema, which: Literal["min", "max"]) -> dict[str, str]:
    """The first or last timestamp of each part, if rows have one."""
    times = {} if schema.time is None else {part: table[schema.time] for part, table in tables.items()}
    return {part: time.agg(which).isoformat() for part, time in times.items()}


def _label_shares(target: pd.Series[str]) -> dict[str, float]:
    counts = target.value_counts(sort=False)
    return {str(label): float(count) / max(1, len(target)) for label, count in counts.items()}


def _stratified(
    target: NDArray[np.integer], test_share: float, validation_share: float, seed: int
) -> tuple[NDArray[np.intp], ...]:
    """Row positions of train, validation and test, ascending."""
    random = np.random.default_rng(seed)
    chosen: tuple[list[NDArray[np.intp]], ...] = ([], [], [])
    for event in (0, 1):
        rows = random.permutation(np.flatnonzero(target == event))
        if len(rows) < len(PARTS):
            raise DatasetError(f"split: {len(rows)} rows have target {event}; each of the three parts needs one")
        test, validation = (max(1, round(len(rows) * share)) for share in (test_share, validation_share))
        validation = min(validation, len(rows) - test - 1)
        test = min(test, len(rows) - validation - 1)
        for part, piece in zip(chosen, np.split(rows, [len(rows) - test - validation, len(rows) - test]), strict=True):
            part.append(piece)
    return tuple(np.sort(np.concatenate(pieces)) for pieces in chosen)


def _by_time(time: pd.Series[pd.Timestamp], test_share: float, validation_share: float) -> tuple[NDArray[np.intp], ...]:
    """Row positions of train, validation and test, each in order of time."""
    moments = time.to_numpy(dtype="datetime64[ns]")
    order = np.argsort(moments, kind="stable")
    moments = moments[order]
    # A cut may only lie where the time moves on.
    cuts = np.flatnonzero(moments[1:] > moments[:-1]) + 1
    if len(cuts) < len(PARTS) - 1:
        raise DatasetError(f"split: {len(cuts) + 1} distinct timestamps; three parts in order of time need at least 3")
    first, second = (
        int(np.abs(cuts - len(moments) * share).argmin())
        for share in (1 - test_share - validation_share, 1 - test_share)
    )
    if first == second:
        first, second = (first - 1, second) if first > 0 else (first, second + 1)
    return tuple(np.split(order, [cuts[first], cuts[second]]))
