"""A tower -> Core ML: an ML Program that takes the photo itself.

    Image.mlpackage   `image`  (1, 3, S, S): an RGB image, values 0..255; the encoder's
                      mean and deviation are baked into the input -> `embedding` (1, D)
    Text.mlpackage    `tokens` (1, L) int32, padded -> `embedding` (1, D)

int8 means 8-bit weights, linear, a scale per channel, with float16 arithmetic;
palette6 means weights from 64 values per tensor where that serves, and 8 bits elsewhere.
fp32 is float32 throughout. Core ML predicts on Macs and phones only; here the written
package is read back and interpreted (mil.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from export.chatter import quiet
from export.mil import Package
from export.towers import Lowered, Towers, padded, tables_as
from photosearch.errors import PhotosearchError
from photosearch.types import Matrix, Preprocess

IMAGE: Final = "Image.mlpackage"
TEXT: Final = "Text.mlpackage"
PALETTE_BITS: Final = 6
MIN_ELEMENTS: Final = 2048  # coremltools leaves smaller weights as they are, and so do we


def write(towers: Towers, folder: Path, *, precision: str) -> Lowered:
    """Both packages; the word table stays float here and shrinks with the other weights."""
    require_coremltools()
    with quiet():
        _write_image(towers, folder / IMAGE, precision)
        with tables_as(towers.text, "fp32"):
            _write_text(towers, folder / TEXT, precision)
        image, text = Package(folder / IMAGE), Package(folder / TEXT)
    require_image_input(image, towers.preprocess)
    pad_id, context = towers.tokenizer.pad_id, towers.tokenizer.context_length

    def images(photos: NDArray[np.uint8]) -> Matrix:
        # Values 0..255: scale and bias are the program's own first operations.
        return np.concatenate([image.run(photo.transpose(2, 0, 1)[None]) for photo in photos])

    def texts(rows: Sequence[NDArray[np.int64]]) -> Matrix:
        return np.concatenate([text.run(padded(row, context, pad_id)) for row in rows])

    return Lowered(
        target="coreml",
        image=IMAGE,
        text=TEXT,
        runtime=runtime_version(),
        checked="interpreted",
        images=images,
        texts=texts,
        details={"specification": int(image.spec.specificationVersion)},
    )


class FromZeroToOne(nn.Module):
    """The tower behind what an image input cannot say: a deviation for each channel."""

    scale: Tensor

    def __init__(self, tower: nn.Module, how: Preprocess) -> None:
        super().__init__()
        self.tower = tower
        self.same = len(set(how.std)) == 1
        scale = torch.tensor([how.std[0] / std for std in how.std])
        self.register_buffer("scale", scale[None, :, None, None])

    def forward(self, pixels: Tensor) -> Tensor:
        """(1, 3, S, S), scaled by the first channel's deviation -> (1, D)."""
        found: Tensor = self.tower(pixels if self.same else pixels * self.scale)
        return found


def _write_image(towers: Towers, directory: Path, precision: str) -> None:
    import coremltools

    how = towers.preprocess
    side = how.side_px
    # Values reach the program as image * scale + bias, one scale for all channels.
    image = coremltools.ImageType(
        name="image",
        shape=(1, 3, side, side),
        color_layout=coremltools.colorlayout.RGB,
        scale=1.0 / (255.0 * how.std[0]),
        bias=[-mean / how.std[0] for mean in how.mean],
    )
    example = torch.rand(1, 3, side, side)
    _convert(FromZeroToOne(towers.image, how).eval(), example, image, directory, precision)


def _write_text(towers: Towers, directory: Path, precision: str) -> None:
    import coremltools

    context = towers.tokenizer.context_length
    tokens = coremltools.TensorType(name="tokens", shape=(1, context), dtype=np.int32)
    example = torch.ones(1, context, dtype=torch.int32)
    _convert(_Int32Tokens(towers.text).eval(), example, tokens, directory, precision)


class _Int32Tokens(nn.Module):
    def __init__(self, tower: nn.Module) -> None:
        super().__init__()
        self.tower = tower

    def forward(self, tokens: Tensor) -> Tensor:
        found: Tensor = self.tower(tokens.long())
        return found


def _convert(
    module: nn.Module, example: Tensor, given: Any, directory: Path, precision: str
) -> None:
    import coremltools

    program = torch.export.export(module, (example,), strict=False).run_decompositions({})
    single = precision == "fp32"
    model = coremltools.convert(
        program,
        inputs=[given],
        outputs=[coremltools.TensorType(name="embedding", dtype=np.float32)],
        minimum_deployment_target=coremltools.target.iOS16,
        compute_precision=(
            coremltools.precision.FLOAT32 if single else coremltools.precision.FLOAT16
        ),
        convert_to="mlprogram",
        skip_model_load=True,
    )
    _smaller(model, precision).save(str(directory))


def _smaller(model: Any, precision: str) -> Any:
    from coremltools.optimize import coreml

    if precision == "int8":
        linear = coreml.OpLinearQuantizerConfig(mode="linear_symmetric", dtype="int8")
        return coreml.linear_quantize_weights(
            model, coreml.OptimizationConfig(global_config=linear)
        )
    if precision == "palette6":
        palette = coreml.OpPalettizerConfig(mode="kmeans", nbits=PALETTE_BITS)
        linear = coreml.OpLinearQuantizerConfig(mode="linear_symmetric", dtype="int8")
        kept = _keep_8_bits(model)
        smaller = coreml.palettize_weights(
            model,
            coreml.OptimizationConfig(
                global_config=palette, op_name_configs=dict.fromkeys(kept, None)
            ),
        )
        if not kept:
            return smaller
        return coreml.linear_quantize_weights(
            smaller, coreml.OptimizationConfig(op_name_configs=dict.fromkeys(kept, linear))
        )
    return model


def _keep_8_bits(model: Any) -> list[str]:
    """Convolutions that 64 values do not serve: of each channel alone, whose few weights differ
    from channel to channel by more than one palette holds, and those that narrow, whose errors
    are added to the residual. Two fifths of an EfficientNet's weights; with palettes there too,
    lantern's photos are at a cosine of 0.93 to their own, and without at 0.99."""
    from coremltools.optimize import coreml

    found = []
    for name, weight in coreml.get_weights_metadata(model, weight_threshold=MIN_ELEMENTS).items():
        outputs, inputs = weight.val.shape[0], weight.val.shape[1] if weight.val.ndim > 1 else 0
        if weight.val.ndim == 4 and (inputs == 1 or outputs < inputs):
            found.append(name)
    return found


def require_image_input(package: Package, how: Preprocess) -> None:
    """The first input must be an RGB image of the encoder's size, scaled inside the program."""
    image = package.spec.description.input[0].type.imageType
    rgb = type(image).ColorSpace.Value("RGB")
    if (image.width, image.height, image.colorSpace) != (how.side_px, how.side_px, rgb):
        raise PhotosearchError(
            f"Core ML's image input is {image.width} x {image.height}, needs RGB, {how.side_px}"
        )


def runtime_version() -> str:
    """What the packages were converted with."""
    import coremltools

    return f"coremltools {coremltools.__version__}"


def require_coremltools() -> None:
    import importlib.util

    if importlib.util.find_spec("coremltools") is None:
        raise PhotosearchError(
            "coremltools is not installed, which --targets coreml needs. "
            "Install the [export] extra."
        )
