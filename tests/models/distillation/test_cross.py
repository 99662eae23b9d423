"""Cross-encoders: ViLT and METER's interface with random weights, and their scores on disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is in the [train] extra")
pytest.importorskip("all_minilm_l6_v2", reason="in the [train] extra")

from models.distillation.cache import EmbeddingCache, build_cache  # noqa: E402
from models.distillation.cross import (  # noqa: E402
    Meter,
    Vilt,
    load_rescored,
    rescore,
    save_rescored,
)
from models.distillation.dynamic import Difficulty, candidate_kd_rows  # noqa: E402
from models.distillation.errors import (  # noqa: E402
    CacheDamaged,
    MismatchedShapes,
    NotFinite,
    TeacherMissing,
)
from models.distillation.miner import HardNegativeMiner  # noqa: E402
from tests.models.distillation.runs import require_transformers  # noqa: E402
from tests.models.distillation.test_teachers import HOW, Hashing, word_pieces  # noqa: E402
from tests.models.samples import captioned_shard  # noqa: E402


def test_vilt_scores_pairs(tmp_path: Path) -> None:
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
    transformers.ViltForImageAndTextRetrieval(config).save_pretrained(tmp_path)
    word_pieces(transformers, tmp_path)
    teacher = Vilt(tmp_path)
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


def test_rescoring_once_and_reading_it_again(tmp_path: Path) -> None:
    spec = str(captioned_shard(tmp_path / "a.tar", 9))
    build_cache(Hashing(), spec, tmp_path / "cache")
    cache = EmbeddingCache(tmp_path / "cache")
    made = np.random.default_rng(0)
    photos = [made.integers(0, 255, (16, 16, 3), dtype=np.uint8) for _ in range(9)]
    texts = [f"caption {number}" for number in range(18)]
    calls: list[int] = []
    teacher = meter(calls)
    found = rescore(teacher, cache, photos.__getitem__, texts.__getitem__, candidates=6)
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
        def score(self, pixels: Any, texts: Any) -> torch.Tensor:
            return torch.full((len(texts),), float("nan"))

    photo = np.zeros((16, 16, 3), np.uint8)
    with pytest.raises(NotFinite, match="nothing was cached"):
        rescore(Broken(), cache, lambda _: photo, str, candidates=3)
    with pytest.raises(MismatchedShapes, match="1 candidates"):
        rescore(Broken(), cache, lambda _: photo, str, candidates=1)
