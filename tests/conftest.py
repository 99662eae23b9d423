"""What all tests share: where the real photos lie, and the bundle that ships."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
SHARED = REPOSITORY.parent / "shared" / "data"


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """These networks are tiny: on a busy machine two threads wait for each other far longer
    than either computes (sixty times as long, where it was measured)."""
    torch = sys.modules.get("torch")
    if torch is None:  # the module does not use it
        yield
        return
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real photos and captions; tests that need it skip where it is not."""
    if not SHARED.is_dir():
        pytest.skip(f"{SHARED} is missing: the real photos and captions are not in the repository")
    return SHARED


@pytest.fixture(scope="session")
def shipped() -> Path:
    return REPOSITORY / "models" / "bundles" / "lantern"
