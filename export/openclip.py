"""An OpenCLIP model -> a bundle: MobileCLIP-class search for those who have its weights.

    python -m export.openclip open_clip:NAME/PRETRAINED --into FOLDER
    python -m export.openclip open_clip:NAME --weights FILE --into FOLDER

With a tag of PRETRAINED, OpenCLIP fetches the weights itself; a file needs no
connection. Preprocessing and tokenizer are OpenCLIP's own, carried over exactly or
refused: a model that is asked otherwise than it was trained finds the wrong photos.
"""

from __future__ import annotations

import argparse
import contextlib
import gzip
import hashlib
import json
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from photosearch.extras import stop_without

if __name__ == "__main__":  # before torch is imported: who has not installed it is told so
    stop_without("open_clip:", "openclip", "torch", "onnx")

import torch
from torch import Tensor, nn

from export.bundle import Progress, Wanted, export_bundle
from export.chatter import quiet
from export.source import Source
from export.towers import Towers
from models.layers import unit
from models.teachers import weights_digest
from photosearch.bpe import ClipTokenizer
from photosearch.errors import PhotosearchError, UsageError
from photosearch.tokenizer import Tokenizer
from photosearch.types import Preprocess
from photosearch.unigram import UnigramTokenizer

PREFIX: Final = "open_clip:"
MERGES_FILE: Final = "bpe_simple_vocab_16e6.txt"
TOKENIZER_FILE: Final = "tokenizer.json"
RESIZES: Final = {"shortest": "center", "squash": "squash"}


class ImportRefused(PhotosearchError):
    """A model that cannot become a bundle, and why."""


@dataclass(frozen=True)
class Spec:
    """What to take: an architecture, and a tag of pretrained weights or a file of them."""

    architecture: str
    pretrained: str | None
    weights: Path | None = None
    tokenizer: Path | None = None

    @property
    def name(self) -> str:
        """Of the bundle, and of its folder."""
        weights = self.pretrained or (self.weights.stem if self.weights else "random")
        plain = re.sub(r"[^A-Za-z0-9._-]+", "-", f"{self.architecture}-{weights}")
        return plain.strip("-._")[:64]


def parse_spec(text: str, weights: Path | None, tokenizer: Path | None) -> Spec:
    """open_clip:NAME[/PRETRAINED]. Raises UsageError."""
    name, _, pretrained = text.removeprefix(PREFIX).partition("/")
    if not text.startswith(PREFIX) or not name:
        raise UsageError(f"{text}: write open_clip:NAME, or open_clip:NAME/PRETRAINED")
    if pretrained and weights is not None:
        raise UsageError(f"{text}: give a tag of pretrained weights or --weights, not both")
    return Spec(name, pretrained or None, weights, tokenizer)


class ClipImageTower(nn.Module):
    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixels: Tensor) -> Tensor:
        """(B, 3, S, S) normalised -> (B, D) unit rows."""
        return unit(self.model.encode_image(pixels))


