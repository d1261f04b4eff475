"""Promote a registered version to champion."""

from components import component


@component
def promote_model(
    version: str,
    reason: str,
    promoted_by: str,
    registered_model: str = "credit-risk",
    tracking_uri: str = "",
) -> str:
    """Moves the alias `champion` to a version and writes the promotion log.

    Args:
        version: Version number in the registry.
        reason: Why it may be promoted.
        promoted_by: Who or what promotes it.
        registered_model: Name in the registry.
        tracking_uri: MLflow's store; the environment's if empty.

    Returns:
        The version of the champion's package.
    """
    from blueprints.governance.registry import Registry

    registry = Registry(tracking_uri or None)
    model = registry.by_number(registered_model, version)
    registry.promote(model, by=promoted_by, reason=reason)
    return model.package_version
