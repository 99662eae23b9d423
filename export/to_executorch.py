"""A tower -> ExecuTorch: the phone's target, and one the desktop can run to prove it.

Shapes are static: a program exported with dynamic ones refuses sizes that
`torch.export` allowed. A text program therefore has two methods, which share
their weights: `forward` for a whole context, `short` for the few words most
queries are, at a fraction of the time.

int8 means, per channel throughout: convolutions with activations calibrated on
photos, matrix products with activations quantised as they come, and the word
table as rows of int8 with a scale each.
"""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from export.chatter import quiet
from export.mil import Package
from photosearch.errors import PhotosearchError
from photosearch.types import Matrix

SHORT_TOKENS: Final = 16  # of 5,000 captions and label prompts nearly all fit
FORWARD: Final = "forward"
SHORT: Final = "short"


def image_program(
    tower: nn.Module, calibration: NDArray[np.float32], *, precision: str, delegate: str = "xnnpack"
) -> bytes:
    """`forward`: pixels (1, 3, S, S) float32, normalised -> (1, D).

    calibration: (N, 3, S, S), photos that int8's ranges are taken from.
    """
    # Batched by torch: numpy gives an axis of length 1 the stride 0, which ExecuTorch refuses.
    examples = [(torch.from_numpy(row).unsqueeze(0),) for row in calibration]
    with quiet():
        if precision == "int8" and delegate == "xnnpack":
            tower = _quantised(tower, examples, dynamic=False)
        program = torch.export.export(tower, examples[0], strict=False)
        return _lower({FORWARD: program}, delegate, precision)


def text_program(
    tower: nn.Module, context: int, *, short: bool, precision: str, delegate: str = "xnnpack"
) -> bytes:
    """`forward`: tokens (1, context) int64, padded -> (1, D); `short` the same for SHORT_TOKENS.

    short: whether the tower may be given fewer tokens than its context.
    The tower must already hold the word table it is to be shipped with.
    """
    lengths = {FORWARD: context}
    if short and context > SHORT_TOKENS and delegate == "xnnpack":
        lengths[SHORT] = SHORT_TOKENS
    with quiet():
        programs = {}
        for method, length in lengths.items():
            example = (torch.ones(1, length, dtype=torch.int64),)
            module = tower
            if precision == "int8" and delegate == "xnnpack":
                module = _quantised(tower, [example], dynamic=True)
            programs[method] = torch.export.export(module, example, strict=False)
        return _lower(programs, delegate, precision)


def _quantised(
    tower: nn.Module, examples: Sequence[tuple[torch.Tensor, ...]], *, dynamic: bool
) -> nn.Module:
    """PT2E: observe the examples, then hold int8 weights and quantised activations."""
    from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import (
        XNNPACKQuantizer,
        get_symmetric_quantization_config,
    )
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

    quantizer = XNNPACKQuantizer()
    if not dynamic:
        quantizer.set_global(get_symmetric_quantization_config(is_per_channel=True))
    # Matrix products outside a convolution stack are few and matter: their ranges are taken
    # from each input, not from the calibration photos.
    quantizer.set_operator_type(
        torch.ops.aten.linear.default,
        get_symmetric_quantization_config(is_per_channel=True, is_dynamic=True),
    )
    graph = torch.export.export(tower, examples[0], strict=False).module()
    observed = prepare_pt2e(graph, quantizer)
    with torch.no_grad():
        for example in examples:
            observed(*example)
    converted: nn.Module = convert_pt2e(observed)
    return converted


def _lower(programs: Mapping[str, Any], delegate: str, precision: str) -> bytes:
    from executorch.exir import ExecutorchBackendConfig, to_edge_transform_and_lower

    partitioners = {method: [_partitioner(delegate, precision)] for method in programs}
    edge = to_edge_transform_and_lower(dict(programs), partitioner=partitioners)
    return bytes(edge.to_executorch(ExecutorchBackendConfig()).buffer)


