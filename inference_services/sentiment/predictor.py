"""Predictor of sentiment: texts in, labels with calibrated probabilities out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from blueprints.model_package import ModelPackage
from blueprints.sentiment.text_model import ATTENTION_MASK, INPUT_IDS, LABEL, LOGITS, TEXT
from inference_services.sentiment.engine import TextEngine, add_flags, engine
from inference_services.sentiment.text_service import PROBABILITIES, TextService
from inference_services.serving.errors import refuse
from inference_services.serving.options import Options
from inference_services.serving.tensors import InferCall, Output, TensorSpec


class SentimentPredictor(TextService):
    """Classifies texts, or tokens of texts.

    Args:
        name: Name to answer under.
        package: The model package.
        options: The server's settings.
    """

    role = "predictor"
    platform = "onnxruntime"

    def __init__(self, name: str, package: ModelPackage, options: Options) -> None:
        self._engine: TextEngine = engine(package, options)
        config = self._engine.classifier.config
        super().__init__(name, package, config.labels, options)
        self._max_tokens = config.max_tokens
        self.inputs = [
            TensorSpec(TEXT, "BYTES", required=False),
            TensorSpec(INPUT_IDS, "INT64", (-1, -1), also=("INT32",), required=False),
            TensorSpec(ATTENTION_MASK, "INT64", (-1, -1), also=("INT32",), required=False),
        ]
        self.outputs = [*self.outputs, TensorSpec(LOGITS, "FP32", (-1, len(self.labels)))]
        self._specs = {spec.name: spec for spec in self.outputs}

    async def start_up(self) -> None:
        """Starts the threads that run the model."""
        self._engine.start()

    async def shut_down(self) -> None:
        """Ends them."""
        self._engine.close()

    async def probabilities(self, texts: Sequence[str], request_id: str, deadline: float) -> NDArray[np.float64]:  # noqa: ARG002
        """See `TextService`."""
        return await self._engine.probabilities(texts, deadline)

    async def infer(self, call: InferCall) -> Sequence[Output]:
        """Answers a v2 request with the tensor `text`, or with `input_ids` and `attention_mask`.

        By default with `label` and `probabilities`; `logits` of tokens only, since long texts have several windows.
        """
        asked = call.outputs or (LABEL, PROBABILITIES)
        values: dict[str, NDArray[Any] | list[str]] = {}
        if TEXT in call.inputs:
            if len(call.inputs) > 1:
                raise refuse(("body", "inputs"), f"give {TEXT!r} or tokens, not both", "duplicate")
            if LOGITS in asked:
                raise refuse(("body", "outputs"), "logits go with tokens, not with 'text'", "unsupported")
            texts = self.texts.read_tensor(list(call.inputs[TEXT]))
            probabilities = await self.probabilities(texts, call.request_id, call.deadline)
        else:
            logits = await self._engine.window_logits(self._windows(call), call.deadline)
            values[LOGITS] = logits
            probabilities = self._engine.classifier.softmax(logits)
        values[PROBABILITIES] = probabilities
        values[LABEL] = self.labelled(probabilities)
        return [Output(self._specs[name], values[name]) for name in asked]

    def _windows(self, call: InferCall) -> list[NDArray[np.int64]]:
        for name in (INPUT_IDS, ATTENTION_MASK):
            if name not in call.inputs:
                raise refuse(("body", "inputs", name), f"is missing: give {TEXT!r}, or ids and mask", "missing")
        try:
            ids, mask = (np.array(call.inputs[name]).reshape(call.rows, -1) for name in (INPUT_IDS, ATTENTION_MASK))
        except ValueError:
            raise refuse(("body", "inputs"), "ids and mask must be whole numbers", "int_type") from None
        if ids.dtype.kind != "i" or mask.dtype.kind != "i":
            raise refuse(("body", "inputs"), "ids and mask must be whole numbers", "int_type")
        if ids.shape != mask.shape:
            message = f"must have the shape of {INPUT_IDS}, {list(ids.shape)}"
            raise refuse(("body", "inputs", ATTENTION_MASK, "shape"), message, "shape_mismatch")
        vocabulary = self._engine.classifier.vocabulary
        if ids.size and (ids.min() < 0 or ids.max() >= vocabulary):
            raise refuse(("body", "inputs", INPUT_IDS), f"ids are 0 to {vocabulary - 1}", "less_than_equal")
        lengths = mask.sum(axis=1)
        if (mask != (np.arange(mask.shape[1]) < lengths[:, None])).any():
            raise refuse(("body", "inputs", ATTENTION_MASK), "must be ones, then zeros, in each row", "value_error")
        if lengths.min() < 1 or lengths.max() > self._max_tokens:
            message = f"1 to {self._max_tokens} tokens in a row: cut longer texts into windows"
            raise refuse(("body", "inputs", INPUT_IDS, "shape"), message, "too_long")
        return [row[:length].astype(np.int64) for row, length in zip(ids, lengths, strict=True)]


def build(package: ModelPackage, options: Options) -> SentimentPredictor:
    """The predictor of a model package."""
    return SentimentPredictor(options.model_name or package.signature.model_name, package, options)


if __name__ == "__main__":
    from inference_services.serving.server import serve

    serve(build, add_flags)
