"""The whole program: a library's folder lies elsewhere, and nothing is read again."""

from __future__ import annotations

from pathlib import Path

from test_program import Program, painted_disk, program, toy, within
from toy import painted

__all__ = ["painted_disk", "program", "toy"]


def test_a_relocated_library_is_known_again(painted_disk: Program, tmp_path: Path) -> None:
    painted_disk.index()
    moved = tmp_path / "moved"
    painted_disk.disk.rename(moved)
    painted_disk.run("relocate", str(painted_disk.disk), str(tmp_path / "nowhere"), check=5)
    painted_disk.run("relocate", str(moved), str(moved), check=3)  # no library of that name
    painted_disk.run("relocate", str(painted_disk.disk), str(moved))
    painted_disk.disk = moved
    totals = painted_disk.index()
    assert (totals["unchanged"], totals["added"], totals["removed"]) == (3, 0, 0)
    assert painted_disk.find("red")[0] == "red.jpg"


def test_a_library_is_relocated_under_a_running_daemon(
    painted_disk: Program, tmp_path: Path
) -> None:
    painted_disk.index()
    served = painted_disk.serve()
    moved = tmp_path / "moved"
    painted_disk.disk.rename(moved)
    painted_disk.run("relocate", str(painted_disk.disk), str(moved))
    (moved / "new.jpg").write_bytes(painted("yellow", seed=77))
    within(60, lambda: "new.jpg" in painted_disk.find("yellow"))
    assert served.status()["libraries"][0]["path"] == str(moved)
