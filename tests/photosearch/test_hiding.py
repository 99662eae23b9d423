"""Hidden photos: kept and indexed, in no answer but to `is:hidden`, and found again."""

# ruff: noqa: F811 (fixtures)

from __future__ import annotations

from pathlib import Path

import pytest
from desk import API, Desk
from test_grouping import saved, scene
from test_search import NOW, album, ask, flat_background, names, search_of  # noqa: F401
from workbench import Bench, jpeg, open_fake_library

from photosearch.guard import MAX_HEAD_BYTES
from photosearch.protocol import MAX_IDS
from photosearch.query import parse
from photosearch.store.connection import open_writer

EVERY_WAY = ["a dog", "2018", "a dog in:trips", "a dog sort:date", '"img_101"', "-cat"]


def photo_id(bench: Bench, name: str) -> int:
    place = bench.library.known(bench.root.root_id, name.encode())
    assert place is not None
    assert place.photo_id is not None
    return place.photo_id


def hidden_rows(bench: Bench) -> list[int]:
    with bench.library.reader.reading() as db:
        return [row[0] for row in db.execute("SELECT photo_id FROM hidden ORDER BY 1")]


@pytest.mark.parametrize("show_all", [False, True])
@pytest.mark.parametrize("typed", EVERY_WAY)
def test_a_hidden_photo_is_in_no_answer_and_the_others_keep_their_order(
    album: Bench, typed: str, show_all: bool
) -> None:
    before = ask(typed, album, show_all=show_all)
    assert "IMG_1013.jpg" in names(before)
    secret = photo_id(album, "trips/IMG_1013.jpg")
    assert album.library.hide([secret]) == [secret]
    after = ask(typed, album, show_all=show_all)
    assert names(after) == [name for name in names(before) if name != "IMG_1013.jpg"]
    assert album.library.unhide([secret]) == [secret]
    assert names(ask(typed, album, show_all=show_all)) == names(before)


def test_its_name_does_not_find_it_nor_is_it_among_the_newest(album: Bench) -> None:
    secret = photo_id(album, "trips/IMG_1013.jpg")
    assert names(ask("IMG_1013", album)) == ["IMG_1013.jpg"]
    newest = [hit.photo_id for hit in search_of(album).latest(k=30).hits]
    album.library.hide([secret])
    assert "IMG_1013.jpg" not in names(ask("IMG_1013", album, show_all=True))
    left = [hit.photo_id for hit in search_of(album).latest(k=30).hits]
    assert left == [each for each in newest if each != secret]


def test_is_hidden_finds_hidden_photos_and_no_others(album: Bench) -> None:
    secrets = [photo_id(album, f"trips/IMG_10{number}.jpg") for number in (11, 13, 17)]
    album.library.hide(secrets)
    assert album.library.reader.hidden() == 3
    found = ask("is:hidden", album)
    assert sorted(hit.photo_id for hit in found.hits) == sorted(secrets)
    assert all(hit.hidden and hit.why == ("is hidden",) for hit in found.hits)
    for typed in ("a dog is:hidden", "a dog is:hidden sort:date", "is:hidden 2018", "是:隐藏"):
        hits = ask(typed, album, show_all=True).hits
        assert hits
        assert {hit.photo_id for hit in hits} <= set(secrets)
    shown = ask("a dog -is:hidden", album, show_all=True).hits
    assert len(shown) == 27
    assert not {hit.photo_id for hit in shown} & set(secrets)
    assert not any(hit.hidden for hit in shown)


def test_hiding_answers_with_what_changed_so_that_undo_is_exact(album: Bench) -> None:
    first, second = (photo_id(album, f"trips/IMG_10{number}.jpg") for number in (11, 13))
    assert album.library.hide([first]) == [first]
    assert album.library.hide([first, second, 12345]) == [second]
    assert album.library.unhide([second, 12345]) == [second]
    assert hidden_rows(album) == [first]


def test_a_photo_hidden_between_two_pages_is_not_on_the_second(album: Bench) -> None:
    search = search_of(album, flat_background())
    query = parse("a dog", now=NOW)
    whole = [hit.photo_id for hit in search.run(query, k=20, show_all=True).hits]
    search.run(query, k=10, show_all=True)
    search.run(query, k=10, offset=10, show_all=True)
    album.library.hide([whole[15]])
    second = [hit.photo_id for hit in search.run(query, k=10, offset=10, show_all=True).hits]
    assert second == [each for each in whole[10:20] if each != whole[15]]


