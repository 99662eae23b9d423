"""What the page's panels ask: examples, settings, folders, and what leaves this computer."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from desk import API, Desk
from workbench import jpeg

from photosearch import network
from photosearch.errors import SettingsError
from photosearch.folders import folders_like
from photosearch.settings import Settings, load_settings, save_setting


def post(desk: Desk, address: str, **params: object) -> tuple[int, object]:
    answer = desk.client.post(API + address, params=params, headers=desk.bearer)  # type: ignore[arg-type]
    return answer.status_code, answer.json()


# --- examples ---------------------------------------------------------------------------------


def test_examples_are_made_of_this_library_and_each_finds_something(desk: Desk) -> None:
    for number, year in ((20, 2019), (21, 2019), (22, 2021)):
        file = desk.bench.write(f"Lake trip/{number}.jpg", jpeg(number))
        os.utime(file, (1, 1))
        desk.bench.sync()
        desk.bench.library._db.execute(
            "UPDATE photos SET taken = ? WHERE id = ?",
            (f"{year}-07-01T12:00:00", desk.photo_id(f"Lake trip/{number}.jpg")),
        )
    found = desk.get("/examples").json()
    queries = [example["query"] for example in found]
    assert {"2019", 'in:"Lake trip"'} & set(queries), queries
    assert len(queries) == len(set(queries)) <= 4
    assert len({example["photo_id"] for example in found}) == len(found)
    for example in found:
        hits = desk.client.get(
            f"{API}/search", params={"q": example["query"]}, headers=desk.bearer
        ).json()["hits"]
        assert example["photo_id"] in [hit["photo_id"] for hit in hits], example


def test_an_empty_library_has_no_examples(desk: Desk) -> None:
    for file in desk.bench.disk.iterdir():
        file.unlink()
    desk.bench.sync()
    assert desk.get("/examples").json() == []


def test_examples_are_made_once_for_a_library_of_one_size(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = desk.get("/examples").json()
    monkeypatch.setattr(desk.daemon._examples, "_make", lambda: pytest.fail("made again"))
    assert desk.get("/examples").json() == first


# --- settings ---------------------------------------------------------------------------------


def test_a_setting_is_told_changed_kept_and_obeyed(desk: Desk) -> None:
    told = {each["name"]: each for each in desk.get("/settings").json()}
    assert set(told) >= {"max_cpu", "sweep_minutes"}
    assert told["sweep_minutes"]["value"] == 15
    desk.daemon.home.settings.write_text("# mine\nsweep_minutes = 20 # often enough\n")
    status, changed = post(desk, "/settings", name="sweep_minutes", value=45)
    assert status == 200
    assert {each["name"]: each["value"] for each in changed}["sweep_minutes"] == 45  # type: ignore[attr-defined,index]
    text = desk.daemon.home.settings.read_text()
    assert text == "# mine\nsweep_minutes = 45 # often enough\n"
    assert desk.daemon.indexer._settings.sweep_minutes == 45
    post(desk, "/settings", name="max_cpu", value=1)
    assert load_settings(desk.daemon.home.settings) == desk.daemon.settings
    assert desk.daemon.settings.max_cpu == 1
    assert desk.daemon.indexer._pool._size == 1


@pytest.mark.parametrize(
    ("name", "value"),
    [("max_cpu", 0), ("max_cpu", 101), ("nonsense", 1), ("RANGES", 1), ("graph_from_photos", 1)],
)
def test_a_bad_setting_changes_nothing(desk: Desk, name: str, value: int) -> None:
    status, body = post(desk, "/settings", name=name, value=value)
    assert status in (404, 409)
    assert body["error"]["message"]  # type: ignore[index]
    assert not desk.daemon.home.settings.exists()
    assert desk.daemon.settings == Settings()


def test_a_settings_file_that_is_broken_is_not_written_over(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text("max_cpu = [")
    with pytest.raises(SettingsError, match="not valid TOML"):
        save_setting(file, "max_cpu", 50)
    assert file.read_text() == "max_cpu = ["


# --- folders ----------------------------------------------------------------------------------


def test_a_folder_is_added_from_the_page_and_becomes_searchable(desk: Desk, tmp_path: Path) -> None:
    more = tmp_path / "more photos"
    more.mkdir()
    (more / "new.jpg").write_bytes(jpeg(50))
    status, added = post(desk, "/libraries", path=str(more))
    assert status == 200
    assert added == {"path": str(more), "offline": False, "id": 2}
    assert [each["path"] for each in desk.get("/status").json()["libraries"]] == [
        str(desk.bench.disk),
        str(more),
    ]
    assert len(desk.daemon.indexer.hints) == 1  # it is swept as soon as the thread takes it
    assert post(desk, "/libraries", path=str(more))[1] == added  # twice is once


@pytest.mark.parametrize("path", ["relative/folder", "/no/such/folder", "/etc/passwd", "/a\0b"])
def test_what_is_no_folder_is_refused_in_words(desk: Desk, path: str) -> None:
    status, body = post(desk, "/libraries", path=path)
    assert status == 404
    assert body["error"]["code"] == "no_folder"  # type: ignore[index]
    assert len(desk.daemon.library.reader.roots()) == 1


def test_folders_complete_what_is_typed(tmp_path: Path) -> None:
    for name in ("Pictures", "pies", "Music", ".hidden"):
        (tmp_path / name).mkdir()
    (tmp_path / "pi.txt").touch()
    assert folders_like(f"{tmp_path}/pi") == [f"{tmp_path}/Pictures", f"{tmp_path}/pies"]
    assert len(folders_like(f"{tmp_path}/")) == 3
    assert folders_like(f"{tmp_path}/.h") == [f"{tmp_path}/.hidden"]
    assert folders_like("pi") == folders_like(f"{tmp_path}/none/x") == folders_like("/\0") == []
    assert str(Path.home()) in folders_like("")


# --- what leaves this computer ----------------------------------------------------------------

COUNT = """
import socket
from photosearch import network
network.begin_counting()
with socket.create_server(("127.0.0.1", 0)) as near:
    with socket.create_connection(near.getsockname()):
        print(network.traffic())
    # 192.0.2.0/24 is nobody's. A datagram socket says where it leads and sends nothing.
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as far:
        try:
            far.connect(("192.0.2.1", 9))
        except OSError:
            pass
        print(network.traffic())
    with socket.create_server(("0.0.0.0", 0)):
        print(network.traffic())
