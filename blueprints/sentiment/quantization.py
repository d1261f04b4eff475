"""Turns the graph of an encoder into int8: weights a column, word embeddings a row, activations by ranges seen before.

Static quantization (Jacob et al. 2018, "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-
Only Inference"): weights are symmetric int8, activations uint8 with a scale that texts gave once, and products are
summed in int32. A scale that each call takes from its batch would make an answer depend on who stands beside the text.

Few channels of an encoder are far larger than the others and would leave these few steps. So a part of each channel's
size moves from the activations to the rows of the weight that they are multiplied with (Xiao et al. 2023,
"SmoothQuant"): one product of vectors a matrix product, and closer to fp32 than scales of each call.

Processors without VNNI add two neighbouring products in 16 bits, which saturates when weights use all 8 bits
(2 x 255 x 127 > 32767); VNNI does not. So weights of products use 7 bits (2 x 255 x 64 < 32768): every processor gives
the same logits, at the same speed. Unsigned weights would not saturate either, and took half as long again. Embeddings
are looked up and not multiplied, so they use all 8 bits.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from blueprints.sentiment.text_model import ATTENTION_MASK, INPUT_IDS
from blueprints.sentiment.text_reader import Ids

PRODUCT_RANGE = 64
"""Largest absolute value of a quantized weight that is multiplied."""

TABLE_RANGE = 127
"""Largest absolute value of a quantized embedding."""

SMOOTHING = 0.8
"""Share of a channel's size that moves to the weight (on a logarithmic scale), 0 to 1."""

_LEAST_SIZE = 0.01
"""Size of a channel that was hardly seen, as a share of the largest: more of it may come later."""

_FUSED = "com.microsoft"

Ranges = dict[str, tuple[NDArray[np.float32], NDArray[np.float32]]]
"""Lowest and highest value of each channel of the tensors that are multiplied with weights, by name."""


