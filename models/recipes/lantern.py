"""The student that ships: EfficientNet-lite2 with a trained tail, and a bilingual text tower.

    python -m models.train models/recipes/lantern.py

Two CPU cores, no GPU: about half an hour for maps, features and vectors on the first run (cached),
half an hour for the text stage, ten minutes for the teacher of both stages that follow, half an
hour for the image stage, a quarter for the caption stage, five minutes for the heads. To go on from
a bundle's networks, with the caption stage and the heads alone:

    python -m models.restore --bundle DIR --out runs/before.pt
    python -m models.train models/recipes/lantern.py --set init=runs/before.pt --set image_epochs=0

docs/experiments.md has what it reaches and what was tried beside it.
"""

from models.recipes import Recipe

RECIPE = Recipe(
    name="lantern",
    version="3",
    student="lantern",
    title="EfficientNet-lite2 with a trained tail beside a thinned MiniLM for English and Chinese",
    unlabelled=(
        "../shared/data/ade20k-000.tar,../shared/data/flowers-000.tar,"
        "../shared/data/groceries-000.tar,../shared/data/clothes-000.tar,"
        "../shared/data/scenes-000.tar"
    ),
    labelled="../shared/data/places-000.tar",
    sentences="../shared/data/coco-captions-text.jsonl",
    chinese="../shared/data/flickr8k-zh-train.jsonl",
    text_tokens=820_000,
    image_epochs=15,
    image_crops=2,
    image_captions=0.5,
    image_relations=1.0,
    image_mix=0.8,
    ensemble="lite0,lite1,lite2",
    caption_epochs=20,
    caption_own=0.5,
    caption_relations=1.0,
    caption_words=1.0,
    class_share=0.3,
    gate_start=0.3,
    class_loss=0.3,
    label_loss=0.15,
    word_loss=1.0,
    chinese_share=0.35,
    epochs=120,
    learning_rate=1e-3,
    crops=True,
    image_dropout=0.6,
    text_dropout=0.3,
    out="runs/lantern",
    training_data=(
        "33 thousand English and as many Chinese human captions of 6,591 Flickr8k photos, and "
        "machine translations of the English ones (research use); 25 thousand captions of COCO, "
        "text alone; 2,400 labelled photos of 100 scenes (Places, research use); 3,250 photos "
        "without captions or labels (ADE20K, flowers, groceries, clothes, landscapes); names of "
        "the 1,000 ImageNet classes; a list of a thousand everyday words written for this "
        "project. It starts from networks trained by others: the image network on ImageNet-1k, "
        "the text network on 1.2 billion sentence pairs."
    ),
)
