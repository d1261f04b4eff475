"""How good a scorecard is on rows that it has not seen, with intervals, beside its baselines."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import BaseModel

from blueprints.credit_risk.scorer import Policy
from blueprints.estimates import Estimate, calibration_error, estimate

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Discrimination(BaseModel):
    """How well scores rank applicants.

    Attributes:
        roc_auc: Area under the ROC curve.
        pr_auc: Average precision.
        ks: Kolmogorov-Smirnov distance between the scores of payers and defaulters, 0 to 1.
    """

    roc_auc: Estimate
    pr_auc: Estimate
    ks: float


class Evaluation(BaseModel):
    """The scorecard on its test rows.

    Attributes:
        rows: Test rows.
        positives: Share of defaults.
        model: Ranking of the scorecard.
        baselines: Ranking of each baseline on the same rows.
        auc_margin: ROC-AUC of the scorecard minus that of the best baseline, a paired bootstrap.
        threshold: Decision threshold, chosen on validation rows.
        f1: F1 score at the threshold.
        precision: Share of defaulters among the declined.
        recall: Share of defaulters that are declined.
        confusion: Counts `[[payers approved, payers declined], [defaulters approved, defaulters declined]]`.
        cost_per_application: Mean cost at the threshold, in units of the cost matrix.
        cost_accepting_all: Mean cost if nobody were declined.
        brier: Brier score of the calibrated probabilities.
        brier_uncalibrated: Brier score before calibration.
        calibration_error: Expected calibration error over ten equally filled bins.
        calibration_error_uncalibrated: The same before calibration.
    """

    rows: int
    positives: float
    model: Discrimination
    baselines: dict[str, Discrimination]
    auc_margin: Estimate
    threshold: float
    f1: float
    precision: float
    recall: float
    confusion: list[list[int]]
    cost_per_application: float
    cost_accepting_all: float
    brier: float
    brier_uncalibrated: float
    calibration_error: float
    calibration_error_uncalibrated: float

    def metrics(self) -> dict[str, float]:
        """The headline figures by name."""
        return {
            "roc_auc": self.model.roc_auc.value,
            "pr_auc": self.model.pr_auc.value,
            "ks": self.model.ks,
            "f1": self.f1,
            "precision": self.precision,
            "recall": self.recall,
            "brier": self.brier,
            "calibration_error": self.calibration_error,
            "cost_per_application": self.cost_per_application,
            "auc_margin_over_best_baseline": self.auc_margin.value,
        }


def evaluate(
    margins: NDArray[np.floating],
    target: NDArray[np.integer],
    policy: Policy,
    baselines: Mapping[str, NDArray[np.floating]],
    *,
    resamples: int = 500,
    seed: int = 0,
) -> Evaluation:
    """Evaluates a scorecard on test rows.

    Args:
        margins: The booster's log-odds, shape (n,).
        target: Outcomes, 0 or 1, both present, shape (n,).
        policy: Calibration, threshold and costs.
        baselines: Scores of other models on the same rows, each of shape (n,).
        resamples: Bootstrap resamples of the rows.
        seed: Seed of the resampling.

    Raises:
        ValueError: All outcomes are the same, so nothing can be ranked, or scores are of other rows.
    """
    if target.min() == target.max():
        raise ValueError("every test row has the same outcome; give more rows or another split")
    probabilities = policy.calibration(margins)
    raw = 1 / (1 + np.exp(-margins.astype(np.float64)))
    scores = {"model": margins, **baselines}
    for name, score in scores.items():
        if score.shape != target.shape:
            raise ValueError(f"{name}: {len(score):,} scores for {len(target):,} test rows; score the same rows")
    aucs, precisions = _bootstrap(scores, target, resamples, seed)
    ranking = {
        name: Discrimination(
            roc_auc=estimate(_roc_auc(score, target), aucs[name]),
            pr_auc=estimate(_average_precision(score, target), precisions[name]),
            ks=ks_distance(score, target),
        )
        for name, score in scores.items()
    }
    model = ranking.pop("model")
    best = max(ranking, key=lambda name: ranking[name].roc_auc.value, default=None)
    best_value, best_resampled = (0.5, 0.5) if best is None else (ranking[best].roc_auc.value, aucs[best])
    declined = probabilities >= policy.threshold
    confusion = [[int(np.sum((target == t) & (declined == d))) for d in (False, True)] for t in (0, 1)]
    (_, declined_payers), (approved_defaulters, declined_defaulters) = confusion
    return Evaluation(
        rows=len(target),
        positives=float(target.mean()),
        model=model,
        baselines=ranking,
        auc_margin=estimate(model.roc_auc.value - best_value, aucs["model"] - best_resampled),
        threshold=policy.threshold,
        f1=2 * declined_defaulters / max(1, 2 * declined_defaulters + declined_payers + approved_defaulters),
        precision=declined_defaulters / max(1, declined_defaulters + declined_payers),
        recall=declined_defaulters / max(1, declined_defaulters + approved_defaulters),
        confusion=confusion,
        cost_per_application=(
            policy.cost_false_negative * approved_defaulters + policy.cost_false_positive * declined_payers
        )
        / len(target),
        cost_accepting_all=policy.cost_false_negative * (approved_defaulters + declined_defaulters) / len(target),
        brier=float(np.mean((probabilities - target) ** 2)),
        brier_uncalibrated=float(np.mean((raw - target) ** 2)),
        calibration_error=calibration_error(probabilities, target),
        calibration_error_uncalibrated=calibration_error(raw, target),
    )


def ks_distance(scores: NDArray[np.floating], target: NDArray[np.integer]) -> float:
    """Kolmogorov-Smirnov distance between the scores of the two outcomes, 0 to 1."""
    from scipy.stats import ks_2samp

    return float(ks_2samp(scores[target == 1], scores[target == 0]).statistic)


def _bootstrap(
    scores: Mapping[str, NDArray[np.floating]], target: NDArray[np.integer], resamples: int, seed: int
) -> tuple[dict[str, NDArray[np.float64]], dict[str, NDArray[np.float64]]]:
    """Both areas of every score on the same resamples of the rows."""
    from scipy.stats import rankdata

    rng = np.random.default_rng(seed)
    # Ranks keep ties and make each resample a matter of counting.
    ranks = {name: rankdata(score, method="dense").astype(np.int64) - 1 for name, score in scores.items()}
    aucs: dict[str, list[float]] = {name: [] for name in scores}
    precisions: dict[str, list[float]] = {name: [] for name in scores}
    while len(aucs["model"]) < resamples:
        rows = rng.integers(0, len(target), len(target))
        if target[rows].min() == target[rows].max():
            continue
        for name, rank in ranks.items():
            size = int(rank.max()) + 1
            positives = np.bincount(rank[rows], weights=target[rows], minlength=size)
            totals = np.bincount(rank[rows], minlength=size)
            auc, precision = _areas(positives, totals - positives)
            aucs[name].append(auc)
            precisions[name].append(precision)
    return (
        {name: np.array(values) for name, values in aucs.items()},
        {name: np.array(values) for name, values in precisions.items()},
    )


def _areas(positives: NDArray[Any], negatives: NDArray[Any]) -> tuple[float, float]:
    """ROC-AUC and average precision from counts by ascending score."""
    below = np.cumsum(negatives) - negatives
    roc = float(np.sum(positives * (below + negatives / 2)) / (positives.sum() * negatives.sum()))
    hits, misses = np.cumsum(positives[::-1]), np.cumsum(negatives[::-1])
    with np.errstate(invalid="ignore"):
        precision = np.where(hits + misses > 0, hits / (hits + misses), 0.0)
    return roc, float(np.sum(precision * positives[::-1]) / positives.sum())


def _roc_auc(scores: NDArray[np.floating], target: NDArray[np.integer]) -> float:
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(target, scores))


def _average_precision(scores: NDArray[np.floating], target: NDArray[np.integer]) -> float:
    from sklearn.metrics import average_precision_score

    return float(average_precision_score(target, scores))
