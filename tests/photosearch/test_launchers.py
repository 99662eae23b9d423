"""The launchers' adapters: on a real session bus, against the real program, or by stand-ins."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import plistlib
import shutil
import subprocess
import sys
import types
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from sessionbus import Bus, session_bus
from test_program import Program, toy  # noqa: F401
from toy import painted

CHECKOUT = Path(__file__).parent.parent.parent
LAUNCHERS = CHECKOUT / "launchers"
NAMES = [f"{colour} {number}.jpg" for colour in ("red", "green") for number in range(3)]


def install(launcher: str, to: Path, home: Path) -> str:
    done = subprocess.run(
        [sys.executable, str(LAUNCHERS / "install.py"), launcher, "--to", str(to), "--home", home],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Stands for the viewer and the file manager: a file with a line for each start."""
    folder = tmp_path_factory.mktemp("bin")
    told = folder / "told"
    for name in ("xdg-open", "dbus-send"):
        tool = folder / name
        tool.write_text(f'#!/bin/sh\necho {name} "$@" >> {told}\n')
        tool.chmod(0o755)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
        yield told


@pytest.fixture(scope="module")
def library(
    tmp_path_factory: pytest.TempPathFactory,
    toy: Path,  # noqa: F811
    opened: Path,
) -> Iterator[Program]:
    """Six photos and a daemon that serves them to all of these tests."""
    folder = tmp_path_factory.mktemp("library")
    made = Program(folder / "home", folder / "photos", toy)
    made.disk.mkdir()
    for number, name in enumerate(NAMES):
        made.write(name, painted(name.split()[0], seed=number))
    made.serve("--library", str(made.disk)).settle(len(NAMES))
    yield made
    for process in made.started:
        process.kill()
        process.communicate()


def load(file: Path) -> types.ModuleType:
    """A launcher's main file, as its launcher imports it: beside its own photos.py."""
    sys.modules.pop("photos", None)
    sys.path.insert(0, str(file.parent))
    try:
        spec = importlib.util.spec_from_file_location(f"launcher_{file.parent.name}", file)
        assert spec is not None and spec.loader is not None
        module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module
    finally:
        sys.path.remove(str(file.parent))


# --- GNOME and KDE, on a session bus of their own ---------------------------------------------


def install_services(data: Path, home: Path) -> None:
    """Where a session bus with this data folder finds them."""
    install("gnome", data, home)
    install("krunner", data, home)


@pytest.fixture(scope="module")
def bus(opened: Path, library: Program, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bus]:
    data = tmp_path_factory.mktemp("data")
    install_services(data, library.home)
    with session_bus(data, opened) as made:
        yield made


def test_gnome_shell_finds_shows_and_opens_photos(bus: Bus, library: Program) -> None:
    (found,) = bus.gnome("GetInitialResultSet", "as", ["green"])  # the bus starts the provider
    assert len(found) == 3
    (metas,) = bus.gnome("GetResultMetas", "as", [*found, "999", "no number"])
    assert sorted(meta["name"][1] for meta in metas) == [
        "green 0.jpg",
        "green 1.jpg",
        "green 2.jpg",
    ]
    for meta in metas:
        assert meta["id"][1] in found
        kind, picture = meta["icon-data"]
        width, height, row_bytes, has_alpha, bits, channels, pixels = picture
        assert kind == "(iiibiiay)"
        assert (row_bytes, has_alpha, bits, channels) == (width * 3, False, 8, 3)
        assert len(pixels) == row_bytes * height
        assert pixels[1] > 150 > pixels[0]  # green
    assert bus.gnome("GetInitialResultSet", "as", ["gr"]) == ([],)  # still being typed
    assert bus.gnome("GetInitialResultSet", "as", []) == ([],)
    assert sorted(bus.gnome("GetInitialResultSet", "as", ["绿"])[0]) == sorted(found)
    (fewer,) = bus.gnome("GetSubsearchResultSet", "asas", found, ["red"])
    assert len(fewer) == 3 and not set(fewer) & set(found)
    bus.opened.unlink(missing_ok=True)
    bus.gnome("ActivateResult", "sasu", found[0], ["green"], 0)
    assert bus.was_opened(1) == [f"xdg-open {library.disk / metas[0]['name'][1]}"]


