"""What all tests share: where the real photos lie, and the bundle that ships."""

from __future__ import annotations

from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
SHARED = REPOSITORY.parent / "shared" / "data"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real photos and captions; tests that need it skip where it is not."""
    if not SHARED.is_dir():
        pytest.skip(f"{SHARED} is missing: the real photos and captions are not in the repository")
    return SHARED


@pytest.fixture(scope="session")
def shipped() -> Path:
    return REPOSITORY / "models" / "bundles" / "lantern"
