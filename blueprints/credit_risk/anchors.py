"""Anchors: the conditions under which a decision holds, in plain words: "Declined as long as …".

An anchor (Ribeiro, Singh & Guestrin, 2018, "Anchors: High-Precision Model-Agnostic Explanations") is a set of
conditions on the applicant's own values, such that the model nearly always decides the same while they are true,
whatever the other values are.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from blueprints.credit_risk.reasons import describe

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from blueprints.schema import Column

# Stands for a missing number where a search needs an order: below every real one. A cut below `_LOWEST` therefore
# tells missing values from given ones and nothing else.
_MISSING = -float(np.finfo(np.float32).max)
_LOWEST = _MISSING / 1e6


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition on one feature.

    Without bounds and category it says only whether a value is given (`missing` is false) or not (`missing` is true).

    Attributes:
        column: The feature.
        above: Numbers must be greater; `None` for no bound.
        at_most: Numbers must not be greater; `None` for no bound.
        category: The label that a category must be.
        missing: Whether a missing value fulfils it.
    """

    column: Column
    above: float | None = None
    at_most: float | None = None
    category: str | None = None
    missing: bool = False

    def holds(self, values: NDArray[np.floating]) -> NDArray[np.bool_]:
        """Whether it holds for encoded values of the feature (codes for labels, NaN for missing), shape (n,)."""
        values = values.astype(np.float64)
        if self.category is not None:
            given = values == self.column.categories.index(self.category)
        elif self.above is None and self.at_most is None:
            given = np.full(values.shape, not self.missing)
        else:
            given = (values > (-np.inf if self.above is None else self.above)) & (
                values <= (np.inf if self.at_most is None else self.at_most)
            )
        return np.where(np.isnan(values), self.missing, given)

    @property
    def text(self) -> str:
        """The condition in words: `"credit limit above 50,000 NTD"`."""
        return f"{self.column.label} {self._said()}"

    def _said(self) -> str:
        if self.category is not None:
            return f"is {self.category}"
        if self.above is None and self.at_most is None:
            return "not given" if self.missing else "given"
        above, at_most = self.above, self.at_most
        whole = self.column.kind == "integer"
        if whole and above is not None and at_most == above + 1:
            said = f"is {describe(at_most, self.column)}"
        else:
            low = above + 1 if whole and above is not None else above
            bounds = [(("at least " if whole else "above "), low), ("at most ", at_most)]
            said = " and ".join(word + describe(bound, self.column) for word, bound in bounds if bound is not None)
        return f"not given or {said}" if self.missing else said


@dataclass(frozen=True, slots=True)
class Anchor:
    """What a search for an anchor found.

    Attributes:
        declined: The decision that it is about.
        conditions: All must hold; none if the decision stays the same whatever the values are. `None` if the search
            ended without an anchor.
        precision: Estimated share of applications that get the same decision, among those that fulfil the conditions
            with all other values drawn from other applicants; 0 to 1.
        coverage: Share of the reference sample that fulfils the conditions, 0 to 1.
        reached: Whether the precision is what was asked for.
        model_calls: How often the model was called for the search.
        scored_rows: How many applications it scored in these calls.
    """

    declined: bool
    conditions: tuple[Condition, ...] | None
    precision: float | None
    coverage: float | None
    reached: bool
    model_calls: int
    scored_rows: int

    @property
    def text(self) -> str:
        """The anchor as a sentence."""
        decided = "Declined" if self.declined else "Approved"
        if self.conditions is None:
            return f"{decided}; no simple conditions were found under which that stays so."
        if not self.conditions:
            return f"{decided}, as nearly every application."
        said = [condition.text for condition in self.conditions]
        listed = f"{', '.join(said[:-1])} and {said[-1]}" if len(said) > 1 else said[0]
        return f"{decided} as long as {listed}." if self.reached else f"{decided}; most often so with {listed}."


class AnchorSpace:
    """The feature matrix as a search for anchors wants it: without NaN, missing values in an order of their own.

    A missing number lies below every real one, a missing category is one more category.

    Args:
        columns: The signature's inputs.
    """

    def __init__(self, columns: Sequence[Column]) -> None:
        self.columns = tuple(columns)
        self.categories = {
            index: [*column.categories, *(["not given"] if column.nullable else [])]
            for index, column in enumerate(self.columns)
            if column.kind == "category"
        }
        self._missing = np.array(
            [len(column.categories) if column.kind == "category" else _MISSING for column in self.columns]
        )

    def encode(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """Points of a feature matrix, shape (n, k)."""
        return np.where(np.isnan(features), self._missing, features.astype(np.float64))

    def decode(self, points: NDArray[np.floating]) -> NDArray[np.float32]:
        """The feature matrix of points, shape (n, k)."""
        return np.where(points == self._missing, np.nan, points).astype(np.float32)

    def is_category(self, feature: int, code: int) -> Condition:
        """The condition that a category is the one with this code."""
        column = self.columns[feature]
        if code == len(column.categories):
            return Condition(column, missing=True)
        return Condition(column, category=column.categories[code])

    def is_between(self, feature: int, above: float | None, at_most: float | None) -> Condition:
        """The condition that a number lies between two cuts, the upper one included."""
        column = self.columns[feature]
        missing = column.nullable and above is None
        above, at_most = _bound(above, column), _bound(at_most, column)
        return Condition(column, above, at_most, missing=missing)

    def covered(self, conditions: Sequence[Condition], features: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Which rows of a feature matrix fulfil all conditions, shape (n,)."""
        names = [column.name for column in self.columns]
        held = [condition.holds(features[:, names.index(condition.column.name)]) for condition in conditions]
        return np.logical_and.reduce(held) if held else np.ones(len(features), dtype=bool)


def _bound(cut: float | None, column: Column) -> float | None:
    if cut is None or cut < _LOWEST:
        return None
    return float(math.floor(cut)) if column.kind == "integer" else float(cut)
