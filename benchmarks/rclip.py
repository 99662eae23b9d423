"""CPU for indexing a photo, against rclip 4 with a model of its real one's size.

    python3.12 -m venv ENV && ENV/bin/pip install rclip==4.0.8
    python -m benchmarks.rclip --rclip ENV/bin/rclip --photos DIR

Needs torch and onnx here (`[export]`), and rclip in an environment of its own (Python 3.12
or later). rclip's weights are not fetched: a ViT-B/32 for 256 pixels with random weights
takes their place, which costs what the real one does. The query is a picture, so the text
model is never loaded, and its file is empty.

Each program is run whole, from an empty home, on few photos and on many, in turns; the
difference, over the difference in photos, is what one photo costs: starting and loading are
left out on both sides. CPU seconds of the program and all it started.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmarks.ingest import SIZES, copies
from photosearch.scan import scan

FOLDER = "ViT-B-32-256-datacomp_s34b_b86k"  # rclip's name of its model
LEGAL = ("LICENSE", "OPENAI-CLIP-MIT.txt", "README.md", "THIRD_PARTY_NOTICES.md")
COUNTS = {"12 MP": (8, 40), "0.3 MP": (16, 96)}


class Block(nn.Module):
    """A transformer block as CLIP has it: norm first, GELU, four times the width inside."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.before, self.between = nn.LayerNorm(width), nn.LayerNorm(width)
        self.inward, self.outward = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )

    def forward(self, x: Tensor) -> Tensor:
        batch, tokens, width = x.shape
        shape = (batch, tokens, 3, self.heads, width // self.heads)
        query, key, value = self.inward(self.before(x)).reshape(shape).permute(2, 0, 3, 1, 4)
        weights = (query @ key.transpose(-1, -2) * (width // self.heads) ** -0.5).softmax(-1)
        seen = (weights @ value).transpose(1, 2).reshape(batch, tokens, width)
        x = x + self.outward(seen)
        found: Tensor = x + self.mlp(self.between(x))
        return found


class Vision(nn.Module):
    """ViT-B/32's image tower: 12 blocks of width 768 over 8 x 8 patches, 88 million weights."""

    def __init__(self, side: int = 256, width: int = 768, depth: int = 12, dim: int = 512) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, width, 32, stride=32, bias=False)
        self.whole = nn.Parameter(torch.randn(1, 1, width) * 0.02)
        self.places = nn.Parameter(torch.randn(1, 1 + (side // 32) ** 2, width) * 0.02)
        self.first, self.last = nn.LayerNorm(width), nn.LayerNorm(width)
        self.blocks = nn.Sequential(*(Block(width, width // 64) for _ in range(depth)))
        self.out = nn.Linear(width, dim, bias=False)

    def forward(self, pixels: Tensor) -> Tensor:
        x = self.patches(pixels).flatten(2).transpose(1, 2)
        x = torch.cat([self.whole.expand(x.shape[0], -1, -1), x], 1) + self.places
        found: Tensor = self.out(self.last(self.blocks(self.first(x))[:, 0]))
        return found


def write_model(data: Path) -> None:
    """Files where rclip looks for them before it would fetch any."""
    model = data / FOLDER
    model.mkdir(parents=True)
    (data / "tokenizer").mkdir()
    for file in (*LEGAL, "tokenizer/bpe_simple_vocab_16e6.txt.gz", f"{FOLDER}/textual.onnx"):
        (data / file).touch()
    torch.manual_seed(0)
    torch.onnx.export(
        Vision().eval(),
        (torch.zeros(2, 3, 256, 256),),
        str(model / "visual.onnx"),
        input_names=["input"],
        output_names=["output"],
        dynamic_axes={"input": {0: "n"}, "output": {0: "n"}},
        opset_version=17,
        dynamo=False,
    )


def cpu_of(command: list[str], *, cwd: Path, env: dict[str, str]) -> float:
    """CPU seconds of a program and of all it started and waited for."""
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(command, cwd=cwd, env=env, stdout=said, stderr=said)
        _, status, used = os.wait4(process.pid, 0)
        if os.waitstatus_to_exitcode(status) != 0:
            said.seek(0)
            raise SystemExit(f"{command[0]} failed:\n{said.read().decode(errors='replace')}")
    return used.ru_utime + used.ru_stime


def of_rclip(program: str, data: Path, photos: Path) -> float:
    with tempfile.TemporaryDirectory() as fresh:
        for file in data.iterdir():
            (Path(fresh) / file.name).symlink_to(file)
        env = {**os.environ, "RCLIP_DATADIR": fresh, "HF_HUB_OFFLINE": "1"}
        query = str(sorted(photos.iterdir())[0])
        return cpu_of([program, "--top", "1", query], cwd=photos, env=env)


def of_ours(photos: Path) -> float:
    with tempfile.TemporaryDirectory() as home:
        command = [sys.executable, "-m", "photosearch", "--home", home, "index", "--library"]
        env = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parent.parent)}
        return cpu_of([*command, str(photos)], cwd=photos, env=env)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rclip", required=True, help="rclip's program in its own environment")
    parser.add_argument("--photos", required=True)
    parser.add_argument("--rounds", type=int, default=2)
    args = parser.parse_args()
    root = os.path.realpath(args.photos)
    photos = [os.path.join(root, os.fsdecode(path)) for path in sorted(scan(root).files)]
    program = os.path.abspath(args.rclip)
    with tempfile.TemporaryDirectory() as base:
        data = Path(base) / "data"
        write_model(data)
        for name, size in SIZES.items():
            few, many = COUNTS[name]
            folders = {count: Path(base) / f"{name} {count}" for count in (few, many)}
            for count, folder in folders.items():
                folder.mkdir()
                copies(photos, folder, size, count)
            theirs = ours = 0.0
            for _ in range(args.rounds):
                theirs += of_rclip(program, data, folders[many])
                ours += of_ours(folders[many])
                theirs -= of_rclip(program, data, folders[few])
                ours -= of_ours(folders[few])
            count = args.rounds * (many - few)
            report = {
                "size": name,
                "photos": count,
                "rclip_ms": round(1e3 * theirs / count, 1),
                "photosearch_ms": round(1e3 * ours / count, 1),
                "times_less": round(theirs / ours, 2),
            }
            print(json.dumps(report), flush=True)


if __name__ == "__main__":
    main()
