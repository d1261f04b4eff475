"""The HTML reports of a training run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from blueprints.credit_risk import plots
from blueprints.credit_risk.backtest import Backtest
from blueprints.credit_risk.evaluation import Discrimination, Evaluation
from blueprints.credit_risk.fairness import FairnessAudit
from blueprints.credit_risk.scorer import Policy
from blueprints.report import Report

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from blueprints.credit_risk.explanation import GlobalExplanation

MODEL = "XGBoost, calibrated"


def evaluation_report(
    evaluation: Evaluation,
    margins: NDArray[np.floating],
    target: NDArray[np.integer],
    policy: Policy,
    baselines: Mapping[str, NDArray[np.floating]],
) -> str:
    """The evaluation as a page: figures with intervals, curves, calibration, decisions."""

    def row(name: str, ranking: Discrimination) -> tuple[str, str, str, float]:
        return name, str(ranking.roc_auc), str(ranking.pr_auc), ranking.ks

    uncalibrated = 1 / (1 + np.exp(-margins.astype(np.float64)))
    margin = evaluation.auc_margin
    return (
        Report("Evaluation", f"{evaluation.rows:,} held-out applications, {evaluation.positives:.1%} defaults.")
        .tiles(
            [
                ("ROC-AUC", f"{evaluation.model.roc_auc.value:.4f}"),
                ("over the best baseline", f"{margin.value:+.4f}"),
                ("KS distance", f"{evaluation.model.ks:.3f}"),
                ("Brier score", f"{evaluation.brier:.4f}"),
                ("F1 at the threshold", f"{evaluation.f1:.3f}"),
            ]
        )
        .heading("Ranking")
        .table(
            ("model", "ROC-AUC (95 % interval)", "PR-AUC (95 % interval)", "KS"),
            [row(MODEL, evaluation.model), *(row(name, ranking) for name, ranking in evaluation.baselines.items())],
        )
        .verdict(
            f"Over the best baseline: {margin.value:+.4f} ({margin.low:+.4f} to {margin.high:+.4f}).",
            good=margin.low > 0,
        )
        .figure(plots.ranking_curves({MODEL: margins, **baselines}, target))
        .heading("Calibration")
        .text(
            "Weights on the training rows balance the classes for the ranking and distort the probabilities; "
            f"calibration ({policy.calibration.method.capitalize()} scaling on validation rows) mends them."
        )
        .table(
            ("", "before", "after"),
            [
                ("Brier score", evaluation.brier_uncalibrated, evaluation.brier),
                (
                    "expected calibration error",
                    evaluation.calibration_error_uncalibrated,
                    evaluation.calibration_error,
                ),
            ],
        )
        .figure(plots.calibration(uncalibrated, policy.calibration(margins), target, policy.threshold))
        .heading("Decisions")
        .text(
            f"Declined at a probability of {policy.threshold:.4f} or more: the least cost on validation rows, "
            f"where a missed default costs {policy.cost_false_negative:g} and a declined payer "
            f"{policy.cost_false_positive:g}."
        )
        .table(
            ("figure", "value"),
            [
                ("precision", evaluation.precision),
                ("recall", evaluation.recall),
                ("F1", evaluation.f1),
                ("cost per application", evaluation.cost_per_application),
                ("cost if all were accepted", evaluation.cost_accepting_all),
            ],
        )
        .figure(plots.confusion(evaluation.confusion))
        .html()
    )


def backtest_report(result: Backtest) -> str:
    """The backtest as a page: one row a period."""
    timed = any(period.train_end for period in result.periods)
    return (
        Report(
            "Backtest",
            f"{result.method.capitalize()}, {len(result.periods)} periods; the model is refitted before each."
            + ("" if timed else " Rows have no time, so this shows the spread of the figures, not their course."),
        )
        .figure(plots.backtest(result))
        .table(
            (
                "period",
                "train rows",
                *(("last training row",) if timed else ()),
                "test rows",
                "defaults",
                "ROC-AUC",
                "KS",
                "stability index",
            ),
            [
                (
                    period.period,
                    period.train_rows,
                    *((period.train_end.replace("T", " "),) if timed else ()),
                    period.test_rows,
                    period.positives,
                    period.roc_auc,
                    period.ks,
                    period.stability_index,
                )
                for period in result.periods
            ],
        )
        .html()
    )


def fairness_report(
    audit: FairnessAudit, roc_auc: float, unmitigated: tuple[FairnessAudit, float] | None, mitigation: str
) -> str:
    """The fairness audit as a page.

    Args:
        audit: The audit of the model that goes on.
        roc_auc: Its ROC-AUC on the test rows.
        unmitigated: Audit and ROC-AUC of the model before mitigation, if it was mitigated.
        mitigation: The constraint, in words.
    """
    report = Report("Fairness", "Decisions on held-out applications, by groups that the model does not see.")
    if not audit.columns:
        return report.text("This dataset describes no protected group, so nothing can be audited.").html()
    for violation in audit.violations:
        report.verdict(violation, good=False)
    if not any(column.comparable for column in audit.columns):
        report.text(
            f"No column has two groups of at least {audit.gate.group_rows:,} rows: the figures below prove nothing, "
            "and the gate lets them pass."
        )
    elif audit.passed:
        report.verdict(
            f"Every demographic-parity difference is at most {audit.gate.demographic_parity_difference:g} and every "
            f"equalized-odds difference at most {audit.gate.equalized_odds_difference:g}.",
            good=True,
        )
    if unmitigated is not None:
        before, before_auc = unmitigated
        report.heading("Mitigation and its price")
        report.text(f"Constraint: {mitigation}. Price in ROC-AUC: {roc_auc - before_auc:+.4f}.")
        report.table(
            ("figure", "before", "after"),
            [
                ("ROC-AUC", before_auc, roc_auc),
                *(
                    (f"{old.label}: {name.replace('_', ' ')}", getattr(old, name), getattr(new, name))
                    for old, new in zip(before.columns, audit.columns, strict=True)
                    for name in ("demographic_parity_difference", "equalized_odds_difference")
                ),
            ],
        )
    for column in audit.columns:
        report.heading(column.label.capitalize())
        report.figure(plots.fairness(column))
        report.table(
            ("group", "rows", "defaults", "selection rate", "true-positive rate", "false-positive rate", "ROC-AUC", ""),
            [
                (
                    group.group,
                    group.rows,
                    group.positives,
                    group.selection_rate,
                    group.true_positive_rate,
                    group.false_positive_rate,
                    group.roc_auc,
                    "" if group.judged else "too few rows to judge",
                )
                for group in column.groups
            ],
        )
        report.text(
            f"Demographic-parity difference {column.demographic_parity_difference:.4f}, "
            f"equalized-odds difference {column.equalized_odds_difference:.4f}."
            if column.comparable
            else f"Fewer than two groups have {audit.gate.group_rows:,} rows, so no difference is judged."
        )
    return report.html()


def explanation_report(explanation: GlobalExplanation) -> str:
    """What drives the model, as a page."""
    return (
        Report("What drives the model", "Exact SHAP values on a sample of held-out applications.")
        .figure(plots.importance(explanation.labels, explanation.contributions, explanation.values))
        .text(
            "Each dot is an application: to the right the feature raised the risk, to the left it lowered it; "
            "red is a high value of the feature, blue a low one (of a category: late or early in its list), "
            "grey a missing one."
        )
        .table(
            ("feature", "mean |contribution|, log-odds", "share of all"),
            [(row.label, row.mean_contribution, row.share) for row in explanation.ranking],
        )
        .html()
    )
