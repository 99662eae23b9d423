"""Teachers, their ensembles and their vectors on disk."""

from __future__ import annotations

import json
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is in the [train] extra")
pytest.importorskip("all_minilm_l6_v2", reason="in the [train] extra")

from models.checkpoint import EagerEncoder, load_checkpoint  # noqa: E402
from models.distillation.cache import (  # noqa: E402
    EmbeddingCache,
    build_cache,
    crop,
    crop_box,
    main,
)
from models.distillation.cells import CellKey, CellSpec  # noqa: E402
from models.distillation.embeddings import EmbeddingSet  # noqa: E402
from models.distillation.errors import (  # noqa: E402
    CacheDamaged,
    DistillationError,
    MismatchedShapes,
    NotFinite,
    TeacherMissing,
)
from models.distillation.graph import KnowledgeGraph  # noqa: E402
from models.distillation.losses import kl_rows  # noqa: E402
from models.distillation.similarity import l2_normalize, row_log_softmax  # noqa: E402
from models.distillation.targets import Reducer, Targets, graph_loss  # noqa: E402
from models.distillation.teachers import (  # noqa: E402
    Part,
    TeacherEnsemble,
    open_teacher,
    reduced,
    resized,
    split,
)
from photosearch.preprocess import normalise  # noqa: E402
from photosearch.types import Preprocess  # noqa: E402
from tests.models.distillation.runs import (  # noqa: E402
    prepared,
    require_transformers,
    tiny_recipe,
    tiny_teacher,
)
from tests.models.samples import captioned_shard, jpeg, write_shard  # noqa: E402

HOW = Preprocess(side_px=16, mean=(0.5,) * 3, std=(0.5,) * 3, resize="squash")


class Hashing:
    """A teacher of a few random projections, fast and the same every time."""

    def __init__(self, width: int = 6, seed: int = 0, *, damaged: bool = False) -> None:
        made = torch.Generator().manual_seed(seed)
        self.name = f"hashing {width} {seed}"
        self.parts = (Part(width, tau=0.05),)
        self.preprocess = HOW
        self.calls = 0
        self._damaged = damaged
        self._eyes = torch.randn(16 * 16 * 3, width, generator=made)

    def images(self, pixels: Any) -> Any:
        self.calls += 1
        rows = torch.from_numpy(pixels.astype(np.float32)).flatten(1) @ self._eyes
        return l2_normalize(rows / 0 if self._damaged else rows)

    def texts(self, texts: Any) -> Any:
        rows = [
            torch.randn(
                self._eyes.shape[1], generator=torch.Generator().manual_seed(sum(map(ord, text)))
            )
            for text in texts
        ]
        return l2_normalize(torch.stack(rows))


def test_a_cache_holds_what_the_teacher_says_of_every_crop_and_caption(tmp_path: Path) -> None:
    """T32: bit-equal to encoding again and rounding to half precision, in the photos' order."""
    teacher = Hashing()
    spec = str(captioned_shard(tmp_path / "a.tar", 37))
    built = build_cache(teacher, spec, tmp_path / "cache", crops=3, seed=4)
    assert (built.photos, built.captions, built.unreadable) == (37, 74, 0)
    cache = EmbeddingCache(tmp_path / "cache")
    assert cache.teacher == teacher.name and cache.parts == teacher.parts
    assert cache.keys[:2] == ["photo0", "photo1"]
    for row, number in ((0, 0), (5, 2), (36, 1)):
        box = crop_box(4, f"photo{row}", number, 0.5)
        wanted = teacher.images(crop(jpeg(row), box, 16)[None])
        found = cache.images([row], [number])
        assert torch.equal(found, wanted.half().float())
    texts = [f"a picture of colour number {7}", f"smooth shapes, the {7}th"]
    assert torch.equal(cache.texts(cache.captions_of(7)), teacher.texts(texts).half().float())
    assert cache.owners().tolist() == [n for n in range(37) for _ in range(2)]
    # Memory-mapped: opened without being read.
    assert isinstance(cache._images, np.memmap)


