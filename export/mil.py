"""Run a Core ML program where Core ML does not run: its operations, one by one, in PyTorch.

What a converter got wrong (an axis, a padding, a weight, a bias baked into the
image input) shows here, far from any Mac. What does not show: Core ML's own
float16 arithmetic, where the parts are placed, and whether a phone loads it.
So a bundle checked this way is still marked `verified: false`.

Only the operations that our towers lower to are known; another is an error
that names it. Their meanings are those of coremltools' MIL operator reference.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from photosearch.errors import PhotosearchError
from photosearch.types import Matrix

Inputs = dict[str, Any]  # an operation's arguments by name: tensors, strings, booleans, None
Operation = Callable[[Inputs], Any]

COMPRESSED: Final = ("constexpr_",)  # weights stored smaller; materialised once


class UnknownOperation(PhotosearchError):
    """A program uses an operation this interpreter does not have."""


class Package:
    """An .mlpackage read back from disk: the program as a phone would get it."""

    def __init__(self, directory: Path) -> None:
        import coremltools
        from coremltools.converters.mil.frontend.milproto.load import load

        model = coremltools.models.MLModel(str(directory), skip_model_load=True)
        self.spec = model.get_spec()
        program = load(
            self.spec,
            specification_version=self.spec.specificationVersion,
            file_weights_dir=model.weights_dir,
        )
        self._function = next(iter(program.functions.values()))
        self._constants: dict[str, Any] = {}
        self.input = next(iter(self._function.inputs))
        for operation in self._function.operations:
            if operation.op_type == "const" or operation.op_type.startswith(COMPRESSED):
                self._keep(operation)

    def run(self, array: NDArray[Any]) -> Matrix:
        """The program's one input -> (1, D)."""
        values: dict[str, Any] = {self.input: _real(torch.as_tensor(np.array(array)))}
        for operation in self._function.operations:
            if operation.outputs[0].name in self._constants:
                continue
            arguments = {
                name: self._value(value, values) for name, value in operation.inputs.items()
            }
            known = OPERATIONS.get(operation.op_type)
            if known is None:
                raise UnknownOperation(f"Core ML operation {operation.op_type} is not known here")
            result = known(arguments)
            results = result if isinstance(result, list) else [result]
            for output, value in zip(operation.outputs, results, strict=True):
                values[output.name] = value
        found: Tensor = values[self._function.outputs[0].name]
        return found.to(torch.float32).numpy()

    def _keep(self, operation: Any) -> None:
        output = operation.outputs[0]
        if operation.op_type == "const":
            stored = output.val
        else:
            stored = operation.materialized_val_inference()
        self._constants[output.name] = _constant(stored)

    def _value(self, value: Any, values: Mapping[str, Any]) -> Any:
        if value is None:
            return None
        if isinstance(value, (list, tuple)):
            return [self._value(part, values) for part in value]
        if value.name in values:
            return values[value.name]
        if value.name in self._constants:
            return self._constants[value.name]
        return _constant(value.val)


def _constant(stored: Any) -> Any:
    if stored is None or isinstance(stored, (str, bool)):
        return stored
    return _real(torch.as_tensor(np.asarray(stored)))


def _real(tensor: Tensor) -> Tensor:
    """Arithmetic is float32 and int64 throughout, whatever the program stores."""
    if tensor.is_floating_point():
        return tensor.float()
    return tensor if tensor.dtype == torch.bool else tensor.long()


def _ints(value: Any) -> list[int]:
    return [int(part) for part in torch.as_tensor(value).reshape(-1).tolist()]


def _number(value: Any) -> float:
    return float(torch.as_tensor(value))


# --- operations that need more than a line ------------------------------------------------------


def _conv(a: Inputs) -> Tensor:
    x, kind = a["x"], a["pad_type"]
    if kind == "custom":
        top, bottom, left, right = _ints(a["pad"])
        x = functional.pad(x, (left, right, top, bottom))
    elif kind not in ("valid", None):
        raise UnknownOperation(f"Core ML padding {kind} is not known here")
    return functional.conv2d(
        x,
        a["weight"],
        a.get("bias"),
        _ints(a["strides"]),
        0,
        _ints(a["dilations"]),
        int(a["groups"]),
    )


