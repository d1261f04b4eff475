"""Which words speak for a label, and which against it: what a text model says when they are left out."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from blueprints.sentiment.classifier import TextClassifier
from blueprints.sentiment.text_reader import EncodedText

PASSES = 128
"""Windows of tokens that one explanation runs through the model, about."""

_FEWEST_SPANS = 16
_BATCH = 8
_SPECIAL = 2
# What ends a word, beside white space: punctuation and symbols, emoji among them. Marks belong to their letters.
_PUNCTUATION = (
    "!-/:-@\\[-`{-~\xa1-\xbf\u2010-\u2027\u2030-\u205e\u2190-\u2bff\u3001-\u303f\uff01-\uff0f\U0001f000-\U0001faff"
)
_WORD = f"[^\\s{_PUNCTUATION}]"
# Scripts without spaces: a character at a time, as BERT's tokenizer has it.
_IDEOGRAPH = "[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff]"
_UNIT = re.compile(f"{_IDEOGRAPH}|(?:(?!{_IDEOGRAPH}){_WORD})+(?:['’-]{_WORD}+)*|[{_PUNCTUATION}]+")


@dataclass(frozen=True, slots=True)
class Span:
    """A word, a run of punctuation or, in a long text, several words.

    Attributes:
        start: First character in the text.
        end: Character after the last.
        text: What stands there.
        score: How much lower the log-odds of the explained label are without it; below zero it speaks against it.
    """

    start: int
    end: int
    text: str
    score: float


@dataclass(frozen=True)
class Explanation:
    """Why a text has its label.

    Attributes:
        text: The text.
        label: Its most probable label, the one that is explained.
        probabilities: Calibrated probabilities of the labels, in the model's order.
        log_odds: Log-odds of the label.
        spans: What the scores belong to, in the text's order; blanks between them are in none.
    """

    text: str
    label: str
    probabilities: tuple[float, ...]
    log_odds: float
    spans: tuple[Span, ...]


def explain(
    classifier: TextClassifier, text: str, *, passes: int = PASSES, before_pass: Callable[[], None] | None = None
) -> Explanation:
    """Scores every word by leaving it out.

    The score is the log-odds of the label minus those of the text without the word: occlusion (Zeiler and Fergus 2014,
    "Visualizing and Understanding Convolutional Networks"), for words erasure (Li, Monroe and Jurafsky 2016,
    "Understanding Neural Networks through Representation Erasure"). The word's tokens are taken out: in their place,
    mask tokens would be something that a classifier has never seen, and then even an article matters. Scores do not
    sum to the log-odds, and of two words that say the same each may have little.

    Args:
        classifier: The model.
        text: A text.
        passes: About how many windows may be run; if the words need more, neighbours share a span. A text of very many
            windows takes twice their number.
        before_pass: Called before every few windows; what it raises ends the work.
    """
    (encoded,) = classifier.encode([text])
    units = _grouped(_units(text, encoded.offsets), _affordable(encoded, passes))
    logits = _logits(classifier, encoded, units, before_pass)
    probabilities = classifier.softmax(logits[0])
    code = int(probabilities.argmax())
    odds = _log_odds(logits / classifier.config.temperature, code)
    spans = []
    for (first, last), score in zip(units, (odds[0] - odds[1:]).tolist(), strict=True):
        start, end = encoded.offsets[first][0], encoded.offsets[last - 1][1]
        spans.append(Span(start, end, text[start:end], score))
    label = classifier.config.labels[code]
    return Explanation(text, label, tuple(probabilities.tolist()), float(odds[0]), tuple(spans))


def _units(text: str, offsets: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """First and last (exclusive) token of every word."""
    starts = [match.start() for match in _UNIT.finditer(text)]
    units: list[tuple[int, int]] = []
    word = -1
    for token, (start, _) in enumerate(offsets):
        found = bisect_right(starts, start)
        if units and found == word:
            units[-1] = (units[-1][0], token + 1)
        else:
            units.append((token, token + 1))
        word = found
    return units


def _affordable(encoded: EncodedText, passes: int) -> int:
    """Spans that can be left out, one at a time, with so many windows.

    A span lies in every window that overlaps it, and a window holds parts of its neighbours.
    """
    windows, tokens = len(encoded.windows), max(len(encoded.offsets), 1)
    windows_a_token = sum(len(window) - _SPECIAL for window in encoded.windows) / tokens
    return max(_FEWEST_SPANS, int((passes + 1 - 2 * windows) / max(windows_a_token, 1)))


def _grouped(units: list[tuple[int, int]], limit: int) -> list[tuple[int, int]]:
    """At most `limit` spans of as many neighbours each."""
    if len(units) <= limit:
        return units
    bounds = np.linspace(0, len(units), limit + 1).round().astype(int).tolist()
    return [(units[first][0], units[last - 1][1]) for first, last in pairwise(bounds)]


def _logits(
    classifier: TextClassifier,
    encoded: EncodedText,
    units: Sequence[tuple[int, int]],
    before_pass: Callable[[], None] | None,
) -> NDArray[np.float64]:
    """Logits of the text as it is, then without each unit; shape (1 + units, labels).

    Only windows that hold a unit are run again without it, a few of like length at a time.
    """
    variants = list(encoded.windows)
    rows = np.tile(np.arange(len(encoded.windows)), (1 + len(units), 1))
    stride = classifier.config.max_tokens - _SPECIAL - classifier.config.overlap
    for position, window in enumerate(encoded.windows):
        size = len(window) - _SPECIAL
        for unit, (first, last) in enumerate(units):
            start, end = max(first - position * stride, 0), min(last - position * stride, size)
            if start < end:
                rows[1 + unit, position] = len(variants)
                variants.append(np.delete(window, slice(1 + start, 1 + end)))
    logits = np.empty((len(variants), len(classifier.config.labels)))
    order = sorted(range(len(variants)), key=lambda row: len(variants[row]))
    for start in range(0, len(order), _BATCH):
        if before_pass is not None:
            before_pass()
        batch = order[start : start + _BATCH]
        logits[batch] = classifier.logits([variants[row] for row in batch])
    weights = np.array([len(window) for window in encoded.windows], np.float64)
    return np.asarray(np.einsum("vwk,w->vk", logits[rows], weights / weights.sum()))


def _log_odds(scaled: NDArray[np.float64], code: int) -> NDArray[np.float64]:
    """Log-odds of one label against all others, shape (variants,)."""
    others = np.delete(scaled, code, axis=1)
    return np.asarray(scaled[:, code] - np.logaddexp.reduce(others, axis=1))
