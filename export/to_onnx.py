"""A tower -> ONNX: the desktop's target."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import onnx
import onnxruntime
import torch
from torch import nn

from export.quantize import stored_int8
from models.layers import BertEncoder

OPSET: Final = 18  # ONNX Runtime reads it since 1.14
PRECISIONS: Final = ("int8", "fp32")


class Int8Embedding(nn.Module):
    """A table of int8 rows, each with its own scale; a quarter of the size, cosine above 0.9999.

    ONNX Runtime's own quantiser has one scale for the whole table, which a few
    large rows spoil for the others.
    """

    rows: torch.Tensor
    scales: torch.Tensor

    def __init__(self, table: nn.Embedding) -> None:
        super().__init__()
        weight = table.weight.detach()
        scales = weight.abs().amax(dim=1, keepdim=True).clamp_min(1e-12) / 127
        self.register_buffer("rows", (weight / scales).round().to(torch.int8))
        self.register_buffer("scales", scales)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """(B, L) -> (B, L, W)."""
        return self.rows[tokens].to(self.scales.dtype) * self.scales[tokens]


class Float32Embedding(nn.Module):
    """The table by indexing: nn.Embedding would export a tensor named as our output is."""

    def __init__(self, table: nn.Embedding) -> None:
        super().__init__()
        self.rows = table.weight

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """(B, L) -> (B, L, W)."""
        return self.rows[tokens]


def write_image(tower: nn.Module, side_px: int, file: Path, *, precision: str) -> None:
    """image.onnx: `pixels` (N, 3, S, S) float32 -> `embedding` (N, D)."""
    example = torch.randn(2, 3, side_px, side_px)
    batch = torch.export.Dim("N", min=1, max=1024)
    model = _to_onnx(tower, example, "pixels", {0: batch})
    onnx.save_model(stored_int8(model) if precision == "int8" else model, file)


def write_text(tower: nn.Module, positions: int, file: Path, *, precision: str) -> None:
    """text.onnx: `tokens` (N, L) int64, padded with 0 -> `embedding` (N, D)."""
    encoder = tower.encoder
    assert isinstance(encoder, BertEncoder)
    table = encoder.words
    assert isinstance(table, nn.Embedding)
    encoder.words = Int8Embedding(table) if precision == "int8" else Float32Embedding(table)
    try:
        model = _text_model(tower, positions)
    finally:
        encoder.words = table
    onnx.save_model(stored_int8(model) if precision == "int8" else model, file)


def _text_model(tower: nn.Module, positions: int) -> onnx.ModelProto:
    example = torch.randint(1, 100, (2, 7))
    dims = {0: torch.export.Dim("N", min=1, max=4096), 1: torch.export.Dim("L", max=positions)}
    return _to_onnx(tower, example, "tokens", dims)


def _to_onnx(
    tower: nn.Module, example: torch.Tensor, name: str, dims: Mapping[int, object]
) -> onnx.ModelProto:
    """torch.export, then ONNX; the exporter's own chatter is kept off the terminal."""
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
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
