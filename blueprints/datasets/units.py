"""Rows that a split must not part: documents and families of similar texts, divided with the strata in mind."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np

from blueprints.datasets.duplicates import connected
from blueprints.schema import TableSchema

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from numpy.typing import NDArray


SMALLEST_STRATUM = 10


def join_units(family: NDArray[np.intp], group: pd.Series[str] | None) -> NDArray[np.intp]:
    """The number of each row's unit, from 0, shape (rows,): rows of one family or one group are of one unit.

    Args:
        family: Number of each row's family, shape (rows,).
        group: Value of the schema's group column, if it has one; rows without a value stand alone.
    """
    import pandas as pd

    if group is None:
        return family
    code = pd.factorize(group)[0]
    named = np.flatnonzero(code >= 0)
    rows = np.arange(len(family))
    # Rows, then families, then groups are the items.
    members = np.concatenate([len(rows) + family, 2 * len(rows) + code[named]])
    joined = connected(3 * len(rows), np.concatenate([rows, named]), members)
    return np.unique(joined[: len(rows)], return_inverse=True)[1]


def strata(frame: pd.DataFrame, schema: TableSchema) -> NDArray[np.intp]:
    """The number of each row's stratum, from 0, shape (rows,): its target and its categories.

    Combinations of categories with fewer than `SMALLEST_STRATUM` rows share the stratum of their target.
    """
    columns = [column.name for column in schema.features() if column.kind == "category"]
    target = frame[schema.target].cat.codes.to_numpy(np.intp)
    detailed = frame.groupby([schema.target, *columns], observed=True, dropna=False).ngroup().to_numpy(np.intp)
    small = np.bincount(detailed)[detailed] < SMALLEST_STRATUM
    return np.unique(np.where(small, target, target.max() + 1 + detailed), return_inverse=True)[1]


def divide(
    unit: NDArray[np.intp], stratum: NDArray[np.intp], keys: Sequence[str], shares: Sequence[float], seed: int
) -> tuple[NDArray[np.intp], ...]:
    """Row positions of parts that hold whole units, ascending: one part a share, and one of what is left.

    Units come in the order of a keyed hash of their texts, those of many rows before single rows. Each goes to the
    first part that still lacks so many rows of its strata. So the order of the rows does not matter, single rows are
    stratified to one row a stratum, and a few more rows in a table move few others.

    Args:
        unit: Number of each row's unit, from 0.
        stratum: Number of each row's stratum, from 0.
        keys: A text of each row that tells it from others.
        shares: Share of rows of each part but the last, above 0.
        seed: Key of the hash.
    """
    digest = np.array([_hash(key, seed) for key in keys], np.uint64)
    first = np.full(unit.max() + 1, np.iinfo(np.uint64).max, np.uint64)
    np.minimum.at(first, unit, digest)
    size = np.bincount(unit)
    rows = np.split(np.argsort(unit, kind="stable"), np.cumsum(size)[:-1])
    lacking = np.outer(shares, np.bincount(stratum))
    part = np.full(len(unit), len(shares))
    for number in np.lexsort((first, size == 1)):
        kinds = stratum[rows[number]]
        fitting = np.flatnonzero(lacking[:, kinds].mean(axis=1) >= len(kinds) - 0.5)
        if len(fitting):
            np.subtract.at(lacking[fitting[0]], kinds, 1)
            part[rows[number]] = fitting[0]
    return tuple(np.flatnonzero(part == number) for number in range(len(shares) + 1))


def _hash(key: str, seed: int) -> int:
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8, key=str(seed).encode()).digest())
