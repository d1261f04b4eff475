"""Rolling-origin backtest: what the model would have done, period after period, knowing only the past."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import BaseModel

from blueprints.credit_risk.application import encode_frame
from blueprints.credit_risk.training import TrainedModel, fit_booster, predict_margins
from blueprints.schema import TableSchema
from blueprints.threads import default_threads

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray


class BacktestPeriod(BaseModel):
    """One origin of the backtest.

    Attributes:
        period: First time of the test rows; an index where rows have no time.
        train_rows: Rows before it, all of which the model learned from.
        train_end: Latest time of a training row.
        test_rows: Rows of the period.
        positives: Share of defaults in the period.
        roc_auc: ROC-AUC in the period; NaN if it has one outcome only.
        ks: Kolmogorov-Smirnov distance in the period.
        stability_index: Population stability index of the scores against the training rows: below 0.1 is stable,
            above 0.25 has shifted (Siddiqi, 2006).
    """

    period: str
    train_rows: int
    train_end: str
    test_rows: int
    positives: float
    roc_auc: float
    ks: float
    stability_index: float


class Backtest(BaseModel):
    """All periods of a backtest, and how they were cut.

    Attributes:
        method: `rolling origin` by time, or `repeated hold-out` where rows have no time.
        periods: One row a period, in order.
    """

    method: str
    periods: list[BacktestPeriod]


def rolling_origins(
    time: NDArray[np.datetime64], *, periods: int, first_share: float = 0.4
) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """Cuts rows into an expanding past and the period that follows it.

    Args:
        time: Time of each row, any order, shape (n,).
        periods: Number of origins, at least 1.
        first_share: Share of the rows before the first origin, above 0 and below 1.

    Yields:
        Row numbers of past and period. Every time of the past is before every time of its period, rows of one time
        stay together, and the periods do not overlap.
    """
    times = np.sort(time)
    cuts = [times[int(share * len(times))] for share in np.linspace(first_share, 1, periods + 1)[:-1]]
    edges = np.unique(np.array(cuts))
    for index, start in enumerate(edges):
        inside = time >= start
        if index + 1 < len(edges):
            inside &= time < edges[index + 1]
        past = np.flatnonzero(time < start)
        if len(past):
            yield past, np.flatnonzero(inside)


def backtest(
    frame: pd.DataFrame,
    schema: TableSchema,
    model: TrainedModel,
    *,
    periods: int = 6,
    seed: int = 0,
    progress: Callable[[int, int, str], None] | None = None,
) -> Backtest:
    """Refits the model's settings at each origin and scores the period that follows.

    Where rows have no time, seeded hold-outs of the same size stand in for the periods and the method says so.

    Args:
        frame: Typed rows, without the test rows.
        schema: Columns and their roles.
        model: The trained model, whose columns, parameters and rounds are used.
        periods: Number of origins.
        seed: Seed of the hold-outs.
        progress: Called with (done, total, words) after each period.

    Raises:
        ValueError: The rows cannot be cut into periods with a past.
    """
    if schema.time is None and not 2 <= periods <= len(frame):
        raise ValueError(f"rows without a time are cut into 2 to {len(frame)} hold-outs, not {periods}")
    features, target = encode_frame(frame, model.columns), frame[schema.target].to_numpy()
    if schema.time is not None:
        time = frame[schema.time].dt.tz_convert(None).to_numpy()
        method, origins = "rolling origin", list(rolling_origins(time, periods=periods))
    else:
        time = None
        method, origins = "repeated hold-out", list(_hold_outs(len(target), periods, seed))
    if not origins:
        raise ValueError(f"{schema.time}: too few distinct times for a past and a period; give rows of a longer span")
    parameters = dict(model.report.parameters)
    full_rounds = parameters.pop("rounds")

    def replay(origin: tuple[int, tuple[NDArray[np.intp], NDArray[np.intp]]]) -> BacktestPeriod:
        index, (past, period) = origin
        rounds = max(20, round(full_rounds * min(1.0, len(past) / model.report.rows)))
        booster = fit_booster(features[past], target[past], model.columns, parameters, rounds)
        scores = predict_margins(booster, features[period])
        return BacktestPeriod(
            period=str(index + 1) if time is None else str(time[period].min())[:10],
            train_rows=len(past),
            train_end="" if time is None else str(time[past].max())[:19],
            test_rows=len(period),
            positives=float(target[period].mean()),
            stability_index=stability_index(predict_margins(booster, features[past]), scores),
            **_ranking(scores, target[period]),
        )

    rows = []
    with ThreadPoolExecutor(default_threads()) as threads:
        for row in threads.map(replay, enumerate(origins)):
            rows.append(row)
            if progress is not None:
                progress(len(rows), len(origins), f"{row.period}: ROC-AUC {row.roc_auc:.4f}")
    return Backtest(method=method, periods=rows)


def stability_index(expected: NDArray[np.floating], actual: NDArray[np.floating], *, bins: int = 10) -> float:
    """Population stability index between two samples of scores: 0 if alike, unbounded above.

    Args:
        expected: Scores of the baseline, shape (n,).
        actual: Scores to compare, shape (m,).
        bins: Quantile bins of `expected`.
    """
    edges = np.unique(np.quantile(expected, np.linspace(0, 1, bins + 1)[1:-1]))
    # Half a row a bin keeps an empty bin finite.
    shares = [
        (np.bincount(np.searchsorted(edges, sample, side="right"), minlength=len(edges) + 1) + 0.5)
        / (len(sample) + 0.5 * (len(edges) + 1))
        for sample in (expected, actual)
    ]
    return float(np.sum((shares[1] - shares[0]) * np.log(shares[1] / shares[0])))


def _ranking(scores: NDArray[np.floating], target: NDArray[np.integer]) -> dict[str, Any]:
    from sklearn.metrics import roc_auc_score

    from blueprints.credit_risk.evaluation import ks_distance

    if target.min() == target.max():
        return {"roc_auc": float("nan"), "ks": float("nan")}
    return {"roc_auc": float(roc_auc_score(target, scores)), "ks": ks_distance(scores, target)}


def _hold_outs(rows: int, periods: int, seed: int) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    order = np.random.default_rng(seed).permutation(rows)
    for held in np.array_split(order, periods):
        yield np.setdiff1d(order, held), np.sort(held)
