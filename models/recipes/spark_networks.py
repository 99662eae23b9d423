"""The networks of `spark`, learned from lantern by the cells of a preset, on small photos first.

    python -m models.restore --bundle models/bundles/lantern --out runs/lantern/final.pt
    python -m models.train models/recipes/spark_networks.py --set side_px=128 \\
        --set out=runs/spark-128
    python -m models.train models/recipes/spark_networks.py --set init=runs/spark-128/final.pt \\
        --set epochs=2 --set learning_rate=3e-3
    python -m models.train models/recipes/spark.py

The last of these trains the heads again on networks that have learned. How long it takes and
what comes of it stands in docs/experiments.md.
"""

from models.distillation.recipe import DistillRecipe

RECIPE = DistillRecipe(
    name="spark-networks",
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
    side_px=192,
    crops=3,
    image_dropout=0.1,
    text_dropout=0.1,
    batch=128,
    epochs=10,
    learning_rate=8e-3,  # at 1,024 photos a step; 1e-3 here
    warmup=0.05,
    freeze_norm=False,  # its image network is not the one whose statistics it has
    out="runs/spark-networks",
)
