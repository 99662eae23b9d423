"""How well a bundle finds this library's own photos, without anyone labelling them. Pure.

Owners have said what is in some of their photos: in captions and keywords, and by the names
of folders; programs mark screenshots, and bursts show one thing. Each such saying is a
question, and the photos it was said of are the weak truth: not all that answer it, and not
all that they were said of show it. Both are the same for every bundle, so a difference
between bundles is real where the figures themselves are not.

A question's `found` is the share of its photos among the first ten, or among as many as it
has photos. Two bundles are compared question by question; how sure the difference is comes
from drawing the questions again (a paired bootstrap).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from photosearch.language import CHINESE
from photosearch.store.truth import Said
from photosearch.types import Ids, Matrix
from photosearch.wording import is_han, parts

FIRST: Final = 10  # photos of an answer that are looked at, at least
MIN_QUESTIONS: Final = 20  # in words; fewer say nothing
MAX_QUESTIONS: Final = 500  # of one kind
MAX_SHARE: Final = 0.25  # of the photos; what is said of more of them asks for nothing
MAX_CAPTION_PHOTOS: Final = 5  # what stands on more was written by a camera
MAX_CAPTION_WORDS: Final = 40
MIN_FOLDER_PHOTOS: Final = 3
DRAWS: Final = 2000  # of the bootstrap
SEED: Final = 0
# Names that cameras and programs give: of no one's choosing.
_MACHINES: Final = re.compile(
    r"dcim|camera|cameraroll|camera roll|pictures?|photos?|images?|img|misc|new folder|untitled"
    r"|downloads?|desktop|documents|screenshots?|whatsapp.*|telegram.*|export.*|import.*|backup.*"
    r"|\d+[a-z_]{0,8}|[a-z]{1,4}\d+|.*_files",
    re.IGNORECASE,
)

Kind = str  # caption, keyword, folder, screenshot (in words); alike (a photo)


@dataclass(frozen=True)
class Question:
    """What to ask, and the photos that it was said of."""

    kind: Kind
    text: str  # "" where a photo is the question
    photo_id: int | None
    photos: frozenset[int]


@dataclass(frozen=True)
class Difference:
    """One bundle's found against another's, with what 95 of 100 draws of the questions say."""

    before: float  # means over the questions, 0..1
    after: float
    low: float  # of after / before - 1
    high: float

    @property
    def more(self) -> float:
        """By how much more the second finds, as a share of what the first does."""
        if self.before > 0:
            return self.after / self.before - 1
        return float("inf") if self.after > 0 else 0.0

    @property
    def sure(self) -> bool:
        """Whether nothing lies outside what chance would do."""
        return self.low > 0 or self.high < 0


def questions(sayings: Sequence[Said]) -> list[Question]:
    """Every question that these photos' sayings make, at most MAX_QUESTIONS of a kind."""
    captions: dict[str, set[int]] = {}
    keywords: dict[str, set[int]] = {}
    folders: dict[str, set[int]] = {}
    groups: dict[int, set[int]] = {}
    shots: set[int] = set()
    for one in sayings:
        if caption := _caption(one.caption):
            captions.setdefault(caption, set()).add(one.photo_id)
        for keyword in one.keywords:
            if _worded(keyword):
                keywords.setdefault(_tidy(keyword), set()).add(one.photo_id)
        for folder in one.folders:
            if _worded(folder) and not _MACHINES.fullmatch(folder.strip()):
                folders.setdefault(_folder(folder), set()).add(one.photo_id)
        if one.kind == "screenshot":
            shots.add(one.photo_id)
        if one.group is not None and one.why in ("first", "near", "burst"):
            groups.setdefault(one.group, set()).add(one.photo_id)
    most = int(MAX_SHARE * len(sayings))
    found = [
        *_asked("caption", captions, 1, min(MAX_CAPTION_PHOTOS, most)),
        *_asked("keyword", keywords, 1, most),
        *_asked("folder", folders, MIN_FOLDER_PHOTOS, most),
        *_asked("screenshot", {"a screenshot": shots}, 1, most),
    ]
    alike = [sorted(group) for group in groups.values() if 2 <= len(group) <= most]
    found += [
        Question("alike", "", group[0], frozenset(group[1:])) for group in alike[:MAX_QUESTIONS]
    ]
    return found


