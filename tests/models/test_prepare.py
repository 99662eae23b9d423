"""From a recipe's files to prepared towers, at a size that takes seconds."""

from __future__ import annotations

import copy
import dataclasses
import json
import logging
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="torch is in the [train] extra")
pytest.importorskip("all_minilm_l6_v2", reason="in the [train] extra")

from torch import Tensor  # noqa: E402

from models import students  # noqa: E402
from models.data import DataError  # noqa: E402
from models.finetune import NO_LABEL, Relations, split  # noqa: E402
from models.labels import label_numbers  # noqa: E402
from models.layers import BertConfig, BertEncoder, EfficientNetLite, fuse, unit  # noqa: E402
from models.prepare import (  # noqa: E402
    Texts,
    make_vocabulary,
    prepare_text,
    read_parallels,
    read_sentences,
    read_texts,
)
from models.prepare_captions import prepare_captions  # noqa: E402
from models.prepare_image import Classes, prepare_image  # noqa: E402
from models.recipes import Recipe, load_recipe  # noqa: E402
from models.students import DualEncoder, as_published, tiny  # noqa: E402
from photosearch.tokenizer import WordPieceTokenizer  # noqa: E402
from tests.models.samples import captioned_shard  # noqa: E402

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    file = tmp_path / "chinese.jsonl"
    rows = [
        {
            "key": f"photo{number}",
            "captions_zh": ["一张彩色的图", "颜色"],
            "captions_en_parallel": [f"a picture of  colour number {number} ", " "],
            "captions_zh_machine": [f"颜色编号{number}的图片", "空"],
        }
        for number in range(8)
    ]
    file.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    sentences = tmp_path / "sentences.jsonl"
    sentences.write_text(json.dumps({"captions": ["a dog  on a beach"]}) + "\n", encoding="utf-8")
    return Recipe(
        name="toy",
        version="1",
        title="A toy",
        student="tiny",
        data=str(captioned_shard(tmp_path / "train.tar", 8)),
        val="",
        unlabelled=str(captioned_shard(tmp_path / "other.tar", 4, first=8)),
        background="",
        chinese=str(file),
        sentences=str(sentences),
        side_px=32,
        text_tokens=400,
        image_epochs=2,
        frequent=3000,
        cache=str(tmp_path / "cache"),
        out=str(tmp_path / "run"),
        threads=1,
    )


def test_texts_of_both_languages_are_read(recipe: Recipe) -> None:
    texts = read_texts(recipe)
    assert "a picture of colour number 3" in texts.captions
    assert "a dog on a beach" in texts.captions
    assert texts.parallels[3].key == "photo3"
    assert texts.parallels[3].human == ("一张彩色的图", "颜色")
    # The blank caption is dropped together with its translation.
    assert texts.parallels[3].machine == ("颜色编号3的图片",)
    assert ("一只猫", "a cat") in texts.words
    assert "a photo of a tabby cat" in texts.classes
    vocabulary, named = make_vocabulary(texts, recipe.frequent)
    assert {"颜", "猫", "dog"} <= set(vocabulary)
    assert "dog" in named.names
    assert set(texts.names) <= set(named.names)


@pytest.mark.parametrize(
    "line", ["nonsense", '{"key": "a"}', '{"key": "a", "captions_zh": 3}', "[]"]
)
def test_damaged_parallels_are_named(tmp_path: Path, line: str) -> None:
    file = tmp_path / "zh.jsonl"
    file.write_text(line, encoding="utf-8")
    with pytest.raises(DataError, match=r"zh\.jsonl"):
        read_parallels(file)
    with pytest.raises(DataError, match=r"zh\.jsonl"):
        read_sentences(file)
    with pytest.raises(DataError, match=r"gone\.jsonl"):
        read_parallels(tmp_path / "gone.jsonl")


