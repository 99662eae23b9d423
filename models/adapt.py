"""Fit a bundle's image encoder to one's own photos, offline, without captions.

    python -m models.adapt --bundle DIR --photos DIR --out DIR [--teacher SPEC] [--json]

(`photosearch adapt` starts this from the checkout.) The text encoder stays as it is, so
queries still mean the same. Two teachers are possible:

    none given   the encoder itself, averaged over four views of each photo with its tones
                 stretched: what a photo shows should not depend on its crop, on being
                 mirrored, or on how dark or pale it is
    --teacher    a larger dual encoder (see distillation.teachers). It has a space of its
                 own, so what is imitated is how it ranks a thousand names for each photo;
                 the student's old vectors are kept near by a second term

A fifth of the photos is held out. The result is written only if the held-out photos come
nearer to that goal, are named as it names them no less often, and stay near their old
vectors, and so do photos that are not one's own; else it says why not. The gain is told in
the goal's own measure. Whether more is found is for `photosearch evaluate` to say.
"""

from __future__ import annotations

import argparse
import base64
import dataclasses
import hashlib
import io
import json
import math
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch import Tensor

from models.distillation.cache import crop_box
from models.distillation.errors import NotFinite
from models.distillation.loop import rate
from models.distillation.losses import fd_rows, kl_rows
from models.distillation.monitor import duration
from models.distillation.similarity import cosine, l2_normalize
from models.distillation.teachers import Teacher, open_teacher, resized
from models.onnx_torch import OnnxModule
from models.teachers import class_names
from photosearch.bundle import MANIFEST, Bundle, load_golden, open_bundle
from photosearch.encoder import Encoder, open_encoder
from photosearch.errors import PhotoRejected, PhotosearchError
from photosearch.preprocess import load, normalise

SUFFIXES: Final = frozenset({".jpg", ".jpeg", ".png", ".webp", ".heic", ".avif"})
LEAST_PHOTOS: Final = 20
HELD_OUT: Final = 5  # every fifth photo
VIEWS: Final = 4  # whole, mirrored, two crops
SMALLEST: Final = 0.6
CUT: Final = 1  # percent of pixels that may become black or white
TRAINED_NODES: Final = 8  # the heads and the last blocks; the rest is generic
BATCH: Final = 16
RATE: Final = 3e-3  # of factors on channel scales, which start at 1, and of biases
NAMES_TAU: Final = 0.05
WARMUP: Final = 0.1  # of the steps; then half a cosine to zero
ANCHOR: Final = 1.0  # weight of staying near, beside a teacher of another space
LEAST_GAIN: Final = 0.01  # share of the loss
LEAST_COSINE: Final = 0.9  # old against new vectors, mean over held-out photos
MOST_NAMES_LOST: Final = 0.02  # share of held-out photos, and more than one of them

Pixels = NDArray[np.uint8]


class NotAdopted(PhotosearchError):
    """Training ended, and its result is not better; nothing was written."""


@dataclass(frozen=True)
class Report:
    """What adaptation did. Losses and shares are of held-out photos."""

    photos: int
    held_out: int
    skipped: int
    loss_before: float
    loss_after: float
    gain_percent: float
    cosine_to_old: float
    cosine_elsewhere: float | None  # the bundle's golden photos, which are not one's own
    names_kept_percent: float  # photos whose likeliest name is the goal's
    seconds: float
    bundle: str


@dataclass(frozen=True)
class Goal:
    """What the encoder is to become, per photo."""

    loss_rows: Callable[[Tensor, Tensor], Tensor]  # (B, D) rows, (B,) photos -> (B,)
    names: Tensor  # (N,) likeliest name of each photo, by the teacher


def find_photos(folder: Path, limit: int) -> list[Path]:
    """Photos below a folder, evenly chosen where there are more than `limit`."""
    if not folder.is_dir():
        raise PhotosearchError(f"{folder}: no such folder of photos")
    found = sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
    if len(found) <= limit:
        return found
    return [found[number] for number in np.linspace(0, len(found) - 1, limit).astype(int)]


