"""Our WordPiece against the `tokenizers` package, on every caption we have and worse."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest

from models.data import read_examples
from photosearch.tokenizer import WordPieceTokenizer

tokenizers = pytest.importorskip("tokenizers", reason="tokenizers is in the [dev] extra")
pytest.importorskip("torch", reason="torch is in the [train] extra")
pytest.importorskip("all_minilm_l6_v2", reason="in the [train] extra")

CONTEXT = 64

HARD = [
    "",
    " ",
    "\t\n\r",
    "Café CRÈME naïve Ångström",
    "don't stop—believin’ “now”… (yes!) [no] {maybe}",
    "中文字符 mixed with English",
    "日本語カタカナ ひらがな 한국어",
    "emoji 😀👩‍👩‍👧 flags 🇫🇷 zwj",
    "zero\u200bwidth\u00adsoft\ufeffbom\x00nul\ufffd",
    "nbsp\u00a0thin\u2009ideographic\u3000space line\u2028sep",
    "supercalifragilisticexpialidocious" * 4,
    "a" * 100,
    "a" * 101,
    "[CLS] [SEP] [MASK] [PAD] [unused1]",
    "e\u0301 combining vs \u00e9",
    "İstanbul ẞ ŉ ǰ ΐ ﬃ",
    "x² ½ ① Ⅳ ™ № €5.50 $3 50% #tag @me a_b c|d ~ ^ `q`",
    "مرحبا שלום हिन्दी ไทย",
    "\U000e0001tag \ue000private",
    "word " * 200,
]


@pytest.fixture(scope="module")
def pair() -> tuple[WordPieceTokenizer, tokenizers.Tokenizer]:
    from models.layers import minilm_archive, minilm_vocabulary

    with zipfile.ZipFile(minilm_archive()) as archive:
        theirs = tokenizers.Tokenizer.from_str(archive.read("tokenizer.json").decode())
    theirs.no_padding()
    theirs.enable_truncation(CONTEXT)
    # Ours has no notion of a special token inside a text: nobody searches for one.
    return WordPieceTokenizer(minilm_vocabulary(), context_length=CONTEXT), theirs


@pytest.mark.parametrize("text", HARD, ids=range(len(HARD)))
def test_hard_text(pair: tuple[WordPieceTokenizer, tokenizers.Tokenizer], text: str) -> None:
    ours, theirs = pair
    if "[CLS]" in text:
        assert 101 not in ours.encode(text)[1:].tolist()  # typed brackets are only brackets
        return
    assert ours.encode(text).tolist() == theirs.encode(text).ids


def test_every_caption(pair: tuple[WordPieceTokenizer, tokenizers.Tokenizer], shared: Path) -> None:
    ours, theirs = pair
    lines = (shared / "coco-captions-text.jsonl").read_text(encoding="utf-8").splitlines()
    captions = [text for line in lines[::3] for text in json.loads(line)["captions"]]
    val = read_examples(str(shared / "flickr8k-val-000.tar"))
    captions += [text for example in val for text in example.captions]
    for file in ("flickr8k-zh-val.jsonl", "flickr8k-de-fr-cs-train.jsonl"):
        for line in (shared / file).read_text(encoding="utf-8").splitlines()[:300]:
            for value in json.loads(line).values():
                captions += value if isinstance(value, list) else [value]
    differ = [
        text
        for text, wanted in zip(captions, theirs.encode_batch(captions), strict=True)
        if ours.encode(text).tolist() != wanted.ids
    ]
    assert differ == []
    assert len(captions) > 10_000
