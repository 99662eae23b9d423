"""OpenCLIP's models become bundles: asked as OpenCLIP asks them, or refused by name.

Random weights: there is no connection. torchvision's release for torch 2.13 on PyPI is
built for GPUs and cannot load its operators beside a CPU torch; its transforms do not
need them, so a stand-in of their names lets the rest of it be imported as it is.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

torch = pytest.importorskip("torch", reason="torch is in the [train] extra")

from export.bundle import Progress, Wanted, export_bundle  # noqa: E402
from export.openclip import (  # noqa: E402
    ImportRefused,
    Spec,
    from_open_clip,
    parse_spec,
    plain_attention,
    preprocess_of,
)
from photosearch.bpe import ClipTokenizer, canonical  # noqa: E402
from photosearch.bundle import open_bundle  # noqa: E402
from photosearch.encoder import open_encoder  # noqa: E402
from photosearch.errors import BundleError, UsageError  # noqa: E402
from photosearch.preprocess import fit, normalise  # noqa: E402
from photosearch.types import Preprocess  # noqa: E402
from photosearch.unigram import UnigramTokenizer  # noqa: E402
from photosearch.verify import verify  # noqa: E402

SHARED = Path(__file__).parents[3] / "shared" / "data"
TEXTS = [
    "a photo of a cat",
    "A man riding a bicycle down a wet street, holding a yellow umbrella in one hand.",
    "don't STOP: it's 1969, we've 25 cafés & crème brûlée!",
    "Café crème \u2018quoted\u2019 \u201cdouble\u201d ﬁne ＦＵＬＬ width",
    "一只猫坐在窗边 日本語 한국어 العربية हिन्दी",
    "emoji 😀👍🏽 and\ttabs\nlines   many    spaces",
    "&amp; &lt;b&gt; entities",
    "<start_of_text> hello <end_of_text>",
    "supercalifragilisticexpialidocious " * 12,
    "x_y-z/w\\v|u",
    "",
    " ",
    "٣٤٥ ½ Ⅷ",
]


@pytest.fixture(scope="session")
def open_clip() -> Any:
    """OpenCLIP itself, the reference."""
    _need_torchvision()
    return pytest.importorskip("open_clip", reason="open_clip_torch is in the [openclip] extra")


def _need_torchvision() -> None:
    """Import torchvision, its operators' names defined where they cannot be loaded."""
    names = torch.library.Library("torchvision", "FRAGMENT")
    for _ in range(40):
        try:
            import torchvision  # noqa: F401

            _KEPT.append(names)
            return
        except ImportError:
            pytest.skip("torchvision is in the [openclip] extra")
        except RuntimeError as error:
            missing = re.search(r"operator torchvision::(\w+) does not exist", str(error))
            if missing is None:
                raise
            names.define(f"{missing[1]}() -> ()")
            for module in [name for name in sys.modules if name.startswith("torchvision")]:
                del sys.modules[module]
    raise AssertionError("torchvision cannot be imported")


_KEPT: list[Any] = []  # a library of operators lives as long as it is held


# --- text -----------------------------------------------------------------------------------------


def captions(limit: int) -> list[str]:
    file = SHARED / "coco-captions-text.jsonl"
    if not file.is_file():
        return []
    lines = file.read_text(encoding="utf-8").splitlines()[:limit]
    return [str(text) for line in lines for text in _texts(json.loads(line))]


def _texts(row: Any) -> list[str]:
    if isinstance(row, str):
        return [row]
    found: list[str] = []
    for value in row.values():
        found += value if isinstance(value, list) else [value] if isinstance(value, str) else []
    return found


def clip_tokenizer(open_clip: Any, length: int = 77) -> ClipTokenizer:
    import gzip

    file = Path(open_clip.__file__).parent / "bpe_simple_vocab_16e6.txt.gz"
    text = gzip.decompress(file.read_bytes()).decode("utf-8")
    return ClipTokenizer.from_text(text, context_length=length)


def test_clips_tokens_are_open_clips(open_clip: Any) -> None:
    ours, theirs = clip_tokenizer(open_clip), open_clip.get_tokenizer("ViT-B-32")
    texts = [*TEXTS, *captions(400)]
    for text, wanted in zip(texts, theirs(texts).numpy(), strict=True):
        np.testing.assert_array_equal(ours.batch([text])[0], wanted, err_msg=text)


def test_what_ftfy_repairs_is_left_as_it_is(open_clip: Any) -> None:
    """The one known difference, on purpose: text decoded with the wrong encoding."""
    ours, theirs = clip_tokenizer(open_clip), open_clip.get_tokenizer("ViT-B-32")
    broken = "cafÃ© crÃ¨me"
    assert (ours.batch([broken])[0] != theirs([broken]).numpy()[0]).any()


