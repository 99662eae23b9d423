"""Smaller ONNX models: weights lie in the file as int8, and become float32 when it is loaded.

The arithmetic, and so the speed, is that of float32, and every processor and every
version of the runtime gives the same vectors to the fifth digit. `fused.py` does otherwise
for the products of text towers, whose time goes into fetching weights.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

MIN_ELEMENTS: Final = 2048  # smaller weights stay float32: they cost nothing


def stored_int8(model: onnx.ModelProto) -> onnx.ModelProto:
    """Store the weights of convolutions and matrix products as int8, one scale per output.

    Each becomes Cast(int8) * scale. ONNX Runtime folds both into a constant when
    it loads the model, before it plans the convolutions, so nothing is slower.
    """
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    added: list[onnx.NodeProto] = []
    done: dict[str, str] = {}
    for node in model.graph.node:
        axis = _output_axis(node)
        if axis is None or node.input[1] not in constants:
            continue
        name = node.input[1]
        if name not in done:
            weight = numpy_helper.to_array(constants[name])
            if weight.dtype != np.float32 or weight.ndim < 2 or weight.size < MIN_ELEMENTS:
                continue
            levels, scale = quantise(weight, axis % weight.ndim)
            model.graph.initializer.remove(constants[name])
            model.graph.initializer.extend(
                [
                    numpy_helper.from_array(levels, f"{name}_int8"),
                    numpy_helper.from_array(scale, f"{name}_scale"),
                ]
            )
            added += [
                helper.make_node("Cast", [f"{name}_int8"], [f"{name}_real"], to=TensorProto.FLOAT),
                helper.make_node("Mul", [f"{name}_real", f"{name}_scale"], [f"{name}_folded"]),
            ]
            done[name] = f"{name}_folded"
        node.input[1] = done[name]
    nodes = [*added, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    onnx.checker.check_model(model)
    return model


def _output_axis(node: onnx.NodeProto) -> int | None:
    """Which axis of a node's weight its outputs run along; None where it has no weight."""
    if node.op_type == "Conv":
        return 0
    if node.op_type == "MatMul":
        return -1
    if node.op_type == "Gemm":
        transposed = {attribute.name: attribute.i for attribute in node.attribute}
        return 0 if transposed.get("transB") else 1
    return None


def quantise(
    weight: NDArray[np.float32], axis: int
) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Symmetric int8 with one scale per index of `axis`; weight is about levels * scale."""
    others = tuple(other for other in range(weight.ndim) if other != axis)
    largest = np.abs(weight).max(axis=others, keepdims=True)
    scale = np.maximum(largest, 1e-12).astype(np.float32) / np.float32(127)
    return np.round(weight / scale).astype(np.int8), scale
