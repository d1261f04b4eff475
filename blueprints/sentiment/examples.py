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
"""Optional column with the mean of what people said of a text, negative to positive."""


@dataclass(frozen=True)
class Examples:
    """Texts with their labels.

    Attributes:
        texts: The texts.
        labels: Position of each text's label in `names`, shape (texts,).
        names: All labels, in the schema's order, which is that of a model's logits.
        valence: How strongly people felt it, below 0 for the first of two labels and above 0 for the second, shape
            (texts,); None where the table has no such column.
    """

    texts: list[str]
    labels: NDArray[np.int64]
    names: tuple[str, ...]
    valence: NDArray[np.float64] | None = None

    @classmethod
    def of(cls, frame: pd.DataFrame, schema: TableSchema) -> Examples:
        """The examples in a typed table.

        Raises:
            ValueError: The table has not exactly one text column, or its target is no category.
        """
        columns = [column.name for column in schema.features() if column.kind == "text"]
        target = schema.column(schema.target)
        if len(columns) != 1 or target.kind != "category":
            raise ValueError(
                f"a text classifier learns from one text column and a category as target; here are {len(columns)} text "
                f"columns, and the target {target.name!r} is of kind {target.kind!r}"
            )
        codes = {name: code for code, name in enumerate(target.categories)}
        labels = np.array([codes[str(label)] for label in frame[target.name]], np.int64)
        valence = None
        if VALENCE in frame and len(codes) == 2:
            valence = frame[VALENCE].to_numpy(np.float64)
        return cls([str(text) for text in frame[columns[0]]], labels, target.categories, valence)

    def targets(self, sharpness: float) -> NDArray[np.float64]:
        """What a model is to answer, shape (texts, labels), rows sum to 1.

        Args:
            sharpness: Where people said how strongly they felt, the second label's share is
                1 / (1 + exp(-sharpness * valence)); 0 means the labels as they are.
        """
        if self.valence is None or sharpness == 0:
            return np.eye(len(self.names))[self.labels]
        share = 1 / (1 + np.exp(-sharpness * self.valence))
        return np.column_stack([1 - share, share])