"""


def test_the_count_sees_what_leads_outside_and_nothing_else(tmp_path: Path) -> None:
    """In a process of its own: an audit hook stays for good."""
    run = subprocess.run(
        [sys.executable, "-c", COUNT], capture_output=True, text=True, check=True, timeout=60
    )
    near, far, listening = run.stdout.splitlines()
    assert near.endswith("attempts_outside=0)")
    assert far.endswith("attempts_outside=1)")
    if sys.platform == "linux":
        assert near.startswith("Traffic(open_outside=0, listening_outside=0")
        assert listening.startswith("Traffic(open_outside=0, listening_outside=1")
        if _has_route():
            assert far.startswith("Traffic(open_outside=1, listening_outside=0")


def _has_route() -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as far:
        try:
            far.connect(("192.0.2.1", 9))
        except OSError:
            return False
    return True


@pytest.mark.parametrize(
    ("field", "address"),
    [
        ("0100007F:1F90", "127.0.0.1"),
        ("00000000000000000000000001000000:0050", "::1"),
        ("0000000000000000FFFF00000100007F:0050", "127.0.0.1"),
        ("B80D0120000000000000000001000000:0050", "2001:db8::1"),
    ],
)
@pytest.mark.skipif(sys.byteorder != "little", reason="written as this machine would not")
def test_the_systems_addresses_are_read_as_it_writes_them(field: str, address: str) -> None:
    assert str(network._address(field)) == address


def test_the_page_is_told_real_numbers(desk: Desk) -> None:
    told = desk.get("/privacy").json()
    assert told["home"] == str(desk.bench.home)
    assert told["library_bytes"] >= (desk.bench.home / "library.db").stat().st_size
    assert told["thumbnail_bytes"] > 0
    assert told["attempts_outside"] == network.traffic().attempts_outside
    if sys.platform == "linux":
        assert told["listening_outside"] is not None
