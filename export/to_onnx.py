"""A tower -> ONNX: the desktop's target."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray
from torch import nn

from export.chatter import quiet
from export.fused import fused
from export.quantize import stored_int8
from export.towers import tables_as
from photosearch.tokenizer import Tokenizer
from photosearch.types import Matrix

OPSET: Final = 18  # ONNX Runtime reads it since 1.14
PRECISIONS: Final = ("int8", "fp32")


def write_image(tower: nn.Module, side_px: int, file: Path, *, precision: str) -> None:
    """image.onnx: `pixels` (N, 3, S, S) float32 -> `embedding` (N, D)."""
    example = torch.randn(2, 3, side_px, side_px)
    batch = torch.export.Dim("N", min=1, max=1024)
    model = _to_onnx(tower, example, "pixels", {0: batch})
    onnx.save_model(stored_int8(model) if precision == "int8" else model, file)


def write_text(tower: nn.Module, tokenizer: Tokenizer, file: Path, *, precision: str) -> None:
    """text.onnx: `tokens` (N, L) int64, padded -> `embedding` (N, D).

    L is free where the tokenizer pads to the longest of a batch, else it is the context.
    """
    length = tokenizer.context_length
    dims: dict[int, object] = {0: torch.export.Dim("N", min=1, max=4096)}
    if tokenizer.pads_to_longest:
        dims[1] = torch.export.Dim("L", max=length)
        length = 7
    example = torch.randint(1, 100, (2, length))
    smaller = fused(tower) if precision == "int8" else contextlib.nullcontext()
    with tables_as(tower, precision), smaller:
        model = _to_onnx(tower, example, "tokens", dims)
    onnx.save_model(stored_int8(model) if precision == "int8" else model, file)


class Session:
    """A written file in ONNX Runtime."""

    def __init__(self, file: Path) -> None:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(
            str(file), sess_options=options, providers=["CPUExecutionProvider"]
        )

    def run(self, name: str, array: NDArray[np.float32] | NDArray[np.int64]) -> Matrix:
        """One input -> (N, D)."""
        return np.asarray(self._session.run(["embedding"], {name: array})[0], dtype=np.float32)


def _to_onnx(
    tower: nn.Module, example: torch.Tensor, name: str, dims: Mapping[int, object]
) -> onnx.ModelProto:
    """torch.export, then ONNX; the exporter's own chatter is kept off the terminal."""
    with quiet():
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        program = torch.onnx.export(
            tower,
            (example,),
            dynamo=True,
            input_names=[name],
            output_names=["embedding"],
            dynamic_shapes=(dict(dims),),
            opset_version=OPSET,
            optimize=True,
        )
    assert program is not None
    model = program.model_proto
    strip(model)
    onnx.checker.check_model(model)
    return model


def strip(model: onnx.ModelProto) -> None:
    """Drop what names the machine and sources of the export: metadata and doc strings."""
    del model.metadata_props[:]
    model.doc_string = ""
    model.graph.doc_string = ""
    del model.graph.value_info[:]  # the exporter leaves shapes of tensors it has since changed
    for part in (*model.graph.node, *model.graph.initializer):
        part.doc_string = ""
        del part.metadata_props[:]
    for value in (*model.graph.input, *model.graph.output):
        value.doc_string = ""
        del value.metadata_props[:]
    del model.graph.metadata_props[:]


def runtime_version() -> str:
    """The runtime that parity was measured with."""
    return f"onnxruntime {onnxruntime.__version__}"
