"""Who is imitated: frozen dual encoders behind one small protocol.

A teacher is named by a line of text:

    open_clip:NAME/PRETRAINED    weights that open_clip already has on this machine
    open_clip:NAME@FILE          an OpenCLIP architecture and a weight file
    hf:DIR                       a Hugging Face CLIP or SigLIP folder
    surrogate:CHECKPOINT         a student of ours, larger or better trained
    A + B, or 0.7 A + 0.3 B      an ensemble

The libraries are imported when asked for, and nothing is ever downloaded.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.distillation.errors import MismatchedShapes, TeacherMissing
from models.distillation.similarity import l2_normalize
from photosearch.preprocess import normalise
from photosearch.types import Preprocess

CLIP_TAU: Final = 0.01


class Teacher(Protocol):
    """A frozen dual encoder. Rows are unit; several parts lie side by side in an ensemble."""

    @property
    def name(self) -> str:
        """Says which weights, so that a cache of another teacher is not taken for this one's."""
        ...

    @property
    def parts(self) -> tuple[Part, ...]: ...

    @property
    def preprocess(self) -> Preprocess: ...

    def images(self, pixels: NDArray[np.uint8]) -> Tensor:
        """(B, S, S, 3) -> (B, T); no gradient."""
        ...

    def texts(self, texts: Sequence[str]) -> Tensor:
        """B texts -> (B, T); no gradient."""
        ...


@dataclass(frozen=True)
class Part:
    """One teacher's columns, its own temperature and its say."""

    width: int
    tau: float = CLIP_TAU
    weight: float = 1.0


def split(rows: Tensor, parts: Sequence[Part]) -> list[Tensor]:
    """(B, T) -> each part's unit rows (B, width)."""
    widths = [part.width for part in parts]
    if rows.shape[-1] != sum(widths):
        raise MismatchedShapes(f"teacher rows are {rows.shape[-1]} wide, its parts {sum(widths)}")
    return [l2_normalize(piece) for piece in torch.split(rows, widths, dim=-1)]


class Surrogate:
    """One of our own checkpoints; never called CLIP, because it is none."""

    def __init__(self, checkpoint: Path) -> None:
        from models.checkpoint import EagerEncoder, load_checkpoint

        loaded = load_checkpoint(checkpoint)
        self._encoder = EagerEncoder(loaded, fused=True)
        self.preprocess = self._encoder.preprocess
        self.parts = (Part(self._encoder.dim, tau=0.05),)
        self.name = f"surrogate {loaded.recipe.name} {weights_name(loaded.weights)}"

    def images(self, pixels: NDArray[np.uint8]) -> Tensor:
        return torch.from_numpy(self._encoder.images(normalise(pixels, self.preprocess)))

    def texts(self, texts: Sequence[str]) -> Tensor:
        return torch.from_numpy(self._encoder.texts(texts))


class OpenClip:
    """Any model of OpenCLIP, by name, or by weight file."""

    def __init__(self, name: str, pretrained: str) -> None:
        open_clip = _library("open_clip", "open-clip-torch")
        a_file = Path(pretrained).suffix in (".pt", ".bin", ".safetensors", ".pth")
        if a_file and not Path(pretrained).is_file():
            raise TeacherMissing(f"{pretrained}: no such weight file for {name}")
        try:
            with _offline():
                model = open_clip.create_model(name, pretrained=pretrained or None)
            self._tokenizer = open_clip.get_tokenizer(name)
        except (RuntimeError, OSError, KeyError, ValueError) as error:
            first = str(error).splitlines()[0]
            raise TeacherMissing(f"open_clip:{name}@{pretrained}: {first}") from error
        self._model = model.eval().requires_grad_(False)
        side = model.visual.image_size
        mean, std = model.visual.image_mean, model.visual.image_std
        self.preprocess = Preprocess(
            side_px=side if isinstance(side, int) else side[0],
            mean=tuple(mean),
            std=tuple(std),
            resize="squash",
        )
        with torch.inference_mode():
            width = self.texts(["a photo"]).shape[1]
        tau = float(torch.exp(-self._model.logit_scale))
        self.parts = (Part(width, tau=min(1.0, max(tau, 1e-3))),)
        self.name = f"open_clip {name} {weights_name(model.state_dict())}"

    @torch.inference_mode()
    def images(self, pixels: NDArray[np.uint8]) -> Tensor:
        found: Tensor = self._model.encode_image(
            torch.from_numpy(normalise(pixels, self.preprocess))
        )
        return l2_normalize(found)

    @torch.inference_mode()
    def texts(self, texts: Sequence[str]) -> Tensor:
        found: Tensor = self._model.encode_text(self._tokenizer(list(texts)))
        return l2_normalize(found)


