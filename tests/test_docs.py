"""The documents tell the truth: commands exist and work, links lead somewhere."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from photosearch.cli import build_parser, with_default

CHECKOUT = Path(__file__).parent.parent
README = (CHECKOUT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```sh\n(.*?)```", README, re.DOTALL)


def commands() -> list[str]:
    lines = [line.split("#")[0].strip() for block in BLOCKS for line in block.splitlines()]
    return [line for line in lines if line.startswith("python3 app.py")]


@pytest.mark.parametrize("command", commands())
def test_every_command_in_the_readme_parses(command: str) -> None:
    parser, names = build_parser()
    assert callable(parser.parse_args(with_default(shlex.split(command)[2:], names)).run)


def test_every_subcommand_is_in_the_readme() -> None:
    for name in build_parser()[1]:
        assert name == "serve" or f"app.py {name}" in README, name


def test_the_readme_has_the_two_commands() -> None:
    assert any("python3 app.py --library ~/Pictures" in block for block in BLOCKS)
    assert any("make test" in block for block in BLOCKS)


@pytest.mark.parametrize(
    "document", sorted(CHECKOUT.glob("*.md")) + sorted(CHECKOUT.glob("docs/*.md"))
)
def test_links_between_documents_lead_somewhere(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", text):
        assert (document.parent / target).exists(), target


def test_every_test_that_a_document_names_is_there() -> None:
    """`test_x.py`, or `test_x.py::test_y`; a name may be cut short with …"""
    named = 0
    for document in sorted(CHECKOUT.glob("docs/*.md")):
        text = document.read_text(encoding="utf-8")
        for file, test in re.findall(r"`(test_\w+\.py)(?:::(\w+…?))?`", text):
            (found,) = CHECKOUT.glob(f"tests/**/{file}")
            start = f"def {test.removesuffix('…')}" + ("" if test.endswith("…") else "(")
            assert not test or start in found.read_text(encoding="utf-8"), (document.name, test)
            named += bool(test)
    assert named > 30


def test_every_runtime_dependency_has_its_paragraph() -> None:
    import tomllib

    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    text = (CHECKOUT / "docs" / "dependencies.md").read_text(encoding="utf-8")
    for line in project["dependencies"]:
        name = re.split(r"[ ;<>=\[]", line)[0]
        assert f"**{name}**" in text, name


def test_the_wheel_holds_the_product_and_nothing_else(tmp_path: Path) -> None:
    """No installed package may claim names like `models` or `export`."""
    pytest.importorskip("hatchling")
    done = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"photosearch"}
    for wanted in (
        "photosearch/static/index.html",
        "photosearch/bundles/lantern/manifest.json",
        "photosearch/bundles/lantern/image.onnx",
    ):
        assert wanted in names
    assert not [name for name in names if "__pycache__" in name]