def test_what_the_cache_leaves_out_is_counted(tmp_path: Path) -> None:
    said = json.dumps({"captions": ["a cat", " "]}).encode()
    members = [("a.jpg", jpeg(1)), ("a.json", said), ("b.jpg", jpeg(2)), ("c.jpg", b"?")]
    members += [("c.json", said)]
    write_shard(tmp_path / "a.tar", members)
    write_shard(tmp_path / "b.tar", members[:2])
    built = build_cache(Hashing(), str(tmp_path / "*.tar"), tmp_path / "cache")
    assert built.__dict__ == {
        "photos": 1,
        "captions": 1,
        "unreadable": 1,
        "without_caption": 1,
        "repeated": 1,
    }
    write_shard(tmp_path / "none.tar", members[2:3])
    with pytest.raises(DistillationError, match="no photo can be read and has a caption"):
        build_cache(Hashing(), str(tmp_path / "none.tar"), tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_nan_is_neither_cached_nor_read(tmp_path: Path) -> None:
    spec = str(captioned_shard(tmp_path / "a.tar", 3))
    with pytest.raises(NotFinite, match="nothing was cached"):
        build_cache(Hashing(damaged=True), spec, tmp_path / "cache")
    build_cache(Hashing(), spec, tmp_path / "cache")
    rows = np.load(tmp_path / "cache" / "images.npy")
    rows[1, 0, 2] = np.nan
    np.save(tmp_path / "cache" / "images.npy", rows)
    cache = EmbeddingCache(tmp_path / "cache")
    cache.images([0, 2], [0, 0])
    with pytest.raises(NotFinite, match=r"NaN in rows \[1\]"):
        cache.images([2, 1], [0, 0])


def test_damaged_caches_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CacheDamaged, match="no cache of teacher vectors"):
        EmbeddingCache(tmp_path)
    folder = tmp_path / "cache"
    spec = str(captioned_shard(tmp_path / "a.tar", 3))
    for name, damage in (
        ("meta.json", lambda data: data[:20]),
        ("keys.json", lambda data: b"[]"),
        ("images.npy", lambda data: data[:100]),
        ("texts.npy", lambda data: data[:-9]),
        ("texts.npy", lambda data: b"nonsense"),
    ):
        build_cache(Hashing(), spec, folder)
        whole = (folder / name).read_bytes()
        (folder / name).write_bytes(damage(whole))
        with pytest.raises(CacheDamaged, match=str(folder)):
            EmbeddingCache(folder)
    build_cache(Hashing(), spec, folder)
    np.save(folder / "texts.npy", np.zeros((5, 6), np.float16))
    with pytest.raises(CacheDamaged, match="its index speaks of"):
        EmbeddingCache(folder)


def test_crops_are_the_same_each_time_and_lie_within_the_photo() -> None:
    assert crop_box(1, "a", 0, 0.5) == (0, 0, 1, 1)
    areas = []
    for number in range(1, 200):
        box = crop_box(1, "a", number, 0.5)
        assert box == crop_box(1, "a", number, 0.5)
        left, top, right, bottom = box
        assert 0 <= left < right <= 1 and 0 <= top < bottom <= 1
        areas.append((right - left) * (bottom - top))
    assert min(areas) > 0.45 and max(areas) <= 1.0
    assert crop_box(1, "a", 1, 0.5) != crop_box(1, "b", 1, 0.5) != crop_box(2, "b", 1, 0.5)
    assert crop(jpeg(1), crop_box(1, "a", 1, 0.5), 16).shape == (16, 16, 3)


