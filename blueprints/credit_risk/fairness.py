"""Fairness audit by group, and the gate that a model must pass."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from blueprints.schema import Column, TableSchema

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray


class FairnessGate(BaseModel):
    """Limits that a model must keep for every protected column.

    Attributes:
        demographic_parity_difference: Largest accepted gap in approval rates between groups, 0 to 1.
        equalized_odds_difference: Largest accepted gap in true- or false-positive rates, 0 to 1.
        group_rows: Groups with fewer rows are shown, but a gap to them proves nothing and is not held against a model.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    demographic_parity_difference: float = Field(default=0.15, ge=0, le=1)
    equalized_odds_difference: float = Field(default=0.15, ge=0, le=1)
    group_rows: int = Field(default=200, ge=1)


class GroupFairness(BaseModel):
    """One group of one protected column.

    Attributes:
        group: The group's label.
        rows: Test rows in it.
        positives: Share of defaults.
        selection_rate: Share of applicants that are approved, the favourable outcome.
        true_positive_rate: Share of defaulters that are declined; None without defaulters.
        false_positive_rate: Share of payers that are declined; None without payers.
        roc_auc: Ranking within the group; None with one outcome only.
        judged: Whether the group has rows enough for the gate.
    """

    group: str
    rows: int
    positives: float
    selection_rate: float
    true_positive_rate: float | None
    false_positive_rate: float | None
    roc_auc: float | None
    judged: bool


class ColumnFairness(BaseModel):
    """One protected column.

    Attributes:
        column: Its name.
        label: Its name in plain words.
        groups: All groups: bands of a number in order, categories largest first.
        demographic_parity_difference: Largest gap in selection rates between judged groups; 0 without two of them.
        equalized_odds_difference: The larger of the gaps in true- and false-positive rates.
        violations: What breaks the gate, in words; empty if it passes.
    """

    column: str
    label: str
    groups: list[GroupFairness]
    demographic_parity_difference: float
    equalized_odds_difference: float
    violations: list[str]

    @property
    def comparable(self) -> bool:
        """Whether at least two groups have rows enough to be judged."""
        return sum(group.judged for group in self.groups) > 1


class FairnessAudit(BaseModel):
    """Every protected column of a dataset, judged by one gate."""

    gate: FairnessGate
    columns: list[ColumnFairness]

    @property
    def violations(self) -> list[str]:
        """What breaks the gate, in words."""
        return [violation for column in self.columns for violation in column.violations]

    @property
    def passed(self) -> bool:
        """Whether the gate holds."""
        return not self.violations


class UnfairModelError(Exception):
    """A model breaks the fairness gate."""


def audit(
    frame: pd.DataFrame,
    probabilities: NDArray[np.floating],
    threshold: float,
    schema: TableSchema,
    gate: FairnessGate,
) -> FairnessAudit:
    """Audits decisions on test rows by each protected column.

    Args:
        frame: Typed test rows, protected columns included.
        probabilities: Calibrated probabilities of default, shape (n,).
        threshold: Applicants at or above it are declined.
        schema: Columns and their roles.
        gate: Limits.
    """
    target = frame[schema.target].to_numpy()
    columns = [
        _audit_column(frame[name], schema.column(name), target, probabilities, threshold, gate)
        for name in schema.protected
    ]
    return FairnessAudit(gate=gate, columns=columns)


def enforce(result: FairnessAudit) -> None:
    """Refuses a model that breaks the gate.

    Raises:
        UnfairModelError: With every violation, and what can be done.
    """
    if not result.passed:
        raise UnfairModelError(
            "the model breaks the fairness gate: "
            + "; ".join(result.violations)
            + ". Train with a mitigation (mitigation=equalized_odds or demographic_parity, mitigation_column=...), "
            "or argue for other limits"
        )


def groups(values: pd.Series, column: Column, *, bands: int = 4) -> NDArray[np.str_]:
    """Group label of each row: the category, or one of equally filled bands of a number; missing values are a group.

    Args:
        values: Values of a protected column, shape (n,).
        column: Its description.
        bands: Bands of a number.
    """
    if column.kind == "category":
        return values.astype(object).where(values.notna(), "missing").to_numpy(dtype=np.str_)
    numbers = values.to_numpy(dtype=np.float64)
    known = np.sort(numbers[~np.isnan(numbers)])
    if not len(known):
        return np.full(len(numbers), "missing")
    # A band starts at a value that occurs and is named by the values that it holds.
    starts = np.unique(np.quantile(known, np.linspace(0, 1, bands + 1)[:-1], method="higher"))
    labels = ["missing"]
    for low, end in zip(starts, [*np.searchsorted(known, starts[1:]), len(known)], strict=True):
        high = known[end - 1]
        labels.append(f"{low:.10g}" if low == high else f"{low:.10g} to {high:.10g}")
    return np.array(labels)[np.where(np.isnan(numbers), 0, np.searchsorted(starts, numbers, side="right"))]


def _audit_column(
    values: pd.Series,
    column: Column,
    target: NDArray[np.integer],
    probabilities: NDArray[np.floating],
    threshold: float,
    gate: FairnessGate,
) -> ColumnFairness:
    from fairlearn.metrics import MetricFrame, count, false_positive_rate, selection_rate, true_positive_rate

    membership = groups(values, column)
    declined = (probabilities >= threshold).astype(int)
    frame = MetricFrame(
        metrics={
            "rows": count,
            "declined": selection_rate,
            "true_positive_rate": true_positive_rate,
            "false_positive_rate": false_positive_rate,
        },
        y_true=target,
        y_pred=declined,
        sensitive_features=membership,
    )
    rows = []
    for group, figures in frame.by_group.iterrows():
        inside = membership == group
        positives = float(target[inside].mean())
        rows.append(
            GroupFairness(
                group=str(group),
                rows=int(figures["rows"]),
                positives=positives,
                selection_rate=1 - float(figures["declined"]),
                true_positive_rate=float(figures["true_positive_rate"]) if positives > 0 else None,
                false_positive_rate=float(figures["false_positive_rate"]) if positives < 1 else None,
                roc_auc=_roc_auc(target[inside], probabilities[inside]),
                judged=int(figures["rows"]) >= gate.group_rows,
            )
        )
    if column.kind == "category":
        rows.sort(key=lambda row: -row.rows)
    else:
        starts = values.groupby(membership).min().fillna(np.inf)
        rows.sort(key=lambda row: float(starts[row.group]))
    judged = [row for row in rows if row.judged]
    parity = _gap([row.selection_rate for row in judged])
    odds = max(_gap([row.true_positive_rate for row in judged]), _gap([row.false_positive_rate for row in judged]))
    return ColumnFairness(
        column=column.name,
        label=column.label,
        groups=rows,
        demographic_parity_difference=parity,
        equalized_odds_difference=odds,
        violations=[
            f"{column.label}: {name.replace('_', ' ')} is {value:.3f}, the gate allows {limit:.3f}"
            for name, value, limit in (
                ("demographic_parity_difference", parity, gate.demographic_parity_difference),
                ("equalized_odds_difference", odds, gate.equalized_odds_difference),
            )
            if value > limit
        ],
    )


def _gap(rates: list[float | None]) -> float:
    known = [rate for rate in rates if rate is not None]
    return max(known) - min(known) if len(known) > 1 else 0.0


def _roc_auc(target: NDArray[np.integer], probabilities: NDArray[np.floating]) -> float | None:
    from sklearn.metrics import roc_auc_score

    return None if target.min() == target.max() else float(roc_auc_score(target, probabilities))