def _partitioner(delegate: str, precision: str) -> Any:
    if delegate == "coreml":
        from executorch.backends.apple.coreml.partition import CoreMLPartitioner

        return CoreMLPartitioner(compile_specs=_coreml_specs(precision))
    if delegate == "vulkan":
        from executorch.backends.vulkan.partitioner.vulkan_partitioner import VulkanPartitioner

        return VulkanPartitioner()
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner

    return XnnpackPartitioner()


def _coreml_specs(precision: str) -> list[Any]:
    import coremltools
    from executorch.backends.apple.coreml.compiler import CoreMLBackend

    linear8 = {"mode": "linear_symmetric", "dtype": "int8", "granularity": "per_channel"}
    half = precision == "int8"
    return list(
        CoreMLBackend.generate_compile_specs(
            minimum_deployment_target=coremltools.target.iOS17,
            compute_precision=(
                coremltools.precision.FLOAT16 if half else coremltools.precision.FLOAT32
            ),
            op_linear_quantizer_config=linear8 if half else None,
        )
    )


def delegates(file: Path) -> list[tuple[str, bytes]]:
    """Every call of a backend in a program, with what it was given.

    What is not delegated runs in ExecuTorch's own kernels.
    """
    from executorch.exir._serialize._program import deserialize_pte_binary
    from executorch.exir.schema import DataLocation

    program = deserialize_pte_binary(file.read_bytes()).program
    found = []
    for plan in program.execution_plan:
        for delegate in plan.delegates:
            inline = delegate.processed.location == DataLocation.INLINE
            data = program.backend_delegate_data[delegate.processed.index].data if inline else b""
            found.append((delegate.id, bytes(data)))
    return found


BACKENDS: Final = {
    "xnnpack": "XnnpackBackend",
    "coreml": "CoreMLBackend",
    "vulkan": "VulkanBackend",
}


def require_delegates(image: Path, text: Path, delegate: str) -> int:
    """A program that fell back to the portable kernels would run, slowly: refuse it."""
    called = 0
    for file in (image, text):
        found = [name for name, _ in delegates(file)]
        if not found or set(found) != {BACKENDS[delegate]}:
            raise PhotosearchError(
                f"{file.name}: calls {sorted(set(found)) or 'no backend'}, "
                f"needs {BACKENDS[delegate]}"
            )
        called += len(found)
    return called


def package_of(file: Path) -> Package | None:
    """The Core ML package that a program hands its delegate whole, read back; None where
    the delegate is another, or only a part of the tower was delegated."""
    from executorch.backends.apple.coreml import executorchcoreml

    found = delegates(file)
    if len(found) != 1 or found[0][0] != BACKENDS["coreml"]:
        return None
    with tempfile.TemporaryDirectory() as folder, quiet():
        try:
            executorchcoreml.unflatten_directory_contents(found[0][1], folder)
        except RuntimeError as error:
            raise PhotosearchError(
                f"{file.name}: its Core ML part cannot be unpacked ({error})"
            ) from error
        # ExecuTorch 1.5 packs it as lowered_module/model.mlpackage, earlier ones without a folder.
        packages = list(Path(folder).rglob("*.mlpackage"))
        if len(packages) != 1:
            raise PhotosearchError(
                f"{file.name}: its Core ML part holds {len(packages)} packages, needs one"
            )
        return Package(packages[0])


class Program:
    """A .pte in ExecuTorch's own runtime."""

    def __init__(self, file: Path) -> None:
        with quiet():
            from executorch.runtime import Runtime

            self._program = Runtime.get().load_program(str(file))

    @functools.cache  # noqa: B019 -- a program lives as long as its export
    def _method(self, name: str) -> Any:
        return self._program.load_method(name)

    def run(self, row: NDArray[np.float32] | NDArray[np.int64], method: str = FORWARD) -> Matrix:
        """(1, ...) -> (1, D)."""
        found = self._method(method).execute([torch.from_numpy(np.ascontiguousarray(row))])[0]
        return np.array(found.numpy(), dtype=np.float32)

    @property
    def methods(self) -> set[str]:
        return set(self._program.method_names)


def runtime_version() -> str:
    """What the programs were lowered with, and run in."""
    import importlib.metadata

    return f"executorch {importlib.metadata.version('executorch')}"
