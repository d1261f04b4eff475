"""Texts that say the same: found exactly, dropped or kept together, counted.

Two texts are *the same* if they are equal but for case and white space (Unicode NFKC), and *similar* if the sets of
their character 5-grams, punctuation and digits left out, have a Jaccard index of at least 0.8. A family is all that a
chain of similar texts connects. Similar texts are found by prefix filtering (Chaudhuri et al. 2006, "A Primitive
Operator for Similarity Joins in Data Cleaning"): two sets with that index share one of the rarest fifth of their
shingles, so only texts that do are compared. Nothing is random, and nothing is missed as long as a shingle is rare: of
more than `NEIGHBOURS` texts that share one, each is compared with that many next ones by length.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from pydantic import BaseModel, ConfigDict

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray
    from scipy.sparse import csr_array

SHINGLE = 5
SIMILAR = 0.8
NEIGHBOURS = 50

_PAIRS_AT_ONCE = 200_000
_NOT_LETTERS = re.compile(r"[\W\d_]+")


class DuplicateReport(BaseModel):
    """What became of texts that say the same.

    Attributes:
        rows: Rows before.
        repeated: Rows dropped because an earlier row has the same text and label.
        outvoted: Rows dropped because most rows with the same text have another label.
        undecided: Rows dropped because as many rows with the same text have another label.
        similar: Rows dropped because an earlier row has a similar text and the same label.
        contrasting: Rows kept although similar texts have another label: often the one word between them tells.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    rows: int
    repeated: int
    outvoted: int
    undecided: int
    similar: int
    contrasting: int

    @property
    def dropped(self) -> int:
        """Rows dropped altogether."""
        return self.repeated + self.outvoted + self.undecided + self.similar


@dataclass(frozen=True)
class Distinct:
    """The rows of a table that are left without its duplicates.

    Attributes:
        rows: Their positions, ascending.
        family: The number of each one's family: rows of one must not be parted.
        report: What was dropped.
    """

    rows: NDArray[np.intp]
    family: NDArray[np.intp]
    report: DuplicateReport


def distinct_texts(texts: Sequence[str], label: NDArray[np.integer]) -> Distinct:
    """Keeps one row of each text, the first, and one row a label of each family of similar texts.

    Rows with the same text and different labels contradict each other: the label of the majority stays, and where there
    is none all of them go. Similar texts may well differ in their labels ("a good film", "not a good film").

    Args:
        texts: Text of each row; order matters, as the first of equal rows is kept.
        label: Code of each row's label, from 0.
    """
    import pandas as pd

    same = pd.factorize(pd.Series([_same(text) for text in texts], dtype=object))[0]
    votes = np.zeros((same.max(initial=-1) + 1, label.max(initial=0) + 1), np.intp)
    np.add.at(votes, (same, label), 1)
    most = votes.max(axis=1)
    undecided = ((votes == most[:, None]).sum(axis=1) > 1)[same]
    outvoted = ~undecided & (votes[same, label] < most[same])
    agreeing = np.flatnonzero(~undecided & ~outvoted)
    first = agreeing[np.unique(same[agreeing], return_index=True)[1]]
    first.sort()

    family = families([texts[row] for row in first])
    kept = np.unique(family * votes.shape[1] + label[first], return_index=True)[1]
    kept.sort()
    rows, family = first[kept], family[kept]
    sizes = np.bincount(family, minlength=1)
    report = DuplicateReport(
        rows=len(texts),
        repeated=len(agreeing) - len(first),
        outvoted=int(outvoted.sum()),
        undecided=int(undecided.sum()),
        similar=len(first) - len(rows),
        contrasting=int((sizes[family] > 1).sum()),
    )
    return Distinct(rows, family, report)


def families(texts: Sequence[str]) -> NDArray[np.intp]:
    """The number of each text's family, from 0, shape (texts,): shared along chains of similar texts."""
    import pandas as pd

    # Texts without letters, such as emoji, are compared as they are.
    words = [_NOT_LETTERS.sub(" ", _same(text)).strip() or _same(text) for text in texts]
    code, distinct = pd.factorize(pd.Series(words, dtype=object))
    return _similar(_shingle_table(distinct))[code]


def connected(count: int, left: NDArray[np.integer], right: NDArray[np.integer]) -> NDArray[np.intp]:
    """The number of each item's connected component, from 0, shape (count,), given pairs of items."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    graph = coo_array((np.ones(len(left), np.int8), (left, right)), shape=(count, count))
    return np.asarray(connected_components(graph, directed=False)[1], np.intp)


def _similar(table: csr_array) -> NDArray[np.intp]:
    """The family of each row's set: one row a set, one column an element, columns from rare to common."""
    sizes = np.diff(table.indptr)
    # Sets with index t share at least t * size elements, so one of the first size - ceil(t * size) + 1 of both.
    prefix = sizes - np.ceil(SIMILAR * sizes - 1e-9).astype(np.intp) + 1
    row = np.repeat(np.arange(len(sizes)), sizes)
    in_prefix = np.arange(table.nnz) - table.indptr[row] < prefix[row]
    element, row = table.indices[in_prefix].astype(np.int64), row[in_prefix]
    # By element, then by size: the sets that a set is compared with follow it directly, up to the largest that can do.
    scale = int(sizes.max(initial=0)) + 1
    order = np.argsort(element * scale + sizes[row], kind="stable")
    element, row = element[order], row[order]
    key = element * scale + sizes[row]
    largest = np.minimum((sizes[row] / SIMILAR + 1e-9).astype(np.int64), scale - 1)
    partners = np.searchsorted(key, element * scale + largest, side="right") - np.arange(len(row)) - 1
    family = np.arange(len(sizes))
    for step in range(1, min(NEIGHBOURS, int(partners.max(initial=0))) + 1):
        place = np.flatnonzero(partners >= step)
        left, right = row[place], row[place + step]
        # Who is of one family already need not be compared.
        apart = family[left] != family[right]
        pairs = np.unique(np.sort(np.stack([left[apart], right[apart]]), axis=0), axis=1)
        blocks = np.array_split(pairs, pairs.shape[1] // _PAIRS_AT_ONCE + 1, axis=1)
        left, right = np.concatenate([block[:, _is_close(table, *block)] for block in blocks], axis=1)
        if len(left):
            family = connected(len(sizes), family[left], family[right])[family]
    return np.unique(family, return_inverse=True)[1]


def _is_close(table: csr_array, left: NDArray[np.intp], right: NDArray[np.intp]) -> NDArray[np.bool_]:
    shared = np.asarray(table[left].multiply(table[right]).sum(axis=1)).ravel()
    size = np.diff(table.indptr)
    return np.asarray(shared >= SIMILAR * (size[left] + size[right] - shared) - 1e-9)


def _same(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def _shingle_table(texts: Iterable[str]) -> csr_array:
    """One row a text, one column a shingle, from the rarest to the most common."""
    from scipy.sparse import csr_array

    number: dict[str, int] = {}
    indices: list[int] = []
    starts = [0]
    for text in texts:
        padded = f" {text} "
        shingles = {padded[start : start + SHINGLE] for start in range(max(1, len(padded) - SHINGLE + 1))}
        indices.extend(sorted(number.setdefault(shingle, len(number)) for shingle in shingles))
        starts.append(len(indices))
    rank = np.empty(len(number), np.intp)
    rank[np.argsort(np.bincount(indices, minlength=len(number)), kind="stable")] = np.arange(len(number))
    shape = (len(starts) - 1, len(number))
    table = csr_array((np.ones(len(indices), np.int32), rank[indices], starts), shape=shape)
    table.sort_indices()
    return table
