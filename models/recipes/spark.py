"""The smallest of the family, learned from the largest: every photo and caption as `lantern` sees
them, by the cells of a preset (docs/training.md).

    python -m models.train models/recipes/spark.py

`lantern`'s checkpoint comes from its own recipe, or from the shipped bundle
(`python -m models.restore`). Ten steps of it were run: two CPU cores would need three hours
(docs/experiments.md).
"""

from models.distillation.recipe import DistillRecipe

RECIPE = DistillRecipe(
    name="spark",
    version="1",
    title="A narrow network of its own beside one thin layer of MiniLM, taught by lantern",
    preset="STRONG",
    student="spark",
    teacher="surrogate:runs/lantern/final.pt",
    val="../shared/data/flickr8k-val-000.tar",
    training_data=(
        "33 thousand human captions of 6,591 Flickr8k photos (research use), as lantern sees both. "
        "The text network starts from one trained by others on 1.2 billion sentence pairs."
    ),
    side_px=192,
    crops=2,
    batch=128,
    epochs=12,
    learning_rate=8e-3,  # at 1,024 photos a step; 1e-3 here
    freeze_norm=False,  # its image network starts from nothing
    out="runs/spark",
)
