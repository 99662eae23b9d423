"""The middle one of the family, English alone: EfficientNet-lite0 with a trained tail beside two
layers of MiniLM.

    python -m models.train models/recipes/candle.py

Two CPU cores, no GPU. docs/experiments.md has how long and how good without its image stage
(`--set image_epochs=0`); with it, it was not run.
"""

from __future__ import annotations

import dataclasses

from models.recipes.lantern import RECIPE as LANTERN

RECIPE = dataclasses.replace(
    LANTERN,
    name="candle",
    student="candle",
    title="EfficientNet-lite0 with a trained tail beside two thinned layers of MiniLM, for English",
    chinese="",
    frequent=6_000,
    text_tokens=600_000,
    class_dim=96,
    out="runs/candle",
    training_data=(
        "33 thousand human captions of 6,591 Flickr8k photos (research use); 25 thousand captions "
        "of COCO, text alone; 2,400 labelled photos of 100 scenes (Places, research use); 3,250 "
        "photos without captions or labels (ADE20K, flowers, groceries, clothes, landscapes); "
        "names of the 1,000 ImageNet classes; a list of a thousand everyday words written for this "
        "project. It starts from networks trained by others: the image network on ImageNet-1k, "
        "the text network on 1.2 billion sentence pairs."
    ),
)
