"""Cross-encoders: ViLT and METER's interface with random weights, and their scores on disk."""

from __future__ import annotations

import csv
import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is in the [train] extra")
pytest.importorskip("all_minilm_l6_v2", reason="in the [train] extra")

from models.checkpoint import CheckpointError, load_checkpoint  # noqa: E402
from models.distillation import loop, stages  # noqa: E402
from models.distillation.cache import EmbeddingCache, build_cache  # noqa: E402
from models.distillation.cache import main as make_cache  # noqa: E402
from models.distillation.cross import (  # noqa: E402
    Meter,
    Vilt,
    cached_captions,
    cached_photos,
    load_rescored,
    rescore,
    save_rescored,
)
from models.distillation.distributed import open_world  # noqa: E402
from models.distillation.dynamic import (  # noqa: E402
    DCD_PRESETS,
    Difficulty,
    candidate_kd_rows,
)
from models.distillation.errors import (  # noqa: E402
    CacheDamaged,
    MismatchedShapes,
    NotFinite,
    TeacherMissing,
)
from models.distillation.miner import HardNegativeMiner  # noqa: E402
from models.distillation.recipe import DistillRecipe  # noqa: E402
from models.distillation.shards import Shards  # noqa: E402
from models.distillation.similarity import l2_normalize  # noqa: E402
from models.distillation.stages import run  # noqa: E402
from models.distillation.start import start  # noqa: E402
from models.rescore import main  # noqa: E402
from photosearch.preprocess import normalise  # noqa: E402
from tests.models.distillation.runs import (  # noqa: E402
    prepared,
    require_transformers,
    tiny_recipe,
)
from tests.models.distillation.test_stages import interrupted  # noqa: E402
from tests.models.distillation.test_teachers import HOW, Hashing, word_pieces  # noqa: E402
from tests.models.samples import captioned_shard  # noqa: E402


def tiny_vilt(folder: Path) -> Path:
    """Of one layer, random, as transformers saves it."""
    transformers = require_transformers()
    torch.manual_seed(0)
    config = transformers.ViltConfig(
        vocab_size=64,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        image_size=16,
        patch_size=8,
        max_position_embeddings=8,
    )
    transformers.ViltForImageAndTextRetrieval(config).save_pretrained(folder)
    word_pieces(transformers, folder)
    return folder


def test_vilt_scores_pairs(tmp_path: Path) -> None:
    teacher = Vilt(tiny_vilt(tmp_path))
    made = np.random.default_rng(0)
    photos = [made.integers(0, 255, (16, 16, 3), dtype=np.uint8) for _ in range(2)]
    found = teacher.score([photos[0], photos[1], photos[0]], ["a cat", "a cat", "a mat"])
    assert found.shape == (3,) and bool(torch.isfinite(found).all())
    assert len({round(value, 6) for value in found.tolist()}) == 3  # both sides count
    with pytest.raises(TeacherMissing):
        Vilt(tmp_path / "gone")


def meter(calls: list[int]) -> Meter:
    made = torch.Generator().manual_seed(0)
    eyes, head = torch.randn(768, 4, generator=made), torch.randn(8, 1, generator=made)

    def encode_image(planes: torch.Tensor) -> torch.Tensor:
        calls.append(len(planes))
        return planes.flatten(1) @ eyes / 10

    def encode_text(texts: Any) -> torch.Tensor:
        return Hashing(4, 3).texts(texts)

    def fuse(images: torch.Tensor, texts: torch.Tensor) -> torch.Tensor:
        return torch.cat((images * texts, images - texts), dim=1)

    return Meter(encode_image, encode_text, fuse, lambda pooled: pooled @ head, HOW)


def random_meter() -> Meter:
    return meter([])