def test_ensembles_are_averaged_after_the_softmax(tmp_path: Path) -> None:
    both = TeacherEnsemble([Hashing(6, 0), Hashing(8, 1)], [3.0, 1.0])
    assert [part.weight for part in both.parts] == [0.75, 0.25]
    spec = str(captioned_shard(tmp_path / "a.tar", 9))
    build_cache(both, spec, tmp_path / "cache")
    cache = EmbeddingCache(tmp_path / "cache")
    image, text = cache.images(range(9), [0] * 9), cache.texts(range(0, 18, 2))
    pieces = split(image, cache.parts)
    assert [piece.shape[1] for piece in pieces] == [6, 8]
    # The gradient is that of the mean of the teachers' distributions.
    targets = Reducer(cache.parts, cache.sample(9), 6)(image, text)
    made = torch.Generator().manual_seed(0)
    v = torch.randn(9, 6, generator=made, requires_grad=True)
    x = torch.randn(9, 6, generator=made, requires_grad=True)
    graph = KnowledgeGraph({CellKey("inter_ss", "kl"): CellSpec(tau=0.2)})
    pair = torch.arange(9)
    one_space = Reducer(cache.parts, cache.sample(9), 6).one_space(image, text)
    graph_loss(graph, v, x, targets, one_space, pair_id=pair, progress=0.0).total.backward()
    assert v.grad is not None
    grad = v.grad.clone()
    v.grad = None
    e = EmbeddingSet.build(v, x, targets[0].image, targets[0].text)
    rows = []
    for m, sides in ((e.v_s @ e.x_s.T, False), (e.x_s @ e.v_s.T, True)):
        mean = torch.zeros_like(m)
        for t in targets:
            cosines = t.image @ t.text.T
            mean = mean + t.weight * ((cosines.T if sides else cosines) / 0.2).softmax(1)
        rows.append(-(mean * row_log_softmax(m, 0.2)).sum(1).mean())
    ((rows[0] + rows[1]) / 2).backward()
    torch.testing.assert_close(v.grad, grad)
    with pytest.raises(MismatchedShapes, match="one weight above 0"):
        TeacherEnsemble([Hashing()], [0.0])
    with pytest.raises(MismatchedShapes, match="its parts 14"):
        split(image[:, :5], cache.parts)


def test_an_ensemble_in_one_space_averages_cosines() -> None:
    """For mining and for a frozen side, which need a single space. Exactly, where it fits."""
    parts = (Part(6, weight=0.7), Part(8, weight=0.3))
    made = torch.Generator().manual_seed(0)
    image, text = (torch.randn(20, 14, generator=made) for _ in range(2))
    found = Reducer(parts, [image, text], 6).one_space(image, text)
    assert found.image.shape == (20, 6)
    pieces = list(zip(parts, split(image, parts), split(text, parts), strict=True))
    wanted = sum((part.weight * v @ x.T for part, v, x in pieces), torch.zeros(20, 20))
    # Six axes hold most of it; where the rows span no more than six, all of it.
    assert (
        torch.corrcoef(torch.stack(((found.image @ found.text.T).flatten(), wanted.flatten())))[
            0, 1
        ]
        > 0.8
    )
    low = torch.randn(3, 14, generator=made)
    image, text = (torch.randn(20, 3, generator=made) @ low for _ in range(2))
    wide = (Part(7, weight=3.0), Part(7, weight=1.0))
    v, x = split(image, wide), split(text, wide)
    wanted = 0.75 * v[0] @ x[0].T + 0.25 * v[1] @ x[1].T
    # Unit parts of rows of rank 3 span at most 2 x 3 dimensions, and 7 are kept.
    found = Reducer(wide, [image, text], 7).one_space(image, text)
    torch.testing.assert_close(found.image @ found.text.T, wanted, atol=1e-5, rtol=0)
    alone = Reducer(wide[:1], [image[:, :7]], 7)
    assert torch.equal(alone.one_space(v[0], x[0]).image, alone(v[0], x[0])[0].image)


@pytest.mark.parametrize(
    ("stage", "preset"),
    [
        ("pretrain_distill", "MOBILECLIP"),
        ("pretrain_distill", "DCD_FIXED"),
        ("sequential_finetune", "MOTIS_2"),
    ],
)
def test_an_ensemble_teaches_through_its_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: str, preset: str
) -> None:
    """By its line of text, to a finished checkpoint; both teachers' say shows in the loss."""
    from models.distillation import start
    from models.distillation.stages import run

    # One teacher's student would start with its axes, the others with their own.
    monkeypatch.setattr(start, "inherit_space", lambda *_: None)
    one = f"surrogate:{prepared() / 'teacher.pt'}"
    other = f"surrogate:{tiny_teacher(tmp_path / 'other.pt', seed=6)}"
    first: dict[str, float] = {}
    for name, teacher in (("one", one), ("other", other), ("both", f"0.7 {one} + 0.3 {other}")):
        changes = {"teacher": teacher, "stage": stage, "preset": preset, "epochs": 1}
        assert run(tiny_recipe(tmp_path, **changes, out=str(tmp_path / name)), None).is_file()
        _, line, *_ = (tmp_path / name / "metrics-0.csv").read_text().splitlines()
        first[name] = float(line.split(",")[1])
    if preset == "MOBILECLIP":
        # The first step's student is the same: its loss is the weighted mean of the two.
        mean = 0.7 * first["one"] + 0.3 * first["other"]
        assert first["both"] == pytest.approx(mean, rel=1e-3)
    elif stage == "sequential_finetune":
        assert len(set(first.values())) == 3