def test_many_hidden_photos_among_the_best_do_not_shorten_the_answer(album: Bench) -> None:
    best = [hit.photo_id for hit in ask("a dog", album, show_all=True).hits]
    album.library.hide(best[:25])
    assert [hit.photo_id for hit in ask("a dog", album, k=5, show_all=True).hits] == best[25:]


def test_a_hidden_photo_stays_hidden_when_it_moves_is_edited_or_the_program_starts_anew(
    bench: Bench,
) -> None:
    file = bench.write("secret.jpg", jpeg(1))
    bench.write("other.jpg", jpeg(2))
    bench.sync()
    bench.library.hide([photo_id(bench, "secret.jpg")])
    (bench.disk / "sub").mkdir()
    moved = file.rename(bench.disk / "sub" / "moved.jpg")
    bench.sync()
    assert names(ask("anything", bench, show_all=True)) == ["other.jpg"]
    moved.write_bytes(jpeg(3))  # cropped, rotated, rated: other bytes in the same place
    bench.sync()
    assert names(ask("anything", bench, show_all=True)) == ["other.jpg"]
    assert photo_id(bench, "sub/moved.jpg") in hidden_rows(bench)
    bench.library.close()
    bench.library = open_fake_library(bench.home, bench.encoder)
    assert names(ask("anything", bench, show_all=True)) == ["other.jpg"]
    assert names(ask("is:hidden", bench)) == ["moved.jpg"]


def test_known_bytes_in_a_hidden_photos_place_are_no_edit_of_it(bench: Bench) -> None:
    secret = bench.write("secret.jpg", jpeg(1))
    bench.write("other.jpg", jpeg(2))
    bench.sync()
    bench.library.hide([photo_id(bench, "secret.jpg")])
    (bench.disk / "other.jpg").replace(secret)
    bench.sync()
    assert names(ask("anything", bench, show_all=True)) == ["secret.jpg"]


def test_forgetting_the_folder_forgets_what_was_hidden(bench: Bench) -> None:
    bench.write("secret.jpg", jpeg(1))
    bench.sync()
    bench.library.hide([photo_id(bench, "secret.jpg")])
    bench.library.forget_root(bench.root.root_id, now_ns=10**18)
    assert hidden_rows(bench) == []


def test_a_group_shows_its_other_photos_and_counts_those_alone(bench: Bench) -> None:
    for number, quality in enumerate((95, 60, 30)):
        bench.write(f"{number}.jpg", saved(scene(1), quality=quality))
    bench.sync()
    (best,) = ask("anything", bench).hits
    assert best.similar == 2
    bench.library.hide([best.photo_id])
    (second,) = ask("anything", bench).hits
    assert second.photo_id != best.photo_id
    assert second.similar == 1
    assert best.photo_id not in bench.library.reader.group_members(second.photo_id)
    (alone,) = ask("is:hidden", bench).hits
    assert (alone.photo_id, alone.similar) == (best.photo_id, 0)
    assert bench.library.reader.group_members(best.photo_id) == [best.photo_id]


def test_words_of_hidden_photos_alone_are_not_suggested(bench: Bench) -> None:
    bench.write("surprise party/cake.jpg", jpeg(1))
    bench.write("beach/sea.jpg", jpeg(2))
    bench.sync()
    assert set(bench.library.reader.vocabulary().folders) == {"surprise party", "beach"}
    bench.library.hide([photo_id(bench, "surprise party/cake.jpg")])
    assert bench.library.reader.vocabulary().folders == ("beach",)


def test_a_library_written_before_photos_could_be_hidden_hides_them(tmp_path: Path) -> None:
    from test_golden import GOLDEN, SPACE, unpack

    from photosearch.library import Library

    for golden in GOLDEN:
        file = tmp_path / f"{golden.name}.library.db"
        unpack(golden, file)
        library = Library(file, space=SPACE, dim=4, bundle="golden")
        assert library.hide([1]) == [1]
        assert library.reader.findable([1, 2, 3]) == {2, 3}
        library.close()
        db = open_writer(file)
        assert db.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
        db.close()


# --- over HTTP ----------------------------------------------------------------------------------


def shown(desk: Desk, typed: str = "") -> list[str]:
    reply = desk.get(f"/search?q={typed}&all=true").json()
    return sorted(Path(hit["path"]).name for hit in reply["hits"])


def post(desk: Desk, path: str) -> tuple[int, dict[str, list[int]]]:
    answer = desk.client.post(API + path, headers=desk.bearer)
    return answer.status_code, answer.json()


