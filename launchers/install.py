"""Put a launcher's adapter where the launcher looks for it.

    python launchers/install.py gnome | krunner | ulauncher | raycast | alfred | flow

Run it with the Python that has photosearch: that Python is what the launchers will start.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import plistlib
import shlex
import shutil
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))  # a checkout is not installed

from photosearch import program  # noqa: E402

SYSTEM = Path("/usr/local/share")
PAGE_ICON = program.PACKAGE / "static" / "icon.svg"

SERVICE = """\
[D-BUS Service]
Name={name}
Exec={command}
"""
DESKTOP = """\
[Desktop Entry]
Type=Application
Name=Photo search
Comment=Search your photos by what they show
Exec={command}
Icon={icon}
Categories=Graphics;Photography;Utility;
Terminal=false
"""
PROVIDER = """\
[Shell Search Provider]
DesktopId=org.photosearch.desktop
BusName=org.photosearch.SearchProvider
ObjectPath=/org/photosearch/SearchProvider
Version=2
"""
RUNNER = """\
[Desktop Entry]
Type=Service
Name=Photos
Comment=Search your photos by what they show
Icon={icon}
X-KDE-ServiceTypes=Plasma/Runner
X-KDE-PluginInfo-Name=photosearch
X-KDE-PluginInfo-EnabledByDefault=true
X-Plasma-API=DBus
X-Plasma-DBusRunner-Service=org.photosearch.Runner
X-Plasma-DBusRunner-Path=/runner
X-Plasma-Request-Actions-Once=true
X-Plasma-Runner-Min-Letter-Count=1
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("launcher", choices=sorted(INSTALLERS))
    parser.add_argument("--home", help="photosearch's home, where it is not the usual one")
    parser.add_argument("--to", type=Path, help="another folder than the launcher's own")
    args = parser.parse_args()
    for line in INSTALLERS[args.launcher](args.home, args.to):
        print(line)
    return 0


def command(home: str | None) -> list[str]:
    return [*program.command(), *(["--home", os.path.abspath(home)] if home else [])]


def data_home(to: Path | None) -> Path:
    return to or Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")


def write(file: Path, text: str) -> str:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")
    return f"wrote {file}"


def desktop_word(word: str) -> str:
    """One argument of a desktop file's Exec=."""
    for special in '\\"`$':
        word = word.replace(special, f"\\{special}")
    # The value itself is unescaped once more before it is split into words.
    return '"' + word.replace("\\", "\\\\").replace("%", "%%") + '"'


def bus_service(name: str, script: str, home: str | None, folder: Path) -> str:
    words = [
        sys.executable,
        str(HERE / script),
        *(["--home", os.path.abspath(home)] if home else []),
    ]
    text = SERVICE.format(name=name, command=shlex.join(words))
    return write(folder / "dbus-1" / "services" / f"{name}.service", text)


def gnome(home: str | None, to: Path | None) -> list[str]:
    folder = data_home(to)
    words = " ".join(map(desktop_word, [*command(home), "open"]))
    said = [
        bus_service("org.photosearch.SearchProvider", "gnome/provider.py", home, folder),
        write(
            folder / "applications" / "org.photosearch.desktop",
            DESKTOP.format(command=words, icon=PAGE_ICON),
        ),
    ]
    # GNOME Shell reads this one from the system's data folders alone.
    place = Path("gnome-shell") / "search-providers" / "org.photosearch.SearchProvider.ini"
    ours = folder / "photosearch" / place.name
    said.append(write(ours, PROVIDER))
    said.append("Now have GNOME Shell read it, then log out and in again:")
    said.append(f"  sudo install -D -m 644 {shlex.quote(str(ours))} {SYSTEM / place}")
    return said


def krunner(home: str | None, to: Path | None) -> list[str]:
    folder = data_home(to)
    return [
        bus_service("org.photosearch.Runner", "krunner/runner.py", home, folder),
        write(
            folder / "krunner" / "dbusplugins" / "photosearch.desktop",
            RUNNER.format(icon=PAGE_ICON),
        ),
        "Then: kquitapp6 krunner",
    ]


def copied(name: str, folder: Path, home: str | None) -> list[str]:
    """The launcher's own files, photos.py, and how photosearch is started."""
    folder.mkdir(parents=True, exist_ok=True)
    for file in (HERE / name).iterdir():
        if file.is_file():
            shutil.copy(file, folder / file.name)
    shutil.copy(HERE / "photos.py", folder / "photos.py")
    return [write(folder / "command.json", json.dumps(command(home)))]


def ulauncher(home: str | None, to: Path | None) -> list[str]:
    folder = data_home(to) / "ulauncher" / "extensions" / "org.photosearch"
    said = copied("ulauncher", folder, home)
    (folder / "images").mkdir(exist_ok=True)
    shutil.copy(PAGE_ICON, folder / "images" / "icon.svg")
    return [*said, "Then start Ulauncher again, and type: ph beach"]


