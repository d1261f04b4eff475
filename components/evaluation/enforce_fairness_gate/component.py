"""Stop the pipeline if a scorecard breaks the fairness gate."""

from kfp.dsl import Artifact, Input

from components import component


@component
def enforce_fairness_gate(audit: Input[Artifact]) -> str:
    """Fails if the audit found a violation; a step of its own, so that the audit's report stays readable.

    Args:
        audit: The audit as JSON.

    Returns:
        `passed`.

    Raises:
        UnfairModelError: The gate does not hold; the message names every violation and what can be done.
    """
    from pathlib import Path

    from blueprints.credit_risk.fairness import FairnessAudit, enforce

    enforce(FairnessAudit.model_validate_json(Path(audit.path).read_text()))
    return "passed"
