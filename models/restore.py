"""A checkpoint out of a bundle: the student that its ONNX files hold, to be exported again,
evaluated, or trained on.

    python -m models.restore --bundle DIR --out FILE

A bundle outlives the run that made it. Its ONNX files have every weight, as int8 with a
scale for each output, and its manifest has the student's shapes and the recipe. Rounding
is not undone: the restored student computes what ONNX Runtime computes with the files
(a cosine of 1 to the sixth digit), not what the float32 student did before the export. What is
rounded already is not rounded twice: int8 of the restored weights gives the same levels.
"""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from photosearch.extras import stop_without

if __name__ == "__main__":  # before torch is imported: who has not installed it is told so
    stop_without("restore", "train", "torch", "onnx")

import numpy as np
import onnx
import torch
from PIL import Image
from torch import Tensor, nn

from models.checkpoint import Checkpoint, EagerEncoder, save_checkpoint, student_config
from models.layers import absorb, fuse
from models.onnx_torch import attributes_of, folded_constants
from models.recipes import Recipe
from models.students import DualEncoder, StudentConfig
from photosearch.bundle import Bundle, load_background, load_golden, open_bundle, verify_files
from photosearch.errors import PhotosearchError
from photosearch.preprocess import normalise
from photosearch.tokenizer import read_pieces

# To the bundle's golden vectors, which ONNX Runtime gave. Its products of int8 round what comes.
MIN_COSINE: Final = 0.9999
MIN_COSINE_INT8: Final = 0.999
INT8_PRODUCT: Final = "MatMulNBits"
ZERO_LEVEL: Final = 128


class NotRestored(PhotosearchError):
    """A bundle that no checkpoint can be made of, and why."""


def restore(bundle: Bundle) -> Checkpoint:
    """The bundle's student with its ONNX weights in float32. Raises NotRestored or BundleError.

    It must give the bundle's golden vectors, or it is refused. There is no optimizer's
    state: training may start from it, and does not go on.
    """
    if problems := verify_files(bundle):
        raise NotRestored(f"{bundle.directory}: damaged, {problems[0]}")
    recipe, config = _plan(bundle)
    fused = DualEncoder(config).eval()
    fuse(fused)
    for tower, file in zip((fused.image, fused.text), bundle.towers("onnx"), strict=True):
        _fill(tower, file)
    student = DualEncoder(config).eval()
    student.load_state_dict(fused.state_dict(), strict=False)  # the batch norms are not in it
    absorb(student.image, fused.image)
    background = load_background(bundle)
    checkpoint = Checkpoint(
        recipe=recipe,
        student=config,
        vocabulary=read_pieces(bundle.file(bundle.vocabulary)),
        step=0,
        weights=student.state_dict(),
        training={},
        background=None if background is None else torch.from_numpy(background.vectors),
        words={} if background is None else dict(background.words),
        metrics={},
    )
    _require_golden(checkpoint, bundle)
    return checkpoint


def _plan(bundle: Bundle) -> tuple[Recipe, StudentConfig]:
    """What the manifest says the student is; refused where that is not one of ours."""
    where = bundle.directory
    try:
        recipe = Recipe(**bundle.description["recipe"])
        config = student_config(bundle.description["student"])
    except (KeyError, TypeError, ValueError) as error:
        raise NotRestored(
            f"{where}: its manifest describes no student of ours ({error!r}). A model of OpenCLIP "
            "is exported again by `python -m export.openclip`."
        ) from error
    if recipe.preprocess() != bundle.preprocess:
        raise NotRestored(f"{where}: its recipe prepares photos otherwise than its manifest does")
    if (config.dim, config.text.positions) != (bundle.dim, bundle.context_length):
        raise NotRestored(
            f"{where}: its student has {config.dim} dimensions and {config.text.positions} tokens, "
            f"its manifest says {bundle.dim} and {bundle.context_length}"
        )
    return recipe, config


# --- from a graph to a module's weights -----------------------------------------------------------


