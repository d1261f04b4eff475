"""From a trained, evaluated and audited scorecard to a model package."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from blueprints.credit_risk import MODEL_NAME
from blueprints.credit_risk.evaluation import Evaluation
from blueprints.credit_risk.fairness import FairnessAudit
from blueprints.credit_risk.scorer import POLICY, WEIGHTS
from blueprints.credit_risk.training import TrainedModel
from blueprints.model_package import Lineage, ModelPackage, Signature, write_package
from blueprints.provenance import installed_versions, trace_lineage
from blueprints.schema import Column

if TYPE_CHECKING:
    import pandas as pd

    from blueprints.datasets import SnapshotInfo

OUTPUT = Column(
    name="probability_of_default",
    kind="number",
    title="probability of default",
    description="Calibrated probability that the applicant defaults.",
    minimum=0,
    maximum=1,
)
_PACKAGES = ("xgboost-cpu", "scikit-learn", "numpy", "fairlearn", "optuna", "ml-deployment-blueprints")


def package_model(
    folder: Path,
    model: TrainedModel,
    training: pd.DataFrame,
    dataset: SnapshotInfo,
    evaluation: Evaluation,
    fairness: FairnessAudit,
    *,
    pipeline_run: str,
    parent_model: str = "",
    reference_rows: int = 2000,
    seed: int = 0,
) -> ModelPackage:
    """Writes the model package of a scorecard.

    Args:
        folder: Where it shall lie; must not exist, or be empty.
        model: The trained model.
        training: Rows that it was trained on; a sample becomes the reference.
        dataset: The snapshot that they came from.
        evaluation: Figures on the test rows.
        fairness: The audit on the test rows.
        pipeline_run: Id of the run that made it.
        parent_model: Version of the champion at that time.
        reference_rows: Size of the reference sample.
        seed: Seed of the sample.
    """
    import pyarrow as pa

    sample = training.sample(n=min(reference_rows, len(training)), random_state=seed)
    reference = sample[[column.name for column in model.columns]].assign(**{OUTPUT.name: model.probabilities(sample)})
    lineage = trace_lineage(
        dataset,
        pipeline_run=pipeline_run,
        parameters={
            **model.report.parameters,
            "mitigation": model.report.mitigation or "none",
            "protected": [column.column for column in fairness.columns],
        },
        metrics=evaluation.metrics(),
        packages=installed_versions(_PACKAGES),
        parent_model=parent_model,
    )
    return write_package(
        folder,
        files={
            WEIGHTS: bytes(model.booster.save_raw("ubj")),
            POLICY: model.policy.model_dump_json(indent=2).encode(),
        },
        signature=Signature(model_name=MODEL_NAME, inputs=model.columns, outputs=(OUTPUT,)),
        lineage=lineage,
        reference=pa.Table.from_pandas(reference, preserve_index=False),
        model_card=model_card(model, lineage, evaluation, fairness),
    )


def model_card(model: TrainedModel, lineage: Lineage, evaluation: Evaluation, fairness: FairnessAudit) -> str:
    """The model card (Mitchell et al., 2019) as Markdown."""
    baselines = "\n".join(
        f"| {name} | {ranking.roc_auc} | {ranking.pr_auc} |" for name, ranking in evaluation.baselines.items()
    )
    gaps = "\n".join(
        f"| {column.label} | {column.demographic_parity_difference:.4f} | {column.equalized_odds_difference:.4f} |"
        for column in fairness.columns
    )
    policy = model.policy
    judged = any(column.comparable for column in fairness.columns)
    verdict = "; ".join(fairness.violations) or ("passed" if judged else "nothing to judge, too few rows or groups")
    return f"""# Model card: {MODEL_NAME}

Probability that a credit applicant defaults, from {len(model.columns)} inputs; calibrated XGBoost.

## Intended use
Decision support for unsecured consumer credit like that of its training data. Every decision comes with its reasons.
Not for other products, other populations, or decisions without a way to contest them.

## Data
`{lineage.dataset}` {lineage.dataset_version}, snapshot `{lineage.dataset_sha256}`: {model.report.rows:,} training rows,
{model.report.positives:.1%} defaults. Inputs: {", ".join(column.label for column in model.columns)}.

## Performance on {evaluation.rows:,} held-out rows
| model | ROC-AUC (95 % interval) | PR-AUC (95 % interval) |
|---|---|---|
| this model | {evaluation.model.roc_auc} | {evaluation.model.pr_auc} |
{baselines}

Brier score {evaluation.brier:.4f}; expected calibration error {evaluation.calibration_error:.4f}
(before calibration {evaluation.brier_uncalibrated:.4f} and {evaluation.calibration_error_uncalibrated:.4f}).

## Decision
Declined at a probability of {policy.threshold:.4f} or more: the least cost on validation rows, where a missed default
costs {policy.cost_false_negative:g} and a declined payer {policy.cost_false_positive:g}.
Precision {evaluation.precision:.3f}, recall {evaluation.recall:.3f}, F1 {evaluation.f1:.3f}.

## Fairness
| protected | demographic-parity difference | equalized-odds difference |
|---|---|---|
{gaps}

Gate: {verdict}. Mitigation: {model.report.mitigation or "none"}.
Protected columns are not among the inputs unless listed above; others may still stand in for them.
"""
