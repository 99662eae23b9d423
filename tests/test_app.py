"""First-run set-up: app.py with the standard library alone."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parent.parent


@pytest.fixture
def bare(tmp_path: Path) -> list[str]:
    """A Python with no packages, and a checkout of its own: what a new user has."""
    checkout = tmp_path / "checkout"
    checkout.mkdir()
    shutil.copy(CHECKOUT / "app.py", checkout)
    shutil.copy(CHECKOUT / "requirements.txt", checkout)
    shutil.copytree(
        CHECKOUT / "photosearch", checkout / "photosearch",
        ignore=shutil.ignore_patterns("__pycache__"),
    )  # fmt: skip
    # -I: no user packages, no PYTHONPATH; -S: no site-packages. Like a clean system Python.
    return [sys.executable, "-I", "-S", str(checkout / "app.py")]


def test_it_imports_only_the_standard_library_before_the_product_is_there() -> None:
    tree = ast.parse((CHECKOUT / "app.py").read_text(encoding="utf-8"))
    top = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    names = {
        alias.name.split(".")[0]
        for node in top
        for alias in (
            node.names if isinstance(node, ast.Import) else [ast.alias(node.module or "")]
        )
    }
    assert names <= sys.stdlib_module_names


@pytest.mark.parametrize("how", ["flag", "environment"])
def test_told_not_to_install_it_prints_the_one_command(bare: list[str], how: str) -> None:
    args = ["--no-install"] if how == "flag" else []
    env = {**os.environ, "PHOTOSEARCH_NO_INSTALL": "1"} if how == "environment" else os.environ
    done = subprocess.run(
        [*bare, "--library", "/photos", *args], capture_output=True, text=True, env=env
    )
    assert done.returncode == 2
    assert "-m venv" in done.stderr
    assert "-r " in done.stderr
    assert not (Path(bare[-1]).parent / ".venv").exists()


def test_where_the_packages_are_it_installs_nothing() -> None:
    done = subprocess.run(
        [sys.executable, str(CHECKOUT / "app.py"), "--version"], capture_output=True, text=True
    )
    assert done.stdout.startswith("photosearch ")
    assert "installing" not in done.stderr


def test_no_install_is_not_passed_on() -> None:
    done = subprocess.run(
        [sys.executable, str(CHECKOUT / "app.py"), "--no-install", "--version"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


def test_a_python_that_is_too_old_is_told_so(bare: list[str]) -> None:
    code = (
        "import sys, runpy; sys.version_info = (3, 9, 0); sys.argv = ['app.py'];"
        f"runpy.run_path({bare[-1]!r}, run_name='__main__')"
    )
    done = subprocess.run([*bare[:-1], "-c", code], capture_output=True, text=True)
    assert done.returncode == 3
    assert "Python 3.11 or newer is needed" in done.stderr


def test_every_pinned_package_is_exact_and_every_dependency_is_pinned() -> None:
    import tomllib

    lines = (CHECKOUT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    pins = {
        line.split("==")[0].lower().replace("_", "-")
        for line in lines
        if line and not line.startswith("#")
    }
    assert all("==" in line for line in lines if line and not line.startswith("#"))
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = {
        name.split(";")[0].split(">")[0].split("=")[0].strip() for name in project["dependencies"]
    }
    assert wanted <= pins
    assert "torch" not in pins


@pytest.mark.skipif(os.name == "nt", reason="needs POSIX permissions")
def test_a_checkout_that_cannot_be_written_is_said(bare: list[str]) -> None:
    checkout = Path(bare[-1]).parent
    code = (
        "import os, sys, runpy; os.access = lambda *_: False; sys.argv = ['app.py'];"
        f"runpy.run_path({bare[-1]!r}, run_name='__main__')"
    )
    done = subprocess.run([*bare[:-1], "-c", code], capture_output=True, text=True)
    assert done.returncode == 3
    assert f"{checkout} cannot be written" in done.stderr and "venv" not in done.stderr
    assert len(done.stderr.splitlines()) == 1