class ClipTextTower(nn.Module):
    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, context) -> (B, D) unit rows."""
        return unit(self.model.encode_text(tokens))


def from_open_clip(spec: Spec, *, random_weights: bool = False) -> Source:
    """Load the model and all it needs to be asked rightly. `random_weights` is for tests."""
    open_clip = _open_clip()
    config = open_clip.get_model_config(spec.architecture)
    if config is None:
        raise ImportRefused(f"OpenCLIP knows no architecture {spec.architecture}")
    if spec.weights is None and spec.pretrained is None and not random_weights:
        tags = ", ".join(open_clip.list_pretrained_tags_by_model(spec.architecture)) or "none"
        raise ImportRefused(
            f"{spec.architecture} needs weights: open_clip:{spec.architecture}/TAG with one of "
            f"{tags}, which OpenCLIP fetches, or --weights FILE"
        )
    tokenizer, text, files = _tokenizer(open_clip, spec, config["text_cfg"])
    model = _model(open_clip, spec)
    how = preprocess_of(open_clip.get_model_preprocess_cfg(model))
    digest = hashlib.sha256(weights_digest(model).encode())
    for part in (how.as_json(), text):
        digest.update(json.dumps(part, sort_keys=True).encode())
    for name, data in sorted(files.items()):
        digest.update(name.encode() + hashlib.sha256(data).digest())
    return Source(
        name=spec.name,
        version="1",
        space=digest.hexdigest()[:32],
        towers=Towers(
            ClipImageTower(model).eval(),
            ClipTextTower(model).eval(),
            how,
            tokenizer,
            int(config["embed_dim"]),
        ),
        text=text,
        tokenizer_files=files,
        background=None,
        cutoff_z=0.0,
        description={
            "title": f"OpenCLIP's {spec.architecture}, {spec.pretrained or spec.weights}",
            "training_data": "See the model's own card.",
            "metrics": {},
            "licences": {"weights": "their authors'; see the model's own card"},
            "limits": ["What the model's authors say of it. Nothing was measured here."],
            "made_with": [f"photosearch bundle import {PREFIX}{spec.architecture}"],
        },
    )


def preprocess_of(config: dict[str, Any]) -> Preprocess:
    """OpenCLIP's evaluation transform as ours. Raises where ours has no such step."""
    size = config["size"]
    height, width = size if isinstance(size, (tuple, list)) else (size, size)
    resize = RESIZES.get(config.get("resize_mode") or "shortest")
    if height != width or resize is None:
        raise ImportRefused(
            f"the model wants photos of {height} x {width}, resized by "
            f"{config.get('resize_mode')}; only squares, by shortest or squash, are supported"
        )
    mean, std = (
        tuple(config[key]) if isinstance(config[key], (tuple, list)) else (config[key],) * 3
        for key in ("mean", "std")
    )
    bilinear = config.get("interpolation") == "bilinear"
    return Preprocess(
        side_px=height,
        mean=mean,
        std=std,
        resize=resize,  # type: ignore[arg-type]
        filter="bilinear" if bilinear else "bicubic",
    )


def _tokenizer(
    open_clip: Any, spec: Spec, config: dict[str, Any]
) -> tuple[Tokenizer, dict[str, Any], dict[str, bytes]]:
    """The tokenizer, what the manifest says of it, and its files."""
    length = int(config.get("context_length") or 77)
    if config.get("hf_model_name"):
        raise ImportRefused(
            f"{spec.architecture} reads text with {config['hf_model_name']}, whose tokenizer is "
            "not one we know. Models with CLIP's or SigLIP's tokenizer can be imported."
        )
    if config.get("hf_tokenizer_name"):
        return _sentence_pieces(spec, config)
    if spec.tokenizer is not None:
        raise UsageError(f"{spec.architecture} has its own tokenizer; leave out --tokenizer")
    kwargs = config.get("tokenizer_kwargs") or {}
    if kwargs.get("clean", "lower") != "lower":
        raise ImportRefused(f"{spec.architecture} cleans text by {kwargs['clean']}: not supported")
    packed = Path(open_clip.__file__).parent / f"{MERGES_FILE}.gz"
    merges = gzip.decompress(packed.read_bytes())
    tokenizer = ClipTokenizer.from_text(merges.decode("utf-8"), context_length=length)
    text = {"tokenizer": "clip-bpe", "vocabulary": MERGES_FILE, "context_length": length}
    return tokenizer, text, {MERGES_FILE: merges}


