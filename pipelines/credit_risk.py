"""Credit risk: from raw applications to a registered, explained, audited champion."""

from typing import NamedTuple

from kfp import dsl

from components.data.ingest_dataset.component import ingest_dataset
from components.data.split_dataset.component import split_dataset
from components.data.validate_dataset.component import validate_dataset
from components.evaluation.audit_fairness.component import audit_fairness
from components.evaluation.backtest_credit_risk.component import backtest_credit_risk
from components.evaluation.enforce_fairness_gate.component import enforce_fairness_gate
from components.evaluation.evaluate_credit_risk.component import evaluate_credit_risk
from components.evaluation.explain_credit_risk.component import explain_credit_risk
from components.registry.compare_with_champion.component import compare_with_champion
from components.registry.package_credit_risk.component import package_credit_risk
from components.training.score_baselines.component import score_baselines
from components.training.train_credit_risk.component import train_credit_risk
from pipelines.promotion import register_and_promote


class Outputs(NamedTuple):
    """What a run leaves behind."""

    metrics: dsl.Metrics
    data_report: dsl.HTML
    evaluation_report: dsl.HTML
    backtest_report: dsl.HTML
    fairness_report: dsl.HTML
    explanation_report: dsl.HTML
    evaluation: dsl.Artifact
    package: dsl.Model
    version: str
    promote: bool
    reason: str


@dsl.pipeline(  # type: ignore[untyped-decorator]
    name="credit-risk", description="Train, evaluate, audit, explain, package and register a scorecard."
)
def credit_risk(
    dataset: str = "taiwan",
    data_uri: str = "",
    sql_query: str = "",
    schema_yaml: str = "",
    test_share: float = 0.2,
    validation_share: float = 0.15,
    split_seed: int = 7,
    trials: int = 12,
    cost_false_negative: float = 5.0,
    cost_false_positive: float = 1.0,
    backtest_periods: int = 6,
    demographic_parity_difference: float = 0.15,
    equalized_odds_difference: float = 0.15,
    group_rows: int = 200,
    mitigation: str = "none",
    mitigation_column: str = "",
    minimum_auc: float = 0.6,
    tolerance: float = 0.005,
    registered_model: str = "credit-risk",
    tracking_uri: str = "",
    seed: int = 7,
) -> Outputs:
    """Trains, evaluates, audits, explains, packages, compares, registers and promotes a scorecard.

    Args:
        dataset: Name of a dataset, or of the user's own data.
        data_uri: CSV or Parquet file of the user's own data; empty for a named dataset.
        sql_query: The user's own data as one SELECT; BLUEPRINTS_DATABASE_URL says where.
        schema_yaml: Schema of the user's own data.
        test_share: Share of the rows that is held out.
        validation_share: Share of the rows for calibration and threshold.
        split_seed: Seed of the stratified split. Keep it: a champion must not have learned from the rows that a
            challenger is compared on.
        trials: Settings that the search tries.
        cost_false_negative: Cost of accepting an applicant who defaults.
        cost_false_positive: Cost of declining an applicant who would have paid.
        backtest_periods: Periods of the backtest.
        demographic_parity_difference: Largest gap in selection rates that the gate allows.
        equalized_odds_difference: Largest gap in error rates that the gate allows.
        group_rows: Rows below which a group is shown and not judged.
        mitigation: `none`, `equalized_odds` or `demographic_parity`.
        mitigation_column: Protected column that the mitigation looks at.
        minimum_auc: Least ROC-AUC of any champion.
        tolerance: Loss of ROC-AUC that a promotion may cost at the most.
        registered_model: Name in the registry.
        tracking_uri: MLflow's store; the environment's if empty.
        seed: Seed of everything else that is random.

    Returns:
        Reports, figures, the model package and the gate's verdict.
    """
    ingested = ingest_dataset(dataset=dataset, data_uri=data_uri, sql_query=sql_query, schema_yaml=schema_yaml)
    validated = validate_dataset(snapshot=ingested.outputs["snapshot"])
    parts = split_dataset(
        snapshot=ingested.outputs["snapshot"],
        test_share=test_share,
        validation_share=validation_share,
        seed=split_seed,
    ).after(validated)
    train, validation, test = (parts.outputs[part] for part in ("train", "validation", "test"))
    trained = train_credit_risk(
        train=train,
        validation=validation,
        trials=trials,
        cost_false_negative=cost_false_negative,
        cost_false_positive=cost_false_positive,
        mitigation=mitigation,
        mitigation_column=mitigation_column,
        seed=seed,
    )
    model = trained.outputs["model"]
    baselines = score_baselines(train=train, test=test, seed=seed)
    evaluated = evaluate_credit_risk(test=test, model=model, baselines=baselines.outputs["scores"], seed=seed)
    backtested = backtest_credit_risk(
        train=train, validation=validation, model=model, periods=backtest_periods, seed=seed
    )
    audited = audit_fairness(
        test=test,
        model=model,
        demographic_parity_difference=demographic_parity_difference,
        equalized_odds_difference=equalized_odds_difference,
        group_rows=group_rows,
    )
    explained = explain_credit_risk(test=test, model=model, seed=seed)
    gate = enforce_fairness_gate(audit=audited.outputs["audit"])
    packaged = package_credit_risk(
        train=train,
        model=model,
        evaluation=evaluated.outputs["evaluation"],
        audit=audited.outputs["audit"],
        pipeline_run=dsl.PIPELINE_JOB_ID_PLACEHOLDER,
        registered_model=registered_model,
        tracking_uri=tracking_uri,
        seed=seed,
    ).after(gate)
    compared = compare_with_champion(
        test=test,
        package=packaged.outputs["package"],
        registered_model=registered_model,
        minimum_auc=minimum_auc,
        tolerance=tolerance,
        tracking_uri=tracking_uri,
        seed=seed,
    )
    reports = {
        "evaluation_report": evaluated.outputs["report"],
        "backtest_report": backtested.outputs["report"],
        "fairness_report": audited.outputs["report"],
        "explanation_report": explained.outputs["report"],
    }
    registered = register_and_promote(compared, packaged.outputs["package"], reports, registered_model, tracking_uri)
    return Outputs(
        metrics=evaluated.outputs["metrics"],
        data_report=validated.outputs["report"],
        evaluation_report=evaluated.outputs["report"],
        backtest_report=backtested.outputs["report"],
        fairness_report=audited.outputs["report"],
        explanation_report=explained.outputs["report"],
        evaluation=evaluated.outputs["evaluation"],
        package=packaged.outputs["package"],
        version=registered.output,
        promote=compared.outputs["Output"],
        reason=compared.outputs["reason"],
    )
