"""Segmentation: from purchases in the warehouse to a segment for every customer, in the warehouse and online."""

from typing import NamedTuple

from kfp import dsl

from components.data.load_purchases.component import load_purchases
from components.data.publish_customer_features.component import publish_customer_features
from components.data.summarize_customers.component import summarize_customers
from components.data.validate_purchases.component import validate_purchases
from components.deployment.materialize_features.component import materialize_features
from components.deployment.score_customers.component import score_customers
from components.registry.compare_segmentations.component import compare_segmentations
from components.registry.package_segmentation.component import package_segmentation
from components.training.train_segments.component import train_segments
from pipelines.promotion import register_and_promote


class Outputs(NamedTuple):
    """What a run leaves behind."""

    metrics: dsl.Metrics
    data_report: dsl.HTML
    choice_report: dsl.HTML
    segments_report: dsl.HTML
    evaluation: dsl.Artifact
    package: dsl.Model
    version: str
    promote: bool
    reason: str


@dsl.pipeline(  # type: ignore[untyped-decorator]
    name="segmentation", description="Segment customers by how they buy, and score all of them in the warehouse."
)
def segmentation(
    dataset: str = "cdnow",
    data_uri: str = "",
    sql_query: str = "",
    schema_yaml: str = "",
    transactions: str = "transactions",
    run_date: str = "",
    tolerance: float = 0.0,
    rows_per_partition: int = 5_000_000,
    sample_rows: int = 50_000,
    minimum_segments: int = 2,
    maximum_segments: int = 10,
    bootstraps: int = 10,
    minimum_silhouette: float = 0.2,
    minimum_share: float = 0.001,
    minimum_kept: float = 0.5,
    registered_model: str = "segmentation",
    tracking_uri: str = "",
    seed: int = 7,
) -> Outputs:
    """Computes features, chooses and names segments, registers them, scores all customers, and puts features online.

    WAREHOUSE_URL names the warehouse, FEATURE_STORE_CONFIG the feature store; both are files of the workspace without.

    Args:
        dataset: Name of a dataset of purchases, or `warehouse` if the table is there already.
        data_uri: CSV or Parquet file of the user's own purchases.
        sql_query: The user's own purchases as one SELECT; BLUEPRINTS_DATABASE_URL says where.
        schema_yaml: Schema of the user's own purchases.
        transactions: Table of the purchases in the warehouse.
        run_date: Date that features are computed as of (YYYY-MM-DD): only purchases before it count. Empty for the day
            after the newest purchase, `today` for the day on which the run starts.
        tolerance: Share of the purchases that may be wrong; features are made without those.
        rows_per_partition: Customers that one task is to summarise; more are summarised by tasks beside each other.
        sample_rows: Customers that the number of segments is chosen on.
        minimum_segments: Least number of segments to try.
        maximum_segments: Largest number of segments to try.
        bootstraps: Bootstraps that tell how stable the segments are.
        minimum_silhouette: Least silhouette of any champion.
        minimum_share: Least share of customers in a segment.
        minimum_kept: Least share of customers who must keep the segment that the champion gives them.
        registered_model: Name in the registry.
        tracking_uri: MLflow's store; the environment's if empty.
        seed: Seed of everything that is random.

    Returns:
        Reports, figures, the model package and the gate's verdict.
    """
    loaded = load_purchases(
        dataset=dataset,
        data_uri=data_uri,
        sql_query=sql_query,
        schema_yaml=schema_yaml,
        transactions=transactions,
        run_date=run_date,
    )
    today = loaded.outputs["Output"]
    validated = validate_purchases(run_date=today, transactions=transactions, tolerance=tolerance)
    features = publish_customer_features(
        run_date=today, transactions=transactions, rows_per_partition=rows_per_partition
    ).after(validated)
    with dsl.ParallelFor(features.outputs["Output"], name="one partition of the customers") as partition:
        part = summarize_customers(partition=partition, sample_rows=sample_rows, seed=seed)
    trained = train_segments(
        run_date=today,
        summaries=dsl.Collected(part.outputs["summary"]),
        minimum_segments=minimum_segments,
        maximum_segments=maximum_segments,
        bootstraps=bootstraps,
        registered_model=registered_model,
        tracking_uri=tracking_uri,
        seed=seed,
    )
    packaged = package_segmentation(
        run_date=today,
        model=trained.outputs["model"],
        summary=trained.outputs["summary"],
        pipeline_run=dsl.PIPELINE_JOB_ID_PLACEHOLDER,
        dataset=loaded.outputs["name"],
        registered_model=registered_model,
        tracking_uri=tracking_uri,
        seed=seed,
    )
    compared = compare_segmentations(
        summary=trained.outputs["summary"],
        package=packaged.outputs["package"],
        registered_model=registered_model,
        minimum_silhouette=minimum_silhouette,
        minimum_share=minimum_share,
        minimum_kept=minimum_kept,
        tracking_uri=tracking_uri,
    )
    reports = {"evaluation_report": trained.outputs["report"]}
    registered = register_and_promote(compared, packaged.outputs["package"], reports, registered_model, tracking_uri)
    scored = score_customers(
        run_date=today,
        package=packaged.outputs["package"],
        promote=compared.outputs["Output"],
        transactions=transactions,
        registered_model=registered_model,
        tracking_uri=tracking_uri,
    ).after(registered)
    online = materialize_features(run_date=today).after(scored)
    # The warehouse, the registry and the store are not the same from run to run, whatever a step's inputs are.
    for stateful in (loaded, validated, features, part, trained, packaged, scored, online):
        stateful.set_caching_options(enable_caching=False)
    return Outputs(
        metrics=trained.outputs["metrics"],
        data_report=validated.outputs["report"],
        choice_report=trained.outputs["report"],
        segments_report=scored.outputs["report"],
        evaluation=trained.outputs["evaluation"],
        package=packaged.outputs["package"],
        version=registered.output,
        promote=compared.outputs["Output"],
        reason=compared.outputs["reason"],
    )