def _pad(a: Inputs) -> Tensor:
    if a["mode"] != "constant":
        raise UnknownOperation(f"Core ML padding mode {a['mode']} is not known here")
    pairs = _ints(a["pad"])
    flat = [amount for axis in range(len(pairs) - 2, -1, -2) for amount in pairs[axis : axis + 2]]
    return functional.pad(a["x"], flat, value=_number(a["constant_val"]))


def _matmul(a: Inputs) -> Tensor:
    x = a["x"].transpose(-1, -2) if a["transpose_x"] else a["x"]
    y = a["y"].transpose(-1, -2) if a["transpose_y"] else a["y"]
    product: Tensor = x @ y
    return product


def _layer_norm(a: Inputs) -> Tensor:
    shape = [a["x"].shape[axis] for axis in _ints(a["axes"])]
    epsilon = _number(a["epsilon"])
    return functional.layer_norm(a["x"], shape, a.get("gamma"), a.get("beta"), epsilon)


def _batch_norm(a: Inputs) -> Tensor:
    return functional.batch_norm(
        a["x"],
        a["mean"],
        a["variance"],
        a.get("gamma"),
        a.get("beta"),
        False,
        0,
        _number(a["epsilon"]),
    )


def _gather(a: Inputs) -> Tensor:
    x, indices, axis = a["x"], a["indices"].long(), int(a["axis"]) % a["x"].dim()
    shape = (*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :])
    indices = torch.where(indices < 0, indices + x.shape[axis], indices)
    return torch.index_select(x, axis, indices.reshape(-1)).reshape(shape)


def _gather_nd(a: Inputs) -> Tensor:
    found: Tensor = a["x"][tuple(a["indices"].long().unbind(-1))]
    return found


def _slice_by_index(a: Inputs) -> Tensor:
    x: Tensor = a["x"]
    begin, end = _ints(a["begin"]), _ints(a["end"])
    rank = x.dim()
    steps = _ints(a["stride"]) if a.get("stride") is not None else [1] * rank
    flags = {
        name: [bool(flag) for flag in _ints(a[name])] if a.get(name) is not None else [False] * rank
        for name in ("begin_mask", "end_mask", "squeeze_mask")
    }
    picks: list[slice | int] = []
    for axis in range(rank):
        if flags["squeeze_mask"][axis]:
            picks.append(begin[axis])
        else:
            first = None if flags["begin_mask"][axis] else begin[axis]
            last = None if flags["end_mask"][axis] else end[axis]
            picks.append(slice(first, last, steps[axis]))
    return x[tuple(picks)]


def _split(a: Inputs) -> list[Tensor]:
    axis = int(a["axis"])
    if a.get("split_sizes") is not None:
        return list(a["x"].split(_ints(a["split_sizes"]), axis))
    return list(a["x"].chunk(int(a["num_splits"]), axis))


def _expand_dims(a: Inputs) -> Tensor:
    x: Tensor = a["x"]
    for axis in sorted(_ints(a["axes"])):
        x = x.unsqueeze(axis)
    return x


def _squeeze(a: Inputs) -> Tensor:
    x: Tensor = a["x"]
    if a.get("axes") is None:
        return x.squeeze()
    for axis in sorted((axis % x.dim() for axis in _ints(a["axes"])), reverse=True):
        x = x.squeeze(axis)
    return x


def _reshape(a: Inputs) -> Tensor:
    shape = _ints(a["shape"])
    kept = [a["x"].shape[axis] if side == 0 else side for axis, side in enumerate(shape)]
    found: Tensor = a["x"].reshape(kept)
    return found


def _cast(a: Inputs) -> Tensor:
    kinds = {"fp16": torch.float32, "fp32": torch.float32, "bool": torch.bool}
    found: Tensor = torch.as_tensor(a["x"]).to(kinds.get(a["dtype"], torch.int64))
    return found


def _gelu(a: Inputs) -> Tensor:
    return functional.gelu(a["x"], approximate="none" if a["mode"] in ("EXACT", None) else "tanh")


