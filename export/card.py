"""The model card of a bundle: README.md, for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from export.manifest import Checked
from export.source import Source


def model_card(source: Source, targets: Sequence[Checked]) -> str:
    """Markdown: what it is, how good, where it fails, what it was made from."""
    described = source.description
    lines = [
        f"# {source.name}, version {source.version}",
        "",
        f"{described['title']}.",
        "A bundle of photosearch: two encoders that put photos and sentences into one space of",
        f"{source.towers.dim} dimensions.",
        "",
        "## How good",
        "",
        *_numbers(described["metrics"]),
        "",
        *_targets(targets),
        "",
        "## What it does not do",
        "",
        *(f"- {line}" for line in described.get("limits", LIMITS)),
        "",
        "## Training data",
        "",
        described["training_data"] or "Not recorded.",
        "",
        "## Licences",
        "",
        *(f"- {name}: {terms}." for name, terms in described["licences"].items()),
        "",
        "## Made with",
        "",
        *(f"    {command}" for command in described.get("made_with", ())),
        "",
        "The whole recipe stands in manifest.json.",
    ]
    return "\n".join(lines) + "\n"


LIMITS = (
    "It does not read text in photos, count, or know names of people.",
    (
        "Things neither in the captions it learned from nor near an ImageNet class in meaning "
        "are found poorly. Captions of Flickr8k are about people and dogs outdoors; they carry "
        "their annotators' stereotypes, and so may the ranking of photos of people."
    ),
)


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


def _targets(targets: Sequence[Checked]) -> list[str]:
    """What each target costs against eager PyTorch in float32; blank where it was not measured."""
    lines = [
        "| target | precision | checked by | points of R@1 lost |",
        "|---|---|---|---|",
    ]
    for checked in targets:
        lost = [
            f"{name} {found['r1_lost']}"
            for name, found in checked.held_out.items()
            if isinstance(found, dict) and "r1_lost" in found
        ]
        how = {"run": "running it", "interpreted": "interpreting its program"}.get(
            checked.lowered.checked, "reading it back"
        )
        lines.append(
            f"| {checked.lowered.target} | {checked.precision} | {how} | {', '.join(lost)} |"
        )
    return lines