def test_krunner_finds_shows_and_opens_photos(bus: Bus, library: Program) -> None:
    (matches,) = bus.kde("Match", "s", "green")
    assert len(matches) == 3
    identifier, name, _, kind, relevance, properties = matches[0]
    assert (kind, relevance) == (50, 1.0)
    assert matches[2][4] < matches[1][4] < relevance  # in our order
    assert properties["urls"] == ("as", [(library.disk / name).as_uri()])
    assert properties["icon-data"][0] == "(iiibiiay)"
    (actions,) = bus.kde("Actions", "")
    assert properties["actions"] == ("as", [actions[0][0]]) == ("as", ["reveal"])
    assert bus.kde("Match", "s", "gr") == ([],)
    assert [row[1] for row in bus.kde("Match", "s", "绿")[0]] == [row[1] for row in matches]
    bus.opened.unlink(missing_ok=True)
    bus.kde("Run", "ss", identifier, "")
    assert bus.was_opened(1) == [f"xdg-open {library.disk / name}"]
    bus.kde("Run", "ss", identifier, "reveal")
    assert bus.was_opened(2)[1].startswith("dbus-send ")
    bus.kde("Teardown", "")
    assert bus.kde("Config", "")[0]["MinLetterCount"] == ("i", 1)  # of any script


def test_the_bus_services_say_what_they_are_and_refuse_what_they_are_not(bus: Bus) -> None:
    from jeepney.wrappers import DBusErrorResponse

    introspectable = "org.freedesktop.DBus.Introspectable"
    (text,) = bus.call("org.photosearch.Runner", "/runner", introspectable, "Introspect", "")
    assert '<method name="Match"><arg type="s" direction="in"/>' in text
    for method, takes, args in (("Erase", "s", ("x",)), ("Match", "i", (5,)), ("Run", "s", ("1",))):
        with pytest.raises(DBusErrorResponse):
            bus.kde(method, takes, *args)
    assert len(bus.kde("Match", "s", "green")[0]) == 3  # and goes on


def test_without_a_daemon_the_bus_services_find_nothing(opened: Path, tmp_path: Path) -> None:
    install_services(tmp_path / "data", tmp_path / "home")
    with session_bus(tmp_path / "data", opened) as bus:
        assert bus.gnome("GetInitialResultSet", "as", ["green"]) == ([],)
        assert bus.kde("Match", "s", "green") == ([],)
        bus.kde("Run", "ss", "1", "")


@pytest.mark.parametrize(
    ("typed", "is_asked"),
    [
        ("", False), ("  ", False), ("gr", False), ("gr ", False), ("é", False), ("ok", False),
        ("dog", True), ("狗", True), (" 狗 ", True), ("海滩", True), ("g狗", True), ("犬", True),
        ("いぬ", True), ("ネコ", True), ("개", True), ("𠮷", True), ("豈", True), ("、", False),
    ],
)  # fmt: skip
def test_one_sign_that_is_a_word_is_worth_a_search(typed: str, is_asked: bool) -> None:
    pytest.importorskip("jeepney", reason="jeepney is not installed")
    assert load(LAUNCHERS / "bus.py").is_enough(typed) is is_asked


def test_signatures_are_split_into_their_types() -> None:
    pytest.importorskip("jeepney", reason="jeepney is not installed")
    split = load(LAUNCHERS / "bus.py").split
    assert split("sasu") == ["s", "as", "u"]
    assert split("asas") == ["as", "as"]
    assert split("aa{sv}") == ["aa{sv}"]
    assert split("a(sssida{sv})") == ["a(sssida{sv})"]
    assert split("") == []


