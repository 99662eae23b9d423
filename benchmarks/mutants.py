# ruff: noqa: E501
"""Plant one bug at a time and see that a test fails.

    python benchmarks/mutants.py [--only WORD]

Each line of MUTANTS breaks one invariant of the index or the store. A mutant that
survives its tests is printed, and the exit code is 1. Works on a copy of the tree.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
NAMES = (
    "index",
    "faults",
    "graph_damage",
    "doctor",
    "index_cells",
    "kept_cells",
    "store",
    "library_machine",
    "program",
    "filters",
    "decode",
    "indexer",
    "watch",
    "awkward",
    "switch",
    "writer",
)
(
    INDEX, FAULTS, GRAPHS, DOCTOR, CELLS, KEPT, STORE, MACHINE, PROGRAM, FILTERS, DECODE, INDEXER,
    WATCH, AWKWARD, SWITCH, WRITER,
) = (f"tests/photosearch/test_{name}.py" for name in NAMES)  # fmt: skip
CELLS = f"{CELLS} {KEPT}"

MUTANTS = (  # one a line, whatever its length
    # file, what stands there, what is planted, the tests that must notice
    ("index/exact.py", "self._rows[last] = 0.0", "pass", INDEX),
    ("index/exact.py", "self._row_at[photo_id] = row + 1", "pass", INDEX),
    ("index/exact.py", "self._ids[last] = NOBODY", "pass", CELLS),
    ("index/exact.py", "self._used[block] -= 1", "pass", CELLS),
    ("index/exact.py", "self.remove(photo_id)\n            self._put", "self._put", CELLS),
    ("index/exact.py", "np.arange(start, self._end), self", "np.arange(start, start), self", CELLS),
    ("index/exact.py", "self._signs.move(last, row)", "pass", CELLS),
    ("index/exact.py", "self._signs.clear(last)", "pass", CELLS),
    ("index/exact.py", "self._changed[block] = True\n                last", "last", CELLS),
    ("index/exact.py", "self._changed[block] = True\n            self._count", "self._count", CELLS),
    ("index/exact.py", "self._signs.bits[place], self._signs.sizes[place] = bits, size",
     "pass", CELLS),
    ("index/exact.py", "index._signs.put(rows, *signs)", "pass", CELLS),
    ("index/exact.py", "self._signs.put(rows, signs[0][known], signs[1][known])", "pass", CELLS),
    ("index/exact.py", "self._changed[gone] = True", "pass", CELLS),
    ("index/exact.py", "vectors, dtype=np.float32, order=", "vectors, copy=None, order=", INDEX),
    ("index/exact.py", "offsets = self._starts[blocks] - ends + lengths",
     "offsets = self._starts[blocks] - ends", CELLS),
    ("index/exact.py", "if row < self._starts[-1] or place == self._starts[block + 1]:",
     "if row < self._starts[-1]:", CELLS),
    ("index/exact.py", "lies_at[homeless[homeless >= 0]] = free[homeless >= 0]", "pass", CELLS),
    ("index/exact.py", "rows[free], holds[free] = ousted, homeless", "holds[free] = homeless", CELLS),
    ("index/neighbours.py", "ids, rows, cells = ids[near], rows[near], cells[near]", "pass", CELLS),
    ("index/neighbours.py", "or self._strays > most", "", CELLS),
    ("index/signs.py", "found *= sizes", "pass", CELLS),
    ("index/signs.py", "found += np.float32(asked.most)", "pass", CELLS),
    ("index/signs.py", "np.float32(1 / max(self.step, 1e-30))) + 4", "np.float32(1 / max(self.step, 1e-30))) + 3", CELLS),
    ("index/signs.py", "_words(apart > 0)", "_words(apart < 0)", CELLS),
    ("index/cells.py", "] = np.inf  # they are", "] = -np.inf  # they are", CELLS),
    ("index/cells.py", "exact.sign(cell, self.middles[cell])", "pass", CELLS),
    ("index/cells.py", "ids[~np.isfinite(apart) | (apart > edge)] = NOBODY", "pass", CELLS),
    ("index/cells.py", "tail, tail_scores = tail[among[tail]], tail_scores[among[tail]]",
     "pass", CELLS),
    ("index/cells.py", "kept = np.flatnonzero(among[rows])", "kept = np.arange(len(rows))", CELLS),
    ("index/cells.py", "spreads, shape, sizes)", "spreads, shape)", CELLS),
    ("library/opening.py", "exact.fill(ids, rows)", "exact.fill(ids[1:], rows[1:])", MACHINE),
    ("library/writer.py", "for photo_id in touched - orphans:", "for photo_id in ():", MACHINE),
    ("library/writer.py", "self._space_id = succession.space_id", "pass", SWITCH),
    ("store/embeddings.py", "if len(gone):", "if False:", STORE),
    ("store/embeddings.py", "free & ~sum(1 << place for place in places)", "free", STORE),
    ("store/embeddings.py", "if places else 0", "", STORE),
    ("store/embeddings.py", "free = ALL_SLOTS << _filled(blob)", "pass", STORE),
    ("store/embeddings.py", "low = middle + 1", "low = middle + 2", STORE),
    ("store/photos.py", "max(ifnull((SELECT max(id) FROM photos), 0), highest_gone) + 1",
     "ifnull((SELECT max(id) FROM photos), 0) + 1", STORE),
    ("store/schema.py", "(SELECT seq FROM sqlite_sequence WHERE name = 'photos')", "NULL", STORE),
    ("store/schema.py", " WHEN new.id % 64 = 0", " WHEN 0", FILTERS),
    ("store/schema.py", "if hashlib.sha256(graph).digest() == sha256:", "if True:", STORE),
    ("store/schema.py", " WHERE {indexed};", ";", FILTERS),
    ("store/names.py", "if not waiting:", "if True:", FILTERS),
    ("library/writer.py", "names.index_waiting(self._db)", "pass", FILTERS),
    ("commands/search.py", "reader.require_sound()", "pass", PROGRAM),
    ("index/exact.py", "scores[self._ids[: self._end] == NOBODY] = -np.inf", "pass", CELLS),
    ("index/cells.py", "promising[first] = False", "pass", CELLS),
    ("index/cells.py", "if len(scores) < k:", "if False:", CELLS),
    ("index/cells.py", "self.refresh(exact)\n        ids, cells", "ids, cells", CELLS),
    ("index/cells.py", "int(cells.max(initial=0)) < count", "True", CELLS),
    ("index/cells.py", "int(np.bincount(ids).max()) == 1", "True", CELLS),
    ("index/neighbours.py", "among = self.exact.marked(in_order(allowed))", "among = None", CELLS),
    ("library/opening.py", "exact.settle()", "pass", CELLS),
    ("store/embeddings.py", "sound = (_sums(records) == WORDS_SUM) &", "sound =", STORE),
    ("store/embeddings.py", "blob.write(bytes(size))", "pass", STORE),
    ("store/embeddings.py", "if free == ALL_SLOTS:", "if False:", STORE),
    ("store/embeddings.py", "stale = 0 WHERE", "stale = stale WHERE", STORE),
    ("store/schema.py", "(1 << (old.slot & 63)) WHERE id = old.slot >> 6; END\"\n    )\n    db.execute(\"CREATE INDEX slabs_space",
     "0 WHERE id = old.slot >> 6; END\"\n    )\n    db.execute(\"CREATE INDEX slabs_space", STORE),
    ("library/writer.py", "embeddings.scrub(self._db)", "pass", DOCTOR),
    ("library/writer.py", "added = set()  # one", "pass  # one", WRITER),
    ("library/writer.py", "self._sizes.add(size_bytes)", "pass", WRITER),
    ("library/sizes.py", "self._known = np.unique(self._read())", "self._known = np.empty(0, int)", WRITER),
    ("store/embeddings.py", "return int(row[0]) * SLOTS", "return int(row[0])", STORE),
    ("index/exact.py", "self._row_at[photo_id] = 0", "pass", INDEX),
    ("index/exact.py", "photo_ids, rows = photo_ids[rows > 0], rows[rows > 0]", "pass", INDEX),
    ("index/exact.py", "wanted = np.unique(wanted)", "pass", INDEX),
    ("index/exact.py", ", query)[rows]", ", query)[: len(rows)]", INDEX),
    ("index/links.py", "self.links.max(initial=0)) < n", "self.links.max(initial=0)) <= n", GRAPHS),
    ("index/links.py", "targets.max(initial=0)) < n", "targets.max(initial=0)) >= 0", GRAPHS),
    ("index/links.py", "reached = levels[targets] >= ", "reached = levels[targets] + 9 >= ", GRAPHS),
    ("index/links.py", "len(np.unique(self.labels)) == n", "n > 0", GRAPHS),
    ("index/links.py", 'nodes["deleted"] = dead[part]', "pass", GRAPHS),
    ("index/neighbours.py", "if recall < MIN_RECALL:", "if recall < 0:", GRAPHS),
    ("index/neighbours.py", "self._tail.discard(photo_id)", "pass", INDEX),
    ("index/neighbours.py", "tail = set(ids[~graph.holds(ids)].tolist())", "tail = set()", GRAPHS),
    ("index/hnsw.py", "self._graph.unmark_deleted(int(photo_id))", "pass", INDEX),
    ("store/graphs.py", "_sum(graph) != crc32", "False", GRAPHS),
    ("store/graphs.py", "AND ready = 1", "", GRAPHS),
    ("store/connection.py", "secure_delete = ON", "secure_delete = OFF", DOCTOR),
    ("store/connection.py", "wal_checkpoint(TRUNCATE)", "wal_checkpoint(PASSIVE)", FAULTS),
    ("store/connection.py", "PRAGMA busy_timeout = 0", "PRAGMA busy_timeout = 200", FAULTS),
    ("library/writer.py", "self._drop_unsound()\n", "pass\n", DOCTOR),
    ("library/writer.py", "graphs.drop_graphs(self._db, self._space_id)", "pass", GRAPHS),
    ("library/writer.py", "self._rested = checkpoint(self._db)\n        return len(gone)",
     "self._rested = True\n        return len(gone)", DOCTOR),
    ("library/writer.py", "self.index.remove(photo_id)", "pass", FAULTS),
    ("store/connection.py", '"BEGIN IMMEDIATE"', '"BEGIN"', STORE),
    ("store/connection.py", "PRAGMA foreign_keys = ON", "PRAGMA foreign_keys = OFF", STORE),
    ("store/schema.py", '"CREATE TABLE roots ("\n        " id INTEGER PRIMARY KEY AUTOINCREMENT,"',
     '"CREATE TABLE roots ("\n        " id INTEGER PRIMARY KEY,"', STORE),
    ("library/reader.py", """with self.reading() as db, snapshot(db):
            found = embeddings.space(db, space)
            return open_index(""", """with self.reading() as db:
            found = embeddings.space(db, space)
            return open_index(""", FAULTS),
    ("store/graphs.py", "VALUES (?, 0, ?, ?, ?)", "VALUES (?, 1, ?, ?, ?)", STORE),
    ("index/neighbours.py", "near = graph.candidates(query, OVERSAMPLE * k)\n    if near is None:\n        return None",
     "near = graph.candidates(query, OVERSAMPLE * k)\n    if near is None:\n        near = np.empty(0, np.int64)", GRAPHS),
    ("index/hnsw.py", "within reach\n            return None", "within reach\n            return np.empty(0, np.int64)", GRAPHS),
    ("index/neighbours.py", "return np.concatenate([near, np.fromiter(tail, np.int64, len(tail))])", "return near", INDEX),
    ("index/hnsw.py", "self._graph.mark_deleted(photo_id)", "pass", INDEX),
    ("decode.py", "    _cap_memory(memory_bytes)\n", "", DECODE),
    ("decode.py", "if before.st_size > MAX_FILE_BYTES:", "if False:", DECODE),
    ("decode.py", "os.nice(NICE)", "pass", DECODE),
    ("indexer.py", "self._thumbnails.trim(self._settings.thumbnail_mb << 20)", "pass", INDEXER),
    ("indexer.py", "self._library.rest()", "pass", INDEXER),
    ("watch.py", "addHandler(self._overflow)", "hasHandlers()", WATCH),
    ("watch.py", 'if "overflow" in record', 'if "full" in record', WATCH),
    ("extras.py", "except (av.FFmpegError, ValueError, IndexError) as", "except IndexError as", AWKWARD),
    ("serve.py", "graph_from=settings.graph_from_bytes(bundle.dim),", "", DOCTOR),
    ("commands/index.py", "graph_from=settings.graph_from_bytes(bundle.dim),", "", DOCTOR),
)  # fmt: skip


def survives(copy: Path, file: str, old: str, new: str, tests: str) -> bool | None:
    """Whether the tests still pass with the bug; None where the code has moved on."""
    path = copy / "photosearch" / file
    source = path.read_text(encoding="utf-8")
    if old not in source:
        return None
    path.write_text(source.replace(old, new, 1), encoding="utf-8")
    try:
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-x",
            "-p",
            "no:cacheprovider",
            *tests.split(),
        ]
        quick = "damage" if tests == PROGRAM else "not kill_9 and not daemon and not alone"
        deselect = ["-k", quick, "-m", "not slow"]
        done = subprocess.run([*command, *deselect], cwd=copy, capture_output=True, timeout=600)
        return done.returncode == 0
    except subprocess.TimeoutExpired:  # some bugs never come to an end
        return False
    finally:
        path.write_text(source, encoding="utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", default="", help="of the file that is broken, or its tests")
    only = parser.parse_args().only
    chosen = [mutant for mutant in MUTANTS if only in mutant[0] or only in mutant[3]]
    missed = 0
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "tree"
        leave = shutil.ignore_patterns(".git", ".venv*", "models", "__pycache__", ".mypy_cache")
        shutil.copytree(CHECKOUT, copy, ignore=leave)
        for file, old, new, tests in chosen:
            found = survives(copy, file, old, new, tests)
            if found is not False:
                missed += 1
                print(f"{'survived' if found else 'not found'}: {file}: {old!r} -> {new!r}")
    print(f"{len(chosen) - missed} of {len(chosen)} planted bugs were noticed")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