class HuggingFace:
    """A CLIP or SigLIP folder as `transformers` saves it."""

    def __init__(self, folder: Path) -> None:
        transformers = _library("transformers", "transformers", "AutoModel", "AutoTokenizer")
        if not (folder / "config.json").is_file():
            raise TeacherMissing(f"{folder}: holds no config.json; save_pretrained writes one")
        try:
            self._model = transformers.AutoModel.from_pretrained(folder, local_files_only=True)
            self._tokenizer = transformers.AutoTokenizer.from_pretrained(
                folder, local_files_only=True
            )
        except (OSError, ValueError, KeyError, ImportError) as error:
            raise TeacherMissing(f"{folder}: {str(error).splitlines()[0]}") from error
        self._model.eval().requires_grad_(False)
        config = self._model.config
        self._length = config.text_config.max_position_embeddings
        # SigLIP was trained with its texts padded to full length, and reads the last token.
        self._padding: str | bool = "max_length" if "siglip" in config.model_type else True
        half = (0.5, 0.5, 0.5)
        clip = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
        mean, std = (half, half) if "siglip" in config.model_type else clip
        self.preprocess = Preprocess(
            side_px=config.vision_config.image_size, mean=mean, std=std, resize="squash"
        )
        scale = float(self._model.logit_scale.exp())
        self.parts = (Part(self.texts(["a photo"]).shape[1], tau=1 / min(max(scale, 1.0), 1e3)),)
        self.name = f"hf {config.model_type} {weights_name(self._model.state_dict())}"

    @torch.inference_mode()
    def images(self, pixels: NDArray[np.uint8]) -> Tensor:
        planes = torch.from_numpy(normalise(pixels, self.preprocess))
        return l2_normalize(_pooled(self._model.get_image_features(pixel_values=planes)))

    @torch.inference_mode()
    def texts(self, texts: Sequence[str]) -> Tensor:
        tokens = self._tokenizer(
            list(texts),
            padding=self._padding,
            truncation=True,
            max_length=self._length,
            return_tensors="pt",
        )
        # SigLIP reads its padding, so it takes no mask; other keys are for other networks.
        names = ("input_ids",) if self._padding == "max_length" else ("input_ids", "attention_mask")
        given = {name: tokens[name] for name in names}
        return l2_normalize(_pooled(self._model.get_text_features(**given)))


class TeacherEnsemble:
    """Several teachers side by side, each with its own temperature and weight.

    Their distributions are averaged after the softmax, as MobileCLIP does: the graph is
    computed once per part and the results are averaged by weight, which for KL has exactly
    the gradient of the averaged distribution.
    """

    def __init__(self, teachers: Sequence[Teacher], weights: Sequence[float]) -> None:
        if len(teachers) != len(weights) or not teachers or min(weights) <= 0:
            raise MismatchedShapes("an ensemble needs one weight above 0 for each teacher")
        total = sum(weights)
        self._teachers = tuple(teachers)
        self.name = " + ".join(
            f"{weight / total:.3g} {teacher.name}"
            for teacher, weight in zip(teachers, weights, strict=True)
        )
        self.parts = tuple(
            Part(part.width, part.tau, part.weight * weight / total)
            for teacher, weight in zip(teachers, weights, strict=True)
            for part in teacher.parts
        )
        # Pixels are made once, at the largest side; each teacher scales them to its own.
        self.preprocess = max((t.preprocess for t in teachers), key=lambda how: how.side_px)

    def images(self, pixels: NDArray[np.uint8]) -> Tensor:
        return torch.cat(
            [t.images(resized(pixels, t.preprocess.side_px)) for t in self._teachers], dim=1
        )

    def texts(self, texts: Sequence[str]) -> Tensor:
        return torch.cat([teacher.texts(texts) for teacher in self._teachers], dim=1)