def test_what_gnome_and_kde_read(tmp_path: Path) -> None:
    import configparser
    import shlex

    home = tmp_path / 'my "home" $x %h'
    said = install("gnome", tmp_path, home) + install("krunner", tmp_path, home)
    assert "sudo install" in said  # GNOME reads it from the system's folders alone
    ini = configparser.ConfigParser(interpolation=None)
    ini.optionxform = str  # type: ignore[assignment]
    files = sorted(
        file for file in tmp_path.rglob("*") if file.suffix in (".service", ".desktop", ".ini")
    )
    assert len(files) == 5
    ini.read(files)
    plasma = (tmp_path / "krunner" / "dbusplugins" / "photosearch.desktop").read_text()
    assert "X-Plasma-Runner-Min-Letter-Count=1\n" in plasma  # more, and 狗 is never asked for
    provider = ini["Shell Search Provider"]
    assert (tmp_path / "applications" / provider["DesktopId"]).exists()
    names = {provider["BusName"], "org.photosearch.Runner"}
    services = {file.stem for file in (tmp_path / "dbus-1" / "services").iterdir()}
    assert services == names
    for file in (tmp_path / "dbus-1" / "services").iterdir():
        line = next(each for each in file.read_text().splitlines() if each.startswith("Exec="))
        words = shlex.split(line.removeprefix("Exec="))
        assert words[0] == sys.executable and Path(words[1]).is_file()
        assert words[2:] == ["--home", str(home)]
    if shutil.which("desktop-file-validate"):
        desktop = str(tmp_path / "applications" / "org.photosearch.desktop")
        done = subprocess.run(
            ["desktop-file-validate", desktop], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout


# --- those that ask the command line ----------------------------------------------------------


def test_alfred_s_workflow_finds_photos(library: Program, tmp_path: Path) -> None:
    install("alfred", tmp_path, library.home)
    folder = tmp_path / "unpacked"
    zipfile.ZipFile(tmp_path / "photosearch.alfredworkflow").extractall(folder)
    about = plistlib.loads((folder / "info.plist").read_bytes())
    uids = {each["uid"] for each in about["objects"]}
    for source, ways in about["connections"].items():
        assert source in uids and {way["destinationuid"] for way in ways} <= uids
    script = about["objects"][0]["config"]["script"]
    assert script.startswith("/usr/bin/python3 ")

    def ask(query: str) -> list[dict[str, Any]]:
        words = script.replace("/usr/bin/python3", sys.executable, 1)
        done = subprocess.run(
            ["bash", "-c", words, "-", query], capture_output=True, cwd=folder, timeout=60
        )
        assert done.returncode == 0, done.stderr
        items: list[dict[str, Any]] = json.loads(done.stdout)["items"]
        return items

    found = ask("green")
    assert [Path(each["arg"]).parent for each in found] == [library.disk] * 3
    assert all(each["icon"] == {"type": "fileicon", "path": each["arg"]} for each in found)
    assert "uid" not in found[0]  # Alfred would sort by its own habits
    assert ask("") == []
    assert ask("blue") == [{"title": "Nothing looks like that", "valid": False}]
    assert ask('-"x"; rm -rf $HOME `id`')  # a query is one word, whatever is in it


def test_flow_launcher_s_plugin_finds_photos(library: Program, tmp_path: Path) -> None:
    install("flow", tmp_path, library.home)
    (folder,) = (tmp_path / "FlowLauncher" / "Plugins").iterdir()
    about = json.loads((folder / "plugin.json").read_text())
    assert (folder / about["ExecuteFileName"]).is_file() and (folder / about["IcoPath"]).is_file()
    assert about["Language"] == "python" and len(about["ID"]) == 32

    def ask(method: str, *parameters: Any) -> Any:
        request = json.dumps({"method": method, "parameters": list(parameters)})
        done = subprocess.run(
            [sys.executable, str(folder / about["ExecuteFileName"]), request],
            capture_output=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)["result"]

    found = ask("query", "green")
    assert len(found) == 3
    path = found[0]["ContextData"][0]
    assert Path(path).parent == library.disk
    assert found[0]["JsonRPCAction"] == {"method": "open_photo", "parameters": [path]}
    (menu,) = ask("context_menu", [path])
    assert menu["JsonRPCAction"] == {"method": "reveal_photo", "parameters": [path]}
    assert ask("query", "") == []
    assert ask("query", "blue")[0]["Title"] == "Nothing looks like that"


def test_flow_launcher_opens_and_reveals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install("flow", tmp_path, tmp_path)
    (folder,) = (tmp_path / "FlowLauncher" / "Plugins").iterdir()
    flow = load(folder / "main.py")
    done: list[Any] = []
    monkeypatch.setattr(flow.os, "startfile", lambda path: done.append(path), raising=False)
    monkeypatch.setattr(flow.subprocess, "Popen", lambda words: done.append(words))
    assert flow.answer({"method": "open_photo", "parameters": ["C:\\a b.jpg"]}) is None
    assert flow.answer({"method": "reveal_photo", "parameters": ["C:\\a b.jpg"]}) is None
    assert done == ["C:\\a b.jpg", ["explorer", "/select,C:\\a b.jpg"]]


def test_ulauncher_s_extension_finds_photos(
    library: Program,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Ulauncher's own modules by stand-ins that keep what they are given."""
    install("ulauncher", tmp_path, library.home)
    (folder,) = (tmp_path / "ulauncher" / "extensions").iterdir()
    about = json.loads((folder / "manifest.json").read_text())
    assert (folder / about["icon"]).is_file()
    assert about["required_api_version"] == "2"

    def kept(name: str) -> type:
        def remember(self: Any, *args: Any, **values: Any) -> None:
            self.args, self.values = args, values

        return type(name, (), {"__init__": remember})

    for module, name in (
        ("client.EventListener", "EventListener"),
        ("client.Extension", "Extension"),
        ("shared.action.DoNothingAction", "DoNothingAction"),
        ("shared.action.OpenAction", "OpenAction"),
        ("shared.action.RenderResultListAction", "RenderResultListAction"),
        ("shared.event", "KeywordQueryEvent"),
        ("shared.item.ExtensionResultItem", "ExtensionResultItem"),
    ):
        stand_in = types.ModuleType(f"ulauncher.api.{module}")
        setattr(stand_in, name, kept(name))
        monkeypatch.setitem(sys.modules, f"ulauncher.api.{module}", stand_in)
    main = load(folder / "main.py")

    def ask(typed: str | None) -> list[Any]:
        event = types.SimpleNamespace(get_argument=lambda: typed)
        rows: list[Any] = main.Typed().on_event(event, None).args[0]
        return rows

    found = ask("green")
    assert sorted(row.values["name"] for row in found) == NAMES[3:]
    best_first = library.find("green")
    assert [row.values["name"] for row in found] == best_first  # in our order
    assert ask("绿")[0].values["name"] == best_first[0]
    path = found[0].values["on_enter"].args[0]
    assert Path(path).parent == library.disk
    assert found[0].values["on_alt_enter"].args == (str(library.disk),)
    assert ask(None) == [] and ask("") == []
    assert ask("blue")[0].values["name"] == "No photos"


def test_trouble_is_shown_in_the_launcher(tmp_path: Path) -> None:
    photos = load(LAUNCHERS / "photos.py")
    folder = tmp_path / "there"
    folder.mkdir()
    shutil.copy(LAUNCHERS / "photos.py", folder)
    here = load(folder / "photos.py")
    assert here.command() == ["photosearch"]  # nothing was installed beside it
    for words, expected in (
        ([str(tmp_path / "gone")], "cannot be started"),
        ([sys.executable, "-c", "raise SystemExit('photosearch: no library yet')"], "no library"),
    ):
        (folder / "command.json").write_text(json.dumps(words))
        if "gone" in words[0]:
            with pytest.raises(here.SearchFailed, match=expected):
                here.search("green")
        else:
            assert here.search("green") == []  # exit code 1 is: nothing found
    (folder / "command.json").write_text(
        json.dumps(
            [
                sys.executable,
                "-c",
                "import sys; print('photosearch: bad', file=sys.stderr); sys.exit(3)",
            ]
        )
    )
    with pytest.raises(here.SearchFailed, match=r"^bad$"):
        here.search("green")
    assert photos.COUNT == 9


# --- Raycast ----------------------------------------------------------------------------------


def find_node() -> str | None:
    """Node itself, or the one that playwright brings."""
    with contextlib.suppress(ImportError):
        import playwright

        bundled = Path(playwright.__file__).parent / "driver" / "node"
        if bundled.is_file():
            return str(bundled)
    return shutil.which("node")


@pytest.mark.skipif(find_node() is None, reason="no Node here")
def test_raycast_s_part_finds_photos(library: Program, tmp_path: Path) -> None:
    from photosearch import program as starting

    module = (LAUNCHERS / "raycast" / "src" / "photos.js").as_uri()
    install("raycast", tmp_path, library.home)
    about = json.loads((tmp_path / "photosearch-raycast" / "package.json").read_text())
    command = about["preferences"][0]["default"]
    words = [*starting.command(), "--home", str(library.home)]
    script = f"""
        const {{ search, words }} = await import({json.dumps(module)});
        const command = {json.dumps(command)};
        const failure = await search("/no/such/program", "x").catch((error) => error.message);
        const aborter = new AbortController();
        const late = search(command, "green", aborter.signal).catch((error) => error.name);
        aborter.abort();
        console.log(JSON.stringify({{
            found: await search(command, "green"),
            none: await search(command, "blue"),
            empty: await search(command, "  "),
            words: words(`"/a b/python" 'c d' e`),
            command: words(command),
            failure,
            late: await late,
        }}));
    """
    node = find_node()
    assert node is not None
    done = subprocess.run(
        [node, "--input-type=module", "-e", script], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert sorted(each["name"] for each in answer["found"]) == [f"green {n}.jpg" for n in range(3)]
    assert answer["none"] == answer["empty"] == []
    assert answer["words"] == ["/a b/python", "c d", "e"]
    assert answer["command"] == words
    assert "ENOENT" in answer["failure"] and answer["late"] == "AbortError"


COMPILER = LAUNCHERS / "raycast" / "node_modules" / "typescript" / "bin" / "tsc"


@pytest.mark.skipif(find_node() is None, reason="no Node here")
@pytest.mark.skipif(not COMPILER.exists(), reason="no TypeScript here: `make raycast` gets it")
def test_raycast_s_types_are_right() -> None:
    node = find_node()
    assert node is not None
    done = subprocess.run(
        [node, str(COMPILER), "--noEmit"],
        cwd=LAUNCHERS / "raycast",
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout


def test_raycast_s_manifest_names_what_is_there(tmp_path: Path) -> None:
    home = tmp_path / "my home"
    install("raycast", tmp_path, home)
    install("raycast", tmp_path, home)  # again, as after an upgrade
    folder = tmp_path / "photosearch-raycast"
    about = json.loads((folder / "package.json").read_text())
    with Image.open(folder / "assets" / about["icon"]) as icon:
        assert (icon.format, icon.size) == ("PNG", (512, 512))  # as Raycast asks for
    for command in about["commands"]:
        assert (folder / "src" / f"{command['name']}.tsx").is_file()
    for script in ("dev", "check"):
        assert script in about["scripts"]
    assert (folder / "tsconfig.json").is_file()
    assert about["preferences"][0]["default"].endswith(f'"--home" "{home}"')
    source = (folder / "src" / "search.tsx").read_text()
    for preference in about["preferences"]:
        assert f"{{ {preference['name']}: string }}" in source


def test_every_launcher_has_its_line_in_the_readme() -> None:
    text = (LAUNCHERS / "README.md").read_text()
    for folder in LAUNCHERS.iterdir():
        if folder.is_dir() and not folder.name.startswith("__"):
            assert f"**{folder.name}/**" in text
