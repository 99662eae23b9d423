"""What is kept of cells is checked and taken up; their signs say about where rows lie."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from photosearch.index.cells import HEADER, UnsoundCells, from_bytes
from photosearch.index.neighbours import Index
from photosearch.index.signs import ERROR, Asked, Signs, sketch
from photosearch.library import Changes, Embedded, Library, LibraryReader
from photosearch.types import Matrix, Stamp
from tests.photosearch.clumps import DIM, clustered, in_cells, require


@pytest.fixture(scope="module")
def sample() -> Index:
    return in_cells(6000)


def test_kept_cells_hold_nothing_of_a_photo_that_has_gone() -> None:
    index = in_cells(2000)
    cell = int(np.argmax(np.bincount(index.exact.blocks_of_rows()[1])))
    ids, where = index.exact.blocks_of_rows()
    members = ids[where == cell]
    (last,) = index.exact.rows_of(members[:1])[1]
    for photo_id in members[1:].tolist():
        index.remove(photo_id)
    index.cleanse()
    np.testing.assert_allclose(require(index).middles[cell], last, atol=1e-6)  # it alone
    require(index).check(index.exact)
    index.remove(int(members[0]))
    data = index.cells_bytes()
    assert data is not None
    assert not require(index).middles[cell].any()
    assert last.tobytes() not in data


@pytest.mark.parametrize("at", [0, 4, 8, 12, 16])
def test_damaged_cells_are_refused(sample: Index, at: int) -> None:
    data = sample.cells_bytes()
    assert data is not None
    from_bytes(data, DIM)
    broken = bytearray(data)
    broken[at : at + 4] = b"\xff\xff\xff\x7f"
    with pytest.raises(UnsoundCells):
        from_bytes(bytes(broken), DIM)
    with pytest.raises(UnsoundCells):
        from_bytes(data[: HEADER.size + 5], DIM)
    with pytest.raises(UnsoundCells, match="another kind"):
        from_bytes(data, DIM + 1)


def test_cells_that_name_a_cell_too_many_or_a_photo_twice_are_refused(sample: Index) -> None:
    data = sample.cells_bytes()
    assert data is not None
    count = len(require(sample).middles)
    ids_at = HEADER.size + 4 * count * (DIM + 1) + 4 * DIM * DIM
    cells_at = ids_at + 4 * len(sample)
    broken = bytearray(data)
    broken[cells_at : cells_at + 2] = b"\xff\xff"
    with pytest.raises(UnsoundCells, match="cell's number"):
        from_bytes(bytes(broken), DIM)
    sizes_at = cells_at + 2 * len(sample)
    broken = bytearray(data)
    broken[sizes_at : sizes_at + 4] = np.float32(np.nan).tobytes()
    with pytest.raises(UnsoundCells, match="number is damaged"):
        from_bytes(bytes(broken), DIM)
    broken = bytearray(data)
    broken[ids_at : ids_at + 4] = broken[ids_at + 4 : ids_at + 8]
    with pytest.raises(UnsoundCells, match="two cells"):
        from_bytes(bytes(broken), DIM)


def filled(file: Path, rows: Matrix) -> Library:
    library = Library(file, space="cells", dim=DIM, bundle="b", cells_from=0)
    root = library.add_root("/photos")
    changes = Changes(root.root_id)
    for number, row in enumerate(rows):
        place = (b"%d.jpg" % number, Stamp(number, number, 1, number))
        changes.embedded.append(
            Embedded(number.to_bytes(32, "big"), "JPEG", 1, 1, None, row, (place,))
        )
    library.commit(changes, now_ns=1)
    return library


def test_cells_are_kept_and_taken_up_without_learning_them_again(tmp_path: Path) -> None:
    library = filled(tmp_path / "library.db", clustered(1500))
    while library.tend_graph(threads=1):
        pass
    assert library.index.kind == "cells"
    queries = library.index.sample(10)
    before = [library.index.search(query, 5)[0].tolist() for query in queries]
    library.close()
    reader = LibraryReader(tmp_path / "library.db")
    index = reader.load_index("cells", DIM)
    assert index.kind == "cells"
    assert index.cells_made == 0
    assert index.exact.tail_count == 0
    assert [index.search(query, 5)[0].tolist() for query in queries] == before
    reader.close()


def test_damaged_kept_cells_mean_exact_search_at_once(tmp_path: Path) -> None:
    library = filled(tmp_path / "library.db", clustered(800))
    while library.tend_graph(threads=1):
        pass
    library._db.execute("UPDATE graph_chunks SET data = zeroblob(length(data))")
    library.close()
    library = Library(tmp_path / "library.db", space="cells", dim=DIM, bundle="b", cells_from=0)
    assert library.index.kind == "exact"
    assert len(library.index) == 800
    while library.tend_graph(threads=1):
        pass
    assert library.index.kind == "cells"
    library.close()


def test_what_changed_since_the_cells_were_kept_is_found_and_not_found(tmp_path: Path) -> None:
    rows = clustered(900)
    library = filled(tmp_path / "library.db", rows[:800])
    while library.tend_graph(threads=1):
        pass
    root_id = library.roots()[0].root_id
    changes = Changes(root_id, forgotten=[b"%d.jpg" % number for number in range(50)])
    for number in range(800, 900):
        place = (b"%d.jpg" % number, Stamp(number, number, 1, number))
        changes.embedded.append(
            Embedded(number.to_bytes(32, "big"), "JPEG", 1, 1, None, rows[number], (place,))
        )
    library.commit(changes, now_ns=2)
    held = set(library.index.exact.ids().tolist())
    library.close()
    again = Library(tmp_path / "library.db", space="cells", dim=DIM, bundle="b", cells_from=0)
    assert again.index.kind == "cells"
    again.index.exact.check()
    assert set(again.index.exact.ids().tolist()) == held
    assert len(held) == 850
    assert again.index.search(rows[850], 1)[1][0] == pytest.approx(1, abs=1e-5)
    again.close()


@pytest.mark.parametrize("dim", [16, 64, 100, 256])
def test_signs_say_about_where_a_row_lies(dim: int) -> None:
    rnd = np.random.default_rng(1)
    middle = rnd.standard_normal(dim).astype(np.float32)
    rows = middle + rnd.standard_normal((400, dim)).astype(np.float32)
    query = rnd.standard_normal(dim).astype(np.float32)
    query /= np.linalg.norm(query)
    signs = Signs(dim, len(rows))
    signs.put(slice(None), *sketch(rows, middle))
    guesses, sizes = signs.estimate(np.arange(400), Asked(query))
    missed = (guesses - (rows - middle) @ query) / sizes
    assert abs(missed.mean()) < 0.15
    assert missed.std() == pytest.approx(ERROR, abs=0.12)


def test_a_query_of_zeros_and_a_row_in_the_middle_of_its_cell_are_no_trouble() -> None:
    signs = Signs(64, 1)
    signs.put(slice(None), *sketch(np.ones((1, 64), np.float32), np.ones(64, np.float32)))
    for query in (np.zeros(64, np.float32), np.ones(64, np.float32)):
        assert signs.estimate(np.zeros(1, np.int64), Asked(query))[0].tolist() == [0.0]