def quantized(array: NDArray[np.float32], largest: int, axis: int) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Symmetric int8 values and their scales, `array` being about values x scales.

    Args:
        array: Weights, two-dimensional.
        largest: Absolute value that the largest weight gets.
        axis: Axis that a scale is shared along: 0 for one a column, 1 for one a row.
    """
    scales = np.maximum(np.abs(array).max(axis=axis, keepdims=True), np.finfo(np.float32).tiny) / np.float32(largest)
    return np.rint(array / scales).astype(np.int8), scales.astype(np.float32)


def quantize(model: bytes, windows: Iterable[Ids]) -> bytes:
    """The int8 counterpart of a graph that `encoder_graph` wrote, a quarter of its size.

    The head and the normalisations stay as they are: they take no time.

    Args:
        model: The graph in fp32.
        windows: Token ids of some hundred texts like those to come.

    Raises:
        ValueError: There is no window.
    """
    import onnx
    from onnx import checker

    graph = onnx.load_model_from_string(model)
    rewriter = _Rewriter(graph.graph, activation_ranges(model, windows))
    nodes = rewriter.nodes()
    del graph.graph.node[:]
    graph.graph.node.extend(nodes)
    used = {name for node in nodes for name in node.input}
    kept = [tensor for tensor in [*graph.graph.initializer, *rewriter.added] if tensor.name in used]
    del graph.graph.initializer[:]
    graph.graph.initializer.extend(kept)
    checker.check_model(graph)
    return bytes(graph.SerializeToString())


def activation_ranges(model: bytes, windows: Iterable[Ids]) -> Ranges:
    """Runs a graph of `encoder_graph` on windows, one by one, and notes what is multiplied with weights.

    Raises:
        ValueError: There is no window.
    """
    import onnx
    import onnxruntime
    from onnx import helper

    graph = onnx.load_model_from_string(model)
    weights = {tensor.name for tensor in graph.graph.initializer}
    names = [node.input[0] for node in graph.graph.node if _multiplies(node, weights)]
    graph.graph.output.extend(helper.make_tensor_value_info(name, 1, None) for name in names)  # float32
    session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    ranges: Ranges = {}
    for window in windows:
        tensors = session.run(names, {INPUT_IDS: window[None], ATTENTION_MASK: np.ones_like(window)[None]})
        for name, tensor in zip(names, tensors, strict=True):
            rows = tensor.reshape(-1, tensor.shape[-1])
            low, high = ranges.get(name, (rows[0], rows[0]))
            ranges[name] = np.minimum(low, rows.min(axis=0)), np.maximum(high, rows.max(axis=0))
    if not ranges:
        raise ValueError("quantization needs texts to see the ranges of activations on; there are none")
    return ranges


def _multiplies(node: Any, weights: set[str]) -> bool:
    return node.op_type in ("Attention", "MatMul") and node.input[1] in weights


class _Rewriter:
    """Replaces node after node; `added` are the new weights."""

    def __init__(self, graph: Any, ranges: Ranges) -> None:
        from onnx import numpy_helper

        self._graph, self._ranges = graph, ranges
        self._weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
        self._bias = {n.input[0]: n for n in graph.node if n.op_type == "Add" and n.input[1] in self._weights}
        self.added: list[Any] = []

    def nodes(self) -> list[Any]:
        result = []
        for node in self._graph.node:
            weights = {name for name in node.input if name in self._weights}
            if node.op_type == "Gather" and weights:
                result += self._table(node)
            elif node.op_type == "Attention":
                result += self._attention(node)
            elif node.op_type == "MatMul" and weights:
                result += self._product(node)
            elif not (node.op_type == "Add" and self._bias.get(node.input[0]) is node):
                result.append(node)
        return result

    def _table(self, node: Any) -> list[Any]:
        from onnx import helper

        table, ids = node.input
        values, scales = quantized(self._weights[table], TABLE_RANGE, axis=1)
        name = node.output[0]
        return [
            helper.make_node("Gather", [self._add(f"{table}.values", values), ids], [f"{name}.values"]),
            helper.make_node("Cast", [f"{name}.values"], [f"{name}.numbers"], to=1),  # float32
            helper.make_node("Gather", [self._add(f"{table}.scales", scales), ids], [f"{name}.scales"]),
            helper.make_node("Mul", [f"{name}.numbers", f"{name}.scales"], [name]),
        ]

    def _attention(self, node: Any) -> list[Any]:
        from onnx import helper

        inner, weight, bias, mask = node.input
        nodes, (values, scale, zero), (columns, scales, zeros) = self._operands(inner, weight)
        heads = next(attribute.i for attribute in node.attribute if attribute.name == "num_heads")
        inputs = [values, columns, bias, scale, scales, mask, zero, zeros]
        return [
            *nodes,
            helper.make_node("QAttention", inputs, list(node.output), domain=_FUSED, num_heads=heads),
        ]

    def _product(self, node: Any) -> list[Any]:
        from onnx import helper

        biased = self._bias[node.output[0]]
        nodes, (values, scale, zero), (columns, scales, zeros) = self._operands(*node.input)
        inputs = [values, columns, scale, scales, zero, zeros, biased.input[1]]
        return [*nodes, helper.make_node("MatMulIntegerToFloat", inputs, list(biased.output), domain=_FUSED)]

    def _operands(self, inner: str, weight: str) -> tuple[list[Any], list[str], list[str]]:
        """Nodes that quantize an activation; names of its values, scale and zero point, and of those of the weight."""
        from onnx import helper

        low, high = self._ranges[inner]
        array = self._weights[weight]
        sizes, rows = _floored(np.maximum(-low, high)), _floored(np.abs(array).max(axis=1))
        factors = (sizes**SMOOTHING / rows ** (1 - SMOOTHING)).astype(np.float32)
        lowest, highest = min(float((low / factors).min()), 0.0), max(float((high / factors).max()), 0.0)
        scale = np.float32(max(highest - lowest, float(np.finfo(np.float32).tiny)) / 255)
        values, scales = quantized(array * factors[:, None], PRODUCT_RANGE, axis=0)
        smooth, name = f"{inner}.smooth", f"{inner}.values"
        activation = [
            name,
            self._add(f"{inner}.scale", np.array(scale)),
            self._add(f"{inner}.zero", np.array(np.rint(-lowest / scale), np.uint8)),
        ]
        nodes = [
            helper.make_node("Mul", [inner, self._add(f"{inner}.factors", 1 / factors)], [smooth]),
            helper.make_node("QuantizeLinear", [smooth, *activation[1:]], [name]),
        ]
        columns = [
            self._add(f"{weight}.values", values),
            self._add(f"{weight}.scales", scales[0]),
            self._add(f"{weight}.zeros", np.zeros(values.shape[1], np.int8)),
        ]
        return nodes, activation, columns

    def _add(self, name: str, array: NDArray[Any]) -> str:
        from onnx import numpy_helper

        self.added.append(numpy_helper.from_array(array, name))
        return name


def _floored(sizes: NDArray[np.float32]) -> NDArray[np.float32]:
    """Sizes of channels, none of them far below the largest."""
    return np.maximum(sizes, max(_LEAST_SIZE * sizes.max(), np.finfo(np.float32).tiny))
