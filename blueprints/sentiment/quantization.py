"""Turns the graph of an encoder into int8: weights a column, word embeddings a row, activations as they come.

Dynamic quantization (Jacob et al. 2018, "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-
Only Inference"): weights are symmetric int8, activations become uint8 with a scale of their own in each call, products
are summed in int32. Processors without VNNI add two neighbouring products in 16 bits, which saturates when weights use
all 8 bits (2 x 255 x 127 > 32767); VNNI does not. So weights of products use 7 bits (2 x 255 x 64 < 32768): every
processor gives the same logits, at the same speed. Unsigned weights would not saturate either, and took half as long
again. Embeddings are looked up and not multiplied, so they use all 8 bits.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

PRODUCT_RANGE = 64
"""Largest absolute value of a quantized weight that is multiplied."""

TABLE_RANGE = 127
"""Largest absolute value of a quantized embedding."""

_FUSED = "com.microsoft"


def quantized(array: NDArray[np.float32], largest: int, axis: int) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Symmetric int8 values and their scales, `array` being about values x scales.

    Args:
        array: Weights, two-dimensional.
        largest: Absolute value that the largest weight gets.
        axis: Axis that a scale is shared along: 0 for one a column, 1 for one a row.
    """
    scales = np.maximum(np.abs(array).max(axis=axis, keepdims=True), np.finfo(np.float32).tiny) / np.float32(largest)
    return np.rint(array / scales).astype(np.int8), scales.astype(np.float32)


def quantize(model: bytes) -> bytes:
    """The int8 counterpart of a graph that `encoder_graph` wrote, a quarter of its size.

    The head and the normalisations stay as they are: they take no time.
    """
    import onnx
    from onnx import checker

    graph = onnx.load_model_from_string(model)
    rewriter = _Rewriter(graph.graph)
    nodes = rewriter.nodes()
    del graph.graph.node[:]
    graph.graph.node.extend(nodes)
    used = {name for node in nodes for name in node.input}
    kept = [tensor for tensor in [*graph.graph.initializer, *rewriter.added] if tensor.name in used]
    del graph.graph.initializer[:]
    graph.graph.initializer.extend(kept)
    checker.check_model(graph)
    return bytes(graph.SerializeToString())


class _Rewriter:
    """Replaces node after node; `added` are the new weights."""

    def __init__(self, graph: Any) -> None:
        from onnx import numpy_helper

        self._graph = graph
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
        values, scales, zeros = self._columns(weight)
        heads = next(attribute.i for attribute in node.attribute if attribute.name == "num_heads")
        activation = [f"{inner}.{part}" for part in ("values", "scale", "zero")]
        inputs = [activation[0], values, bias, activation[1], scales, mask, activation[2], zeros]
        return [
            helper.make_node("DynamicQuantizeLinear", [inner], activation),
            helper.make_node("QAttention", inputs, list(node.output), domain=_FUSED, num_heads=heads),
        ]

    def _product(self, node: Any) -> list[Any]:
        from onnx import helper

        inner, weight = node.input
        biased = self._bias[node.output[0]]
        inputs = [inner, *self._columns(weight), biased.input[1]]
        return [helper.make_node("DynamicQuantizeMatMul", inputs, list(biased.output), domain=_FUSED)]

    def _columns(self, name: str) -> tuple[str, str, str]:
        """Names of the values of a weight, of their scales and of their zero points."""
        values, scales = quantized(self._weights[name], PRODUCT_RANGE, axis=0)
        zeros = np.zeros(values.shape[1], np.int8)
        return (
            self._add(f"{name}.values", values),
            self._add(f"{name}.scales", scales[0]),
            self._add(f"{name}.zeros", zeros),
        )

    def _add(self, name: str, array: NDArray[Any]) -> str:
        from onnx import numpy_helper

        self.added.append(numpy_helper.from_array(array, name))
        return name