def test_rescoring_once_and_reading_it_again(tmp_path: Path) -> None:
    spec = str(captioned_shard(tmp_path / "a.tar", 9))
    build_cache(Hashing(), spec, tmp_path / "cache")
    cache = EmbeddingCache(tmp_path / "cache")
    made = np.random.default_rng(0)
    photos = [made.integers(0, 255, (16, 16, 3), dtype=np.uint8) for _ in range(9)]
    texts = [f"caption {number}" for number in range(18)]
    calls: list[int] = []
    teacher = meter(calls)
    found = rescore(teacher, cache, enumerate(photos), texts, candidates=6)
    assert set(calls) == {1}  # a photo is encoded once for all its captions
    assert found.ids.shape == found.scores.shape == (9, 6)
    assert found.ids[:, 0].tolist() == cache.starts[:-1]
    for row in range(9):
        chosen = [texts[number] for number in found.ids[row].tolist()]
        wanted = teacher.score([photos[row]] * 6, chosen)
        torch.testing.assert_close(found.scores[row], wanted)
        # The dual teacher's likeliest, but for the positive in front.
        cosines = cache.all_texts() @ cache.images([row], [0])[0]
        best = [n for n in cosines.argsort(descending=True).tolist() if n != cache.starts[row]]
        assert found.ids[row, 1:].tolist() == best[:5]
    file = tmp_path / "scores.npz"
    save_rescored(file, found, teacher="meter", cache=cache)
    again = load_rescored(file, cache)
    assert torch.equal(again.ids, found.ids) and torch.equal(again.scores, found.scores)

    mined = again.mined(HardNegativeMiner(3, 0, fn_filter="pair_id"), torch.arange(9))
    assert mined.score_kind == "logit"
    owners = cache.owners()
    for row in range(9):
        kept = mined.key_ids[row][mined.valid[row]].tolist()
        assert kept[0] == cache.starts[row]
        assert all(owners[number] != row for number in kept[1:])
    hard = Difficulty(zscore=True)(mined.t_scores, valid=mined.valid)
    assert ((hard >= 0) & (hard <= 1)).all()
    rows = candidate_kd_rows(mined.t_scores * 0, mined.t_scores, mined.valid, "zscore_kl")
    assert (rows >= 0).all()

    whole = file.read_bytes()
    for bad in (b"", b"nonsense", whole[: len(whole) // 2]):
        file.write_bytes(bad)
        with pytest.raises(CacheDamaged, match="no whole file"):
            load_rescored(file, cache)
    save_rescored(file, found, teacher="meter", cache=cache)
    build_cache(Hashing(seed=9), spec, tmp_path / "other")
    with pytest.raises(CacheDamaged, match="from another cache"):
        load_rescored(file, EmbeddingCache(tmp_path / "other"))


def test_bad_scores_are_not_kept(tmp_path: Path) -> None:
    spec = str(captioned_shard(tmp_path / "a.tar", 3))
    build_cache(Hashing(), spec, tmp_path / "cache")
    cache = EmbeddingCache(tmp_path / "cache")

    class Broken:
        name, preprocess = "broken", HOW

        def score(self, pixels: Any, texts: Any) -> torch.Tensor:
            return torch.full((len(texts),), float("nan"))

    photos = list(enumerate(np.zeros((3, 16, 16, 3), np.uint8)))
    with pytest.raises(NotFinite, match="nothing was cached"):
        rescore(Broken(), cache, photos, ["a"] * 6, candidates=3)
    with pytest.raises(MismatchedShapes, match="1 candidates"):
        rescore(Broken(), cache, photos, ["a"] * 6, candidates=1)
    with pytest.raises(CacheDamaged, match="1 photos of the cache, such as photo2"):
        rescore(Broken(), cache, photos[:2], ["a"] * 6, candidates=3)


@pytest.fixture
def scored(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """A folder with vilt/, cache/ and scores.npz, made by the commands; photos are prepared()'s."""
    data, teacher = prepared() / "train.tar", f"surrogate:{prepared() / 'teacher.pt'}"
    vilt = tiny_vilt(tmp_path / "vilt")
    made = ["--teacher", teacher, "--data", str(data), "--out", str(tmp_path / "cache")]
    assert make_cache([*made, "--crops", "2"]) == 0
    asked = ["--teacher", f"vilt:{vilt}", "--data", str(data), "--cache", str(tmp_path / "cache")]
    out = ["--out", str(tmp_path / "scores.npz")]
    assert main([*asked, *out, "--candidates", "6"]) == 0
    assert "scores.npz: 12 photos, 6 captions each" in capsys.readouterr().out
    return tmp_path


def recipe_for(scored: Path, folder: Path, **changes: Any) -> DistillRecipe:
    fields = {"preset": "DCD_CROSS", "rescored": str(scored / "scores.npz"), **changes}
    return tiny_recipe(folder, teacher=f"cache:{scored / 'cache'}", **fields)


def told(folder: Path) -> list[float]:
    with (folder / "run" / "metrics-0.csv").open() as stream:
        return [float(row["dcd"]) for row in csv.DictReader(stream)]


def test_a_cross_encoder_teaches_a_run(scored: Path, tmp_path: Path) -> None:
    """Mined, rescored and distilled: what is distilled is what ViLT says of the whole photo and
    the captions that the cached teacher finds likely; other scores make another student."""
    cache = EmbeddingCache(scored / "cache")
    rescored = load_rescored(scored / "scores.npz", cache)
    captions = cached_captions(str(prepared() / "train.tar"), cache)
    assert captions[4] == "a picture of colour number 2"
    vilt = Vilt(scored / "vilt")
    for row, pixels in cached_photos(str(prepared() / "train.tar"), cache, 16):
        said = [captions[number] for number in rescored.ids[row].tolist()]
        wanted = vilt.score([pixels] * 6, said)
        torch.testing.assert_close(rescored.scores[row], wanted)

    losses = {}
    for preset in ("DCD_CROSS", "DCD_RANK"):
        folder = tmp_path / preset
        run(recipe_for(scored, folder, preset=preset), None)
        losses[preset] = told(folder)
        assert all(value > 0 for value in losses[preset])
    other = dataclasses.replace(rescored, scores=rescored.scores.flip(1))
    save_rescored(tmp_path / "other.npz", other, teacher="another", cache=cache)
    run(recipe_for(scored, tmp_path / "b", rescored=str(tmp_path / "other.npz")), None)
    assert told(tmp_path / "b")[0] != losses["DCD_CROSS"][0]
    # The first step's number from the student as it starts, by DCD's formula.
    recipe = recipe_for(scored, tmp_path / "c")
    with open_world() as world:
        given = start(recipe, world)
        batch = next(iter(Shards(stages._source(given), 0, 0, 1)))
        given.student.train()
        loop.freeze_norms(given.student)
        torch.manual_seed(recipe.seed)
        planes = torch.from_numpy(normalise(batch.pixels, given.base.preprocess()))
        image, _ = given.student(planes, batch.tokens)
    config, values = DCD_PRESETS["CROSS"], []
    hard = []
    for row, own in zip(batch.photo.tolist(), l2_normalize(image), strict=True):
        ids, scores = rescored.ids[row], rescored.scores[row]
        others = (cache.owners()[ids] != row).nonzero().flatten()
        best = others[scores[others].argsort(descending=True)][: config.k]
        chosen = torch.cat((torch.tensor([0]), best))
        s = (cache.texts(ids[chosen].tolist()) @ own)[None]
        t = scores[chosen][None]
        t = (t - t.mean()) / t.std(correction=0)
        hard.append(torch.special.entr(t.softmax(1)).sum() / math.log(len(best) + 1))
        kd = (t.softmax(1) * (t.log_softmax(1) - (s / 0.07).log_softmax(1))).sum()
        values.append((kd, -(s / 0.07).log_softmax(1)[0, 0]))
    h = torch.stack(hard)
    w_kd, w_label = ((1 - h) ** 2).softmax(0), h / h.sum()
    kd, label = (torch.stack(column) for column in zip(*values, strict=True))
    wanted = 0.2 * (w_kd * kd).sum() + 0.8 * (w_label * label).sum()
    assert losses["DCD_CROSS"][0] == pytest.approx(wanted.item(), rel=1e-3)


def test_a_run_on_rescored_pairs_resumes_on_the_same_scores(
    scored: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """T33, to the bit; other scores under the same name are not gone on with."""
    whole = load_checkpoint(run(recipe_for(scored, tmp_path / "whole"), None)).weights
    recipe = recipe_for(scored, tmp_path / "stopped")
    interrupted(recipe, 5, monkeypatch)
    moved = (scored / "scores.npz").rename(tmp_path / "moved.npz")
    again = dataclasses.replace(recipe, rescored=str(moved))
    resumed = load_checkpoint(run(again, tmp_path / "stopped" / "run")).weights
    for name, value in whole.items():
        assert torch.equal(resumed[name], value), name
    interrupted(again, 3, monkeypatch)
    cache = EmbeddingCache(scored / "cache")
    found = load_rescored(moved, cache)
    changed = dataclasses.replace(found, scores=found.scores + 1)
    save_rescored(moved, changed, teacher="another", cache=cache)
    with pytest.raises(CheckpointError, match="another recipe"):
        run(again, tmp_path / "stopped" / "run")


def test_mistakes_in_rescoring_are_named(
    scored: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for changes in ({"preset": "STRONG"}, {"preset": "DCD_FIXED"}, {"live": True}):
        with pytest.raises(ValueError, match="presets DCD_CROSS and DCD_RANK"):
            recipe_for(scored, tmp_path, **changes)
    with pytest.raises(CacheDamaged, match="no whole file of rescored pairs"):
        run(recipe_for(scored, tmp_path, rescored=str(tmp_path / "gone.npz")), None)
    asked = ["--cache", str(scored / "cache"), "--out", str(tmp_path / "new.npz")]
    data = ["--data", str(prepared() / "train.tar")]
    for teacher, says in (
        ("bert:x", "write vilt:DIR or meter:MODULE:FUNCTION"),
        ("meter:no_such_module:f", "No module named"),
        (f"vilt:{tmp_path / 'gone'}", "gone"),
    ):
        assert main([*asked, *data, "--teacher", teacher]) == 3
        assert says in capsys.readouterr().err
    fewer = ["--data", str(captioned_shard(tmp_path / "fewer.tar", 11))]
    given = ["--teacher", "meter:tests.models.distillation.test_cross:random_meter"]
    assert main([*asked, *fewer, *given]) == 3
    assert "1 photos of the cache, such as photo11" in capsys.readouterr().err
    assert not (tmp_path / "new.npz").exists()
    assert main([*asked, *data, *given, "--candidates", "99"]) == 0
    assert "12 photos, 24 captions each" in capsys.readouterr().out
