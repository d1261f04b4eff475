"""Labelled texts as training and evaluation read them: from a typed table with one text column."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from blueprints.schema import TableSchema

if TYPE_CHECKING:
    import pandas as pd

VALENCE = "valence"
"""Optional number column with the mean of what people said of a text, negative to positive."""

STRONGEST = 4.0
"""Largest absolute valence."""


@dataclass(frozen=True)
class Examples:
    """Texts with their labels.

    Attributes:
        texts: The texts.
        labels: Position of each text's label in `names`, shape (texts,).
        names: All labels, in the schema's order, which is that of a model's logits.
        valence: How strongly people felt it, from -`STRONGEST`, the first of two labels, to `STRONGEST`, the second;
            NaN where nobody said. Shape (texts,); None where the table has no such column.
    """

    texts: list[str]
    labels: NDArray[np.int64]
    names: tuple[str, ...]
    valence: NDArray[np.float64] | None = None

    @classmethod
    def of(cls, frame: pd.DataFrame, schema: TableSchema) -> Examples:
        """The examples in a typed table.

        Raises:
            ValueError: The table has not exactly one text column, its target is no category, or it has none.
        """
        columns = [column.name for column in schema.features() if column.kind == "text"]
        target = schema.outcome()
        if len(columns) != 1 or target.kind != "category":
            raise ValueError(
                f"a text classifier learns from one text column and a category as target; here are {len(columns)} text "
                f"columns, and the target {target.name!r} is of kind {target.kind!r}"
            )
        codes = {name: code for code, name in enumerate(target.categories)}
        labels = np.array([codes[str(label)] for label in frame[target.name]], np.int64)
        valence = None
        numbers = {column.name for column in schema.features() if column.kind in ("number", "integer")}
        if VALENCE in numbers and len(codes) == 2:
            valence = frame[VALENCE].to_numpy(np.float64, na_value=np.nan)
        return cls([str(text) for text in frame[columns[0]]], labels, target.categories, valence)

    def targets(self, sharpness: float) -> NDArray[np.float64]:
        """What a model is to answer, shape (texts, labels), rows sum to 1.

        Args:
            sharpness: Where the valence has the label's sign, the second label's share is
                1 / (1 + exp(-sharpness * valence)); elsewhere, and if 0, the labels are taken as they are.

        Raises:
            ValueError: The valence leaves its range, or most of its signs are not those of the labels.
        """
        sure = np.eye(len(self.names))[self.labels]
        if self.valence is None or sharpness == 0:
            return sure
        said = np.isfinite(self.valence) & (self.valence != 0)
        agrees = said & ((self.valence > 0) == (self.labels == 1))
        advice = f"correct the column {VALENCE!r}, or give it another name if it means something else"
        if (np.abs(self.valence[~np.isnan(self.valence)]) > STRONGEST).any():
            raise ValueError(f"{VALENCE}: values go beyond -{STRONGEST:g} to {STRONGEST:g}; {advice}")
        if 2 * agrees.sum() < said.sum():
            raise ValueError(
                f"{VALENCE}: {said.sum() - agrees.sum():,} of {said.sum():,} signs contradict the labels (below 0 is "
                f"{self.names[0]!r}, above 0 is {self.names[1]!r}); {advice}"
            )
        share = 1 / (1 + np.exp(-sharpness * np.where(agrees, self.valence, 0)))
        return np.where(agrees[:, None], np.column_stack([1 - share, share]), sure)
