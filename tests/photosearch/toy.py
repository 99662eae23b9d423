"""A bundle of a few hundred bytes that knows colours: real ONNX files, no training.

An image's vector is its mean colour, a text's the colours it names, so "red"
finds the red photo, and whole-program tests need neither torch nor seconds.
"""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from photosearch.bundle import FORMAT, sha256_of

SIDE = 32
ORDER = (0, 1, 2)  # of red, green and blue in a vector
COLOURS = {
    "red": (1.0, -0.5, -0.5),
    "green": (-0.5, 1.0, -0.5),
    "blue": (-0.5, -0.5, 1.0),
    "yellow": (0.7, 0.7, -1.0),
}
CHINESE = {"绿": "green"}  # a word of one sign, which the tokenizer sets apart
VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *COLOURS, *CHINESE]
PAINT = {
    "red": (220, 20, 20),
    "green": (20, 200, 20),
    "blue": (20, 20, 220),
    "yellow": (230, 220, 20),
}


def make_toy_bundle(folder: Path, *, name: str = "toy", space: str = "toy-colours") -> Path:
    """Write a bundle into `folder`; returns its directory. Another space has its three
    dimensions in another order, so that vectors of the two cannot be mixed up unnoticed."""
    directory = folder / name
    order = ORDER if space == "toy-colours" else ORDER[::-1]
    directory.mkdir(parents=True)
    (directory / "image.onnx").write_bytes(_image_tower(order))
    (directory / "text.onnx").write_bytes(_text_tower(order))
    (directory / "vocab.txt").write_text("\n".join(VOCABULARY) + "\n", encoding="utf-8")
    (directory / "golden.json").write_text(_golden(order), encoding="utf-8")
    rng = np.random.default_rng(0)
    np.save(directory / "background.npy", rng.integers(-127, 127, (256, 3)).astype(np.int8))
    files = {
        file.name: {"sha256": sha256_of(file), "bytes": file.stat().st_size}
        for file in sorted(directory.iterdir())
    }
    manifest = {
        "format": FORMAT,
        "name": name,
        "version": "1.0",
        "space": space,
        "dim": 3,
        "image": {"side_px": SIDE, "mean": [0.5] * 3, "std": [0.5] * 3, "resize": "squash"},
        "text": {"tokenizer": "wordpiece", "vocabulary": "vocab.txt", "context_length": 16},
        "files": files,
        "golden": "golden.json",
        "background": {
            "file": "background.npy",
            "text": {"floor": 0.0, "start": 0.8, "slope": 0.0},
            "image": {"floor": 0.0, "start": 0.8, "slope": 0.0},
        },
        "targets": {"onnx": {"image": "image.onnx", "text": "text.onnx"}},
        "description": {"licence": "made by the tests"},
    }
    (directory / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    return directory


def painted(colour: str, *, width: int = 64, height: int = 48, seed: int = 0) -> bytes:
    """A JPEG of one colour; another seed gives other bytes."""
    image = Image.new("RGB", (width, height), PAINT[colour])
    image.putpixel((seed % width, (seed // width) % height), (seed % 255, 128, 128))
    file = io.BytesIO()
    image.save(file, "JPEG", quality=95, comment=str(seed).encode())
    return file.getvalue()


def _unit(name: str) -> list[onnx.NodeProto]:
    """Centre the three values (so that grey has no colour) and scale to unit length."""
    return [
        helper.make_node("ReduceMean", [name, "last"], ["centre"], keepdims=1),
        helper.make_node("Sub", [name, "centre"], ["centred"]),
        helper.make_node("Add", ["centred", "tiny"], ["offset"]),
        helper.make_node("ReduceL2", ["offset", "last"], ["length"], keepdims=1),
        helper.make_node("Div", ["offset", "length"], ["embedding"]),
    ]


def _constants() -> list[onnx.TensorProto]:
    return [
        numpy_helper.from_array(np.asarray([-1], np.int64), "last"),
        numpy_helper.from_array(np.asarray([1e-6, 0, 0], np.float32), "tiny"),
    ]


def _program(
    nodes: list[onnx.NodeProto], given: onnx.ValueInfoProto, constants: list[onnx.TensorProto]
) -> bytes:
    result = helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["n", 3])
    graph = helper.make_graph(nodes, "toy", [given], [result], [*constants, *_constants()])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    return bytes(model.SerializeToString())


def _image_tower(order: tuple[int, ...]) -> bytes:
    given = helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["n", 3, SIDE, SIDE])
    mean = helper.make_node("ReduceMean", ["pixels", "plane"], ["means"], keepdims=0)
    turn = helper.make_node("Gather", ["means", "order"], ["colour"], axis=1)
    plane = numpy_helper.from_array(np.asarray([2, 3], np.int64), "plane")
    turned = numpy_helper.from_array(np.asarray(order, np.int64), "order")
    return _program([mean, turn, *_unit("colour")], given, [plane, turned])


def _text_tower(order: tuple[int, ...]) -> bytes:
    table = np.zeros((len(VOCABULARY), 3), np.float32)
    for number, word in enumerate(VOCABULARY):
        table[number] = np.asarray(COLOURS.get(CHINESE.get(word, word), (0.0, 0.0, 0.0)))[
            list(order)
        ]
    given = helper.make_tensor_value_info("tokens", TensorProto.INT64, ["n", "l"])
    nodes = [
        helper.make_node("Gather", ["table", "tokens"], ["words"]),
        helper.make_node("ReduceSum", ["words", "words_axis"], ["colour"], keepdims=0),
        *_unit("colour"),
    ]
    axis = numpy_helper.from_array(np.asarray([1], np.int64), "words_axis")
    return _program(nodes, given, [numpy_helper.from_array(table, "table"), axis])


def _golden(order: tuple[int, ...]) -> str:
    file = io.BytesIO()
    Image.new("RGB", (SIDE, SIDE), (255, 0, 0)).save(file, "PNG")
    red = np.asarray([2 / 3, -1 / 3, -1 / 3])[list(order)]
    red /= np.linalg.norm(red)
    return json.dumps(
        {
            "texts": [{"text": "Red!", "tokens": [2, 4, 1, 3], "vector": red.tolist()}],
            "images": [{"png": base64.b64encode(file.getvalue()).decode(), "vector": red.tolist()}],
        }
    )