def test_student_and_teachers_are_compared_in_one_space() -> None:
    """Two teachers that say the same in spaces turned against each other say it once."""
    made = torch.Generator().manual_seed(3)
    v, x = (l2_normalize(torch.randn(9, 5, generator=made)) for _ in range(2))
    turn = torch.linalg.qr(torch.randn(5, 5, generator=made))[0]
    parts = (Part(5, weight=0.5), Part(5, weight=0.5))
    image, text = (torch.cat((side, side @ turn), dim=1) for side in (v, x))
    reducer = Reducer(parts, [image, text], 5)
    targets, one_space = reducer(image, text), reducer.one_space(image, text)
    torch.testing.assert_close(one_space.image @ one_space.text.T, v @ x.T, atol=1e-5, rtol=1e-5)
    cells = {
        CellKey("intra_ts", "fd"): CellSpec(),
        CellKey("inter_ts", "kl"): CellSpec(),
        CellKey("inter_ss", "kl"): CellSpec(),
    }
    pair = torch.arange(9)
    found = graph_loss(
        KnowledgeGraph(cells), one_space.image, one_space.text, targets, one_space,
        pair_id=pair, progress=0.0,
    )  # fmt: skip
    # A student that is the teacher has nothing left to learn, by any cell.
    assert found.parts.keys() == {str(key) for key in cells}
    assert max(found.parts.values()) < 1e-5


def test_several_live_teachers_have_no_space_to_mine_in(tmp_path: Path) -> None:
    from models.distillation.stages import run

    both = " + ".join([f"surrogate:{prepared() / 'teacher.pt'}"] * 2)
    mean = {"teacher": both, "live": True, "preset": "MOBILECLIP", "epochs": 1}
    assert run(tiny_recipe(tmp_path, **mean), None).is_file()
    for preset in ("DCD_FIXED", "BASE"):
        with pytest.raises(TeacherMissing, match="live must be false"):
            run(tiny_recipe(tmp_path, **{**mean, "preset": preset}), None)


