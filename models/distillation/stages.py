"""The three stages: pretrain_distill, joint_finetune, sequential_finetune.

    python -m models.train models/recipes/NAME.py [--set key=value ...] [--resume DIR]
    torchrun --nproc-per-node=N -m models.train ...     the same, scaled out

pretrain_distill (ConaCLIP) and joint_finetune are one loop with different presets and
starts. sequential_finetune (MoTIS, second stage) runs it twice: the image student against
the teacher's texts, then the text student against the new image student, each against a
frozen, searchable other side.
"""

from __future__ import annotations

import copy
import dataclasses
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from models.checkpoint import Checkpoint, save_checkpoint
from models.distillation import loop
from models.distillation.balance import GradMatch
from models.distillation.candidates import BOTH, Candidates, dcd_term, row_weights
from models.distillation.cross import Rescored
from models.distillation.distributed import World, gather, open_world, share
from models.distillation.dynamic import DcdConfig
from models.distillation.graph import KnowledgeGraph
from models.distillation.index import FrozenIndex
from models.distillation.miner import HardNegativeMiner, MinedBatch
from models.distillation.monitor import CollapseWatch, CsvMetrics, Progress
from models.distillation.recipe import DistillRecipe
from models.distillation.shards import Batch, Shards, Source, count_examples, epoch_steps, loader
from models.distillation.start import Given, embed_corpus, measure, start
from models.distillation.state import RunState, load_state, restore_random, save_state
from models.distillation.targets import (
    BatchLoss,
    Targets,
    graph_loss,
    sequential_loss,
)
from photosearch.preprocess import normalise

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Pairs:
    """Which pairs a whole batch holds."""

    id: Tensor  # (N,) equal for captions of one photo
    photo: Tensor  # (N,) row of the cache; -1 without one


@dataclass
class Phase:
    """A run's moving parts. One for all stages but the sequential, which has two."""

    number: int
    graph: KnowledgeGraph
    learns: tuple[nn.Module, ...]
    sides: str  # both, image or text
    frozen: FrozenIndex | None = None  # of the side that does not learn
    candidates: Candidates | None = None
    step: int = 0
    skipped: int = 0
    optimizer: torch.optim.Optimizer = field(init=False)

    def prepare(self, recipe: DistillRecipe, world: World) -> None:
        scaled = recipe.learning_rate * recipe.batch * world.size / loop.REFERENCE_BATCH
        groups = loop.parameter_groups((*self.learns, self.graph), recipe.weight_decay)
        for group in groups:
            group["base"] = scaled
        self.optimizer = torch.optim.AdamW(groups, scaled, betas=loop.BETAS)


def run(recipe: DistillRecipe, resume: Path | None) -> Path:
    """A recipe to its end; the finished checkpoint's path (on every process)."""
    torch.set_num_threads(recipe.threads)
    with open_world() as world:
        given = start(recipe, world)
        file = Path(recipe.out) / "state.pt"
        state = None if resume is None else load_state(resume / "state.pt", given.digest)
        metrics = _sequential(given, state) if _is_sequential(recipe) else _joint(given, state)
        final = Path(recipe.out) / "final.pt"
        if world.first:
            _save_final(given, final, metrics)
            file.unlink(missing_ok=True)
    return final


def _is_sequential(recipe: DistillRecipe) -> bool:
    return recipe.stage == "sequential_finetune"


# --- stages --------------------------------------------------------------------------------


def _joint(given: Given, state: RunState | None) -> dict[str, float]:
    """pretrain_distill and joint_finetune: both sides learn together."""
    graph = KnowledgeGraph(given.preset.cells, learn_tau=given.preset.learn_tau)
    graph.to(given.world.device)
    phase = Phase(0, graph, (given.student,), "both", candidates=_candidates(given))
    return _train(given, phase, state)


def _candidates(given: Given) -> Candidates | None:
    recipe, config = given.recipe, given.recipe.dcd()
    asked = recipe.row_weight or recipe.negatives
    if config is None or (given.rescored is not None and not asked):
        return None
    follower = None
    if recipe.negatives == "momentum":
        follower = copy.deepcopy(given.student).eval().requires_grad_(False)
    return Candidates(config, given.student.config.dim, follower=follower, momentum=recipe.momentum)