def read_views(files: Sequence[Path], encoder: Encoder) -> tuple[Pixels, int]:
    """(N, VIEWS, S, S, 3) of those that can be read, and how many cannot."""
    how = encoder.preprocess
    larger = dataclasses.replace(how, side_px=round(how.side_px * 1.25))
    rows: list[Pixels] = []
    skipped = 0
    for file in files:
        try:
            photo = load(file, larger)
        except (PhotoRejected, OSError):
            skipped += 1
            continue
        rows.append(
            np.stack([_view(photo, number, file.name, how.side_px) for number in range(VIEWS)])
        )
    if len(rows) < LEAST_PHOTOS:
        raise PhotosearchError(
            f"{len(rows)} photos can be read ({skipped} cannot); adapting needs {LEAST_PHOTOS}"
        )
    return np.stack(rows), skipped


def _view(photo: Pixels, number: int, key: str, side_px: int) -> Pixels:
    """0 the whole, 1 mirrored, then crops."""
    image = Image.fromarray(photo)
    left, top, right, bottom = crop_box(0, key, max(0, number - 1), SMALLEST)
    size = photo.shape[0]
    box = (left * size, top * size, right * size, bottom * size)
    view = np.asarray(image.resize((side_px, side_px), Image.Resampling.BICUBIC, box=box))
    return np.ascontiguousarray(view[:, ::-1]) if number == 1 else view


def encode(encoder: Encoder, pixels: Pixels) -> Tensor:
    """(N, S, S, 3) -> (N, D), through the bundle's runtime."""
    parts = [
        encoder.images(normalise(pixels[at : at + BATCH], encoder.preprocess))
        for at in range(0, len(pixels), BATCH)
    ]
    return torch.from_numpy(np.concatenate(parts))


def levelled(photo: Pixels) -> Pixels:
    """(S, S, 3) with its tones stretched over the whole range, one percent cut at each end."""
    stretched = ImageOps.autocontrast(Image.fromarray(photo), cutoff=CUT, preserve_tone=True)
    return np.asarray(stretched)


def self_goal(encoder: Encoder, views: Pixels, names: Tensor) -> Goal:
    """The encoder's own mean over levelled views: the same space, so distance is the loss."""
    count, each = views.shape[:2]
    flat = np.stack([levelled(view) for view in views.reshape(-1, *views.shape[2:])])
    every = encode(encoder, flat).reshape(count, each, -1)
    target = l2_normalize(every.mean(dim=1))
    return Goal(
        loss_rows=lambda rows, photos: fd_rows(rows, target[photos]),
        names=cosine(target, names).argmax(dim=1),
    )


def teacher_goal(
    teacher: Teacher, views: Pixels, old: Tensor, names: Tensor, texts: Sequence[str]
) -> Goal:
    """How another space's teacher ranks the names, and staying near the old vectors."""
    side = teacher.preprocess.side_px
    whole = resized(views[:, 0], side)
    theirs = torch.cat(
        [teacher.images(whole[at : at + BATCH]) for at in range(0, len(whole), BATCH)]
    ).clone()
    said = torch.cat(
        [teacher.texts(texts[at : at + 64]) for at in range(0, len(texts), 64)]
    ).clone()
    wanted = cosine(l2_normalize(theirs), l2_normalize(said))  # (N, C)
    tau = teacher.parts[0].tau

    def loss_rows(rows: Tensor, photos: Tensor) -> Tensor:
        mine = cosine(rows, names)
        ranked = kl_rows(mine, wanted[photos], NAMES_TAU, max(tau, 0.02))
        return ranked + ANCHOR * fd_rows(rows, old[photos])

    return Goal(loss_rows=loss_rows, names=wanted.argmax(dim=1))


def fit(
    module: OnnxModule, goal: Goal, views: Pixels, train: Tensor, encoder: Encoder, epochs: int
) -> None:
    """A few passes over random views of the training photos."""
    made = torch.Generator().manual_seed(0)
    optimizer = torch.optim.AdamW(module.parameters(), RATE, weight_decay=0.0)
    steps = epochs * math.ceil(len(train) / BATCH)
    started, step = time.perf_counter(), 0
    for _ in range(epochs):
        order = train[torch.randperm(len(train), generator=made)]
        for photos in torch.split(order, BATCH):
            chosen = torch.randint(VIEWS, (len(photos),), generator=made)
            planes = normalise(views[photos.numpy(), chosen.numpy()], encoder.preprocess)
            rows = l2_normalize(module(torch.from_numpy(planes)))
            for group in optimizer.param_groups:
                group["lr"] = RATE * rate(step, steps, WARMUP)
            loss = goal.loss_rows(rows, photos).mean()
            if not bool(torch.isfinite(loss)):
                raise NotFinite(f"the loss is {float(loss)}; nothing was written")
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(module.parameters(), 1.0)
            optimizer.step()
            step += 1
            if step % 10 == 0:
                left = (time.perf_counter() - started) / step * (steps - step)
                print(f"adapt: step {step}/{steps}, {duration(left)} left", file=sys.stderr)