def test_a_text_tower_is_prepared_once(
    recipe: Recipe, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    # A few of the real words and classes: this test is not about their number.
    monkeypatch.setattr("models.prepare.class_names", lambda: [("cat",), ("dog", "hound")])
    monkeypatch.setattr("models.prepare.read_words", list)
    caplog.set_level(logging.INFO)
    texts: Texts = read_texts(recipe)
    vocabulary, texts = make_vocabulary(texts, 1200)
    config = tiny(vocabulary=len(vocabulary))
    narrow = BertConfig(vocabulary=len(vocabulary), layers=1, hidden=32, factor=16, positions=24)
    config = dataclasses.replace(config, text=narrow)
    first, second = DualEncoder(config).eval(), DualEncoder(config).eval()
    prepare_text(recipe, first, vocabulary, texts)
    assert "prepare.text" in caplog.text
    caplog.clear()
    prepare_text(recipe, second, vocabulary, texts)
    assert "prepare.text" not in caplog.text
    for name, value in first.text.encoder.state_dict().items():
        torch.testing.assert_close(second.text.encoder.state_dict()[name], value, msg=name)
    tokenizer = WordPieceTokenizer(vocabulary, context_length=24)
    fresh = BertEncoder(narrow).eval()
    with torch.inference_mode():
        tokens = torch.from_numpy(tokenizer.batch(["一张彩色的图", "a cat"]))
        assert not torch.allclose(unit(fresh(tokens)), unit(first.text.encoder(tokens)))


def test_an_image_tower_is_prepared_once(recipe: Recipe) -> None:
    vocabulary = toy_vocabulary()
    config = tiny(vocabulary=len(vocabulary))
    torch.manual_seed(0)
    first = DualEncoder(config).eval()
    second = copy.deepcopy(first)
    before = copy.deepcopy(first.image.backbone.state_dict())
    prepare_image(recipe, first, vocabulary)
    after = first.image.backbone.state_dict()
    assert any(not torch.allclose(before[name], after[name]) for name in before)
    classifier = [name for name in before if name.startswith("classifier")]
    for name in classifier:
        torch.testing.assert_close(after[name], before[name])
    files = sorted(Path(recipe.cache).glob("image-*.pt"))
    assert len(files) == 1
    stamp = files[0].stat().st_mtime_ns
    prepare_image(recipe, second, vocabulary)
    assert files[0].stat().st_mtime_ns == stamp
    for name, value in second.image.backbone.state_dict().items():
        torch.testing.assert_close(value, after[name], msg=name)


def toy_vocabulary() -> list[str]:
    letters = "abcdefghijklmnopqrstuvwxyz"
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *letters]
    return [*pieces, *(f"##{letter}" for letter in letters + "0123456789")]


def test_behind_fewer_stages_more_of_the_network_learns(recipe: Recipe) -> None:
    """And photos are seen afresh: no maps of views but the whole are kept."""
    vocabulary = toy_vocabulary()
    torch.manual_seed(0)
    student = DualEncoder(tiny(vocabulary=len(vocabulary))).eval()
    before = copy.deepcopy(student.image.backbone)
    few = dataclasses.replace(recipe, image_stages=1)
    prepare_image(few, student, vocabulary)
    after = student.image.backbone
    moved = [
        not all(torch.equal(a, b) for a, b in zip(x.parameters(), y.parameters(), strict=True))
        for x, y in zip(before.blocks, after.blocks, strict=True)
    ]
    first = before.config.stages[0].repeats
    assert moved[first:] == [True] * (len(moved) - first)
    assert len(list(Path(recipe.cache).glob("maps-*.npy"))) == 1
    assert len(list(Path(recipe.cache).glob("image-*.pt"))) == 1
    prepare_image(dataclasses.replace(few, image_stages=2), student, vocabulary)
    assert len(list(Path(recipe.cache).glob("image-*.pt"))) == 2


