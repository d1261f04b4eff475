"""The end of every training pipeline: a model is registered, and becomes the champion if the gate allows it."""

from collections.abc import Mapping
from typing import Any

from kfp import dsl

from components.registry.promote_model.component import promote_model
from components.registry.register_model.component import register_model


def register_and_promote(
    compared: Any, package: Any, reports: Mapping[str, Any], registered_model: Any, tracking_uri: Any
) -> Any:
    """Wires the last steps of the pipeline that is being defined; none of them is ever taken from a cache.

    Args:
        compared: Task of the gate: returns whether the model may be promoted, and has the output `reason`.
        package: Output with the model package.
        reports: Outputs with reports, by the names that `register_model` has for them.
        registered_model: Name in the registry.
        tracking_uri: MLflow's store.

    Returns:
        The task that registers; its output is the version.
    """
    registered = register_model(
        package=package, **reports, registered_model=registered_model, tracking_uri=tracking_uri
    ).after(compared)
    # kfp.local resolves a condition only on the output that a plain return value has.
    with dsl.If(compared.outputs["Output"] == True, name="the gate allows it"):  # noqa: E712 - a KFP expression
        promoted = promote_model(
            version=registered.output,
            reason=compared.outputs["reason"],
            promoted_by=f"pipeline run {dsl.PIPELINE_JOB_ID_PLACEHOLDER}",
            registered_model=registered_model,
            tracking_uri=tracking_uri,
        )
    for stateful in (compared, registered, promoted):
        stateful.set_caching_options(enable_caching=False)
    return registered
