"""Labelled texts as training and evaluation read them: from a typed table with one text column."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from blueprints.schema import TableSchema

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Examples:
    """Texts with their labels.

    Attributes:
        texts: The texts.
        labels: Position of each text's label in `names`, shape (texts,).
        names: All labels, in the schema's order, which is that of a model's logits.
    """

    texts: list[str]
    labels: NDArray[np.int64]
    names: tuple[str, ...]

    @classmethod
    def of(cls, frame: pd.DataFrame, schema: TableSchema) -> Examples:
        """The examples in a typed table.

        Raises:
            ValueError: The table has not exactly one text column, or its target is no category.
        """
        columns = [column.name for column in schema.columns if column.kind == "text"]
        target = schema.column(schema.target)
        if len(columns) != 1 or target.kind != "category":
            raise ValueError(
                f"a text classifier learns from one text column and a category as target; here are {len(columns)} text "
                f"columns, and the target {target.name!r} is of kind {target.kind!r}"
            )
        codes = {name: code for code, name in enumerate(target.categories)}
        labels = np.array([codes[str(label)] for label in frame[target.name]], np.int64)
        return cls([str(text) for text in frame[columns[0]]], labels, target.categories)
