"""`spark` with heads trained again, on the networks that models/recipes/spark.py trained, by what
lantern's own heads learn from: captions, class names, labels of scenes. Not run to its end yet.

    python -m models.train models/recipes/spark_heads.py
"""

import dataclasses

from models.recipes.candle import RECIPE as CANDLE

RECIPE = dataclasses.replace(
    CANDLE,
    name="spark-heads",
    student="spark",
    init="runs/spark/final.pt",
    title="EfficientNet-lite0 made narrow beside one thin layer of MiniLM, taught by lantern",
    side_px=128,
    image_epochs=0,
    class_dim=128,
    out="runs/spark-heads",
    training_data=(
        "33 thousand human captions of 6,591 Flickr8k photos (research use), and what lantern, "
        "trained on the data its own card names, makes of both; 25 thousand captions of COCO, "
        "text alone; 2,400 labelled photos of 100 scenes (Places, research use); 3,250 photos "
        "without captions or labels (ADE20K, flowers, groceries, clothes, landscapes); names of "
        "the 1,000 ImageNet classes; a list of a thousand everyday words written for this "
        "project. Its networks start from networks trained by others: the image network on "
        "ImageNet-1k, the text network on 1.2 billion sentence pairs."
    ),
)
