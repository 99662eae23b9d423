"""Short queries, and the photos they are true of.

People type a word or two, and captions are sentences: an encoder that has learned from these alone
hardly tells photos of people when it is asked for "people", since in a sentence that word
distinguishes nothing. Here a word, or two that stand side by side, is true of a photo if one of
its captions has it, in the singular or the plural; a few words are true of what others name
("animal" of every dog). What no caption mentions may show all the same: the loss that uses
this is soft.
"""

from __future__ import annotations

import itertools
import math
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn

from models.losses import presence_loss
from models.teachers import PROMPTS
from models.vocabulary import Word

LEAST_PHOTOS: Final = 20  # of which a word must be true
LEAST_OF_PAIRS: Final = 15  # and two words side by side
LEAST_LETTERS: Final = 3
EVERYDAY: Final = 0.02  # of all photos: what more are true of is measured against the others

_FUNCTION_WORDS: Final = """
    a about above across after against all along alone also among amongst an and another any
    anything appear appearing appears are around as at away back be because been before being below
    beside between both but by came can come comes coming could did do does doing down during each
    end few for from front get gets getting go goes going gone got had has have having he her here
    him his i if in inside into is it it's its just left like look looking looks made make makes
    making many may me might middle must my near next no not of off on one onto only or other others
    our out outside over part right seem seems setting several she side so some somebody someone
    something than that the their them then there these they thing things this those through to
    together too top toward towards two three four five under up upon us use used uses using very
    was way we were what when where which while who whose why will with within without would you
    your background foreground center
"""
FUNCTION_WORDS: Final = frozenset(_FUNCTION_WORDS.split())

# What is asked for: words of captions of which one is enough.
KINDS: Final[Mapping[tuple[str, ...], str]] = {
    ("people", "person", "persons", "human"): "people person man men woman women boy boys girl"
    " girls child children kid kids baby babies toddler toddlers lady ladies guy guys crowd player"
    " players team couple family group teenager teenagers rider skier surfer climber cyclist biker"
    " hiker skateboarder snowboarder runner swimmer",
    ("child", "children", "kid", "kids"): "child children kid kids boy boys girl girls baby babies"
    " toddler toddlers",
    ("man", "men"): "man men guy guys gentleman",
    ("woman", "women"): "woman women lady ladies",
    ("animal", "animals"): "animal animals dog dogs puppy puppies cat cats horse horses bird birds"
    " cow cows sheep goat duck ducks elephant camel bull",
    ("dog", "dogs"): "dog dogs puppy puppies",
    ("bird", "birds"): "bird birds duck ducks seagull seagulls",
    ("vehicle", "vehicles"): "vehicle vehicles car cars truck bus motorcycle motorcycles motorbike"
    " bike bicycle van train boat atv jeep",
    ("bicycle", "bicycles", "bike", "bikes"): "bicycle bicycles bike bikes",
    ("motorcycle", "motorbike"): "motorcycle motorcycles motorbike",
    ("boat", "boats"): "boat boats kayak canoe raft sailboat",
    ("clothes", "clothing"): "shirt dress jacket hat pants shorts coat clothes clothing jeans suit"
    " uniform",
    ("sport", "sports"): "sport sports soccer football basketball baseball tennis hockey volleyball"
    " rugby",
    ("sea", "ocean"): "sea ocean",
    ("water",): "water lake river ocean sea pool pond stream waves",
    ("grass", "lawn"): "grass grassy lawn",
    ("snow", "winter"): "snow snowy",
    ("forest", "woods"): "forest woods",
    ("tree", "trees"): "tree trees forest woods",
    ("street", "road"): "street streets road sidewalk",
    ("rock", "rocks"): "rock rocks rocky boulder boulders",
    ("mountain", "mountains"): "mountain mountains mountainside",
    ("building", "buildings"): "building buildings",
}


