"""One vocabulary for two languages, and the word list that teaches Chinese names."""

from __future__ import annotations

import pytest

pytest.importorskip("torch", reason="torch is in the [train] extra")
pytest.importorskip("all_minilm_l6_v2", reason="in the [train] extra")

from models.layers import minilm_vocabulary
from models.vocabulary import (
    choose,
    is_chinese,
    read_traditional,
    read_words,
    same_rows,
    with_traditional,
)
from photosearch.tokenizer import PAD, UNKNOWN, WordPieceTokenizer

ENGLISH = ("a photo of a pomegranate", "two dogs playing frisbee on a grassy hillside")


def test_kept_texts_are_cut_as_before_and_others_can_still_be_spelled() -> None:
    whole = minilm_vocabulary()
    kept = choose(whole, ENGLISH, (), frequent=2000)
    assert len(kept) < len(whole) / 2
    assert kept[0] == PAD
    before = WordPieceTokenizer(whole, context_length=64)
    after = WordPieceTokenizer(kept, context_length=64)
    for text in ENGLISH:
        pieces = [whole[number] for number in before.encode(text)]
        assert [kept[number] for number in after.encode(text)] == pieces
    unknown = kept.index(UNKNOWN)
    for text in ("quizzical zebras", "xylophone", "WhatsApp Image 2021-03-04"):
        assert unknown not in after.encode(text).tolist(), text


def test_every_chinese_character_of_the_texts_is_a_piece() -> None:
    kept = choose(minilm_vocabulary(), ENGLISH, ["一只狗在海滩上。", "猫"], frequent=2000)
    assert len(kept) == len(set(kept))
    chinese = {piece for piece in kept if is_chinese(piece)}
    assert chinese == set("一只狗在海滩上猫")
    tokenizer = WordPieceTokenizer(kept, context_length=64)
    text = [kept[number] for number in tokenizer.encode("海滩上的dog")]
    assert text == ["[CLS]", "海", "滩", "上", UNKNOWN, "dog", "[SEP]"]


def test_the_word_list_is_whole() -> None:
    words = read_words()
    assert len(words) > 900
    assert all(word.english and word.chinese and all(word.chinese) for word in words)
    assert all(char.isascii() for word in words for char in word.english)
    cat = next(word for word in words if word.english == "cat")
    assert ("一只猫", "a cat") in cat.phrases()
    assert ("猫的照片", "a photo of a cat") in cat.phrases()
    sunset = next(word for word in words if word.english == "sunset")
    assert sunset.measures == ()
    phrases = [chinese for word in words for chinese, _ in word.phrases()]
    assert not any("{" in phrase or " " in phrase for phrase in phrases)


def test_traditional_characters_share_a_row_with_simplified_ones() -> None:
    kept = choose(minilm_vocabulary(), ENGLISH, ["一只猫", "马"], frequent=2000)
    both = with_traditional(kept)
    assert both[: len(kept)] == kept
    assert set(both[len(kept) :]) == {"貓", "馬"}
    assert with_traditional(both) == both
    old, new = same_rows(both)
    assert sorted((both[a], both[b]) for a, b in zip(old, new, strict=True)) == [
        ("貓", "猫"),
        ("馬", "马"),
    ]


def test_the_table_of_traditional_characters_is_one_to_one_way() -> None:
    pairs = read_traditional()
    assert len(pairs) > 500
    assert all(is_chinese(old) and is_chinese(new) for old, new in pairs.items())
    # No simplified character is itself replaced: one step reaches the end.
    assert not set(pairs) & set(pairs.values())