def _fill(tower: nn.Module, file: Path) -> None:
    """Give a fused tower the weights of its ONNX file."""
    try:
        graph = onnx.load(file).graph
    except Exception as error:  # protobuf's own error, whose module moves between versions
        raise NotRestored(f"{file}: not an ONNX model ({error})") from error
    held = _weights(tower, graph)
    found: dict[str, Tensor] = {}
    for name, wanted in tower.state_dict().items():
        value = held.get(name)
        if value is None or value.shape != wanted.shape:
            shape = "nothing" if value is None else f"{tuple(value.shape)}"
            raise NotRestored(
                f"{file}: {name} needs {tuple(wanted.shape)}, found {shape}; this file was not "
                "exported from the student that its manifest describes, or that was not trained"
            )
        found[name] = value.float().contiguous()
    tower.load_state_dict(found)


def _weights(tower: nn.Module, graph: onnx.GraphProto) -> dict[str, Tensor]:
    """A graph's constants by the names of the tower's parameters: most have them, and the
    exporter gives a number to what it transposed, and to the word table."""
    constants = folded_constants(graph)
    found = {name.removesuffix("_folded"): value for name, value in constants.items()}
    products = {node.output[0]: node for node in graph.node if node.op_type == "MatMul"}
    for node in graph.node:
        if node.op_type == "Add":  # Add(MatMul(x, W), bias): nn.Linear holds W transposed
            for name, other in (node.input, reversed(node.input)):
                if name.endswith(".bias") and other in products:
                    weight = f"{name.removesuffix('.bias')}.weight"
                    found.setdefault(weight, constants[products[other].input[1]].T)
    return {**found, **_int8_products(graph, constants), **_table(tower, graph, constants)}


def _int8_products(graph: onnx.GraphProto, constants: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights of MatMulNBits: levels (N, blocks, block) around ZERO, a scale for each block."""
    found = {}
    for node in graph.node:
        if node.op_type == INT8_PRODUCT:
            levels = constants[node.input[1]].float() - ZERO_LEVEL
            scales = constants[node.input[2]].reshape(*levels.shape[:2], 1)
            width = attributes_of(node)["K"]
            name = f"{node.input[1].removesuffix('.levels')}.weight"
            found[name] = (levels * scales).flatten(1)[:, :width]
    return found


def _table(
    tower: nn.Module, graph: onnx.GraphProto, constants: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """The word table, whose rows tokens pick: float32, or int8 with a scale for each."""
    parts = {
        node.input[0]: constants[node.input[0]].float()
        for node in graph.node
        if node.op_type in ("Gather", "GatherND") and node.input[0] in constants
    }
    tables = {name: part for name, part in tower.named_modules() if isinstance(part, nn.Embedding)}
    found = {}
    for name, table in tables.items():
        picked = [part for part in parts.values() if part.shape[:1] == table.weight.shape[:1]]
        if picked:
            found[f"{name}.weight"] = torch.stack(
                [part.expand_as(picked[0]) for part in picked]
            ).prod(dim=0)
    return found


def _require_golden(checkpoint: Checkpoint, bundle: Bundle) -> None:
    """The restored student gives what ONNX Runtime gave when the bundle was made."""
    golden = load_golden(bundle)
    student = EagerEncoder(checkpoint)
    photos = [np.asarray(Image.open(io.BytesIO(png)).convert("RGB")) for png in golden.images]
    pixels = normalise(np.stack(photos), checkpoint.recipe.preprocess())
    texts, images = golden.vectors("onnx")
    for tower, file, wanted, found in zip(
        ("image", "text"),
        bundle.towers("onnx"),
        (images, texts),
        (student.images(pixels), student.texts(golden.texts)),
        strict=True,
    ):
        operators = {node.op_type for node in onnx.load(file).graph.node}
        needed = MIN_COSINE_INT8 if INT8_PRODUCT in operators else MIN_COSINE
        least = float((wanted * found).sum(axis=1).min())
        if not least >= needed:  # also catches NaN
            raise NotRestored(
                f"{bundle.directory}: the restored {tower} encoder has a cosine of {least:.5f} to "
                f"the bundle's golden vectors, needs {needed}"
            )


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m models.restore", description="Get a checkpoint back out of a bundle."
    )
    parser.add_argument("--bundle", type=Path, required=True, metavar="DIR")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="the checkpoint")
    args = parser.parse_args(arguments)
    try:
        if args.out.exists():
            raise PhotosearchError(f"{args.out}: exists already; nothing is written over")
        save_checkpoint(args.out, restore(open_bundle(args.bundle)))
    except PhotosearchError as error:
        print(f"restore: {error}", file=sys.stderr)
        return error.exit_code
    print(args.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
