"""Writes an encoder with its head as an ONNX graph, of the operators that ONNX Runtime runs fastest on a processor.

Exporters trace the framework's single steps, and an optimizer looks for the patterns of a transformer in the trace;
both follow the framework's version. The architecture is one and known, so it is written as it is to run: one Attention
and one Gelu a block (`com.microsoft`, part of every ONNX Runtime build), and all between them on a matrix of shape
(texts x tokens, hidden_size). ONNX Runtime's optimizer would fuse a sum and a normalisation of three-dimensional tokens
into SkipLayerNormalization, which takes five times as long as the two (ONNX Runtime 1.32). Training with torch compares
this graph with the model that it trained, see `blueprints.sentiment.finetuning`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from blueprints.sentiment.classifier import config_file
from blueprints.sentiment.encoder import HEAD_BIAS, HEAD_WEIGHT, WORD_EMBEDDINGS, Encoder
from blueprints.sentiment.text_model import (
    ATTENTION_MASK,
    CONFIG,
    INPUT_IDS,
    LOGITS,
    MODEL,
    TOKENIZER,
    TextModelConfig,
)

OPSET = 17
IR_VERSION = 9
_FUSED = "com.microsoft"


def encoder_graph(encoder: Encoder) -> bytes:
    """An encoder as `model.onnx`, see `blueprints.sentiment.text_model`.

    Token vectors are averaged over the tokens that the mask shows. The output `logits` is what the head makes of the
    average; without a head it is the average itself, the embedding, of shape (texts, hidden_size).
    """
    return _Writer(encoder).model()


def write_text_model(folder: Path, model: bytes, tokenizer: bytes, config: TextModelConfig) -> None:
    """Writes the three files of a text model into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MODEL).write_bytes(model)
    (folder / TOKENIZER).write_bytes(tokenizer)
    (folder / CONFIG).write_bytes(config_file(config))


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
        mask = self._node("Cast", [ATTENTION_MASK], "mask", to=6)  # int32
        self._constant("rows", np.array([-1, self._config.hidden_size]))
        sizes = [
            self._node("Shape", [INPUT_IDS], "sizes"),
            self._constant("width", np.array([self._config.hidden_size])),
        ]
        self._node("Concat", sizes, "shape", axis=0)
        hidden = self._embeddings()
        for layer in range(self._config.num_hidden_layers):
            hidden = self._layer(layer, hidden, mask)
        pooled = self._mean(self._node("Reshape", [hidden, "shape"], "hidden"))
        if HEAD_WEIGHT in self._weights:
            head = self._constant(HEAD_WEIGHT, self._weights[HEAD_WEIGHT].T), self._weight(HEAD_BIAS)
            self._node("Gemm", [pooled, *head], LOGITS)
        else:
            self._node("Identity", [pooled], LOGITS)

    def _embeddings(self) -> str:
        """Sum of word, position and type embeddings, normalised. All texts are of type 0, so it joins the positions."""
        words = self._node("Gather", [self._weight(WORD_EMBEDDINGS), INPUT_IDS], "words")
        table = self._weights["embeddings.position_embeddings.weight"]
        positions = table + self._weights["embeddings.token_type_embeddings.weight"][0]
        length = self._node("Shape", [INPUT_IDS], "length", start=1, end=2)
        bounds = [self._constant("zero", np.zeros(1, np.int64)), length]
        places = self._node("Slice", [self._constant("positions", positions), *bounds, "zero"], "places")
        embedded = self._node("Add", [words, places], "embedded")
        return self._normalised("embeddings.LayerNorm", self._node("Reshape", [embedded, "rows"], "embedded.rows"))

    def _layer(self, layer: int, hidden: str, mask: str) -> str:
        name = f"encoder.layer.{layer}"
        parts = [f"{name}.attention.self.{part}" for part in ("query", "key", "value")]
        weight = np.concatenate([self._weights[f"{part}.weight"].T for part in parts], axis=1)
        bias = np.concatenate([self._weights[f"{part}.bias"] for part in parts])
        attended = self._fused(
            "Attention",
            [
                self._node("Reshape", [hidden, "shape"], f"{name}.tokens"),
                self._constant(f"{name}.qkv.weight", weight),
                self._constant(f"{name}.qkv.bias", bias),
                mask,
            ],
            f"{name}.attended",
            num_heads=self._config.num_attention_heads,
        )
        attended = self._node("Reshape", [attended, "rows"], f"{name}.attended.rows")
        hidden = self._add_and_norm(f"{name}.attention.output", attended, hidden)
        wide = self._linear(f"{name}.intermediate.dense", hidden)
        return self._add_and_norm(f"{name}.output", self._fused("Gelu", [wide], f"{name}.gelu"), hidden)

    def _add_and_norm(self, name: str, inner: str, skipped: str) -> str:
        summed = self._node("Add", [self._linear(f"{name}.dense", inner), skipped], f"{name}.sum")
        return self._normalised(f"{name}.LayerNorm", summed)

    def _linear(self, name: str, inner: str) -> str:
        weight = self._constant(f"{name}.weight", self._weights[f"{name}.weight"].T)
        product = self._node("MatMul", [inner, weight], f"{name}.product")
        return self._node("Add", [product, self._weight(f"{name}.bias")], name)

    def _normalised(self, name: str, inner: str) -> str:
        scale, shift = self._weight(f"{name}.weight"), self._weight(f"{name}.bias")
        epsilon = self._config.layer_norm_eps
        return self._node("LayerNormalization", [inner, scale, shift], name, axis=-1, epsilon=epsilon)

    def _mean(self, hidden: str) -> str:
        """Mean of the token vectors that the mask shows, as one product of matrices a text."""
        shown = self._node("Cast", [ATTENTION_MASK], "shown", to=1)  # float32
        tokens = self._node("ReduceSum", [shown, self._constant("last", np.array([-1]))], "tokens", keepdims=1)
        row = self._node("Unsqueeze", [shown, self._constant("middle", np.array([1]))], "row")
        total = self._node("MatMul", [row, hidden], "total")
        total = self._node("Squeeze", [total, "middle"], "sum")
        return self._node("Div", [total, tokens], "pooled")

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