def sample(sayings: Sequence[Said], asked: Sequence[Question], most: int) -> list[int]:
    """At most so many photos to judge by: those of the questions first, then others at random."""
    rng = np.random.default_rng(SEED)
    if len(sayings) <= most:
        return [one.photo_id for one in sayings]
    spoken: dict[int, None] = {}
    for number in rng.permutation(len(asked)).tolist():
        question = asked[number]
        ids = sorted(question.photos | ({question.photo_id} if question.photo_id else set()))
        if len(spoken) + len(ids) <= most * 2 // 3:  # the rest are strangers to all of them
            spoken.update(dict.fromkeys(ids))
    others = [one.photo_id for one in sayings if one.photo_id not in spoken]
    chosen = rng.permutation(len(others))[: most - len(spoken)].tolist()
    return sorted([*spoken, *(others[number] for number in chosen)])


def found_by(
    asked: Sequence[Question], texts: Mapping[str, int], vectors: Matrix, ids: Ids, rows: Matrix
) -> list[float]:
    """For each question the share of its photos found. `texts` says which row of `vectors` is a
    text's; ids (N,) and rows (N, D) are the photos."""
    row_of = {photo_id: row for row, photo_id in enumerate(ids.tolist())}
    shares: list[float] = []
    for question in asked:
        if question.photo_id is None:
            scores = rows @ vectors[texts[question.text]]
        else:
            scores = rows @ rows[row_of[question.photo_id]]
            scores[row_of[question.photo_id]] = -np.inf
        first = max(FIRST, len(question.photos))
        best = np.lexsort((ids, -scores))[:first]
        shares.append(len(question.photos & set(ids[best].tolist())) / len(question.photos))
    return shares


def difference(before: Sequence[float], after: Sequence[float]) -> Difference:
    """Of two bundles' found for the same questions."""
    a, b = np.asarray(before), np.asarray(after)
    rng = np.random.default_rng(SEED)
    drawn = rng.integers(0, len(a), (DRAWS, len(a)))
    least = 1e-9  # on both sides: where neither finds anything, neither finds more
    base = np.maximum(a[drawn].mean(axis=1), least)
    low, high = np.percentile(np.maximum(b[drawn].mean(axis=1), least) / base - 1, [2.5, 97.5])
    return Difference(float(a.mean()), float(b.mean()), float(low), float(high))


def interval(shares: Sequence[float]) -> tuple[float, float]:
    """Between what 95 of 100 draws of the questions put one bundle's mean."""
    values = np.asarray(shares)
    rng = np.random.default_rng(SEED)
    means = values[rng.integers(0, len(values), (DRAWS, len(values)))].mean(axis=1)
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)


def _asked(kind: Kind, told: Mapping[str, set[int]], least: int, most: int) -> list[Question]:
    fit = [(text, ids) for text, ids in sorted(told.items()) if least <= len(ids) <= most]
    if len(fit) > MAX_QUESTIONS:
        chosen = np.random.default_rng(SEED).permutation(len(fit))[:MAX_QUESTIONS]
        fit = [fit[number] for number in sorted(chosen.tolist())]
    return [Question(kind, text, None, frozenset(ids)) for text, ids in fit]


def _caption(text: str) -> str:
    """The first line, where it says something."""
    line = _tidy(text.split("\n")[0])
    words = [word for word in parts(line) if word not in CHINESE.small]
    if is_han(line):
        return line if len(line) >= 3 else ""
    letters = [word for word in words if word.isalpha()]
    return line if len(letters) >= 2 and len(words) <= MAX_CAPTION_WORDS else ""


def _worded(text: str) -> bool:
    """Whether there is a word in it that could be seen in a photo."""
    return any(
        is_han(word) or (word.isalpha() and len(word) > 2 and word not in CHINESE.small)
        for word in parts(text)
    )


def _folder(name: str) -> str:
    """As one would ask for it: without years, dates and numbers."""
    return " ".join(word for word in parts(name) if not word.isdigit())


def _tidy(text: str) -> str:
    return " ".join(text.split())