@pytest.fixture(scope="session")
def pieces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SigLIP-like tokenizer.json, trained on the spot."""
    tokenizers = pytest.importorskip("tokenizers", reason="tokenizers is in [dev]")
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

    made = Tokenizer(models.Unigram())
    made.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Strip()])
    made.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=300, special_tokens=["<pad>", "</s>", "<unk>"], unk_token="<unk>"
    )
    lines = [canonical(text) for text in TEXTS[:4] * 5 + ["the cat sat on the mat by the sea"] * 9]
    made.train_from_iterator(lines, trainer)
    made.post_processor = processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", 1)]
    )
    assert tokenizers
    file = tmp_path_factory.mktemp("pieces") / "tokenizer.json"
    made.save(str(file))
    return file


def test_siglips_pieces_are_those_of_the_reference(pieces: Path) -> None:
    """Hugging Face's own tokenizers over OpenCLIP's cleaning."""
    from tokenizers import Tokenizer

    reference = Tokenizer.from_file(str(pieces))
    ours = UnigramTokenizer.from_file(pieces, context_length=64, pad_id=1)
    for text in [*TEXTS, *captions(100)]:
        wanted = reference.encode(canonical(text)).ids
        if not canonical(text):
            wanted = [1]
        if len(wanted) > 64:
            wanted = [*wanted[:63], 1]
        assert ours.encode(text).tolist() == wanted, text
    row = ours.batch(["a cat"])[0]
    assert row.shape == (64,)
    assert row[-1] == 1


def test_canonical_text_is_open_clips(open_clip: Any) -> None:
    from open_clip.tokenizer import _clean_canonicalize

    for text in [*TEXTS, *captions(200)]:
        assert canonical(text) == _clean_canonicalize(text), text


def test_another_kind_of_tokenizer_is_refused_in_words(tmp_path: Path) -> None:
    file = tmp_path / "tokenizer.json"
    file.write_text(json.dumps({"model": {"type": "BPE", "vocab": {}, "merges": []}}))
    with pytest.raises(BundleError, match="a BPE tokenizer, as SigLIP 2 has"):
        UnigramTokenizer.from_file(file, context_length=64, pad_id=0)
    for text in ("", "{", "[]", '{"model": {"type": "Unigram"}}'):
        file.write_text(text)
        with pytest.raises(BundleError, match=r"tokenizer\.json"):
            UnigramTokenizer.from_file(file, context_length=64, pad_id=0)
    file.write_text("#version\nnot two\nthree words here\n")
    with pytest.raises(BundleError, match="byte pairs"):
        ClipTokenizer.from_file(file, context_length=77)


# --- pixels ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(640, 480), (333, 500), (224, 224), (1000, 225), (97, 101)])
@pytest.mark.parametrize(
    ("mode", "interpolation"),
    [("shortest", "bicubic"), ("shortest", "bilinear"), ("squash", "bicubic")],
)
def test_pixels_are_open_clips(
    open_clip: Any, size: tuple[int, int], mode: str, interpolation: str
) -> None:
    from open_clip.transform import image_transform

    mean, std = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
    config = {
        "size": 224, "mean": mean, "std": std, "interpolation": interpolation, "resize_mode": mode,
    }  # fmt: skip
    how = preprocess_of(config)
    rng = np.random.default_rng(0)
    small = rng.integers(0, 255, (size[1] // 4 + 1, size[0] // 4 + 1, 3), dtype=np.uint8)
    image = Image.fromarray(small).resize(size, Image.Resampling.BICUBIC)
    theirs = image_transform(
        224, is_train=False, mean=mean, std=std, resize_mode=mode, interpolation=interpolation
    )(image)
    ours = normalise(fit(image, how)[None], how)[0]
    assert np.abs(ours - theirs.numpy()).max() < 1e-5


def test_what_we_cannot_do_to_pixels_is_refused() -> None:
    base = {"size": 224, "mean": [0.5] * 3, "std": [0.5] * 3, "resize_mode": "squash"}
    assert preprocess_of(base) == Preprocess(224, (0.5,) * 3, (0.5,) * 3, "squash")
    for change in ({"size": (224, 336)}, {"resize_mode": "longest"}):
        with pytest.raises(ImportRefused, match="only squares"):
            preprocess_of(base | change)


# --- models ---------------------------------------------------------------------------------------


def test_specs() -> None:
    found = parse_spec("open_clip:MobileCLIP-S1/datacompdr", None, None)
    assert (found.architecture, found.pretrained) == ("MobileCLIP-S1", "datacompdr")
    assert found.name == "MobileCLIP-S1-datacompdr"
    assert parse_spec("open_clip:ViT-B-32", Path("a/my weights.pt"), None).name == (
        "ViT-B-32-my-weights"
    )
    for text in ("ViT-B-32", "open_clip:", "open_clip:/x"):
        with pytest.raises(UsageError, match="write open_clip:NAME"):
            parse_spec(text, None, None)
    with pytest.raises(UsageError, match="not both"):
        parse_spec("open_clip:ViT-B-32/openai", Path("x"), None)


def test_what_cannot_be_imported_is_refused(open_clip: Any, tmp_path: Path) -> None:
    with pytest.raises(ImportRefused, match="knows no architecture NoSuchThing"):
        from_open_clip(Spec("NoSuchThing", None))
    with pytest.raises(ImportRefused, match="needs weights: open_clip:ViT-B-32/TAG with one of"):
        from_open_clip(Spec("ViT-B-32", None))
    with pytest.raises(ImportRefused, match="no such file of weights"):
        from_open_clip(Spec("ViT-B-32", None, weights=tmp_path / "gone.pt"))
    with pytest.raises(ImportRefused, match="whose tokenizer is not one we know"):
        from_open_clip(Spec("roberta-ViT-B-32", None), random_weights=True)
    with pytest.raises(UsageError, match="has its own tokenizer"):
        from_open_clip(Spec("ViT-B-32", None, tokenizer=tmp_path / "x"), random_weights=True)


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("raise ImportError('No module named torchvision')", r"pip install .photosearch\[openclip"),
        ("raise RuntimeError('operator torchvision::nms does not exist')", "from one place"),
    ],
)
def test_an_openclip_that_cannot_be_imported_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, says: str
) -> None:
    (tmp_path / "open_clip.py").write_text(code)
    monkeypatch.delitem(sys.modules, "open_clip", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ImportRefused, match=says):
        from_open_clip(Spec("ViT-B-32", None))


def test_texts_cleaned_in_other_ways_are_refused(
    open_clip: Any, tmp_path: Path, pieces: Path
) -> None:
    """Each changes what a text's tokens are, so none may pass unnoticed."""
    for name, clean, says in (
        ("ViT-B-32", "whitespace", "cleans text by whitespace: not supported"),
        ("ViT-B-16-SigLIP", "lower", "not as SigLIP does"),
    ):
        config = open_clip.get_model_config(name)
        config["text_cfg"]["tokenizer_kwargs"] = {"clean": clean}
        file = tmp_path / f"{clean}-{name}.json"
        file.write_text(json.dumps(config), encoding="utf-8")
        open_clip.add_model_config(file)
        with pytest.raises(ImportRefused, match=says):
            from_open_clip(Spec(file.stem, "any", tokenizer=pieces if clean == "lower" else None))


