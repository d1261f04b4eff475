"""Reads texts as a model does: tokens, windows, and probabilities from logits. Needs no model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from blueprints.model_package import ModelPackage
from blueprints.sentiment.text_model import CONFIG, TOKENIZER, TextModelConfig

Ids = NDArray[np.int64]
"""Token ids of one window, special tokens included, shape (tokens,)."""


@dataclass(frozen=True, slots=True)
class EncodedText:
    """A text as the model reads it.

    Attributes:
        windows: Token ids, one array a window; a text of at most `max_tokens` tokens has one.
        offsets: First and last (exclusive) character of each token of the whole text, special tokens left out.
    """

    windows: tuple[Ids, ...]
    offsets: Sequence[tuple[int, int]]


class TextReader:
    """The tokenizer and the calibration of a text model.

    Args:
        tokenizer: `tokenizer.json`.
        config: Labels, temperature, windows.

    Attributes:
        config: The same.
        special_tokens: Tokens that a text of nothing has.
    """

    def __init__(self, tokenizer: bytes, config: TextModelConfig) -> None:
        self.config = config
        self._tokenizer = Tokenizer.from_buffer(tokenizer)
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self.special_tokens = len(self._tokenizer.encode("").ids)

    @classmethod
    def of(cls, package: ModelPackage) -> TextReader:
        """The reader of a verified model package.

        Raises:
            PackageError: A file is missing, changed or malformed.
        """
        return TextReader(package.read_bytes(TOKENIZER), package.document(CONFIG, TextModelConfig))

    @property
    def vocabulary(self) -> int:
        """Number of token ids."""
        return self._tokenizer.get_vocab_size()

    def encode(self, texts: Sequence[str]) -> list[EncodedText]:
        """Tokenizes texts; outside of Python's global lock, in as many threads as `RAYON_NUM_THREADS` says."""
        return [self._windows(encoding) for encoding in self._tokenizer.encode_batch(list(texts))]

    def probabilities(
        self, logits: NDArray[np.floating], lengths: Sequence[int], windows: Sequence[int]
    ) -> NDArray[np.float64]:
        """Calibrated probabilities of texts, shape (texts, labels), from the logits of their windows.

        The logits of a text's windows are averaged, each by its number of tokens.

        Args:
            logits: Of all windows, text by text, shape (windows, labels).
            lengths: Tokens of each window.
            windows: Number of windows of each text.
        """
        if len(windows) == len(lengths):
            return self.softmax(logits)
        weights = np.asarray(lengths, np.float64)
        starts = np.concatenate([[0], np.cumsum(windows)[:-1]])
        sums = np.add.reduceat(logits * weights[:, None], starts)
        return self.softmax(sums / np.add.reduceat(weights, starts)[:, None])

    def softmax(self, logits: NDArray[np.floating]) -> NDArray[np.float64]:
        """Calibrated probabilities over the last axis."""
        scaled = np.asarray(logits, np.float64) / self.config.temperature
        exponentials = np.exp(scaled - scaled.max(axis=-1, keepdims=True))
        return np.asarray(exponentials / exponentials.sum(axis=-1, keepdims=True))

    def _windows(self, encoding: object) -> EncodedText:
        ids: list[int] = encoding.ids  # type: ignore[attr-defined]
        config = self.config
        offsets = encoding.offsets[1:-1]  # type: ignore[attr-defined]
        if len(ids) <= config.max_tokens:
            return EncodedText((np.array(ids, np.int64),), offsets)
        first, inner, last = ids[:1], ids[1:-1], ids[-1:]
        size = config.max_tokens - self.special_tokens
        starts = range(0, len(inner) - config.overlap, size - config.overlap)
        return EncodedText(
            tuple(np.array(first + inner[start : start + size] + last, np.int64) for start in starts), offsets
        )
