"""Every invariant of the specification, T1 to T38, is claimed by a test that says so."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from pathlib import Path

HERE = Path(__file__).parent
CLAIM = re.compile(r"\bT\d+\b")
INVARIANTS = [f"T{number}" for number in range(1, 39)]


def claims() -> dict[str, list[str]]:
    """Invariant -> the tests whose docstring opens with its name, alone or among others."""
    found: dict[str, list[str]] = defaultdict(list)
    for file in sorted(HERE.glob("test_*.py")):
        for node in ast.parse(file.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                said = (ast.get_docstring(node) or "").partition("\n")[0]
                opening = re.match(r"(T\d+(, )?)+", said)
                for name in CLAIM.findall(opening[0]) if opening else ():
                    found[name].append(f"{file.name}::{node.name}")
    return found


def test_every_invariant_has_a_test() -> None:
    found = claims()
    missing = [name for name in INVARIANTS if name not in found]
    assert not missing, f"no test's docstring opens with {', '.join(missing)}"
    unknown = sorted(set(found) - set(INVARIANTS))
    assert not unknown, f"claimed, but not an invariant: {unknown}"