def test_weights_that_do_not_fit_and_tokenizers_out_of_reach_are_refused(
    open_clip: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = tmp_path / "weights.pt"
    torch.save({"unknown": torch.zeros(3)}, weights)
    with pytest.raises(ImportRefused, match="OpenCLIP cannot load"):
        from_open_clip(Spec(small(open_clip, "ViT-B-32", tmp_path), None, weights))
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)  # as where there is no connection
    with pytest.raises(ImportRefused, match=r"cannot be fetched .*pass it with --tokenizer"):
        from_open_clip(Spec("ViT-B-16-SigLIP", "webli"))


def small(open_clip: Any, name: str, tmp_path: Path) -> str:
    """An architecture of OpenCLIP's with fewer and narrower layers: the same code, in seconds."""
    config = open_clip.get_model_config(name)
    text = config["text_cfg"]
    text["layers"] = 2
    if "layers" in config["vision_cfg"]:
        config["vision_cfg"]["layers"] = 2
    if "timm_model_name" in config["vision_cfg"] and "siglip" in name.lower():
        # Pooled by attention and not projected, as SigLIP is: so its width is the space's.
        config["vision_cfg"]["timm_model_name"] = "vit_tiny_patch16_224"
        config["embed_dim"] = 192
    file = tmp_path / f"small-{name}.json"
    file.write_text(json.dumps(config), encoding="utf-8")
    open_clip.add_model_config(file)
    return file.stem


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ViT-B-32", "ViT-B-16-SigLIP", "MobileCLIP-S1"])
def test_a_model_answers_as_open_clip_does(
    open_clip: Any, pieces: Path, tmp_path: Path, name: str
) -> None:
    """Through the bundle's own files, preprocessing and tokenizer."""
    torch.manual_seed(0)
    spec = Spec(
        small(open_clip, name, tmp_path), None, tokenizer=pieces if "SigLIP" in name else None
    )
    source = from_open_clip(spec, random_weights=True)
    with plain_attention():
        out = export_bundle(
            source, tmp_path / "out", Wanted(precision="int8"), progress=Progress(silent=True)
        )
    bundle = open_bundle(out)
    assert verify(bundle).problems == ()
    encoder = open_encoder(bundle, threads=1)
    texts = ["a cat", "two dogs on a beach", ""]
    assert (encoder.texts(texts) * source.towers.texts(texts)).sum(axis=1).min() > 0.99
    photos = np.random.default_rng(0).integers(
        0, 255, (2, bundle.preprocess.side_px, bundle.preprocess.side_px, 3), dtype=np.uint8
    )
    found = encoder.images(normalise(photos, bundle.preprocess))
    assert (found * source.towers.images(photos)).sum(axis=1).min() > 0.99
    assert bundle.name == source.name
    assert bundle.background is None