def resized(pixels: NDArray[np.uint8], side_px: int) -> NDArray[np.uint8]:
    """(B, S, S, 3) -> (B, side_px, side_px, 3), bicubic with antialiasing."""
    if pixels.shape[1] == side_px:
        return pixels
    from PIL import Image

    size, how = (side_px, side_px), Image.Resampling.BICUBIC
    return np.stack([np.asarray(Image.fromarray(one).resize(size, how)) for one in pixels])


_TERM: Final = re.compile(r"^(?:(\d*\.?\d+)\s+)?(\S+)$")


def open_teacher(spec: str) -> Teacher:
    """A teacher by its line of text. Raises TeacherMissing with what is wrong or not there."""
    teachers: list[Teacher] = []
    weights: list[float] = []
    for term in spec.split(" + "):
        found = _TERM.match(term.strip())
        if found is None:
            raise TeacherMissing(f"teacher {term!r}: write KIND:WHAT, or 0.5 KIND:WHAT")
        weights.append(float(found[1] or 1.0))
        teachers.append(_open_one(found[2]))
    return teachers[0] if len(teachers) == 1 else TeacherEnsemble(teachers, weights)


def _open_one(spec: str) -> Teacher:
    kind, _, what = spec.partition(":")
    if kind == "open_clip":
        name, at, file = what.partition("@")
        if at:
            return OpenClip(name, file)
        name, _, pretrained = what.partition("/")
        return OpenClip(name, pretrained)
    if kind == "hf":
        return HuggingFace(Path(what))
    if kind == "surrogate":
        return Surrogate(Path(what))
    raise TeacherMissing(f"teacher {spec!r}: it starts with open_clip:, hf: or surrogate:")


def reduced(rows: Sequence[Tensor], width: int) -> Tensor:
    """Rotation (T, width) onto the principal axes of unit rows (N, T), shared by modalities.

    Not centred, so cosines are kept as well as `width` dimensions can; with width = T exactly.
    """
    every = torch.cat([l2_normalize(part) for part in rows]).double()
    if width > every.shape[1]:
        raise MismatchedShapes(
            f"the student is {width} wide, its teacher {every.shape[1]}; a teacher can be "
            "reduced to the student's width, not widened"
        )
    values, axes = torch.linalg.eigh(every.T @ every)
    order = values.argsort(descending=True)[:width]
    rotation: Tensor = axes[:, order].float()
    return rotation


def _pooled(found: Any) -> Tensor:
    """Newer versions of transformers return an output object instead of the features."""
    rows = found if isinstance(found, Tensor) else found.pooler_output
    assert isinstance(rows, Tensor)
    return rows


def weights_name(weights: dict[str, Tensor]) -> str:
    """The same for the same names and values: 16 hexadecimal digits."""
    import hashlib

    digest = hashlib.sha256()
    for name in sorted(weights):
        digest.update(name.encode())
        digest.update(weights[name].detach().cpu().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]


def _library(module: str, package: str, *names: str) -> Any:
    """A module, with `names` in it: transformers imports what they need when they are asked for."""
    import importlib

    try:
        found = importlib.import_module(module)
        for name in names:
            getattr(found, name)
    except (ImportError, RuntimeError) as error:  # RuntimeError: a torchvision of another torch
        first = str(error).strip().splitlines()[0]
        raise TeacherMissing(f"this teacher needs the package {package} ({first})") from error
    return found


class _offline:  # reads as a statement: with _offline()
    """Hugging Face's hub must not be asked for what is not here."""

    NAMES: Final = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")

    def __enter__(self) -> None:
        self._before = {name: os.environ.get(name) for name in self.NAMES}
        os.environ.update(dict.fromkeys(self.NAMES, "1"))

    def __exit__(self, *_: object) -> None:
        for name, value in self._before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
