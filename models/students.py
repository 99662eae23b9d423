"""The dual encoders and their sizes.

A student's embedding is two parts side by side:

    caption part   learned from photos with captions
    class part     what an image classifier already knows, put into the space of
                   sentences: ConSE (Norouzi et al., arXiv:1312.5650)

Caption heads alone are blind to anything their captions never mention; the class
part keeps a thousand kinds of things findable, and their neighbours in meaning.
The numbers behind each choice stand in docs/experiments.md.
"""

from __future__ import annotations

import copy
import math
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.layers import (
    LITE0,
    LITE2,
    MINILM,
    BertConfig,
    BertEncoder,
    EfficientNetConfig,
    EfficientNetLite,
    Stage,
    load_lite0,
    load_lite2,
    load_minilm,
    minilm_vocabulary,
    unit,
)
from models.narrow import inherit_image, is_narrower
from models.shrink import inherit_text
from photosearch.tokenizer import WordPieceTokenizer

# Sentence vectors have components of about 1/sqrt(384); heads learn best from about 1.
SENTENCE_SCALE: Final = 10.0


@dataclass(frozen=True)
class StudentConfig:
    """Everything that fixes a student's shapes; travels in its checkpoint."""

    image: EfficientNetConfig
    text: BertConfig
    side_px: int
    caption_dim: int
    class_dim: int
    class_share: float  # of a photo's squared length, in 0..1
    class_temperature: float  # above 1 softens the classifier's certainty
    gate_start: float  # of a text's squared length, before the gate has learned anything
    text_hidden: int = 768

    def __post_init__(self) -> None:
        for name in ("class_share", "gate_start"):
            if not 0 < getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must lie between 0 and 1")
        if self.class_temperature <= 0:
            raise ValueError(f"class_temperature is {self.class_temperature}; it must be positive")

    @property
    def dim(self) -> int:
        return self.caption_dim + self.class_dim


class ImageHead(nn.Module):
    """Features and logits of a photo -> its embedding."""

    feature_mean: Tensor
    feature_std: Tensor
    class_vectors: Tensor

    def __init__(self, config: StudentConfig, *, dropout: float = 0.0) -> None:
        super().__init__()
        self.share = config.class_share
        self.temperature = config.class_temperature
        self.dropout = nn.Dropout(dropout)
        self.caption = nn.Linear(config.image.head_width, config.caption_dim)
        self.register_buffer("feature_mean", torch.zeros(config.image.head_width))
        self.register_buffer("feature_std", torch.ones(config.image.head_width))
        self.register_buffer("class_vectors", torch.randn(config.image.classes, config.class_dim))

    def forward(self, features: Tensor, logits: Tensor) -> Tensor:
        """(B, F) and (B, C) -> (B, D) unit rows."""
        standard = (features - self.feature_mean) / self.feature_std
        caption = unit(self.caption(self.dropout(standard)))
        classes = unit((logits / self.temperature).softmax(dim=1) @ self.class_vectors)
        return torch.cat(
            (math.sqrt(1 - self.share) * caption, math.sqrt(self.share) * classes), dim=1
        )


class TextHead(nn.Module):
    """A sentence vector -> its embedding.

    The gate decides per query how much the class part counts: a plain "a photo of
    a pomegranate" leans on the classifier, a whole caption on what was learned.
    """

    sentence_mean: Tensor
    class_mean: Tensor
    class_axes: Tensor

    def __init__(self, config: StudentConfig, *, dropout: float = 0.0) -> None:
        super().__init__()
        width = config.text.width
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(width, config.caption_dim)
        self.up = nn.Linear(width, config.text_hidden)
        self.down = nn.Linear(config.text_hidden, config.caption_dim)
        self.gate = nn.Linear(width, 1)
        nn.init.zeros_(self.down.weight)
        nn.init.zeros_(self.gate.weight)
        nn.init.constant_(self.gate.bias, math.log(config.gate_start / (1 - config.gate_start)))
        self.register_buffer("sentence_mean", torch.zeros(width))
        self.register_buffer("class_mean", torch.zeros(width))
        self.register_buffer("class_axes", torch.randn(width, config.class_dim))

    def share(self, sentence: Tensor) -> Tensor:
        """(B, W) unit rows -> (B, 1), in 0..1: the class part of each squared length."""
        gate: Tensor = self.gate((sentence - self.sentence_mean) * SENTENCE_SCALE)
        return torch.sigmoid(gate)

    def forward(self, sentence: Tensor) -> Tensor:
        """(B, W) unit rows -> (B, D) unit rows."""
        scaled = (sentence - self.sentence_mean) * SENTENCE_SCALE
        hidden = functional.gelu(self.up(self.dropout(scaled)))
        caption = unit(self.linear(self.dropout(scaled)) + self.down(self.dropout(hidden)))
        classes = unit((sentence - self.class_mean) @ self.class_axes)
        share = self.share(sentence)
        return torch.cat((torch.sqrt(1 - share) * caption, torch.sqrt(share) * classes), dim=1)