def flow(home: str | None, to: Path | None) -> list[str]:
    base = to or Path(os.environ.get("APPDATA") or Path.home() / "AppData" / "Roaming")
    folder = base / "FlowLauncher" / "Plugins" / "Photos-0.1.0"
    said = copied("flow", folder, home)
    (folder / "icon.png").write_bytes(icon_png())
    return [*said, "Then start Flow Launcher again, and type: ph beach"]


def raycast(home: str | None, to: Path | None) -> list[str]:
    folder = (to or Path.cwd()) / "photosearch-raycast"
    shutil.copytree(HERE / "raycast" / "src", folder / "src", dirs_exist_ok=True)
    shutil.copy(HERE / "raycast" / "tsconfig.json", folder)
    (folder / "assets").mkdir(exist_ok=True)
    (folder / "assets" / "icon.png").write_bytes(icon_png(512))
    about = json.loads((HERE / "raycast" / "package.json").read_text(encoding="utf-8"))
    (preference,) = about["preferences"]
    preference["default"] = " ".join(map(quoted, command(home)))
    made = write(folder / "package.json", json.dumps(about, indent=2) + "\n")
    there = shlex.quote(str(folder))
    return [made, f"Then: cd {there} && npm install && npm run dev", "It stays when that is ended."]


def quoted(word: str) -> str:
    """A word as raycast/src/photos.js takes a line apart: there is no escaping in quotes."""
    return f"'{word}'" if '"' in word else f'"{word}"'


def alfred(home: str | None, to: Path | None) -> list[str]:
    folder = (to or Path.cwd()) / "photosearch-workflow"
    said = copied("alfred", folder, home)
    (folder / "info.plist").write_bytes(plistlib.dumps(workflow()))
    (folder / "icon.png").write_bytes(icon_png())
    made = folder.with_name("photosearch.alfredworkflow")
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(folder.iterdir()):
            if file.is_file():
                archive.write(file, file.name)
    shutil.rmtree(folder)
    return [said[0].replace(str(folder / "command.json"), str(made)), "Then double-click it."]


def workflow() -> dict[str, object]:
    """Script filter -> open; with Cmd -> show in Finder."""
    search, opening, showing = "SEARCH", "OPEN", "REVEAL"
    return {
        "bundleid": "org.photosearch.alfred",
        "name": "Photos",
        "description": "Search your photos by what they show",
        "createdby": "photosearch",
        "version": "0.1.0",
        "category": "Tools",
        "disabled": False,
        "objects": [
            {
                "uid": search,
                "type": "alfred.workflow.input.scriptfilter",
                "version": 3,
                "config": {
                    "keyword": "ph",
                    "title": "Search your photos",
                    "subtext": "by what they show",
                    "runningsubtext": "Looking…",
                    "withspace": True,
                    "argumenttype": 0,
                    "type": 0,  # bash
                    "scriptargtype": 1,  # the query as $1
                    "script": '/usr/bin/python3 filter.py "$1"',
                    "queuemode": 2,  # a newer query ends this one
                    "queuedelaymode": 0,
                    "queuedelayimmediatelyinitially": True,
                    "escaping": 0,
                },
            },
            {
                "uid": opening,
                "type": "alfred.workflow.action.openfile",
                "version": 3,
                "config": {"openwith": "", "sourcefile": ""},
            },
            {
                "uid": showing,
                "type": "alfred.workflow.action.revealfile",
                "version": 1,
                "config": {"path": ""},
            },
        ],
        "connections": {
            search: [
                {"destinationuid": opening, "modifiers": 0, "modifiersubtext": ""},
                {"destinationuid": showing, "modifiers": 1 << 20, "modifiersubtext": ""},  # Cmd
            ]
        },
        "uidata": {
            search: {"xpos": 40, "ypos": 40},
            opening: {"xpos": 300, "ypos": 40},
            showing: {"xpos": 300, "ypos": 160},
        },
    }


def icon_png(side_px: int = 128) -> bytes:
    """The mark as a bitmap, for launchers that read no SVG."""
    from PIL import Image, ImageDraw

    large = Image.new("RGBA", (512, 512))
    draw = ImageDraw.Draw(large)
    draw.rounded_rectangle((0, 0, 511, 511), 120, fill="#4f5ad8")
    draw.ellipse((100, 100, 348, 348), outline="white", width=40)
    draw.line((316, 316, 408, 408), fill="white", width=52)
    file = io.BytesIO()
    large.resize((side_px, side_px), Image.Resampling.LANCZOS).save(file, "PNG")
    return file.getvalue()


INSTALLERS: dict[str, Callable[[str | None, Path | None], list[str]]] = {
    "gnome": gnome,
    "krunner": krunner,
    "ulauncher": ulauncher,
    "raycast": raycast,
    "alfred": alfred,
    "flow": flow,
}

if __name__ == "__main__":
    sys.exit(main())
