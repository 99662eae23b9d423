"""Past searches: kept in one private file, offered again, forgotten when asked."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest
from desk import API, Desk
from workbench import Bench

from photosearch.history import MAX_ENTRIES, MAX_FILE_BYTES, History
from photosearch.settings import SettingsError, load_settings
from photosearch.store.connection import open_writer, transaction
from photosearch.store.vocabulary import Vocabulary, vocabulary
from photosearch.suggest import Suggestion, suggest


def test_the_last_search_comes_first_and_each_once(tmp_path: Path) -> None:
    file = tmp_path / "history.json"
    history = History(file)
    for text in ("a dog", "a cat", "  a   dog ", "", "   "):
        history.add(text)
    assert history.entries() == ["a dog", "a cat"]
    assert History(file).entries() == ["a dog", "a cat"]
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    history.forget("a dog")
    history.forget("never searched")
    assert History(file).entries() == ["a cat"]
    history.clear()
    assert not file.exists()
    assert history.entries() == []
    assert [path.name for path in tmp_path.iterdir()] == []


def test_only_so_many_are_kept(tmp_path: Path) -> None:
    history = History(tmp_path / "history.json")
    for number in range(MAX_ENTRIES + 5):
        history.add(f"search {number}")
    entries = History(tmp_path / "history.json").entries()
    assert len(entries) == MAX_ENTRIES
    assert entries[0] == f"search {MAX_ENTRIES + 4}"


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"\xff\xfe", b'{"a": 1}', b'[1, null, ["x"]]', b"[" * 100_000, b'"text"',
     b" " * (MAX_FILE_BYTES + 1)],
)  # fmt: skip
def test_a_damaged_file_is_an_empty_history_and_is_written_anew(
    tmp_path: Path, content: bytes
) -> None:
    file = tmp_path / "history.json"
    file.write_bytes(content)
    history = History(file)
    assert history.entries() == []
    history.add("海边的狗 \ud800")
    assert History(file).entries() == ["海边的狗 \ud800"]


WORDS = Vocabulary(
    folders=("holidays", "Home office", "work"),
    places=("Lyon", "San José", "France"),
    cameras=("Canon EOS 5D", "iPhone 12"),
    lenses=("50mm",),
    keywords=("birthday party", "dog"),
    years=("2019", "2020"),
)


def texts(typed: str, *history: str, k: int = 8) -> list[str]:
    return [each.text for each in suggest(typed, history=history, words=WORDS, k=k)]


def test_suggestions_go_on_with_what_is_typed() -> None:
    assert suggest("a d", history=["a dog", "a cat", "A Duck"], words=WORDS)[:2] == [
        Suggestion("a dog", "history"),
        Suggestion("A Duck", "history"),
    ]
    assert texts("", "a dog", "a cat") == ["a dog", "a cat"]
    assert texts("a dog") == ['a "dog"']
    assert texts("a dog 20") == ["a dog 2019", "a dog 2020"]
    assert texts("hol") == ["in:holidays"]
    assert texts("off") == ['in:"Home office"']  # a word inside the name
    assert texts("snow ly") == ["snow near:Lyon"]
    assert texts("near:san") == ['near:"San José"']
    assert texts('near:"san') == ['near:"San José"']
    assert texts("cam") == ["camera:"]
    assert texts("camera:i") == ['camera:"iPhone 12"']
    assert texts("-in:w") == ["-in:work"]
    assert texts("-cano") == ['-camera:"Canon EOS 5D"']
    assert texts("type:j") == ["type:jpeg", "type:jpg"]
    assert texts("is:s") == ["is:screenshot"]
    assert texts("类型:p") == ["类型:png"]
    assert texts("文件") == ["文件夹:"]
    assert texts("dog ") == []
    assert texts("-") == []
    assert texts("nothing:x") == []
    assert len(texts("", *(f"s{n}" for n in range(50)), k=3)) == 3


def test_the_words_are_the_librarys_own(bench: Bench) -> None:
    from photosearch.library import Changes, Embedded
    from photosearch.types import Stamp

    changes = Changes(bench.root.root_id)
    for number in range(3):
        place = (
            f"holidays/{'sea' if number else 'hills'}/{number}.jpg".encode(),
            Stamp(9, 9, 1, number + 1),
        )
        vector = bench.encoder.texts([str(number)])[0]
        changes.embedded.append(
            Embedded(bytes([number]) * 32, "JPEG", 4, 3, "2019-07-01T00:00:00", vector, (place,))
        )
    bench.library.commit(changes, now_ns=1)
    db = open_writer(bench.library.file)
    with transaction(db):
        db.execute("DELETE FROM facts")
        db.execute(
            "INSERT INTO facts (photo_id, reader, camera, place, keywords, kind)"
            " SELECT id, 1, 'X100', 'Vanves, Paris, France', 'one' || char(10) || 'two', 'photo'"
            " FROM photos"
        )
        db.execute("DELETE FROM locations WHERE path = CAST('holidays/hills/0.jpg' AS BLOB)")
    found = vocabulary(db)
    db.close()
    assert found == Vocabulary(
        folders=("holidays", "sea"),
        places=("France", "Paris", "Vanves"),
        cameras=("X100",),
        keywords=("one", "two"),
        years=("2019",),
    )


def test_history_over_http_is_kept_offered_and_forgotten(desk: Desk) -> None:
    def post(path: str) -> int:
        return desk.client.post(API + path, headers=desk.bearer).status_code

    assert desk.get("/history").json() == []
    assert post("/history?q=a+dog") == 200
    assert post("/history?q=a+duck") == 200
    assert desk.get("/history").json() == ["a duck", "a dog"]
    assert desk.get("/suggestions?q=a+do").json() == [{"text": "a dog", "kind": "history"}]
    assert post("/history/forget?q=a+dog") == 200
    assert desk.get("/history").json() == ["a duck"]
    assert json.loads(desk.daemon.home.history.read_bytes()) == ["a duck"]
    assert post("/settings?name=history&value=0") == 200
    assert not desk.daemon.home.history.exists()
    assert post("/history?q=a+cat") == 200  # accepted, and not kept
    assert desk.get("/history").json() == []
    assert not desk.daemon.home.history.exists()
    assert post("/settings?name=history&value=1") == 200
    assert post("/history?q=a+cat") == 200
    assert post("/history/clear") == 200
    assert desk.get("/history").json() == []
    assert post("/history?q=") == 400


def test_searching_alone_leaves_no_trace(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    """What is typed is neither remembered nor logged."""
    caplog.set_level(0)
    secret = "zanzibarsecret"
    desk.get(f"/search?q={secret}")
    desk.get(f"/suggestions?q={secret}")
    assert secret not in "".join(
        record.getMessage() for record in caplog.records if record.name.startswith("photosearch")
    )
    for file in desk.daemon.home.directory.rglob("*"):
        assert not file.is_file() or secret.encode() not in file.read_bytes(), file


def test_the_setting_is_a_switch(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text("history = false\n")
    assert load_settings(file).history is False
    file.write_text("history = 0\n")
    with pytest.raises(SettingsError, match="true or false"):
        load_settings(file)