@torch.no_grad()
def adapt(
    bundle: Bundle, photos: Path, out: Path, *, teacher: str, limit: int, epochs: int
) -> Report:
    """The adapted bundle at `out`, and what was gained; NotAdopted, writing nothing, if nothing."""
    started = time.perf_counter()
    if out.exists():
        raise PhotosearchError(f"{out}: exists already; choose another --out")
    larger = open_teacher(teacher) if teacher else None  # before the photos, which take long
    file, _ = bundle.towers("onnx")
    encoder = open_encoder(bundle)
    views, skipped = read_views(find_photos(photos, limit), encoder)
    old = encode(encoder, views[:, 0])
    texts = [f"a photo of a {group[0]}" for group in class_names()]
    names = torch.from_numpy(
        np.concatenate([encoder.texts(texts[at : at + 64]) for at in range(0, len(texts), 64)])
    )
    if larger is not None:
        goal = teacher_goal(larger, views, old, names, texts)
    else:
        goal = self_goal(encoder, views, names)
    every = torch.arange(len(views))
    held, train = every[::HELD_OUT], every[every % HELD_OUT != 0]

    model = onnx.load(file)
    module = OnnxModule(model, trained=TRAINED_NODES)
    with torch.enable_grad():
        fit(module, goal, views, train, encoder, epochs)
    module.write_back(model)
    staged = out.with_name(f"{out.name}.part")
    shutil.rmtree(staged, ignore_errors=True)
    try:
        write_bundle(bundle, model, staged, teacher or "its own views")
        new = encode(open_encoder(open_bundle(staged)), views[held.numpy(), 0])
        moved = elsewhere(bundle, open_bundle(staged))
        report = judge(goal, old[held], new, held, names, len(views), skipped, str(out), moved)
        staged.replace(out)
    finally:
        shutil.rmtree(staged, ignore_errors=True)
    return dataclasses.replace(report, seconds=round(time.perf_counter() - started, 1))


def elsewhere(old: Bundle, new: Bundle) -> float | None:
    """Mean cosine of the golden photos' vectors, old to new; None where there are none."""
    if old.golden is None:
        return None
    (_, before), (_, after) = (load_golden(bundle).vectors("onnx") for bundle in (old, new))
    return float((before * after).sum(axis=1).mean())


def judge(
    goal: Goal,
    old: Tensor,
    new: Tensor,
    held: Tensor,
    names: Tensor,
    photos: int,
    skipped: int,
    out: str,
    moved: float | None,
) -> Report:
    """Through the files just written, on photos that were not trained on."""
    before, after = (float(goal.loss_rows(rows, held).mean()) for rows in (old, new))
    near = float((l2_normalize(old) * l2_normalize(new)).sum(dim=1).mean())
    wanted = goal.names[held]
    kept_before = float((cosine(old, names).argmax(dim=1) == wanted).float().mean())
    kept_after = float((cosine(new, names).argmax(dim=1) == wanted).float().mean())
    gain = (before - after) / max(before, 1e-9)
    found = Report(
        photos=photos,
        held_out=len(held),
        skipped=skipped,
        loss_before=round(before, 5),
        loss_after=round(after, 5),
        gain_percent=round(100 * gain, 2),
        cosine_to_old=round(near, 4),
        cosine_elsewhere=None if moved is None else round(moved, 4),
        names_kept_percent=round(100 * kept_after, 1),
        seconds=0.0,
        bundle=out,
    )
    reasons = []
    if not gain >= LEAST_GAIN:
        reasons.append(f"held-out photos gained {100 * gain:.1f} %, needs {100 * LEAST_GAIN:.0f}")
    if not near >= LEAST_COSINE:
        reasons.append(f"vectors moved to a cosine of {near:.2f}, needs {LEAST_COSINE}")
    if moved is not None and not moved >= LEAST_COSINE:
        reasons.append(
            f"photos that are not yours moved to a cosine of {moved:.2f}, needs {LEAST_COSINE}"
        )
    if kept_before - kept_after > max(MOST_NAMES_LOST, 1.5 / len(held)):
        reasons.append(
            f"photos named as the goal names them fell from {100 * kept_before:.0f} to "
            f"{100 * kept_after:.0f} %"
        )
    if reasons:
        raise NotAdopted(f"not adopted: {'; '.join(reasons)}. The bundle stays as it was.")
    return found