class ImageTower(nn.Module):
    """Photo -> embedding: what image.onnx holds."""

    def __init__(self, backbone: EfficientNetLite, head: ImageHead) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head

    def forward(self, pixels: Tensor) -> Tensor:
        """(B, 3, S, S) normalised -> (B, D) unit rows."""
        features, logits = self.backbone(pixels)
        embedding: Tensor = self.head(features, logits)
        return unit(embedding)


class TextTower(nn.Module):
    """Tokens -> embedding: what text.onnx holds."""

    def __init__(self, encoder: BertEncoder, head: TextHead) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = head

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, L) int64, padded with 0 -> (B, D) unit rows."""
        embedding: Tensor = self.head(unit(self.encoder(tokens)))
        return unit(embedding)


class DualEncoder(nn.Module):
    """Two towers into one Space."""

    def __init__(
        self, config: StudentConfig, *, image_dropout: float = 0.0, text_dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.config = config
        self.image = ImageTower(
            EfficientNetLite(config.image, side_px=config.side_px),
            ImageHead(config, dropout=image_dropout),
        )
        self.text = TextTower(BertEncoder(config.text), TextHead(config, dropout=text_dropout))

    def forward(self, pixels: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 3, S, S) and (B, L) -> two (B, D)."""
        return self.image(pixels), self.text(tokens)


def set_classes(student: DualEncoder, prototypes: Tensor) -> None:
    """Fit the class part to sentence vectors of the classifier's class names.

    Names share a large common component ("a photo of a"), so the mean is taken
    off before the principal axes are; both towers use the same axes.

    prototypes: (C, W) unit rows, in the order of the classifier's classes
    """
    mean = prototypes.mean(dim=0)
    centred = unit(prototypes - mean)
    axes = torch.linalg.svd(centred, full_matrices=False).Vh[: student.config.class_dim].T
    image, text = student.image.head, student.text.head
    image.class_vectors.copy_(unit(centred @ axes))
    text.class_mean.copy_(mean)
    text.class_axes.copy_(axes)


def kept_pieces(vocabulary: Sequence[str]) -> list[int]:
    """Ids of the pieces an English text can need: ASCII, punctuation, symbols; [PAD] stays 0.

    Of MiniLM's 30,522 pieces 2,614 are placeholders or single letters of scripts it
    has not learned to read. Without them the table is 1 MB smaller, and no English
    caption we have changes its tokens.
    """

    def needed(piece: str) -> bool:
        bare = piece.removeprefix("##")
        return not piece.startswith("[unused") and all(
            char.isascii() or unicodedata.category(char)[0] in "PS" for char in bare
        )

    return [number for number, piece in enumerate(vocabulary) if needed(piece)]


PUBLISHED: Final = {LITE0: load_lite0, LITE2: load_lite2}


def as_published(network: EfficientNetLite) -> EfficientNetLite:
    """A copy, with the published weights where there are some of its shape."""
    made = copy.deepcopy(network).eval()
    if network.config in PUBLISHED:
        PUBLISHED[network.config](made)
    return made


@torch.no_grad()
def inherit(
    student: DualEncoder, vocabulary: Sequence[str], texts: Sequence[str], pixels: Tensor
) -> None:
    """Fill a student with what its size can take from published weights; the rest stays random.

    An image network of a published shape takes its weights whole, a narrower one those of
    EfficientNet-lite0 that count on the photos `pixels` (B, 3, S, S), as models/narrow.py says.
    The text encoder takes MiniLM's rows, first layers and units, as models/shrink.py says;
    `texts` show which count.
    """
    if student.config.image in PUBLISHED:
        PUBLISHED[student.config.image](student.image.backbone)
    elif is_narrower(student.config.image, LITE0):
        whole = EfficientNetLite(LITE0, side_px=student.config.side_px).eval()
        load_lite0(whole)
        inherit_image(student.image.backbone, whole, pixels)
    encoder = student.text.encoder
    if encoder.config.width != MINILM.width:
        return
    teacher = BertEncoder(MINILM).eval()
    load_minilm(teacher)
    tokenizer = WordPieceTokenizer(vocabulary, context_length=encoder.config.positions)
    tokens = torch.from_numpy(tokenizer.batch(texts))
    counts = torch.bincount(tokens.flatten(), minlength=len(vocabulary)).float()
    counts[0] = 0  # padding
    inherit_text(encoder, teacher, minilm_vocabulary(), vocabulary, counts, tokens)