def test_a_text_tower_learns_captions_once(
    recipe: Recipe, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("models.prepare_captions.class_names", lambda: [("cat",), ("dog", "hound")])
    monkeypatch.setattr("models.prepare_captions.read_words", list)
    caplog.set_level(logging.INFO)
    recipe = dataclasses.replace(recipe, caption_epochs=2, ensemble="any", caption_relations=1.0)
    vocabulary = [*toy_vocabulary(), "颜", "色", "顏"]
    monkeypatch.setattr(
        "models.prepare.same_rows", lambda pieces: ([len(pieces) - 1], [len(pieces) - 3])
    )
    torch.manual_seed(0)
    first = DualEncoder(tiny(vocabulary=len(vocabulary))).eval()
    second, untouched = copy.deepcopy(first), copy.deepcopy(first)
    asked: list[int] = []

    def teacher() -> Relations:
        def relations(rows: Tensor, others: Tensor, captions: Tensor) -> Tensor:
            asked.append(int(captions.max()))
            return torch.zeros(len(rows) + len(others), len(captions))

        return relations

    photos = copy.deepcopy(first.image.backbone.state_dict())
    before = copy.deepcopy(first.text.encoder.state_dict())
    prepare_captions(recipe, first, vocabulary, teacher)
    after = first.text.encoder.state_dict()
    assert any(not torch.allclose(before[name], after[name]) for name in before)
    assert torch.equal(after["words.weight"][-1], after["words.weight"][-3])
    for name, value in first.image.backbone.state_dict().items():
        assert torch.equal(value, photos[name]), name
    heads = first.text.head.state_dict()
    assert not torch.equal(heads["linear.weight"], second.text.head.linear.weight)
    assert max(asked) == 8 * 2  # the one sentence of no photo, behind two captions a photo
    assert "prepare.captions" in caplog.text
    caplog.clear()
    prepare_captions(recipe, second, vocabulary, None)
    assert "prepare.captions" in caplog.text  # without a teacher it is another stage
    caplog.clear()
    third = copy.deepcopy(untouched)
    prepare_captions(recipe, third, vocabulary, teacher)
    assert "prepare.captions" not in caplog.text
    for name, value in third.text.encoder.state_dict().items():
        assert torch.equal(value, after[name]), name
    for name, value in third.text.head.state_dict().items():
        assert torch.equal(value, heads[name]), name


def test_classes_stay_as_the_published_network_has_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """Though the one that goes on learning was trained before."""
    torch.manual_seed(0)
    network = EfficientNetLite(tiny(vocabulary=60).image, side_px=32).eval()
    published = copy.deepcopy(network.state_dict())
    with torch.no_grad():
        for value in network.parameters():
            value.add_(0.1)
    pixels = torch.randn(2, 3, 32, 32)

    def said(of: EfficientNetLite) -> torch.Tensor:
        with torch.inference_mode():
            front, _ = split(fuse(copy.deepcopy(of)), 1)
            return Classes(as_published(of), 1)(front(pixels))

    with torch.inference_mode():
        logits = network(pixels)[1]
    torch.testing.assert_close(said(network), logits, atol=1e-4, rtol=1e-4)
    monkeypatch.setitem(
        students.PUBLISHED, network.config, lambda made: made.load_state_dict(published)
    )
    assert not torch.allclose(said(network), logits, atol=1e-2)
    network.load_state_dict(published)
    with torch.inference_mode():
        torch.testing.assert_close(said(network), network(pixels)[1], atol=1e-4, rtol=1e-4)


def test_every_fifth_label_is_held_out() -> None:
    names, numbers = label_numbers(["sea", "bar", None, "sea", "bar", "bar", "sea"])
    assert names == ["bar", "sea"]
    assert numbers == [NO_LABEL, 0, NO_LABEL, 1, 0, NO_LABEL, 1]


@pytest.mark.parametrize("field", ["image_stages", "image_crops", "image_alone", "caption_epochs"])
def test_a_number_below_zero_is_named(recipe: Recipe, field: str) -> None:
    with pytest.raises(ValueError, match=f"{field} is -1; it must be at least 0"):
        dataclasses.replace(recipe, **{field: -1})


def test_lantern_fresh_trains_more_of_the_network_on_the_same_data() -> None:
    folder = REPOSITORY / "models" / "recipes"
    first, second = load_recipe(folder / "lantern.py"), load_recipe(folder / "lantern_fresh.py")
    assert second.init == f"{first.out}/final.pt"
    assert second.out != first.out
    assert second.image_stages < first.image_stages
    assert (second.data, second.val, second.ensemble) == (first.data, first.val, first.ensemble)


def test_the_shipped_recipe_names_all_its_data() -> None:
    recipe = load_recipe(REPOSITORY / "models" / "recipes" / "lantern.py")
    assert recipe.student == "lantern"
    assert recipe.text_tokens > 0
    assert recipe.image_epochs > 0
    for word in ("Chinese", "Places", "COCO", "ADE20K", "ImageNet"):
        assert word in recipe.training_data