def _sentence_pieces(
    spec: Spec, config: dict[str, Any]
) -> tuple[Tokenizer, dict[str, Any], dict[str, bytes]]:
    """SigLIP's: from a tokenizer.json at hand, else OpenCLIP fetches it with the weights."""
    kwargs = config.get("tokenizer_kwargs") or {}
    if kwargs.get("clean") != "canonicalize":
        raise ImportRefused(
            f"{spec.architecture} cleans text by {kwargs.get('clean', 'whitespace')}, not as "
            "SigLIP does: not supported"
        )
    file = spec.tokenizer if spec.tokenizer is not None else _fetched(config["hf_tokenizer_name"])
    length = int(config.get("context_length") or 64)
    pad_id = 1  # SigLIP pads with its end token, and the tower reads the last place
    tokenizer = UnigramTokenizer.from_file(file, context_length=length, pad_id=pad_id)
    text = {
        "tokenizer": "unigram",
        "vocabulary": TOKENIZER_FILE,
        "context_length": length,
        "pad_id": pad_id,
    }
    return tokenizer, text, {TOKENIZER_FILE: file.read_bytes()}


def _fetched(name: str) -> Path:
    """tokenizer.json of a model on the hub, by the client that OpenCLIP uses."""
    try:
        from huggingface_hub import hf_hub_download

        return Path(hf_hub_download(name, TOKENIZER_FILE))
    except (ImportError, OSError, ValueError) as error:
        raise ImportRefused(
            f"the tokenizer {name} cannot be fetched ({type(error).__name__}). "
            "Get its tokenizer.json and pass it with --tokenizer."
        ) from error


def _model(open_clip: Any, spec: Spec) -> Any:
    weights = str(spec.weights) if spec.weights is not None else spec.pretrained
    if spec.weights is not None and not spec.weights.is_file():
        raise ImportRefused(f"{spec.weights}: no such file of weights")
    try:
        with quiet():
            model = open_clip.create_model(spec.architecture, pretrained=weights)
    except (RuntimeError, OSError, ValueError, KeyError) as error:
        first = str(error).strip().splitlines()[0][:200] if str(error).strip() else ""
        raise ImportRefused(
            f"{spec.architecture}: OpenCLIP cannot load {weights} ({first or type(error).__name__})"
        ) from error
    return model.float().eval()


def _open_clip() -> Any:
    try:
        with quiet():
            import open_clip
    except ImportError as error:
        raise ImportRefused(
            "OpenCLIP is not installed. It comes with torchvision of the release that fits torch: "
            'pip install "photosearch[openclip]"'
        ) from error
    except RuntimeError as error:  # torchvision for GPUs beside a torch for CPUs, or the reverse
        raise ImportRefused(
            f"OpenCLIP cannot be imported ({error}): torchvision was built for another torch. "
            "Install both again, from one place."
        ) from error
    return open_clip


@contextlib.contextmanager
def plain_attention() -> Iterator[None]:
    """Within: attention as single operations, which exporters know, not as one fused one."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


def main(arguments: Sequence[str] | None = None) -> int:
    args = _parser().parse_args(arguments)
    try:
        spec = parse_spec(args.spec, args.weights, args.tokenizer)
        progress = Progress()
        progress(f"loading {spec.architecture}")
        source = from_open_clip(spec)
        wanted = Wanted(targets=tuple(args.targets.split(",")), precision=args.precision)
        with plain_attention():
            out = export_bundle(source, args.into / source.name, wanted, progress=progress)
    except PhotosearchError as error:
        print(f"photosearch: {error}", file=sys.stderr)
        return error.exit_code
    print(f"photosearch: use it with `photosearch bundle use {out.name}`", file=sys.stderr)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m export.openclip", description="Turn an OpenCLIP model into a bundle."
    )
    parser.add_argument("spec", metavar="open_clip:NAME[/PRETRAINED]")
    parser.add_argument("--into", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--weights", type=Path, metavar="FILE")
    parser.add_argument("--tokenizer", type=Path, metavar="FILE", help="a tokenizer.json")
    parser.add_argument("--targets", default="onnx")
    parser.add_argument("--precision", choices=("int8", "fp32"), default="int8")
    return parser


if __name__ == "__main__":
    sys.exit(main())