def test_a_cache_of_other_weights_is_made_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The same file name, another teacher in it: its old vectors are not taken for its own."""
    from models.distillation.distributed import World
    from models.distillation.start import open_cache

    file = tiny_teacher(tmp_path / "teacher.pt", seed=5)
    recipe = tiny_recipe(tmp_path, teacher=f"surrogate:{file}", cache=str(tmp_path / "cache"))
    world = World(0, 1, torch.device("cpu"))
    first = open_cache(recipe, world)
    assert open_cache(recipe, world).teacher == first.teacher
    tiny_teacher(file, seed=6)
    again = open_cache(recipe, world)
    assert again.folder == first.folder and again.teacher != first.teacher
    assert not torch.equal(again.all_texts(), first.all_texts())


def test_a_wide_teacher_is_reduced_and_a_narrow_one_refused() -> None:
    made = torch.Generator().manual_seed(1)
    low = l2_normalize(torch.randn(30, 4, generator=made) @ torch.randn(4, 10, generator=made))
    axes = reduced([low], 4)
    torch.testing.assert_close((low @ axes) @ (low @ axes).T, low @ low.T, atol=1e-5, rtol=1e-5)
    with pytest.raises(MismatchedShapes, match="the student is 12 wide, its teacher 10"):
        reduced([low], 12)


def test_the_surrogate_and_names_of_teachers(tmp_path: Path) -> None:
    teacher = open_teacher(f"surrogate:{prepared() / 'teacher.pt'}")
    pixels = np.zeros((2, 32, 32, 3), np.uint8)
    assert teacher.images(pixels).shape == (2, sum(part.width for part in teacher.parts))
    assert teacher.texts(["a cat", "a dog"]).norm(dim=1).tolist() == pytest.approx([1, 1])
    assert "surrogate tiny" in teacher.name
    # Its norms are folded in, which is faster and changes nothing but the last digits.
    some = np.random.default_rng(0).integers(0, 255, (3, 32, 32, 3)).astype(np.uint8)
    plain = EagerEncoder(load_checkpoint(prepared() / "teacher.pt"))
    wanted = torch.from_numpy(plain.images(normalise(some, teacher.preprocess)))
    torch.testing.assert_close(teacher.images(some), wanted, atol=1e-5, rtol=0)
    ensemble = open_teacher(f"0.7 surrogate:{prepared() / 'teacher.pt'} + surrogate:{prepared() / 'teacher.pt'}")  # noqa: E501  # fmt: skip
    assert [round(part.weight, 3) for part in ensemble.parts] == [0.412, 0.588]
    assert ensemble.images(pixels).shape[1] == 2 * teacher.images(pixels).shape[1]
    for spec, says in (
        ("clip:x", "starts with open_clip:"),
        ("two words here", "write KIND:WHAT"),
        (f"hf:{tmp_path}", r"holds no config\.json"),
    ):
        with pytest.raises(TeacherMissing, match=says):
            open_teacher(spec)
    assert resized(pixels, 8).shape == (2, 8, 8, 3)


@pytest.mark.parametrize("kind", ["clip", "siglip"])
def test_hugging_face_folders(tmp_path: Path, kind: str) -> None:
    """Small random models, saved and opened as real ones are."""
    transformers = require_transformers()
    folder = tmp_path / kind
    text = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1}
    text |= {"num_attention_heads": 2, "vocab_size": 64, "max_position_embeddings": 8}
    text |= {"eos_token_id": 2}  # the old convention: the last token is the one of the highest id
    vision = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1}
    vision |= {"num_attention_heads": 2, "image_size": 16, "patch_size": 8}
    torch.manual_seed(0)
    if kind == "clip":
        config = transformers.CLIPConfig(text_config=text, vision_config=vision, projection_dim=12)
        model = transformers.CLIPModel(config)
    else:
        config = transformers.SiglipConfig(text_config=text, vision_config=vision)
        model = transformers.SiglipModel(config)
    model.save_pretrained(folder)
    word_pieces(transformers, folder)
    teacher = open_teacher(f"hf:{folder}")
    width = 12 if kind == "clip" else 16
    assert teacher.parts[0].width == width
    assert kind in teacher.name
    found = teacher.texts(["a cat", "a cat on a mat on a cat on a mat", "a cat"])
    assert found.shape == (3, width)
    torch.testing.assert_close(found[0], found[2])
    assert not torch.allclose(found[0], found[1])
    pixels = np.random.default_rng(0).integers(0, 255, (2, 16, 16, 3), dtype=np.uint8)
    images = teacher.images(pixels)
    assert images.norm(dim=1).tolist() == pytest.approx([1, 1], abs=1e-5)
    assert teacher.preprocess.mean[0] == pytest.approx(0.4815 if kind == "clip" else 0.5, abs=1e-3)


def word_pieces(transformers: Any, folder: Path) -> None:
    """A tokenizer of five words, in the file that every fast tokenizer reads."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = {"[PAD]": 0, "[UNK]": 1, "a": 2, "cat": 3, "on": 4, "mat": 5}
    plain = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    plain.pre_tokenizer = pre_tokenizers.Whitespace()
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=plain, pad_token="[PAD]", unk_token="[UNK]"
    )
    fast.save_pretrained(folder)


class FakeOpenClip(torch.nn.Module):
    """Stands in for a model of open_clip: the four attributes and two calls we use."""

    def __init__(self) -> None:
        super().__init__()
        self.eyes = torch.nn.Linear(3 * 16 * 16, 10)
        self.words = torch.nn.Embedding(64, 10)
        self.logit_scale = torch.nn.Parameter(torch.tensor(np.log(50.0), dtype=torch.float32))
        self.visual = types.SimpleNamespace(
            image_size=(16, 16), image_mean=(0.5,) * 3, image_std=(0.25,) * 3
        )

    def encode_image(self, pixels: Any) -> Any:
        return self.eyes(pixels.flatten(1))

    def encode_text(self, tokens: Any) -> Any:
        return self.words(tokens).mean(1)