def _rsqrt(a: Inputs) -> Tensor:
    epsilon = _number(a["epsilon"]) if a.get("epsilon") is not None else 0.0
    found: Tensor = (a["x"] + epsilon).rsqrt()
    return found


def _pair(function: Callable[[Tensor, Tensor], Tensor]) -> Operation:
    return lambda a: function(torch.as_tensor(a["x"]), torch.as_tensor(a["y"]))


def _reduce(name: str) -> Operation:
    return lambda a: getattr(a["x"], name)(_ints(a["axes"]), keepdim=bool(a["keep_dims"]))


def _reduce_l2_norm(a: Inputs) -> Tensor:
    found: Tensor = a["x"].norm(dim=_ints(a["axes"]), keepdim=bool(a["keep_dims"]))
    return found


def _reduce_max(a: Inputs) -> Tensor:
    return torch.amax(a["x"], _ints(a["axes"]), keepdim=bool(a["keep_dims"]))


OPERATIONS: Final[dict[str, Operation]] = {
    "conv": _conv,
    "pad": _pad,
    "linear": lambda a: functional.linear(a["x"], a["weight"], a.get("bias")),
    "matmul": _matmul,
    "layer_norm": _layer_norm,
    "batch_norm": _batch_norm,
    "softmax": lambda a: a["x"].softmax(int(a["axis"])),
    "sigmoid": lambda a: a["x"].sigmoid(),
    "tanh": lambda a: a["x"].tanh(),
    "erf": lambda a: a["x"].erf(),
    "exp": lambda a: a["x"].exp(),
    "gelu": _gelu,
    "relu": lambda a: functional.relu(a["x"]),
    "relu6": lambda a: functional.relu6(a["x"]),
    "clip": lambda a: a["x"].clamp(_number(a["alpha"]), _number(a["beta"])),
    "sqrt": lambda a: a["x"].sqrt(),
    "rsqrt": _rsqrt,
    "square": lambda a: a["x"].square(),
    "abs": lambda a: a["x"].abs(),
    "add": _pair(torch.add),
    "sub": _pair(torch.sub),
    "mul": _pair(torch.mul),
    "real_div": _pair(torch.div),
    "pow": _pair(torch.pow),
    "maximum": _pair(torch.maximum),
    "minimum": _pair(torch.minimum),
    "equal": _pair(torch.eq),
    "not_equal": _pair(torch.ne),
    "greater": _pair(torch.gt),
    "greater_equal": _pair(torch.ge),
    "less": _pair(torch.lt),
    "less_equal": _pair(torch.le),
    "logical_not": lambda a: torch.logical_not(a["x"]),
    "logical_and": _pair(torch.logical_and),
    "select": lambda a: torch.where(
        torch.as_tensor(a["cond"]).bool(), torch.as_tensor(a["a"]), torch.as_tensor(a["b"])
    ),
    "reduce_mean": _reduce("mean"),
    "reduce_sum": _reduce("sum"),
    "reduce_max": _reduce_max,
    "reduce_l2_norm": _reduce_l2_norm,
    "reduce_argmax": lambda a: a["x"].argmax(int(a["axis"]), keepdim=bool(a["keep_dims"])),
    "gather": _gather,
    "gather_nd": _gather_nd,
    "slice_by_index": _slice_by_index,
    "split": _split,
    "stack": lambda a: torch.stack([torch.as_tensor(v) for v in a["values"]], int(a["axis"])),
    "concat": lambda a: torch.cat([torch.as_tensor(v) for v in a["values"]], int(a["axis"])),
    "reshape": _reshape,
    "transpose": lambda a: a["x"].permute(_ints(a["perm"])),
    "expand_dims": _expand_dims,
    "squeeze": _squeeze,
    "tile": lambda a: a["x"].repeat(*_ints(a["reps"])),
    "cast": _cast,
    "shape": lambda a: torch.tensor(a["x"].shape),
    "range_1d": lambda a: torch.arange(int(a["start"]), int(a["end"]), int(a["step"])),
    "identity": lambda a: a["x"],
}
