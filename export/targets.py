"""The targets by name: each writes both towers and says how to run them here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from export import to_coreml, to_executorch, to_onnx
from export.towers import Lowered, Towers, padded, tables_as
from photosearch.preprocess import normalise
from photosearch.types import Matrix

Write = Callable[[Towers, Path, NDArray[np.uint8], str], Lowered]


def write_onnx(
    towers: Towers, folder: Path, calibration: NDArray[np.uint8], precision: str
) -> Lowered:
    image, text = folder / "image.onnx", folder / "text.onnx"
    to_onnx.write_image(towers.image, towers.preprocess.side_px, image, precision=precision)
    to_onnx.write_text(towers.text, towers.tokenizer, text, precision=precision)
    image_session, text_session = to_onnx.Session(image), to_onnx.Session(text)
    return Lowered(
        target="onnx",
        image=image.name,
        text=text.name,
        runtime=to_onnx.runtime_version(),
        checked="run",
        images=lambda photos: each_photo(
            lambda pixels: image_session.run("pixels", pixels), towers, photos
        ),
        texts=lambda rows: np.concatenate([text_session.run("tokens", row[None]) for row in rows]),
        details={"opset": to_onnx.OPSET},
    )


def write_executorch(
    towers: Towers, folder: Path, calibration: NDArray[np.uint8], precision: str
) -> Lowered:
    return _write_programs(towers, folder, calibration, precision, delegate="xnnpack")


def write_executorch_coreml(
    towers: Towers, folder: Path, calibration: NDArray[np.uint8], precision: str
) -> Lowered:
    return _write_programs(towers, folder, calibration, precision, delegate="coreml")


def write_executorch_vulkan(
    towers: Towers, folder: Path, calibration: NDArray[np.uint8], precision: str
) -> Lowered:
    return _write_programs(towers, folder, calibration, precision, delegate="vulkan")


def _write_programs(
    towers: Towers,
    folder: Path,
    calibration: NDArray[np.uint8],
    precision: str,
    *,
    delegate: str,
) -> Lowered:
    """XNNPACK runs here; the other delegates are inspected, and what Core ML was given is run."""
    mark = "" if delegate == "xnnpack" else f"-{delegate}"
    image, text = folder / f"image{mark}.pte", folder / f"text{mark}.pte"
    pixels = normalise(calibration, towers.preprocess)
    image.write_bytes(
        to_executorch.image_program(towers.image, pixels, precision=precision, delegate=delegate)
    )
    # Core ML's own quantiser leaves tables alone inside ExecuTorch; iOS 17 looks up int8 rows.
    with tables_as(towers.text, "fp32" if delegate == "vulkan" else precision):
        text.write_bytes(
            to_executorch.text_program(
                towers.text,
                towers.tokenizer.context_length,
                short=towers.tokenizer.pads_to_longest,
                precision=precision,
                delegate=delegate,
            )
        )
    called = to_executorch.require_delegates(image, text, delegate)
    run = _run_programs if delegate == "xnnpack" else _run_packages
    images, texts, checked = run(towers, image, text)
    return Lowered(
        target=f"executorch{mark}",
        image=image.name,
        text=text.name,
        runtime=to_executorch.runtime_version(),
        checked=checked,
        images=images,
        texts=texts,
        details={"delegate": delegate, "delegated_parts": called},
    )


Runners = tuple[
    Callable[[NDArray[np.uint8]], Matrix] | None,
    Callable[[Sequence[NDArray[np.int64]]], Matrix] | None,
    str,
]


def _run_programs(towers: Towers, image: Path, text: Path) -> Runners:
    image_program, text_program = to_executorch.Program(image), to_executorch.Program(text)
    pad_id, context = towers.tokenizer.pad_id, towers.tokenizer.context_length

    def one_text(row: NDArray[np.int64]) -> Matrix:
        short = len(row) <= to_executorch.SHORT_TOKENS and to_executorch.SHORT in (
            text_program.methods
        )
        length = to_executorch.SHORT_TOKENS if short else context
        method = to_executorch.SHORT if short else to_executorch.FORWARD
        return text_program.run(padded(row, length, pad_id), method)

    return (
        lambda photos: each_photo(image_program.run, towers, photos),
        lambda rows: np.concatenate([one_text(row) for row in rows]),
        "run",
    )


def _run_packages(towers: Towers, image: Path, text: Path) -> Runners:
    """What Core ML's delegate was given, interpreted; Vulkan's shaders cannot be."""
    image_package, text_package = (to_executorch.package_of(file) for file in (image, text))
    if image_package is None or text_package is None:
        return None, None, "inspected"
    pad_id, context = towers.tokenizer.pad_id, towers.tokenizer.context_length
    return (
        lambda photos: each_photo(image_package.run, towers, photos),
        lambda rows: np.concatenate(
            [text_package.run(padded(row, context, pad_id)) for row in rows]
        ),
        "interpreted",
    )


def write_coreml(
    towers: Towers, folder: Path, calibration: NDArray[np.uint8], precision: str
) -> Lowered:
    return to_coreml.write(towers, folder, precision=precision)


def each_photo(
    run: Callable[[NDArray[np.float32]], Matrix], towers: Towers, photos: NDArray[np.uint8]
) -> Matrix:
    """(N, S, S, 3) -> (N, D), one at a time, as a phone does it."""
    return np.concatenate([run(normalise(photo[None], towers.preprocess)) for photo in photos])


TARGETS: Final[dict[str, Write]] = {
    "onnx": write_onnx,
    "executorch": write_executorch,
    "coreml": write_coreml,
    "executorch-coreml": write_executorch_coreml,
    "executorch-vulkan": write_executorch_vulkan,
}