def test_the_api_hides_a_photo_tells_of_it_and_takes_it_back(desk: Desk) -> None:
    names = shown(desk)
    name = names[0]
    wanted = next(
        hit["photo_id"]
        for hit in desk.get("/search?q=").json()["hits"]
        if Path(hit["path"]).name == name
    )
    version = desk.daemon.version
    assert post(desk, f"/photos/{wanted}/hide") == (200, {"photos": [wanted]})
    assert post(desk, f"/photos/{wanted}/hide") == (200, {"photos": []})
    assert desk.daemon.version > version  # pages look again
    assert shown(desk) == names[1:]
    assert shown(desk, "is:hidden") == [name]
    assert desk.get("/status").json()["hidden"] == 1
    assert desk.get(f"/photos/{wanted}").json()["hidden"] is True
    assert desk.get(f"/photos/{wanted}/thumbnail").status_code == 200
    assert post(desk, f"/photos/{wanted}/unhide") == (200, {"photos": [wanted]})
    assert shown(desk) == names
    assert desk.get("/status").json()["hidden"] == 0


def test_similar_photos_are_hidden_together(desk: Desk) -> None:
    for number, quality in enumerate((95, 60, 30)):
        desk.bench.write(f"burst-{number}.jpg", saved(scene(7), quality=quality))
    desk.bench.sync()
    ids = sorted(desk.photo_id(f"burst-{number}.jpg") for number in range(3))
    code, reply = post(desk, f"/photos/{ids[1]}/hide?similar=true")
    assert code == 200
    assert sorted(reply["photos"]) == ids
    assert not [name for name in shown(desk) if name.startswith("burst")]
    code, reply = post(desk, f"/photos/{ids[0]}/unhide?similar=true")
    assert sorted(reply["photos"]) == ids


def test_a_burst_is_taken_back_in_one_request_but_for_what_was_hidden_before(desk: Desk) -> None:
    for number, quality in enumerate((95, 60, 30)):
        desk.bench.write(f"burst-{number}.jpg", saved(scene(7), quality=quality))
    desk.bench.sync()
    ids = sorted(desk.photo_id(f"burst-{number}.jpg") for number in range(3))
    post(desk, f"/photos/{ids[1]}/hide")
    _, reply = post(desk, f"/photos/{ids[0]}/hide?similar=true")
    assert sorted(reply["photos"]) == [ids[0], ids[2]]
    back = ",".join(map(str, reply["photos"]))
    assert post(desk, f"/unhide?ids={back},{10**17}") == (200, reply)  # one is not there
    assert hidden_rows(desk.bench) == [ids[1]]
    assert post(desk, f"/hide?ids={back}") == (200, reply)
    assert hidden_rows(desk.bench) == ids


@pytest.mark.parametrize("ids", ["", "0", "1,", "1,x", "-1", "1" * 19, "+1", "1 ,2", "²"])
def test_what_are_no_ids_of_photos_is_refused(desk: Desk, ids: str) -> None:
    code, reply = post(desk, f"/unhide?ids={ids}")
    assert code == 400
    assert "ids has a value that is not allowed." in str(reply["error"])


def test_as_many_ids_as_a_client_sends_fit_in_one_address(desk: Desk) -> None:
    """As a browser writes them, a comma in three characters."""
    ids = "%2C".join([str(10**18 - 1)] * MAX_IDS)
    assert len(ids) < MAX_HEAD_BYTES / 1.2
    assert post(desk, f"/unhide?ids={ids}") == (200, {"photos": []})
    code, reply = post(desk, f"/unhide?ids={ids}%2C1")
    assert code == 400
    assert f"at most {19 * MAX_IDS - 1} characters" in str(reply["error"])


@pytest.mark.parametrize("path", ["/photos/999999/hide", "/photos/999999/unhide", "/photos/x/hide"])
def test_a_photo_that_is_not_there_cannot_be_hidden(desk: Desk, path: str) -> None:
    code, reply = post(desk, path)
    assert code == 404
    assert "no such photo" in str(reply["error"])


def test_what_is_offered_follows_at_once(desk: Desk) -> None:
    """Searches to try, with their photo, and words to go on with."""
    desk.bench.write("surprise party/cake.jpg", saved(scene(9)))
    desk.bench.sync()
    cake = desk.photo_id("surprise party/cake.jpg")

    def offered() -> list[str]:
        return [each["text"] for each in desk.get("/suggestions?q=in%3Asur").json()]

    assert offered() == ['in:"surprise party"']
    tried = {each["photo_id"] for each in desk.get("/examples").json()}
    assert tried
    for photo_id in {*tried, cake}:
        post(desk, f"/photos/{photo_id}/hide")
    assert offered() == []
    assert not {each["photo_id"] for each in desk.get("/examples").json()} & {*tried, cake}
