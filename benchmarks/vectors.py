"""Unit vectors with the statistics of a CLIP-like model's, for benchmarks of the index.

After the measurements our design rests on; one seed, so every run sees the same:

    photo = unit(sqrt(.5) m_i + sqrt(.5) unit(.35 topic + .30 event + .35 own)), the weights
            under square roots; spectrum of axis i falls as i^-.45 (own: i^-.30); 300 topics
            of Zipf popularity, N/50 events of lognormal size; 30 % repeat the photo before
            them but for a little noise (bursts)
    text  = unit(.27 m_i + .85 m_t + .35 unit(.6 semantic + .8 own)): off the photos' manifold,
            and two thirds of what tells it apart is shared with no photo
    image = an unseen photo of an event
"""

from __future__ import annotations

from typing import Any

import numpy as np

from photosearch.types import Matrix


def unit(rows: Any) -> Any:
    return rows / np.maximum(np.linalg.norm(rows, axis=-1, keepdims=True), 1e-12)


def make(
    count: int, dim: int, *, queries: int = 100, seed: int = 7
) -> tuple[Matrix, Matrix, Matrix]:
    """Photos (N, D), text queries and image queries (Q, D)."""
    r = np.random.default_rng(seed)
    axis = np.arange(dim) + 1.0
    spectrum = unit(axis**-0.45).astype(np.float32)
    flat = unit(axis**-0.30).astype(np.float32)
    turn = np.linalg.qr(r.standard_normal((dim, dim)))[0].astype(np.float32)
    image_mean, text_mean = np.eye(dim, dtype=np.float32)[[dim // 3, dim // 2]]
    popularity = np.arange(1, 301) ** -0.9
    topics = r.standard_normal((300, dim)).astype(np.float32) * spectrum
    events = max(20, count // 50)
    topic_of = r.choice(300, events, p=popularity / popularity.sum())
    event = r.standard_normal((events, dim)).astype(np.float32) * spectrum
    size = r.lognormal(0, 1.0, events)

    def draw(which: Any) -> Any:
        own = r.standard_normal((len(which), dim)).astype(np.float32) * flat
        return (
            np.sqrt(0.35) * topics[topic_of[which]]
            + np.sqrt(0.30) * event[which]
            + np.sqrt(0.35) * own
        )

    def finish(raw: Any) -> Any:
        return unit((np.sqrt(0.5) * image_mean + np.sqrt(0.5) * unit(raw)) @ turn.T)

    rows = np.empty((count, dim), np.float32)
    event_of = np.empty(count, np.int64)
    for start in range(0, count, 50_000):
        part = min(50_000, count - start)
        which = r.choice(events, part, p=size / size.sum())
        raw = draw(which)
        burst = r.random(part) < 0.3
        burst[0] = False
        source = np.maximum.accumulate(np.where(burst, 0, np.arange(part)))
        noise = r.standard_normal((part, dim)).astype(np.float32) * flat * np.sqrt(0.02)
        raw = np.where(burst[:, None], raw[source] + noise, raw)
        rows[start : start + part] = finish(raw)
        event_of[start : start + part] = which[source]
    which = event_of[r.choice(count, queries)]
    meaning = np.sqrt(0.5) * (topics[topic_of[which]] + event[which])
    meaning[:, dim // 4 :] = 0
    own = r.standard_normal((queries, dim)).astype(np.float32) * flat
    told = unit(0.6 * unit(meaning) + 0.8 * unit(own))
    texts = unit((0.27 * image_mean + 0.85 * text_mean + 0.35 * told) @ turn.T)
    images = finish(draw(r.choice(events, queries, p=size / size.sum())))
    return rows, texts.astype(np.float32), images.astype(np.float32)
