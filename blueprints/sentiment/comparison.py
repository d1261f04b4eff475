"""Champion against challenger on the same held-out texts: may the challenger be promoted?"""

from __future__ import annotations

import numpy as np
from pydantic import BaseModel

from blueprints.datasets import Snapshot
from blueprints.estimates import Estimate
from blueprints.model_package import ModelPackage
from blueprints.sentiment.classifier import TextClassifier
from blueprints.sentiment.evaluation import mean_estimate, row_groups
from blueprints.sentiment.examples import Examples


class Comparison(BaseModel):
    """The promotion gate's verdict.

    Attributes:
        challenger: Version of the challenger's package.
        champion: Version of the champion's package; empty if there is none.
        accuracy: Accuracy of the challenger.
        accuracy_difference: Accuracy of the challenger minus the champion's, paired; None if there is nothing to
            compare with.
        promote: Whether the challenger may become champion.
        reason: Why, in words.
    """

    challenger: str
    champion: str = ""
    accuracy: float
    accuracy_difference: Estimate | None = None
    promote: bool
    reason: str


def compare(
    challenger: ModelPackage,
    champion: ModelPackage | None,
    test: Snapshot,
    *,
    minimum_accuracy: float = 0.7,
    tolerance: float = 0.02,
    seed: int = 0,
) -> Comparison:
    """Compares two packages on test texts, as they would serve.

    The challenger passes if its accuracy reaches the minimum and, with 97.5 % confidence, is not below the champion's
    by more than the tolerance.

    Args:
        challenger: The new package.
        champion: The package in service, or None.
        test: Texts that the challenger has not seen.
        minimum_accuracy: Least accuracy of any champion.
        tolerance: Loss of accuracy against the champion that a promotion may cost at the most.
        seed: Seed of the bootstrap.
    """
    examples = Examples.of(test.frame, test.schema)

    def hits(package: ModelPackage) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        answers = TextClassifier.open(package, threads=2).classify(examples.texts).argmax(axis=1)
        return np.asarray(answers == examples.labels, np.float64)

    new = hits(challenger)
    accuracy = float(new.mean())
    enough = accuracy >= minimum_accuracy
    verdict = Comparison(
        challenger=challenger.version,
        champion="" if champion is None else champion.version,
        accuracy=accuracy,
        promote=enough,
        reason=f"no champion yet, and the accuracy {accuracy:.4f} {'reaches' if enough else 'is below'} the minimum "
        f"{minimum_accuracy:g}",
    )
    if champion is None:
        return verdict
    if champion.version == challenger.version:
        words, difference = "it is the champion already", Estimate(value=0, low=0, high=0)
    elif (labels := _labels(champion)) != examples.names:
        reason = (
            f"the champion has other labels ({', '.join(labels)}) than these texts ({', '.join(examples.names)}), so "
            "the two cannot be compared: register this model under a name of its own"
        )
        return verdict.model_copy(update={"promote": False, "reason": reason})
    else:
        difference = mean_estimate(new - hits(champion), row_groups(test.frame, test.schema), seed=seed)
        within = "within" if difference.low >= -tolerance else "beyond"
        words = (
            f"{difference.value:+.4f} ({difference.low:+.4f} to {difference.high:+.4f}) to the champion: {within} the "
            f"tolerance of {tolerance:g}"
        )
    reason = f"accuracy {accuracy:.4f}, {words}" + ("" if enough else f", but below the minimum {minimum_accuracy:g}")
    return verdict.model_copy(
        update={
            "accuracy_difference": difference,
            "promote": enough and difference.low >= -tolerance,
            "reason": reason,
        }
    )


def _labels(package: ModelPackage) -> tuple[str, ...]:
    return package.signature.outputs[0].categories
