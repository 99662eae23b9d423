"""What a distillation run is made of: one frozen dataclass, one file per published run."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, get_args

from models.distillation.candidates import Negatives, RowWeight, require_columns
from models.distillation.cells import CellKey, CellSpec, parse_cells
from models.distillation.dynamic import DCD_PRESETS, DcdConfig
from models.distillation.inherit import Layers, parse_layers
from models.distillation.presets import Preset, preset, with_teacher_tau
from models.recipes import Recipe
from models.students import STUDENTS
from photosearch.types import Preprocess

Stage = Literal["pretrain_distill", "joint_finetune", "sequential_finetune"]
Balance = Literal["fixed", "gradmatch"]

# Fields that say where and how fast, not what: a resumed run may change them. Workers are not
# among them: they decide which examples meet in a batch.
PLACES: Final = frozenset(
    {"data", "val", "out", "cache", "rescored", "threads", "log_steps", "save_steps"}
)
SCALELESS: Final = frozenset({"zscore_kl", "partial_rank"})  # a cross-encoder's scores have none
SPACE: Final = ("caption_dim", "class_dim", "class_share", "class_temperature", "gate_start")


@dataclass(frozen=True)
class DistillRecipe:
    """Fully determines a run of models.distillation. Paths are relative to where it starts."""

    name: str
    version: str
    title: str  # one line for the model card
    stage: Stage = "pretrain_distill"

    # What is learned
    preset: str = "STRONG"  # a name of presets.PRESETS, or CELL:type.strategy
    cells: str = ""  # a TOML file with [cells], instead of the preset's
    teacher_tau: float = 0.0  # of KL targets across modalities; 0 = as the preset has it
    learn_tau: bool = False
    balance: Balance = "fixed"
    rho: float = 1.0  # of gradmatch: a cell's gradient against the first cell's
    hard_negatives: int = 16  # of sequential_finetune; of the whole corpus
    row_weight: RowWeight = ""  # what each pair counts in every cell: difficulty, wsl
    negatives: Negatives = ""  # further columns of every cell: mined, or momentum
    momentum: float = 0.999  # of the student's follower, which supplies vectors for momentum

    # Who learns from whom
    student: str = "tiny"  # a name in students.STUDENTS
    layers: str = ""  # of a surrogate, to start from: uniform, first, last, 0,3,5; own = none;
    # empty: as the preset has it
    init: str = ""  # a checkpoint to start from, instead of the student's own weights
    teacher: str = ""  # see teachers.open_teacher; or cache:DIR
    rescored: str = (
        ""  # a file of models.rescore: what DCD distils instead of the teacher's cosines
    )
    live: bool = False  # run the teacher in every step instead of caching its vectors
    text_tokens: int = 0  # the text network first learns MiniLM's sentences, for so many
    sentences: str = ""  # and from these captions without photos: JSON lines
    image_dropout: float = 0.65  # of the heads' inputs
    text_dropout: float = 0.3
    freeze_norm: bool = True  # batch norms keep their statistics, so that batches may be split

    # Data
    data: str = "../shared/data/flickr8k-train-*.tar"  # shards of photos with captions
    val: str = ""  # measured after each epoch; never trained on
    training_data: str = ""  # for the model card
    side_px: int = 224
    crops: int = 1  # of each photo in the cache: the whole, then random ones
    smallest_crop: float = 0.5  # share of the photo's area
    workers: int = 0  # decoding processes of each training process

    # Optimiser: AdamW, linear warm-up, cosine to zero
    epochs: int = 10
    batch: int = 256  # photos a step, of this process
    accumulate: int = 1  # parts a step is computed in; the result is that of the whole
    learning_rate: float = 5e-4  # at 1,024 photos a step of all processes, scaled linearly
    weight_decay: float = 0.05  # not of biases, norms and temperatures
    warmup: float = 0.1  # share of all steps
    clip: float = 1.0  # of the gradient's norm
    bf16: bool = False

    # Run
    seed: int = 0
    threads: int = 2
    out: str = "runs/distill"
    cache: str = "runs/cache"
    log_steps: int = 10
    save_steps: int = 100

    def __post_init__(self) -> None:
        if self.stage not in get_args(Stage):
            raise ValueError(f"stage is {self.stage!r}; known: {', '.join(get_args(Stage))}")
        if self.balance not in get_args(Balance):
            raise ValueError(f"balance is {self.balance!r}; known: fixed, gradmatch")
        if self.student not in STUDENTS:
            raise ValueError(f"student is {self.student!r}; known: {', '.join(STUDENTS)}")
        for name in ("epochs", "batch", "accumulate", "threads", "crops", "log_steps"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least 1")
        if self.batch % self.accumulate:
            raise ValueError(f"batch {self.batch} does not divide into {self.accumulate} parts")
        if not 0 < self.smallest_crop <= 1:
            raise ValueError(f"smallest_crop is {self.smallest_crop}; it lies in 0..1")
        if self.live and self.stage == "sequential_finetune":
            raise ValueError("sequential_finetune searches the teacher's cache; live must be false")
        chosen = self.chosen()  # an unknown preset or a bad cell is an error now, not in an hour
        self._require_minable(chosen)
        self.inherited()

    def _require_minable(self, chosen: Preset) -> None:
        if self.row_weight not in get_args(RowWeight):
            raise ValueError(f"row_weight is {self.row_weight!r}; known: difficulty, wsl")
        if self.negatives not in get_args(Negatives):
            raise ValueError(f"negatives is {self.negatives!r}; known: mined, momentum")
        if not 0 <= self.momentum < 1:
            raise ValueError(f"momentum is {self.momentum}; it must be at least 0 and below 1")
        mines = self.row_weight or self.negatives or chosen.dcd is not None
        if self.stage == "sequential_finetune" and mines:
            raise ValueError(
                "sequential_finetune has hard negatives of its own: no DCD, row_weight or negatives"
            )
        if self.rescored and (
            self.live or chosen.dcd is None or chosen.dcd.kd_kind not in SCALELESS
        ):
            raise ValueError(
                "rescored is for DCD on a cached teacher's candidates, by a measure that no "
                "scale enters: presets DCD_CROSS and DCD_RANK, and live must be false"
            )
        if self.negatives:
            require_columns(chosen.cells, self.negatives)

    def chosen(self) -> Preset:
        """The preset, its cells perhaps replaced, its temperatures perhaps the teacher's."""
        found = preset(self.preset)
        cells: dict[CellKey, CellSpec] = dict(found.cells)
        if self.cells:
            import tomllib

            cells = parse_cells(tomllib.loads(Path(self.cells).read_text(encoding="utf-8")))
        if self.teacher_tau:
            cells = with_teacher_tau(cells, self.teacher_tau)
        return dataclasses.replace(found, cells=cells, learn_tau=self.learn_tau or found.learn_tau)

    def inherited(self) -> Layers | None:
        """Which of the teacher's layers the student starts from; None where from its own."""
        wanted = self.layers or self.chosen().layers
        return None if self.init or wanted in ("", "own") else parse_layers(wanted)

    def dcd(self) -> DcdConfig | None:
        """How candidates are mined and judged; None where nothing asks for any."""
        own = self.chosen().dcd
        if own is None and (self.row_weight or self.negatives):
            return DCD_PRESETS["FIXED"]
        return own

    def preprocess(self) -> Preprocess:
        return self.base().preprocess()

    def base(self) -> Recipe:
        """As much of it as a checkpoint and its export ask for; the space is the student's own."""
        config = STUDENTS[self.student](side_px=self.side_px)
        own: dict[str, Any] = {name: getattr(config, name) for name in SPACE}
        own["frequent"] = max(1, config.text.vocabulary // 2)  # what is read adds as many again
        return Recipe(
            **own,
            name=self.name,
            version=self.version,
            title=self.title,
            student=self.student,
            data=self.data,
            val=self.val,
            sentences=self.sentences,
            text_tokens=self.text_tokens,
            image_dropout=self.image_dropout,
            text_dropout=self.text_dropout,
            unlabelled="",
            background="",
            training_data=self.training_data,
            side_px=self.side_px,
            seed=self.seed,
            out=self.out,
            cache=self.cache,
        )

    def digest(self) -> str:
        """Of everything that decides the result, what stands in the files named aside."""
        fields = {k: v for k, v in dataclasses.asdict(self).items() if k not in PLACES}
        return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()