def test_open_clip_by_name_and_by_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a stand-in, because the library brings torchvision; its calls are those it documents."""
    asked: list[tuple[str, Any]] = []

    def create_model(name: str, pretrained: Any = None) -> FakeOpenClip:
        import os

        assert os.environ["HF_HUB_OFFLINE"] == "1"
        asked.append((name, pretrained))
        if pretrained == "unknown":
            raise RuntimeError("pretrained tag unknown not found")
        torch.manual_seed(0)
        return FakeOpenClip()

    def get_tokenizer(name: str) -> Any:
        return lambda texts: torch.tensor([[len(text) % 64] for text in texts])

    library = types.SimpleNamespace(create_model=create_model, get_tokenizer=get_tokenizer)
    monkeypatch.setitem(sys.modules, "open_clip", library)  # type: ignore[arg-type]
    file = tmp_path / "weights.pt"
    file.write_bytes(b"")
    teacher = open_teacher(f"open_clip:ViT-B-32@{file}")
    open_teacher("open_clip:ViT-B-32/laion2b")
    assert asked == [("ViT-B-32", str(file)), ("ViT-B-32", "laion2b")]
    assert teacher.parts[0].width == 10
    assert teacher.parts[0].tau == pytest.approx(1 / 50)
    assert teacher.preprocess.side_px == 16
    assert teacher.images(np.zeros((2, 16, 16, 3), np.uint8)).shape == (2, 10)
    with pytest.raises(TeacherMissing, match="tag unknown not found"):
        open_teacher("open_clip:ViT-B-32/unknown")
    with pytest.raises(TeacherMissing, match="no such weight file"):
        open_teacher("open_clip:ViT-B-32@gone.pt")
    monkeypatch.setitem(sys.modules, "open_clip", None)  # type: ignore[arg-type]
    with pytest.raises(TeacherMissing, match="needs the package open-clip-torch"):
        open_teacher("open_clip:ViT-B-32")


def test_a_live_teacher_gives_the_loss_of_its_cache(tmp_path: Path) -> None:
    """Half precision apart."""
    from models.distillation.stages import run

    losses = {}
    for live in (False, True):
        out = tmp_path / str(live)
        run(tiny_recipe(tmp_path, live=live, out=str(out), epochs=1), None)
        first = (out / "metrics-0.csv").read_text().splitlines()[1]
        losses[live] = float(first.split(",")[1])
    assert losses[True] == pytest.approx(losses[False], rel=1e-2)


def test_the_command_that_makes_a_cache(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = prepared()
    where = ["--data", str(made / "train.tar"), "--out", str(tmp_path / "cache")]
    teacher = f"surrogate:{made / 'teacher.pt'}"
    assert main(["--teacher", teacher, *where, "--crops", "2"]) == 0
    assert "12 photos, 24 captions; left out: 0 unreadable" in capsys.readouterr().out
    assert EmbeddingCache(tmp_path / "cache").crops == 2
    assert main(["--teacher", "surrogate:gone.pt", *where]) == 3
    assert "gone.pt: no such checkpoint" in capsys.readouterr().err


def test_targets_keep_their_weights() -> None:
    rows = l2_normalize(torch.randn(4, 6, generator=torch.Generator().manual_seed(0)))
    graph = KnowledgeGraph({CellKey("inter_ss", "kl"): CellSpec()})
    one = Targets(rows, rows.flip(0), 1.0)
    pair = torch.arange(4)
    found = graph_loss(graph, rows, rows.roll(1, 0), [one], one, pair_id=pair, progress=0.0)
    m, t = rows @ rows.roll(1, 0).T, rows @ rows.flip(0).T
    wanted = (kl_rows(m, t, 0.07, 0.07).mean() + kl_rows(m.T, t.T, 0.07, 0.07).mean()) / 2
    torch.testing.assert_close(found.total, wanted)
    assert found.parts["inter_ss.kl"] == pytest.approx(wanted.item(), rel=1e-5)
