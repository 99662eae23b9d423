"""Every student of the family survives export with random weights, int8 and float32."""

from __future__ import annotations

from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="torch is in the [train] extra")
pytest.importorskip("onnx", reason="onnx is in the [export] extra")
pytest.importorskip("onnxscript", reason="onnxscript is in the [export] extra")

from export import to_onnx  # noqa: E402
from export.parity import require_parity  # noqa: E402
from models.layers import fuse  # noqa: E402
from models.students import STUDENTS, DualEncoder  # noqa: E402
from photosearch.tokenizer import WordPieceTokenizer  # noqa: E402

SIDE_PX = 64
VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *(f"piece{number}" for number in range(116))]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["spark", "candle", "lantern"])
def test_a_random_student_survives_export(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    student = DualEncoder(STUDENTS[name](vocabulary=len(VOCABULARY), side_px=SIDE_PX)).eval()
    pixels = torch.randn(3, 3, SIDE_PX, SIDE_PX)
    tokens = torch.tensor([[2, 5, 3, 0, 0], [2, 5, 6, 7, 3], [2, 3, 0, 0, 0]])
    with torch.inference_mode():
        images, texts = (rows.numpy() for rows in student(pixels, tokens))
    fuse(student)
    tokenizer = WordPieceTokenizer(VOCABULARY, context_length=student.config.text.positions)
    image, text = tmp_path / "image.onnx", tmp_path / "text.onnx"
    to_onnx.write_image(student.image, SIDE_PX, image, precision="int8")
    to_onnx.write_text(student.text, tokenizer, text, precision="int8")
    seen, read = to_onnx.Session(image), to_onnx.Session(text)
    require_parity("onnx", "image", "int8", images, lambda: seen.run("pixels", pixels.numpy()))
    require_parity("onnx", "text", "int8", texts, lambda: read.run("tokens", tokens.numpy()))
    # A byte for a parameter, and no table left in float32.
    table = student.config.text.factor * len(VOCABULARY)
    assert table > 0
    parameters = sum(value.numel() for value in student.text.parameters())
    assert text.stat().st_size < 1.6 * parameters
