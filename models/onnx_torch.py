"""An image.onnx of a bundle as a trainable module, and its weights written back.

A user has the bundle and not the checkpoint, so personal adaptation starts from the ONNX
file: a few dozen plain operators. What learns of a weight stored as int8 is the scale of each
of its channels, and the biases: numbers that the file holds as floats, so that nothing is
rounded when they are written back. Levels that learned would be: rounding them again moves
a photo's vector about as far as adapting it should (docs/experiments-distillation.md).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn
from torch.nn import functional

from photosearch.errors import PhotosearchError

WEIGHTED: Final = frozenset({"Conv", "Gemm", "MatMul"})

Attributes = dict[str, Any]
Operator = Callable[[list[Any], Attributes], Tensor]


class UnknownOperator(PhotosearchError):
    """This image encoder has a part that cannot be trained here."""


class OnnxModule(nn.Module):
    """(N, 3, S, S) -> (N, D). Channel scales and biases of the last `trained` weighted nodes
    learn; a weight stored as float learns whole."""

    def __init__(self, model: onnx.ModelProto, *, trained: int) -> None:
        super().__init__()
        self.graph = model.graph
        unknown = {node.op_type for node in self.graph.node} - set(OPERATORS)
        if unknown:
            raise UnknownOperator(
                f"the image encoder uses {', '.join(sorted(unknown))}, which cannot be adapted"
            )
        self.constants = folded_constants(self.graph)
        self.attributes = [attributes_of(node) for node in self.graph.node]
        self.steps = [
            number
            for number, node in enumerate(self.graph.node)
            if node.output[0] not in self.constants
        ]
        self.learned = self._choose(trained)
        stored = {tensor.name: tuple(tensor.dims) for tensor in self.graph.initializer}
        # Of each learned name: the value itself, or factors on the scales of its channels.
        self.weights = nn.ParameterList(
            nn.Parameter(
                self.constants.pop(name) if name in stored else torch.ones(stored[_scale(name)])
            )
            for name in self.learned
        )

    def forward(self, pixels: Tensor) -> Tensor:
        known: dict[str, Tensor] = {self.graph.input[0].name: pixels}
        learned = {
            name: value * self.constants[name] if name in self.constants else value
            for name, value in zip(self.learned, self.weights, strict=True)
        }
        first = min(n for n in self.steps if set(self.graph.node[n].input) & set(learned))
        for number in self.steps:
            with torch.set_grad_enabled(torch.is_grad_enabled() and number >= first):
                found = self._run(number, _Chain(known, learned, self.constants))
            known[self.graph.node[number].output[0]] = found
        return known[self.graph.output[0].name]

    def write_back(self, model: onnx.ModelProto) -> None:
        """Put what was learned into `model`, exactly."""
        where = {tensor.name: tensor for tensor in model.graph.initializer}
        for name, value in zip(self.learned, self.weights, strict=True):
            found = value.detach().numpy()
            if name not in where:
                name = _scale(name)
                found = numpy_helper.to_array(where[name]) * found
            where[name].CopyFrom(numpy_helper.from_array(found.astype(np.float32), name))
        onnx.checker.check_model(model)

    def _choose(self, trained: int) -> list[str]:
        """Names of the weights and biases of the last weighted nodes, in the graph's order."""
        nodes = [self.graph.node[n] for n in self.steps if self.graph.node[n].op_type in WEIGHTED]
        names: list[str] = []
        for node in nodes[-trained:]:
            for name in node.input[1:]:
                real = name in self.constants and self.constants[name].is_floating_point()
                if real and name not in names:
                    names.append(name)
        return names

    def _run(self, number: int, known: Mapping[str, Tensor]) -> Tensor:
        node = self.graph.node[number]
        values = [known[name] if name else None for name in node.input]
        return OPERATORS[node.op_type](values, self.attributes[number])


def _scale(name: str) -> str:
    """The stored scales of a weight that unfolds from int8."""
    return f"{name.removesuffix('_folded')}_scale"


def folded_constants(graph: onnx.GraphProto) -> dict[str, Tensor]:
    """Every constant of a graph by name, and what known operators make of constants alone:
    weights that are stored small unfold here, once."""
    constants: dict[str, Tensor] = {
        tensor.name: torch.from_numpy(numpy_helper.to_array(tensor).copy())
        for tensor in graph.initializer
    }
    for node in graph.node:
        known = node.op_type in OPERATORS and all(name in constants for name in node.input if name)
        if known:
            values = [constants[name] if name else None for name in node.input]
            constants[node.output[0]] = OPERATORS[node.op_type](values, attributes_of(node))
    return constants


