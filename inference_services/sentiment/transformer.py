"""Transformer of sentiment: texts in, tokens over the wire to a predictor, labels with probabilities out."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from blueprints.model_package import ModelPackage
from blueprints.sentiment.text_model import ATTENTION_MASK, INPUT_IDS, LABEL, LOGITS, TEXT
from blueprints.sentiment.text_reader import Ids, TextReader
from inference_services.sentiment.schemas import add_text_flags, nothing_to_read
from inference_services.sentiment.text_service import PROBABILITIES, TextService
from inference_services.serving.options import Options
from inference_services.serving.tensors import InferCall, Output, TensorSpec
from inference_services.serving.upstream import Upstream

# Tokens, padding included, that one request to the predictor holds: about 200 kB of JSON.
_TOKENS = 16_384
# More characters than these are tokenized off the event loop, where a hop to a thread costs less than the work.
_INLINE_CHARACTERS = 2_000


class SentimentTransformer(TextService):
    """Turns texts into tokens, and a predictor's logits into answers.

    Args:
        name: Name to answer under, and of the predictor's model.
        package: The model package; its version is the only one that a predictor may answer with.
        predictor: Who is asked.
        options: Limits.
    """

    role = "transformer"
    platform = "sentiment-text"

    def __init__(self, name: str, package: ModelPackage, predictor: Upstream, options: Options) -> None:
        self._reader = TextReader.of(package)
        super().__init__(name, package, self._reader.config.labels, options)
        self.inputs = [TensorSpec(TEXT, "BYTES")]
        self._specs = {spec.name: spec for spec in self.outputs}
        self._max_rows = options.max_rows
        self._predictor = predictor

    async def start_up(self) -> None:
        """Opens the connections to the predictor."""
        await self._predictor.open()

    async def shut_down(self) -> None:
        """Closes them."""
        await self._predictor.close()

    async def healthy(self) -> bool:
        """Whether the predictor is ready, with the same version."""
        return await self._predictor.ready()

    async def infer(self, call: InferCall) -> Sequence[Output]:
        """Answers a v2 request with the tensor `text`."""
        texts = self.texts.read_tensor(list(call.inputs[TEXT]))
        probabilities = await self.probabilities(texts, call.request_id, call.deadline)
        values: dict[str, Any] = {LABEL: self.labelled(probabilities), PROBABILITIES: probabilities}
        return [Output(self._specs[name], values[name]) for name in call.outputs or self._specs]

    async def probabilities(self, texts: Sequence[str], request_id: str, deadline: float) -> NDArray[np.float64]:
        """See `TextService`."""
        with self._predictor.preprocessing.time():
            if sum(map(len, texts)) <= _INLINE_CHARACTERS:
                encoded = self._reader.encode(texts)
            else:
                encoded = await asyncio.to_thread(self._reader.encode, texts)
        windows = [window for text in encoded for window in text.windows]
        lengths = [len(window) for window in windows]
        for position, text in enumerate(encoded):
            if not text.offsets:
                raise nothing_to_read(position)
        logits = np.empty((len(windows), len(self.labels)))
        for rows in batches(lengths, max_rows=self._max_rows):
            tensors = _tensors([windows[row] for row in rows], self._reader.config.pad_id)
            logits[rows] = (await self._predictor.infer(tensors, (LOGITS,), request_id, deadline))[LOGITS]
        with self._predictor.postprocessing.time():
            return self._reader.probabilities(logits, lengths, [len(text.windows) for text in encoded])


def batches(lengths: Sequence[int], *, max_rows: int) -> Iterator[list[int]]:
    """Rows of like length together, so that little is padded, in requests of bounded size.

    Args:
        lengths: Tokens of each window.
        max_rows: Most windows in one request.
    """
    batch: list[int] = []
    for row in sorted(range(len(lengths)), key=lengths.__getitem__):
        if batch and ((len(batch) + 1) * lengths[row] > _TOKENS or len(batch) == max_rows):
            yield batch
            batch = []
        batch.append(row)
    if batch:
        yield batch


def _tensors(windows: Sequence[Ids], pad_id: int) -> dict[str, NDArray[np.int64]]:
    lengths = np.array([len(window) for window in windows])
    mask = np.arange(lengths.max()) < lengths[:, None]
    ids = np.full(mask.shape, pad_id, np.int64)
    ids[mask] = np.concatenate(windows)
    return {INPUT_IDS: ids, ATTENTION_MASK: mask.astype(np.int64)}


def build(package: ModelPackage, options: Options) -> SentimentTransformer:
    """The transformer of a model package.

    Raises:
        SystemExit: There is no predictor.
    """
    name = options.model_name or package.signature.model_name
    return SentimentTransformer(name, package, Upstream(name, package, options), options)


if __name__ == "__main__":
    from inference_services.serving.server import serve

    serve(build, add_text_flags)
