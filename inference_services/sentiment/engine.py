"""Answers concurrent requests for texts: tokens, dynamic batches and calibrated probabilities.

How texts are batched, and on how many threads, is measured when a server starts (about a second), or read from a plan
that an earlier start on a machine of the same kind has stored.
"""

from __future__ import annotations

import argparse
import logging
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from prometheus_client import Histogram

from blueprints.model_package import ModelPackage
from blueprints.sentiment.classifier import TextClassifier
from blueprints.sentiment.text_reader import Ids
from blueprints.threads import available_cores
from inference_services.sentiment.batch_planning import BatchSettings, planned
from inference_services.sentiment.schemas import add_text_flags, nothing_to_read
from inference_services.serving.dynamic_batching import DynamicBatcher
from inference_services.serving.options import Options, integer, number, positive_seconds

_log = logging.getLogger("serving")

BATCH_SIZE = Histogram("model_batch_size", "Windows of texts in a call of the model", buckets=(1, 2, 4, 8, 16, 32, 64))


class Window(NamedTuple):
    """Part of a text, or all of it: the text's position in its request, and the tokens."""

    text: int
    ids: Ids


Item = Sequence[str] | Sequence[Ids]
"""Texts of one request, or windows that are tokenized already."""


class TextEngine:
    """A text model behind a queue.

    Args:
        package: The model package.
        settings: How to batch.
        workers: Processes that share this machine's cores.
        cache_texts: Recent texts whose answers are kept; 0 keeps none.
    """

    def __init__(
        self, package: ModelPackage, settings: BatchSettings, *, workers: int = 1, cache_texts: int = 0
    ) -> None:
        self.classifier, plan = planned(package, settings, max(1, available_cores() // workers))
        self.batcher = DynamicBatcher(_Model(self.classifier), plan, max_queue_seconds=settings.max_queue_s)
        self._cache: OrderedDict[str, NDArray[np.float64]] = OrderedDict()
        self._cache_texts = cache_texts

    def start(self) -> None:
        """Starts the slots, on the event loop of the server."""
        plan = self.batcher.plan
        fields = {"slots": plan.slots, "threads": plan.threads, "max_batch": plan.max_batch, "by_cost": plan.by_cost}
        _log.info("batching", extra={"fields": fields})
        self.batcher.start()

    def close(self) -> None:
        """Ends the slots."""
        self.batcher.close()

    async def probabilities(self, texts: Sequence[str], deadline: float) -> NDArray[np.float64]:
        """Calibrated probabilities, shape (texts, labels).

        Args:
            texts: One or more.
            deadline: Time of the event loop after which nobody waits for the answer.

        Raises:
            RequestError: The queue is full, or the answer could not be there in time.
        """
        if not self._cache_texts:
            return self._combined(len(texts), *await self.batcher(texts, deadline))
        recent = self._cache
        # Kept here, because others may push them out while this request waits.
        answers = {text: recent[text] for text in texts if text in recent}
        missing = [text for text in dict.fromkeys(texts) if text not in answers]
        if missing:
            rows = self._combined(len(missing), *await self.batcher(missing, deadline))
            answers.update(zip(missing, rows, strict=True))
        for text, answer in answers.items():
            recent[text] = answer
            recent.move_to_end(text)
        while len(recent) > self._cache_texts:
            recent.popitem(last=False)
        return np.stack([answers[text] for text in texts])

    async def window_logits(self, windows: Sequence[Ids], deadline: float) -> NDArray[np.float32]:
        """Logits of windows that are tokenized already, shape (windows, labels); raises as `probabilities` does."""
        _, logits = await self.batcher(windows, deadline)
        return logits

    def _combined(self, texts: int, windows: Sequence[Window], logits: NDArray[np.float32]) -> NDArray[np.float64]:
        counts = [1] * texts
        if len(windows) > texts:
            counts = np.bincount([window.text for window in windows], minlength=texts).tolist()
        lengths = [len(window.ids) for window in windows]
        if min(lengths) <= self.classifier.special_tokens:
            raise nothing_to_read(windows[lengths.index(min(lengths))].text)
        return self.classifier.probabilities(logits, lengths, counts)


class _Model:
    """What the batcher calls."""

    def __init__(self, classifier: TextClassifier) -> None:
        self._classifier = classifier

    def estimate(self, item: Item) -> list[int]:
        return [_guessed_tokens(part) if isinstance(part, str) else len(part) for part in item]

    def prepare(self, items: Sequence[Item]) -> list[list[Window]]:
        encoded = iter(self._classifier.encode([part for item in items for part in item if isinstance(part, str)]))
        return [
            [
                Window(position, ids)
                for position, part in enumerate[str | Ids](item)
                for ids in (next(encoded).windows if isinstance(part, str) else (part,))
            ]
            for item in items
        ]

    def size(self, unit: Window) -> int:
        return len(unit.ids)

    def run(self, units: Sequence[Window]) -> NDArray[np.float32]:
        BATCH_SIZE.observe(len(units))
        return self._classifier.logits([unit.ids for unit in units])


def _guessed_tokens(text: str) -> int:
    """About four characters a token in English, one in most other scripts."""
    return 2 + (len(text) // 4 if text.isascii() else len(text))


def add_flags(group: argparse._ArgumentGroup) -> None:
    """Flags of the text model. The queue is bounded by time, so the number of waiting requests hardly is."""
    add_text_flags(group)
    group.set_defaults(max_concurrency=4096)
    automatic = "measured at start by default"
    group.add_argument("--slots", type=integer(1, 1024), help=f"calls of the model at one time; {automatic}")
    group.add_argument("--threads", type=integer(1, 1024), help=f"threads of each call; {automatic}")
    group.add_argument("--max_batch", type=integer(1, 1024), help="fill batches up to this size; by costs by default")
    group.add_argument("--max_wait_ms", type=number(0, 1000), default=0.0, help="wait for company while a slot is free")
    group.add_argument("--max_queue_seconds", type=positive_seconds, default=1.0, help="longest wait; more is refused")
    group.add_argument("--batching_plan", type=Path, help="file that keeps the measured plan for the next start")
    group.add_argument("--cache_texts", type=integer(0, 10_000_000), default=0, help="recent texts to remember")


def engine(package: ModelPackage, options: Options) -> TextEngine:
    """The engine that the command line describes."""
    flags = options.model_flags
    settings = BatchSettings(
        slots=flags["slots"],
        threads=flags["threads"],
        max_batch=flags["max_batch"],
        max_wait_s=flags["max_wait_ms"] / 1000,
        max_queue_s=flags["max_queue_seconds"],
        plan=flags["batching_plan"],
    )
    return TextEngine(package, settings, workers=options.workers, cache_texts=flags["cache_texts"])