def first_light(
    *,
    vocabulary: int = MINILM.vocabulary,
    caption_dim: int = 128,
    class_dim: int = 128,
    class_share: float = 0.5,
    class_temperature: float = 1.5,
    gate_start: float = 0.15,
    side_px: int = 224,
) -> StudentConfig:
    """EfficientNet-lite2 beside MiniLM-L6: 27 million parameters."""
    return StudentConfig(
        image=LITE2,
        text=BertConfig(vocabulary=vocabulary),
        side_px=side_px,
        caption_dim=caption_dim,
        class_dim=class_dim,
        class_share=class_share,
        class_temperature=class_temperature,
        gate_start=gate_start,
    )


def lantern(
    *,
    vocabulary: int = 21_500,
    caption_dim: int = 128,
    class_dim: int = 128,
    class_share: float = 0.3,
    class_temperature: float = 1.5,
    gate_start: float = 0.3,
    side_px: int = 224,
) -> StudentConfig:
    """About 19 MB in int8: EfficientNet-lite2 beside a thinned MiniLM that reads Chinese too.

    All six layers with 832 of 1,536 units, and a table of 160 instead of 384 columns: both
    cost less than leaving out one layer (docs/experiments.md).
    """
    return StudentConfig(
        image=LITE2,
        text=BertConfig(vocabulary=vocabulary, hidden=832, factor=160),
        side_px=side_px,
        caption_dim=caption_dim,
        class_dim=class_dim,
        class_share=class_share,
        class_temperature=class_temperature,
        gate_start=gate_start,
    )


def candle(
    *, vocabulary: int = 12_000, side_px: int = 224, class_share: float = 0.3
) -> StudentConfig:
    """About 8 MB in int8: EfficientNet-lite0 and MiniLM's first two layers, thinned."""
    return StudentConfig(
        image=LITE0,
        text=BertConfig(vocabulary=vocabulary, layers=2, hidden=512, factor=96),
        side_px=side_px,
        caption_dim=128,
        class_dim=96,
        class_share=class_share,
        class_temperature=1.5,
        gate_start=0.3,
        text_hidden=256,
    )


def spark(
    *, vocabulary: int = 8_000, side_px: int = 192, class_share: float = 0.3
) -> StudentConfig:
    """About 3 MB in int8: EfficientNet-lite0 made narrow, and one thin layer of MiniLM."""
    return StudentConfig(
        image=EfficientNetConfig(
            stages=(
                Stage(1, 3, 1, 1, 16),
                Stage(2, 3, 2, 4, 24),
                Stage(2, 5, 2, 4, 40),
                Stage(3, 3, 2, 4, 64),
                Stage(2, 5, 1, 4, 80),
                Stage(3, 5, 2, 4, 112),
            ),
            stem_width=16,
            head_width=512,
        ),
        text=BertConfig(vocabulary=vocabulary, layers=1, hidden=256, factor=48, positions=32),
        side_px=side_px,
        caption_dim=128,  # as lantern's, whose space it learns
        class_dim=128,
        class_share=class_share,
        class_temperature=1.5,
        gate_start=0.3,
        text_hidden=128,
    )


def tiny(*, vocabulary: int = 1000, side_px: int = 32) -> StudentConfig:
    """For tests: every kind of block, random weights, milliseconds."""
    return StudentConfig(
        image=EfficientNetConfig(
            stages=(Stage(1, 3, 1, 1, 8), Stage(2, 5, 2, 6, 8)),
            stem_width=8,
            head_width=32,
            classes=10,
        ),
        text=BertConfig(
            vocabulary=vocabulary, width=32, layers=2, heads=4, hidden=64, positions=16
        ),
        side_px=side_px,
        caption_dim=8,
        class_dim=8,
        class_share=0.3,
        class_temperature=1.5,
        gate_start=0.3,
        text_hidden=16,
    )


STUDENTS: Final = {
    "first-light": first_light,
    "lantern": lantern,
    "candle": candle,
    "spark": spark,
    "tiny": tiny,
}
