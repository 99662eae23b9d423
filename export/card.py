"""The model card of a bundle: README.md, for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from models.recipes import Recipe


def model_card(
    recipe: Recipe, precision: str, description: Mapping[str, Any], licences: Mapping[str, str]
) -> str:
    """Markdown: what it is, how good, where it fails, what it was made from."""
    student = description["student"]
    dims = f"{student['caption_dim']} + {student['class_dim']}"
    lines = [
        f"# {recipe.name}, version {recipe.version}",
        "",
        f"{recipe.title}.",
        "A bundle of photosearch: two encoders that put photos and English",
        f"sentences into one space of {dims} dimensions, stored as {precision}.",
        "",
        "## How good",
        "",
        *_numbers(description["metrics"]),
        "",
        "## What it does not do",
        "",
        "- English only; other languages and scripts are not understood.",
        "- It does not read text in photos, count, or know names of people.",
        "- Things neither in the captions it learned from nor near an ImageNet class in meaning",
        "  are found poorly. Captions of Flickr8k are about people and dogs outdoors; they carry",
        "  their annotators' stereotypes, and so may the ranking of photos of people.",
        "",
        "## Training data",
        "",
        description["training_data"] or "Not recorded.",
        "",
        "## Licences",
        "",
        *(f"- {name}: {terms}." for name, terms in licences.items()),
        "",
        "## Made with",
        "",
        f"    python -m models.train models/recipes/{recipe.name.replace('-', '_')}.py",
        f"    python -m export --checkpoint runs/{recipe.name}/final.pt --out DIR",
        "",
        "The whole recipe stands in manifest.json.",
    ]
    return "\n".join(lines) + "\n"


def _numbers(metrics: Mapping[str, Any]) -> list[str]:
    if not metrics:
        return ["Not measured."]
    lines = [
        f"Through the shipped files, on {metrics['images']} photos and {metrics['captions']} of",
        f"their captions, none of them trained on ({metrics['data']}), percent:",
        "",
        "| | R@1 | R@5 | R@10 |",
        "|---|---|---|---|",
    ]
    for key, name in (("text_to_image", "text to image"), ("image_to_text", "image to text")):
        row = metrics[key]
        lines.append(f"| {name} | {row['r1']} | {row['r5']} | {row['r10']} |")
    return lines