def write_bundle(bundle: Bundle, model: onnx.ModelProto, folder: Path, teacher: str) -> None:
    """The bundle with another image encoder: ONNX only, new space, new golden vectors.

    The background's vectors are the old encoder's: the photos they came from are not at
    hand, and new vectors stay near the old ones or the result is not adopted.
    """
    folder.mkdir(parents=True)
    image: str = bundle.targets["onnx"]["image"]
    manifest: dict[str, Any] = json.loads((bundle.directory / MANIFEST).read_text("utf-8"))
    keep = {name for name in manifest["files"] if not name.endswith((".pte", ".bin"))}
    keep = {name for name in keep if ".mlpackage" not in name and not name.startswith("index/")}
    for name in keep:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(bundle.file(name), folder / name)
    (folder / image).write_bytes(model.SerializeToString())
    digest = hashlib.sha256((folder / image).read_bytes()).hexdigest()
    manifest["name"] = f"{bundle.name.removesuffix('-adapted')}-adapted"
    manifest["space"] = hashlib.sha256(f"{bundle.space}\0{digest}".encode()).hexdigest()[:32]
    onnx_target = {**manifest["targets"]["onnx"], "parity": {}}
    onnx_target.pop("held_out", None)  # the old encoder's recall
    manifest["targets"] = {"onnx": onnx_target}
    manifest["description"] = {**manifest.get("description", {}), "adapted": teacher, "metrics": {}}
    _list_files(folder, manifest, keep)
    if bundle.golden is not None:
        golden = json.loads((folder / bundle.golden).read_text("utf-8"))
        encoder = open_encoder(open_bundle(folder))
        for item in golden["images"]:
            photo = np.asarray(Image.open(io.BytesIO(base64.b64decode(item["png"]))))
            vector = encode(encoder, photo[None])[0]
            item["vector"] = [round(float(value), 6) for value in vector]
        golden.pop("targets", None)  # the old encoder's, of each target's own files
        (folder / bundle.golden).write_text(json.dumps(golden), encoding="utf-8")
        _list_files(folder, manifest, keep)


def _list_files(folder: Path, manifest: dict[str, Any], names: set[str]) -> None:
    manifest["files"] = {
        name: {
            "sha256": hashlib.sha256((folder / name).read_bytes()).hexdigest(),
            "bytes": (folder / name).stat().st_size,
        }
        for name in sorted(names)
    }
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m models.adapt", description="Fit a bundle to your own photos, offline."
    )
    parser.add_argument("--bundle", type=Path, required=True, metavar="DIR")
    parser.add_argument("--photos", type=Path, required=True, metavar="DIR")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="the new bundle")
    parser.add_argument(
        "--teacher", default="", metavar="SPEC", help="open_clip:NAME@FILE, hf:DIR, surrogate:FILE"
    )
    parser.add_argument("--limit", type=int, default=500, help="photos looked at (default: 500)")
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--json", action="store_true", help="one JSON object")
    args = parser.parse_args(arguments)
    try:
        report = adapt(
            open_bundle(args.bundle),
            args.photos,
            args.out,
            teacher=args.teacher,
            limit=args.limit,
            epochs=args.epochs,
        )
    except PhotosearchError as error:
        print(f"adapt: {error}", file=sys.stderr)
        return error.exit_code
    if args.json:
        print(json.dumps(dataclasses.asdict(report)))
    else:
        print(
            f"{report.bundle}: distance of {report.held_out} held-out photos to the goal "
            f"{report.loss_before} -> {report.loss_after} ({report.gain_percent} % less), cosine "
            f"to the old vectors {report.cosine_to_old}, {report.skipped} photos could not be "
            "read. "
            f"Whether more is found in your library: photosearch evaluate {report.bundle}"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