BOUNDARY: Final = 0.1  # cosine above which a query is true of a photo, where training starts
MAX_LOG_SCALE: Final = math.log(100.0)


class Presence(nn.Module):
    """Where queries begin to be true of photos, and how sharply: learned with what asks."""

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.tensor(math.log(scale)))
        self.boundary = nn.Parameter(torch.tensor(BOUNDARY))

    def forward(self, text: Tensor, image: Tensor, truth: Tensor) -> Tensor:
        """(Q, D), (N, D), (Q, N) -> the loss."""
        scale = self.log_scale.clamp(max=MAX_LOG_SCALE).exp()
        return presence_loss(text, image, truth, scale=scale, boundary=self.boundary)


@dataclass(frozen=True)
class Words:
    """Queries, and the photos they are true of."""

    texts: tuple[str, ...]  # T queries
    owner: Tensor  # (T,) the row of `truth` that is each one's
    truth: Tensor  # (W, N) bool


NO_WORDS: Final = Words((), torch.empty(0, dtype=torch.long), torch.empty(0, 0, dtype=torch.bool))


def read_photos_words(captions: Sequence[Sequence[str]], words: Sequence[Word]) -> Words:
    """captions: those of each photo; words: English words whose Chinese names are queries too."""
    true_of = _true_of(captions)
    rows = {word: number for number, word in enumerate(true_of)}
    texts = {prompt.format(word): row for prompt in PROMPTS for word, row in rows.items()}
    for known in words:
        if known.english in rows:
            texts |= {chinese: rows[known.english] for chinese, _ in known.phrases()}
    truth = torch.zeros(len(rows), len(captions), dtype=torch.bool)
    for word, row in rows.items():
        truth[row, sorted(true_of[word])] = True
    return Words(tuple(texts), torch.tensor(list(texts.values()), dtype=torch.long), truth)


def strangers(words: Words, texts: Tensor, photos: Tensor) -> dict[str, tuple[float, float]]:
    """Mean and standard deviation of the cosines of each everyday query with the photos that it is
    not true of. texts (T, D) and photos (N, D), unit rows."""
    found: dict[str, tuple[float, float]] = {}
    for text, row, vector in zip(words.texts, words.owner.tolist(), texts, strict=True):
        others = ~words.truth[row]
        if words.truth[row].float().mean() >= EVERYDAY and others.any():
            scores = (photos @ vector)[others]
            found[text] = (float(scores.mean()), float(scores.std(correction=0)))
    return found


def _true_of(captions: Sequence[Sequence[str]]) -> dict[str, set[int]]:
    """Each word, or pair of words, that is true of enough photos, with these."""
    said: dict[str, set[int]] = defaultdict(set)
    pairs: dict[str, set[int]] = defaultdict(set)
    for photo, group in enumerate(captions):
        for caption in group:
            found = re.findall(r"[a-z']+", caption.lower())
            for word in filter(_means, found):
                said[word].add(photo)
            for first, second in itertools.pairwise(found):
                if _means(first) and _means(second):
                    pairs[f"{first} {second}"].add(photo)
    true_of = {word: photos for word, photos in pairs.items() if len(photos) >= LEAST_OF_PAIRS}
    for word, photos in said.items():
        if len(photos) >= LEAST_PHOTOS:
            true_of[word] = photos.union(*(said.get(form, ()) for form in _forms(word)))
    for names, members in KINDS.items():
        photos = set().union(*(said.get(member, ()) for member in members.split()))
        if len(photos) >= LEAST_PHOTOS:
            true_of |= dict.fromkeys(names, photos)
    return true_of


def _means(word: str) -> bool:
    return len(word) >= LEAST_LETTERS and word not in FUNCTION_WORDS


def _forms(word: str) -> list[str]:
    """The plurals of a word, or the singulars."""
    found = [f"{word}s", f"{word}es"]
    for ending in ("s", "es"):
        if word.endswith(ending):
            found.append(word.removesuffix(ending))
    return found
