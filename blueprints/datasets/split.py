"""Train, validation and test: by time where rows have one, stratified by the target otherwise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict

from blueprints.datasets.errors import DatasetError
from blueprints.schema import TableSchema

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

PARTS = ("train", "validation", "test")


class SplitReport(BaseModel):
    """How a table was split.

    Attributes:
        method: `time-aware` (chronological) or `stratified` (by the target).
        reason: Why, in one sentence.
        seed: Seed of the stratified draw; without effect on a time-aware split.
        rows: Rows of each part.
        event_rate: Share of the event in each part, 0 to 1.
        starts: First timestamp of each part, ISO 8601; empty if stratified.
        ends: Last timestamp of each part, ISO 8601; empty if stratified.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    method: Literal["time-aware", "stratified"]
    reason: str
    seed: int
    rows: dict[str, int]
    event_rate: dict[str, float]
    starts: dict[str, str]
    ends: dict[str, str]


@dataclass(frozen=True)
class Split:
    """Three disjoint parts that make up the table; each keeps the table's index.

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
    share of events, off by at most one row a class.

    Args:
        frame: Typed table.
        schema: Its columns and roles.
        test_share: Share of rows for test, above 0.
        validation_share: Share of rows for validation, above 0.
        seed: Seed of the stratified draw.

    Raises:
        DatasetError: The shares leave nothing for train, or there are too few rows, events or distinct timestamps.
    """
    if not (test_share > 0 and validation_share > 0 and test_share + validation_share < 1):
        raise DatasetError(
            f"split: shares must be above 0 and sum to less than 1, not {test_share} and {validation_share}"
        )
    target = frame[schema.target].to_numpy()
    if schema.time is None:
        parts = _stratified(target, test_share, validation_share, seed)
        method: Literal["time-aware", "stratified"] = "stratified"
        reason = f"the table has no time column, so each part has the same share of {schema.target!r}"
    else:
        parts = _by_time(frame[schema.time], test_share, validation_share)
        method = "time-aware"
        reason = (
            f"the table has the time column {schema.time!r}, so a model is tested on later rows than it learns from"
        )
    tables = dict(zip(PARTS, (frame.iloc[rows] for rows in parts), strict=True))
    times = {} if schema.time is None else {part: table[schema.time] for part, table in tables.items()}
    report = SplitReport(
        method=method,
        reason=reason,
        seed=seed,
        rows={part: len(table) for part, table in tables.items()},
        event_rate={part: float(table[schema.target].mean()) for part, table in tables.items()},
        starts={part: time.min().isoformat() for part, time in times.items()},
        ends={part: time.max().isoformat() for part, time in times.items()},
    )
    return Split(tables["train"], tables["validation"], tables["test"], report)


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
