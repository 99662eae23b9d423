"""`lantern` goes on learning: nearly all of its image network, on photos cut anew each time.

    python -m models.train models/recipes/lantern.py
    python -m models.train models/recipes/lantern_fresh.py

or, in place of the first, `python -m models.restore --bundle DIR --out runs/lantern/final.pt` of
its bundle. Two CPU cores, no GPU: an hour and a half, of which twenty minutes are for the teacher
and forty for the image network. docs/experiments.md has what it reaches.
"""

import dataclasses

from models.recipes.lantern import RECIPE as LANTERN

RECIPE = dataclasses.replace(
    LANTERN,
    name="lantern-fresh",
    version="1",
    title="EfficientNet-lite2, trained on, beside a thinned MiniLM for English and Chinese",
    init="runs/lantern/final.pt",
    image_epochs=6,
    image_stages=3,
    image_rate=1.2e-4,
    image_alone=1024,
    caption_epochs=0,
    out="runs/lantern-fresh",
)