def _sequential(given: Given, state: RunState | None) -> dict[str, float]:
    """Image student first, then the text student against it."""
    student, cache = given.student, given.cache
    assert cache is not None
    metrics: dict[str, float] = {}
    for number, (side, other) in enumerate((("image", student.text), ("text", student.image))):
        if state is not None and state.phase > number:
            continue
        learner = student.image if side == "image" else student.text
        other.requires_grad_(False)
        learner.requires_grad_(True)
        if side == "image":
            rows = given.reducer.one_space(*[cache.all_texts()] * 2).text
            owner = cache.owners()
        elif state is not None and state.frozen is not None:
            rows, owner = state.frozen, torch.arange(len(cache.keys))
        else:
            rows, owner = embed_corpus(given), torch.arange(len(cache.keys))
        device = given.world.device
        index = FrozenIndex(rows.to(device), owner.to(device))
        graph = KnowledgeGraph(given.preset.cells).to(device)
        phase = Phase(number, graph, (learner,), side, frozen=index)
        mine = state if state is not None and state.phase == number else None
        metrics = _train(given, phase, mine)
        if side == "image" and mine is not None:
            state = None  # the second phase starts afresh
    return metrics


# --- the loop ------------------------------------------------------------------------------


def _train(given: Given, phase: Phase, state: RunState | None) -> dict[str, float]:
    recipe, world, student = given.recipe, given.world, given.student
    phase.prepare(recipe, world)
    torch.manual_seed(recipe.seed + 1000 * phase.number + world.rank)  # each drops other units
    if state is not None:
        _restore(given, phase, state)
    counts = count_examples(recipe.data)
    per_epoch = epoch_steps(counts, recipe.batch, world.size, recipe.workers)
    steps = per_epoch * recipe.epochs
    wrapped: nn.Module = student
    if world.size > 1:
        wrapped = DistributedDataParallel(student, find_unused_parameters=True)
    csv = (
        CsvMetrics(Path(recipe.out) / f"metrics-{phase.number}.csv", resume_step=phase.step)
        if world.first
        else None
    )
    watch = CollapseWatch()
    progress = Progress(steps, recipe.batch * world.size, time.perf_counter, done=phase.step)
    balance = GradMatch(recipe.rho) if recipe.balance == "gradmatch" else None
    metrics: dict[str, float] = {}
    for epoch in range(phase.step // per_epoch, recipe.epochs):
        done = phase.step - epoch * per_epoch
        student.train()
        if recipe.freeze_norm:
            loop.freeze_norms(student)
        shards = Shards(_source(given), epoch, world.rank, world.size, done)
        for batch in loader(shards, recipe.workers):
            for group in phase.optimizer.param_groups:
                group["lr"] = group["base"] * loop.rate(phase.step, steps, recipe.warmup)
            found = _step(given, phase, wrapped, batch, phase.step / steps, balance)
            phase.step += 1
            phase.skipped += batch.skipped
            watch.see(found.image if phase.sides != "text" else found.text, phase.step)
            if world.first and phase.step % recipe.log_steps == 0:
                assert csv is not None
                log.info("train %s", progress.line(phase.step, found.loss))
                csv.write(phase.step, _columns(found, phase))
            if world.first and recipe.save_steps and phase.step % recipe.save_steps == 0:
                save_state(Path(recipe.out) / "state.pt", _state(given, phase))
            if phase.step - epoch * per_epoch == per_epoch:
                break  # other processes have no more than this
        if world.first and recipe.val:
            metrics = measure(given)
            log.info("train.epoch %d %s", epoch + 1, metrics)
    (skipped,) = share([phase.skipped], world)
    if skipped:
        log.warning("train.skipped total=%d: see train.skipped lines for keys and reasons", skipped)
    return metrics | {"skipped": float(skipped)}


def _columns(found: loop.Stepped, phase: Phase) -> dict[str, float]:
    report: BatchLoss = found.report
    lr = phase.optimizer.param_groups[0]["lr"]
    return {"loss": found.loss, "lr": lr, "skipped": float(phase.skipped), **report.parts}


def _step(
    given: Given,
    phase: Phase,
    wrapped: nn.Module,
    batch: Batch,
    progress: float,
    balance: GradMatch | None,
) -> loop.Stepped:
    recipe, world = given.recipe, given.world
    pixels = torch.from_numpy(normalise(batch.pixels, given.base.preprocess())).to(world.device)
    tokens = batch.tokens.to(world.device)
    teacher = _teacher_rows(given, batch)
    targets = given.reducer(*teacher)
    one_space = given.reducer.one_space(*teacher)
    pair_id = gather(batch.pair_id.to(world.device), world)
    photo = batch.photo.to(world.device)

    def forward(rows: slice) -> tuple[Tensor, Tensor]:
        with loop.autocast(world.device, recipe.bf16):
            found: tuple[Tensor, Tensor] = wrapped(pixels[rows], tokens[rows])
        return found

    def loss_of(image: Tensor, text: Tensor) -> tuple[Tensor, BatchLoss]:
        if phase.frozen is not None:
            return _sequential_batch(given, phase, image, text, one_space, photo, pair_id)
        v, x = gather(image, world), gather(text, world)
        pairs = Pairs(pair_id, gather(photo, world))
        found = _mined_batch(given, phase, v, x, targets, one_space, pairs, progress)
        return found.total, found

    if balance is not None and balance.due(phase.step):
        _balance(given, phase, forward, one_space, pair_id, balance, len(pixels))
    phase.optimizer.zero_grad(set_to_none=True)
    found = loop.compute(forward, len(pixels), recipe.accumulate, loss_of, wrapped)
    learned = [p for group in phase.optimizer.param_groups for p in group["params"]]
    nn.utils.clip_grad_norm_(learned, recipe.clip)
    phase.optimizer.step()
    if phase.candidates is not None:

        def embed(follower: nn.Module) -> tuple[Tensor, Tensor]:
            size = len(pixels) // recipe.accumulate
            with loop.autocast(world.device, recipe.bf16):
                rows = [
                    follower(pixels[at : at + size], tokens[at : at + size])
                    for at in range(0, len(pixels), size)
                ]
            v, x = (torch.cat(side) for side in zip(*rows, strict=True))
            return gather(v, world), gather(x, world)

        phase.candidates.push(pair_id, one_space, given.student, embed)
    return found


def _mined_batch(
    given: Given,
    phase: Phase,
    image: Tensor,
    text: Tensor,
    targets: Sequence[Targets],
    one_space: Targets,
    pairs: Pairs,
    progress: float,
) -> BatchLoss:
    """The graph's loss, with what was mined where the recipe asks for it, and DCD's."""
    recipe, candidates, dcd = given.recipe, phase.candidates, given.preset.dcd
    mined: list[MinedBatch] = []
    made = torch.Generator().manual_seed(recipe.seed + phase.step)
    if candidates is not None:
        everywhere = bool(recipe.row_weight or recipe.negatives)
        directions = BOTH if everywhere else candidates.config.directions
        mined = candidates.mine(one_space, pairs.id, made, directions)
    found = graph_loss(
        phase.graph,
        image,
        text,
        targets,
        one_space,
        pair_id=pairs.id,
        progress=progress,
        row_weight=row_weights(recipe.row_weight, candidates.config, mined, image, text)
        if candidates is not None
        else None,
        negatives=mined if recipe.negatives else (),
    )
    if dcd is None:
        return found
    if given.rescored is not None:
        mined = [_rescored(given, given.rescored, dcd, pairs.photo, made)]
    extra = dcd_term(dcd, mined, image, text)
    value = 0.0 if extra is None else float(extra.detach())
    total = found.total if extra is None else found.total + given.preset.dcd_weight * extra
    return BatchLoss(total, found.parts | {"dcd": value})


def _rescored(
    given: Given, rescored: Rescored, dcd: DcdConfig, photos: Tensor, made: torch.Generator
) -> MinedBatch:
    """Captions that a cross-encoder has scored beside these photos (N,), with the vectors that
    the cached teacher has of them."""
    assert given.cache is not None
    miner = HardNegativeMiner(dcd.k, dcd.pool, fn_filter=dcd.fn_filter, margin=dcd.margin)
    mined = rescored.mined(miner, photos.cpu(), made)
    device = given.world.device
    texts = given.cache.texts(mined.key_ids.flatten().tolist()).to(device)
    keys = given.reducer.one_space(texts, texts).text.reshape(*mined.key_ids.shape, -1)
    return dataclasses.replace(
        mined,
        key_ids=mined.key_ids.to(device),
        t_scores=mined.t_scores.to(device),
        valid=mined.valid.to(device),
        t_keys=keys,
    )


def _sequential_batch(
    given: Given,
    phase: Phase,
    image: Tensor,
    text: Tensor,
    target: Targets,
    photo: Tensor,
    pair_id: Tensor,
) -> tuple[Tensor, BatchLoss]:
    world, index = given.world, phase.frozen
    assert index is not None
    photos = gather(photo, world)
    image_learns = phase.sides == "image"
    learning = gather(image if image_learns else text, world)
    frozen = target.text if image_learns else index.rows[photos]
    found = sequential_loss(
        phase.graph,
        learning,
        frozen,
        target,
        index,
        photos,
        image_learns=image_learns,
        pair_id=pair_id,
        k=given.recipe.hard_negatives,
        tau=next(iter(phase.graph.cells.values())).tau,
    )
    return found.total, found


def _teacher_rows(given: Given, batch: Batch) -> tuple[Tensor, Tensor]:
    """Teacher rows (N, T), image and text, of the whole batch, of all processes."""
    world = given.world
    if given.teacher is not None:
        assert batch.t_pixels is not None
        image, text = given.teacher.images(batch.t_pixels), given.teacher.texts(batch.texts)
    else:
        assert batch.t_image is not None and batch.t_text is not None
        image, text = batch.t_image, batch.t_text
    # Clones, because vectors of an inference-mode teacher cannot be saved for backward.
    image, text = image.clone().to(world.device), text.clone().to(world.device)
    return gather(image, world), gather(text, world)


def _balance(
    given: Given,
    phase: Phase,
    forward: loop.Forward,
    target: Targets,
    pair_id: Tensor,
    balance: GradMatch,
    count: int,
) -> None:
    """Measure on the first process's own part and share the factors."""
    from models.distillation.embeddings import EmbeddingSet

    world = given.world
    v, x = forward(slice(0, count // given.recipe.accumulate))
    mine = slice(world.rank * count, world.rank * count + len(v))
    e = EmbeddingSet.build(v, x, target.image[mine], target.text[mine], pair_id=pair_id[mine])
    learned = [p for module in phase.learns for p in module.parameters() if p.requires_grad]
    found = balance.update(phase.graph, phase.graph.values(e), learned, phase.step)
    if world.size > 1:
        factors = torch.tensor(list(found.values()), device=world.device)
        torch.distributed.broadcast(factors, 0)
        phase.graph.multipliers.update(zip(found, factors.tolist(), strict=True))
    log.info("train.balance %s", {str(k): round(f, 4) for k, f in phase.graph.multipliers.items()})


def _source(given: Given) -> Source:
    recipe, cache = given.recipe, given.cache
    return Source(
        data=recipe.data,
        batch=recipe.batch,
        side_px=given.base.side_px,
        seed=recipe.seed,
        crops=recipe.crops if cache is None else min(recipe.crops, cache.crops),
        smallest=recipe.smallest_crop if cache is None else cache.smallest,
        vocabulary=given.vocabulary,
        context_length=given.context_length,
        cache=None if cache is None else cache.folder,
        teacher_side_px=0 if given.teacher is None else given.teacher.preprocess.side_px,
        crop_seed=recipe.seed if cache is None else cache.seed,
    )


# --- saving and resuming ---------------------------------------------------------------------


def _state(given: Given, phase: Phase) -> RunState:
    return RunState(
        digest=given.digest,
        phase=phase.number,
        step=phase.step,
        student=given.student.state_dict(),
        graph=phase.graph.state_dict(),
        multipliers={str(key): value for key, value in phase.graph.multipliers.items()},
        optimizer=phase.optimizer.state_dict(),
        candidates={} if phase.candidates is None else phase.candidates.state(),
        skipped=phase.skipped,
        frozen=phase.frozen.rows.cpu()
        if phase.frozen is not None and phase.sides == "text"
        else None,
    )


def _restore(given: Given, phase: Phase, state: RunState) -> None:
    given.student.load_state_dict(state.student)
    phase.graph.load_state_dict(state.graph)
    for key in phase.graph.cells:
        phase.graph.multipliers[key] = state.multipliers[str(key)]
    phase.optimizer.load_state_dict(state.optimizer)
    if phase.candidates is not None:
        phase.candidates.restore(state.candidates)
    phase.step, phase.skipped = state.step, state.skipped
    if given.world.first:
        restore_random(state.random)
    else:  # only the first process's were saved
        torch.manual_seed(given.recipe.seed + 1000 * state.step + given.world.rank)


def _save_final(given: Given, file: Path, metrics: dict[str, float]) -> None:
    """A checkpoint as models.train writes it: `python -m export` takes it from here."""
    student = given.student
    save_checkpoint(
        file,
        Checkpoint(
            recipe=given.base,
            student=student.config,
            vocabulary=given.vocabulary,
            step=0,
            weights={
                name: value.detach().cpu().contiguous()
                for name, value in student.state_dict().items()
            },
            training={},
            background=None,
            metrics=metrics,
        ),
    )
