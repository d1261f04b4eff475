"""Writes an encoder with its head as an ONNX graph, made of the fused operators that ONNX Runtime runs fastest.

Exporters trace the framework's single steps, and an optimizer looks for the patterns of a transformer in the trace;
both follow the framework's version. The architecture is one and known, so it is written as what the optimizer aims at:
one Attention, BiasGelu and SkipLayerNormalization a block (`com.microsoft`, part of every ONNX Runtime build). Training
with torch compares this graph with the model that it trained, see `blueprints.sentiment.finetuning`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from blueprints.sentiment.encoder import HEAD_BIAS, HEAD_WEIGHT, WORD_EMBEDDINGS, Encoder
from blueprints.sentiment.text_model import ATTENTION_MASK, INPUT_IDS, LOGITS

OPSET = 17
IR_VERSION = 9
_FUSED = "com.microsoft"


def encoder_graph(encoder: Encoder) -> bytes:
    """An encoder as `model.onnx`, see `blueprints.sentiment.text_model`.

    Token vectors are averaged over the tokens that the mask shows. The output `logits` is what the head makes of the
    average; without a head it is the average itself, the embedding, of shape (texts, hidden_size).
    """
    return _Writer(encoder).model()


class _Writer:
    """Collects nodes and weights, top to bottom."""

    def __init__(self, encoder: Encoder) -> None:
        self._config, self._weights = encoder.config, encoder.weights
        self._nodes: list[Any] = []
        self._initializers: dict[str, NDArray[Any]] = {}

    def model(self) -> bytes:
        from onnx import TensorProto, checker, helper, numpy_helper

        self._write()
        axes: list[str | int] = ["texts", "tokens"]
        width = len(self._weights.get(HEAD_BIAS, ())) or self._config.hidden_size
        graph = helper.make_graph(
            self._nodes,
            "text classifier",
            [helper.make_tensor_value_info(name, TensorProto.INT64, axes) for name in (INPUT_IDS, ATTENTION_MASK)],
            [helper.make_tensor_value_info(LOGITS, TensorProto.FLOAT, ["texts", width])],
            [numpy_helper.from_array(np.ascontiguousarray(array), name) for name, array in self._initializers.items()],
        )
        opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(_FUSED, 1)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION)
        checker.check_model(model)
        return bytes(model.SerializeToString())

    def _write(self) -> None:
        hidden = self._embeddings()
        mask = self._node("Cast", [ATTENTION_MASK], "mask", to=6)  # int32
        for layer in range(self._config.num_hidden_layers):
            hidden = self._layer(layer, hidden, mask)
        pooled = self._mean(hidden)
        if HEAD_WEIGHT in self._weights:
            head = self._constant("head.weight", self._weights[HEAD_WEIGHT].T), self._weight(HEAD_BIAS)
            self._node("Gemm", [pooled, *head], LOGITS)
        else:
            self._node("Identity", [pooled], LOGITS)

    def _embeddings(self) -> str:
        """Sum of word, position and type embeddings, normalised. All texts are of type 0, so it joins the positions."""
        words = self._node("Gather", [self._weight(WORD_EMBEDDINGS), INPUT_IDS], "words")
        table = self._weights["embeddings.position_embeddings.weight"]
        positions = table + self._weights["embeddings.token_type_embeddings.weight"][0]
        length = self._node("Shape", [INPUT_IDS], "length", start=1, end=2)
        bounds = [self._constant("zero", np.zeros(1, np.int64)), length, self._constant("axis", np.zeros(1, np.int64))]
        places = self._node("Slice", [self._constant("positions", positions), *bounds], "places")
        summed = self._node("Add", [words, places], "embedded")
        return self._node(
            "LayerNormalization",
            [summed, *self._norm("embeddings.LayerNorm")],
            "embeddings",
            axis=-1,
            epsilon=self._config.layer_norm_eps,
        )

    def _layer(self, layer: int, hidden: str, mask: str) -> str:
        name = f"encoder.layer.{layer}"
        parts = [f"{name}.attention.self.{part}" for part in ("query", "key", "value")]
        weight = np.concatenate([self._weights[f"{part}.weight"].T for part in parts], axis=1)
        bias = np.concatenate([self._weights[f"{part}.bias"] for part in parts])
        attended = self._fused(
            "Attention",
            [hidden, self._constant(f"{name}.qkv.weight", weight), self._constant(f"{name}.qkv.bias", bias), mask],
            f"{name}.attended",
            num_heads=self._config.num_attention_heads,
        )
        hidden = self._add_and_norm(f"{name}.attention.output", attended, hidden)
        wide = self._matmul(f"{name}.intermediate.dense", hidden)
        wide = self._fused("BiasGelu", [wide, self._weight(f"{name}.intermediate.dense.bias")], f"{name}.gelu")
        return self._add_and_norm(f"{name}.output", wide, hidden)

    def _add_and_norm(self, name: str, inner: str, skipped: str) -> str:
        projected = self._matmul(f"{name}.dense", inner)
        return self._fused(
            "SkipLayerNormalization",
            [projected, skipped, *self._norm(f"{name}.LayerNorm"), self._weight(f"{name}.dense.bias")],
            name,
            epsilon=self._config.layer_norm_eps,
        )

    def _mean(self, hidden: str) -> str:
        """Mean of the token vectors that the mask shows, as one product of matrices a text."""
        shown = self._node("Cast", [ATTENTION_MASK], "shown", to=1)  # float32
        tokens = self._node("ReduceSum", [shown, self._constant("last", np.array([-1]))], "tokens", keepdims=1)
        row = self._node("Unsqueeze", [shown, self._constant("middle", np.array([1]))], "row")
        total = self._node("MatMul", [row, hidden], "total")
        total = self._node("Squeeze", [total, "middle"], "sum")
        return self._node("Div", [total, tokens], "pooled")

    def _matmul(self, name: str, inner: str) -> str:
        weight = self._constant(f"{name}.weight", self._weights[f"{name}.weight"].T)
        return self._node("MatMul", [inner, weight], f"{name}.product")

    def _norm(self, name: str) -> Iterator[str]:
        yield self._weight(f"{name}.weight")
        yield self._weight(f"{name}.bias")

    def _weight(self, name: str) -> str:
        return self._constant(name, self._weights[name])

    def _constant(self, name: str, array: NDArray[Any]) -> str:
        self._initializers[name] = array if array.dtype == np.int64 else array.astype(np.float32)
        return name

    def _fused(self, operator: str, inputs: list[str], output: str, **attributes: Any) -> str:
        return self._node(operator, inputs, output, domain=_FUSED, **attributes)

    def _node(self, operator: str, inputs: list[str], output: str, **attributes: Any) -> str:
        from onnx import helper

        self._nodes.append(helper.make_node(operator, inputs, [output], name=output, **attributes))
        return output
