"""Champion against challenger on the same held-out rows: may the challenger be promoted?"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import BaseModel

from blueprints.credit_risk.application import encode_frame
from blueprints.credit_risk.evaluation import evaluate
from blueprints.credit_risk.scorer import CreditScorer
from blueprints.estimates import Estimate
from blueprints.model_package import ModelPackage
from blueprints.schema import Column, TableSchema
from blueprints.threads import default_threads

if TYPE_CHECKING:
    import pandas as pd


class Comparison(BaseModel):
    """The promotion gate's verdict.

    Attributes:
        challenger: Version of the challenger's package.
        champion: Version of the champion's package; empty if there is none.
        auc_difference: ROC-AUC of the challenger minus the champion's, paired; None without a comparable champion.
        cost_difference: Cost per application of the challenger minus the champion's; None likewise.
        promote: Whether the challenger may become champion.
        reason: Why, in words.
    """

    challenger: str
    champion: str = ""
    auc_difference: Estimate | None = None
    cost_difference: float | None = None
    promote: bool
    reason: str


def compare(
    challenger: ModelPackage,
    champion: ModelPackage | None,
    test: pd.DataFrame,
    schema: TableSchema,
    *,
    minimum_auc: float = 0.6,
    tolerance: float = 0.005,
    seed: int = 0,
) -> Comparison:
    """Compares two packages on test rows, as they would serve.

    The challenger passes if its ROC-AUC reaches the minimum and, with 97.5 % confidence, is not below the champion's
    by more than the tolerance.

    Args:
        challenger: The new package.
        champion: The package in service, or None.
        test: Rows that the challenger has not seen.
        schema: Columns and their roles.
        minimum_auc: Least ROC-AUC of any champion.
        tolerance: Loss of ROC-AUC against the champion that a promotion may cost at the most.
        seed: Seed of the bootstrap.
    """
    target = test[schema.target].to_numpy()
    new = CreditScorer(challenger, threads=default_threads())
    new_margins = new.margins(encode_frame(test, new.columns))
    if champion is None:
        auc = evaluate(new_margins, target, new.policy, {}, resamples=100, seed=seed).model.roc_auc.value
        passed = auc >= minimum_auc
        words = "reaches" if passed else "is below"
        reason = f"no champion yet, and the ROC-AUC {auc:.4f} {words} the minimum {minimum_auc:g}"
        return Comparison(challenger=challenger.version, promote=passed, reason=reason)
    old = CreditScorer(champion, threads=default_threads())
    known = {_meaning(column) for column in schema.columns}
    if missing := [column.name for column in old.columns if _meaning(column) not in known]:
        return Comparison(
            challenger=challenger.version,
            champion=champion.version,
            promote=False,
            reason=f"the champion needs other columns ({', '.join(missing[:3])}), so the two cannot be compared: "
            "register this model under a name of its own",
        )
    old_margins = old.margins(encode_frame(test, old.columns))
    new_result = evaluate(new_margins, target, new.policy, {"champion": old_margins}, seed=seed)
    old_result = evaluate(old_margins, target, old.policy, {}, resamples=100, seed=seed)
    difference, auc = new_result.auc_margin, new_result.model.roc_auc.value
    passed = auc >= minimum_auc and difference.low >= -tolerance
    interval = f"{difference.value:+.4f} ({difference.low:+.4f} to {difference.high:+.4f}) to the champion"
    verdict = f"{'within' if difference.low >= -tolerance else 'beyond'} the tolerance of {tolerance:g}"
    words = "it is the champion already" if champion.version == challenger.version else f"{interval}: {verdict}"
    return Comparison(
        challenger=challenger.version,
        champion=champion.version,
        auc_difference=difference,
        cost_difference=new_result.cost_per_application - old_result.cost_per_application,
        promote=passed,
        reason=f"ROC-AUC {auc:.4f}, {words}"
        + ("" if auc >= minimum_auc else f", but below the minimum {minimum_auc:g}"),
    )


def _meaning(column: Column) -> tuple[str, str, tuple[str, ...]]:
    """What a model depends on; titles, descriptions and bounds may change under it."""
    return column.name, column.kind, column.categories
