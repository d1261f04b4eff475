"""The gate of a segmentation: is it clear, stable, and no break with what people know?"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from blueprints.model_package import ModelPackage
from blueprints.segmentation.segmenter import Segmenter


class Comparison(BaseModel):
    """The promotion gate's verdict.

    Attributes:
        challenger: Version of the challenger's package.
        champion: Version of the champion's package; empty if there is none.
        silhouette: Of the challenger, -1 to 1.
        smallest_share: Share of customers in its smallest segment, 0 to 1.
        kept: Share of the sampled customers whose segment has the id that the champion gives them, 0 to 1; None if
            there is nothing to compare with.
        promote: Whether the challenger may become champion.
        reason: Why, in words.
    """

    model_config = ConfigDict(frozen=True)

    challenger: str
    champion: str = ""
    silhouette: float
    smallest_share: float
    kept: float | None = None
    promote: bool
    reason: str


def compare(
    challenger: ModelPackage,
    champion: ModelPackage | None,
    sample: NDArray[np.floating],
    *,
    minimum_silhouette: float = 0.2,
    minimum_share: float = 0.001,
    minimum_kept: float = 0.5,
) -> Comparison:
    """Judges a segmentation by itself and beside the champion.

    A champion with other features is not compared: nobody can say which of its segments is which. One that knows later
    purchases stays, so a back-fill of past dates is scored with it.

    Args:
        challenger: The new package.
        champion: The package in service, or None.
        sample: Feature rows of today's customers, NaN where missing, shape (n, features).
        minimum_silhouette: Least silhouette of any champion.
        minimum_share: Least share of customers in a segment; smaller ones are outliers, not a segment.
        minimum_kept: Least share of customers who must keep the id that the champion gives them.
    """
    new = Segmenter.from_package(challenger)
    silhouette = challenger.lineage.metrics["silhouette"]
    smallest = min(segment.share for segment in new.segments.segments)
    refusals = []
    if silhouette < minimum_silhouette:
        refusals.append(f"the silhouette {silhouette:.3f} is below {minimum_silhouette:g}")
    if smallest < minimum_share:
        refusals.append(f"the smallest segment has {smallest:.2%} of the customers, less than {minimum_share:.2%}")
    kept = None
    words = f"silhouette {silhouette:.3f}, the smallest segment has {smallest:.1%} of the customers"
    if champion is None:
        words += "; no champion yet"
    elif champion.version == challenger.version:
        words += "; it is the champion already"
    else:
        old = Segmenter.from_package(champion)
        if champion.lineage.dataset_version > challenger.lineage.dataset_version:
            refusals.append(
                f"the champion knows purchases up to {champion.lineage.dataset_version}, this run only up to "
                f"{challenger.lineage.dataset_version}: a back-fill is scored with the champion"
            )
        if old.columns != new.columns:
            words += "; the champion has other features, so ids begin anew"
        else:
            kept = float(np.mean(old.ids[old.predict(sample)] == new.ids[new.predict(sample)]))
            words += f"; {kept:.1%} of the customers keep their segment"
            if kept < minimum_kept:
                refusals.append(
                    f"only {kept:.1%} of the customers keep their segment, less than {minimum_kept:.0%}: look at the "
                    "report, and lower minimum_kept if the break is wanted"
                )
    return Comparison(
        challenger=challenger.version,
        champion="" if champion is None else champion.version,
        silhouette=silhouette,
        smallest_share=smallest,
        kept=kept,
        promote=not refusals,
        reason="; ".join(refusals) if refusals else words,
    )
