"""The smallest of the family: its networks start as parts of published ones and learn from lantern
by the cells of a preset, both at once.

    python -m models.restore --bundle models/bundles/lantern --out runs/lantern/final.pt
    python -m models.train models/recipes/spark.py

Three of these ten epochs were run (docs/experiments.md). `--set init=runs/spark/final.pt --set
side_px=192 --set out=DIR` goes on with larger photos, and models/recipes/spark_heads.py trains the
heads again on networks that have learned.
"""

from models.distillation.recipe import DistillRecipe

RECIPE = DistillRecipe(
    name="spark",
    version="1",
    title="EfficientNet-lite0 made narrow beside one thin layer of MiniLM, taught by lantern",
    preset="STRONG",
    student="spark",
    teacher="surrogate:runs/lantern/final.pt",
    val="../shared/data/flickr8k-val-000.tar",
    sentences="../shared/data/coco-captions-text.jsonl",
    text_tokens=600_000,
    training_data=(
        "33 thousand human captions of 6,591 Flickr8k photos (research use), as lantern sees "
        "both; 25 thousand captions of COCO, text alone. The image network starts from one "
        "trained by others on ImageNet-1k, the text network from one trained by others on 1.2 "
        "billion sentence pairs."
    ),
    side_px=128,
    crops=3,
    image_dropout=0.1,
    text_dropout=0.1,
    batch=64,
    epochs=10,
    learning_rate=1.6e-2,  # at 1,024 photos a step; 1e-3 here
    warmup=0.05,
    freeze_norm=False,  # its image network is not the one whose statistics it has
    out="runs/spark",
)
