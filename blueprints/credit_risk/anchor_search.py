"""Finds the anchor of a decision with Alibi's AnchorTabular.

The only module that imports alibi, and only when a search is made: its licence (BSL 1.1) and its pins keep it in an
environment of its own, `locks/alibi.txt`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from blueprints.credit_risk.anchors import Anchor, AnchorSpace, Condition
from blueprints.credit_risk.application import encode_columns
from blueprints.model_package import REFERENCE, ModelPackage, PackageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from blueprints.credit_risk.scorer import CreditScorer


class SearchStoppedError(Exception):
    """Whoever asked for the anchor no longer waits for it."""


class _BudgetSpentError(Exception):
    """The search has scored as many rows as it may."""


@dataclass(frozen=True)
class SearchSettings:
    """How anchors are searched.

    Attributes:
        precision: Precision that an anchor must have, 0 to 1.
        percentiles: Where numbers are cut into bins; conditions are made of these cuts.
        max_conditions: Most conditions of an anchor.
        beam_size: Candidates that each round keeps.
        batch_size: Rows of one model call.
        coverage_samples: Rows by which the search itself estimates coverage.
        max_rows: Rows that one search may score. Time and memory grow with it.
        seed: The same seed, application and package give the same anchor.
    """

    precision: float = 0.95
    percentiles: tuple[int, ...] = (10, 25, 50, 75, 90)
    max_conditions: int = 6
    beam_size: int = 2
    batch_size: int = 100
    coverage_samples: int = 2000
    max_rows: int = 100_000
    seed: int = 0


class AnchorSearch:
    """Searches anchors of a scorecard's decisions. Not thread-safe: one search at a time.

    Args:
        scorer: The scorecard.
        package: Its package; the reference sample is what other applicants look like.
        settings: How to search.

    Raises:
        PackageError: The reference sample lacks a column.
        ModuleNotFoundError: This environment has no alibi.
    """

    def __init__(self, scorer: CreditScorer, package: ModelPackage, settings: SearchSettings | None = None) -> None:
        table = package.reference()
        if absent := [column.name for column in scorer.columns if column.name not in table.column_names]:
            raise PackageError(f"{REFERENCE}: no column {', '.join(absent)}, so there is nothing to sample from")
        self.settings = settings or SearchSettings()
        self.reference = encode_columns(table.to_pydict(), scorer.columns)
        self._scorer = scorer
        self._space = AnchorSpace(scorer.columns)
        self._points = self._space.encode(self.reference)
        self._budget = _Budget(self.settings.max_rows, lambda: False)
        self._explainer = self._fit(self._points)

    def find(self, features: NDArray[np.float32], stopped: Callable[[], bool] = lambda: False) -> Anchor:
        """The anchor of the decision about one application.

        Args:
            features: Its feature row, shape (k,).
            stopped: Asked before every model call; the search ends once it is true.

        Raises:
            SearchStoppedError: `stopped` became true.
        """
        settings = self.settings
        declined = bool(self._scorer.probabilities(features[np.newaxis])[0] >= self._scorer.policy.threshold)
        point = self._space.encode(features[np.newaxis])
        self._budget = budget = _Budget(settings.max_rows, stopped)
        # A value that nobody in the sample comes near would leave Alibi without rows to sample from.
        seen = _has_rows(self._explainer, point[0])
        explainer = self._explainer if seen else self._fit(np.vstack([self._points, point]))
        np.random.seed(settings.seed)  # noqa: NPY002 - Alibi draws from the global generator
        try:
            found = explainer.explain(
                point[0],
                threshold=settings.precision,
                max_anchor_size=settings.max_conditions,
                beam_size=settings.beam_size,
                batch_size=settings.batch_size,
                coverage_samples=settings.coverage_samples,
                # In batches; Alibi's own default would reserve a million rows.
                binary_cache_size=100,
            )
        except _BudgetSpentError:
            return Anchor(declined, None, None, None, reached=False, model_calls=budget.calls, scored_rows=budget.rows)
        explainer.mab = None
        conditions = self._conditions(explainer, found.data["raw"]["predicates"])
        return Anchor(
            declined,
            conditions,
            precision=float(np.ravel(found.data["precision"])[0]),
            coverage=float(self._space.covered(conditions, self.reference).mean()),
            reached=bool(found.data["raw"]["success"]),
            model_calls=budget.calls,
            scored_rows=budget.rows,
        )

    def _decisions(self, points: NDArray[np.floating]) -> NDArray[np.int64]:
        self._budget.spend(len(points))
        probabilities = self._scorer.probabilities(self._space.decode(points))
        return (probabilities >= self._scorer.policy.threshold).astype(np.int64)

    def _fit(self, points: NDArray[np.float64]) -> Any:
        names = [column.name for column in self._space.columns]
        explainer = _anchor_tabular()(self._decisions, names, self._space.categories, seed=self.settings.seed)
        return explainer.fit(points, disc_perc=self.settings.percentiles)

    def _conditions(self, explainer: Any, predicates: list[tuple[int, Any]]) -> tuple[Condition, ...]:
        """One condition a feature, in the order in which the search added them."""
        cuts = explainer.samplers[0].disc.lambdas
        bins: dict[int, set[int]] = {}
        conditions: dict[int, Condition] = {}
        for feature, allowed in predicates:
            if feature in self._space.categories:
                conditions[feature] = self._space.is_category(feature, int(allowed))
                continue
            at = cuts[feature].keywords["qts"]
            bins[feature] = bins.get(feature, set(range(len(at) + 1))) & set(allowed)
            low, high = min(bins[feature]), max(bins[feature])
            above, at_most = at[low - 1] if low > 0 else None, at[high] if high < len(at) else None
            conditions[feature] = self._space.is_between(feature, above, at_most)
        return tuple(conditions.values())


class _Budget:
    """What one search has spent, counted here: Alibi's own `num_preds` is the size of a buffer."""

    def __init__(self, max_rows: int, stopped: Callable[[], bool]) -> None:
        self.calls = 0
        self.rows = 0
        self._max_rows = max_rows
        self._stopped = stopped

    def spend(self, rows: int) -> None:
        if self._stopped():
            raise SearchStoppedError
        if self.rows + rows > self._max_rows:
            raise _BudgetSpentError
        self.calls += 1
        self.rows += rows


def _anchor_tabular() -> Any:
    from alibi.explainers import AnchorTabular

    class ExactAnchorTabular(AnchorTabular):  # type: ignore[misc]
        """Keeps the predicates themselves: Alibi tells them as text, with cuts rounded to two decimals."""

        def add_names_to_exp(self, explanation: dict[str, Any]) -> None:
            explanation["predicates"] = [
                (self.enc2feat_idx[code], self.cat_lookup.get(code, self.ord_lookup.get(code)))
                for code in explanation["feature"]
            ]
            super().add_names_to_exp(explanation)

    return ExactAnchorTabular


def _has_rows(explainer: Any, point: NDArray[np.float64]) -> bool:
    sampler = explainer.samplers[0]
    binned = sampler.disc.discretize(point[np.newaxis])[0]
    return all(len(rows[int(binned[feature])]) > 0 for feature, rows in sampler.val2idx.items())