def attributes_of(node: onnx.NodeProto) -> Attributes:
    return {item.name: onnx.helper.get_attribute_value(item) for item in node.attribute}


class _Chain(Mapping[str, Tensor]):
    """The first of several mappings that has a name."""

    def __init__(self, *parts: Mapping[str, Tensor]) -> None:
        self._parts = parts

    def __getitem__(self, name: str) -> Tensor:
        for part in self._parts:
            if name in part:
                return part[name]
        raise KeyError(name)

    def __iter__(self) -> Any:
        return iter({name for part in self._parts for name in part})

    def __len__(self) -> int:
        return sum(1 for _ in self)


def _conv(x: list[Any], a: Attributes) -> Tensor:
    dims = x[1].ndim - 2
    near, far = (a.get("pads") or [0] * 2 * dims)[:dims], (a.get("pads") or [0] * 2 * dims)[dims:]
    data = x[0]
    if near != far:
        pads = [side for n, f in zip(reversed(near), reversed(far), strict=True) for side in (n, f)]
        data, near = functional.pad(data, pads), [0] * dims
    bias = x[2] if len(x) > 2 else None
    stride, dilation = a.get("strides") or [1] * dims, a.get("dilations") or [1] * dims
    return functional.conv2d(data, x[1], bias, stride, near, dilation, a.get("group", 1))


def _gemm(x: list[Any], a: Attributes) -> Tensor:
    left = x[0].T if a.get("transA") else x[0]
    right = x[1].T if a.get("transB") else x[1]
    found: Tensor = a.get("alpha", 1.0) * (left @ right)
    return found + a.get("beta", 1.0) * x[2] if len(x) > 2 else found


def _clip(x: list[Any], a: Attributes) -> Tensor:
    low = float(x[1]) if len(x) > 1 and x[1] is not None else None
    high = float(x[2]) if len(x) > 2 and x[2] is not None else None
    found: Tensor = x[0].clamp(min=low, max=high)
    return found


def _axes(x: list[Any], a: Attributes) -> list[int]:
    if len(x) > 1 and x[1] is not None:
        return [int(axis) for axis in x[1].flatten()]
    return list(a.get("axes") or range(x[0].ndim))


def _reduce(kind: Callable[..., Tensor]) -> Operator:
    return lambda x, a: kind(x[0], _axes(x, a), bool(a.get("keepdims", 1)))


_TYPES: Final = {1: torch.float32, 6: torch.int32, 7: torch.int64, 10: torch.float16}

OPERATORS: Final[dict[str, Operator]] = {
    "Add": lambda x, a: x[0] + x[1],
    "Cast": lambda x, a: x[0].to(_TYPES[a["to"]]),
    "Clip": _clip,
    "Concat": lambda x, a: torch.cat(x, dim=a["axis"]),
    "Conv": _conv,
    "Div": lambda x, a: x[0] / x[1],
    "Flatten": lambda x, a: x[0].flatten(a.get("axis", 1)),
    "Gemm": _gemm,
    "GlobalAveragePool": lambda x, a: x[0].mean(dim=(2, 3), keepdim=True),
    "HardSwish": lambda x, a: functional.hardswish(x[0]),
    "Identity": lambda x, a: x[0],
    "MatMul": lambda x, a: x[0] @ x[1],
    "Mul": lambda x, a: x[0] * x[1],
    "ReduceL2": _reduce(lambda v, axes, keep: torch.linalg.vector_norm(v, dim=axes, keepdim=keep)),
    "ReduceMean": _reduce(lambda v, axes, keep: v.mean(dim=axes, keepdim=keep)),
    "ReduceSum": _reduce(lambda v, axes, keep: v.sum(dim=axes, keepdim=keep)),
    "Relu": lambda x, a: functional.relu(x[0]),
    "Reshape": lambda x, a: x[0].reshape([int(size) for size in x[1]]),
    "Sigmoid": lambda x, a: x[0].sigmoid(),
    "Softmax": lambda x, a: x[0].softmax(dim=a.get("axis", -1)),
    "Sqrt": lambda x, a: x[0].sqrt(),
    "Sub": lambda x, a: x[0] - x[1],
}
