"""The smallest of the family: heads on the networks that models/recipes/spark_networks.py trains.

python -m models.train models/recipes/spark.py
"""

import dataclasses

from models.recipes.candle import RECIPE as CANDLE

RECIPE = dataclasses.replace(
    CANDLE,
    name="spark",
    student="spark",
    init="runs/spark-networks/final.pt",
    title="EfficientNet-lite0 made narrow beside one thin layer of MiniLM, taught by lantern",
    side_px=192,
    image_epochs=0,
    class_dim=128,
    out="runs/spark",
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
