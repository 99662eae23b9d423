"""Every word the bar shows, and how numbers and dates are written. Pure."""

from __future__ import annotations

import os
import re
from typing import Final

from photosearch.protocol import IndexingMessage, StatusReply
from photosearch.types import Hit

TITLE: Final = "Photo search"
PLACEHOLDER: Final = "Search your photos"
BOX: Final = "Search your photos by what they show"
GRID: Final = "Photos"
NEWEST: Final = "Newest photos"
OFFLINE: Final = "offline"
LESS_LIKELY: Final = "less likely"
SHOW_LESS_LIKELY: Final = "Show less likely photos"
SHOW_ANYWAY: Final = "Show the nearest anyway"
OTHER_WORDS: Final = "Try other words: what the photo shows, not what it is called."
EMPTY: Final = "No photos here yet"
EMPTY_ADVICE: Final = "They can be searched as soon as each one is indexed."
DOWN: Final = "photosearch is not running"
DOWN_ADVICE: Final = "Your library is safe. Start it, and search again."
START: Final = "Start it"
STARTING: Final = "Starting…"
HINT: Final = "Space  preview      ↵  open      Ctrl ↵  folder      ?  keys"
COPIED: Final = "Copied"
COPIED_PATH: Final = "Path copied"
OPEN: Final = "Open"
REVEAL: Final = "Show in folder"
COPY: Final = "Copy"
MORE: Final = "More like this"
HIDE: Final = "Hide"
UNHIDE: Final = "Find again"
UNDONE: Final = "Undone"
SUGGESTIONS: Final = "Suggestions"
TRY: Final = "Try"
SETTINGS: Final = "Settings"
SETTINGS_MORE: Final = "Folders and more settings…"
PAUSE: Final = "Pause indexing"
FORGET_SEARCHES: Final = "Forget past searches"
SEARCHES_FORGOTTEN: Final = "Past searches are forgotten."
SAVED: Final = "Saved."
# Those with two states; the page's names, where the daemon knows others.
SWITCHES: Final = {
    "history": "Remember searches",
    "pause_on_battery": "Pause indexing on battery",
    "read_text": "Find text inside pictures",
}
CLOSE: Final = "Close"
TRAY_SHOW: Final = "Search…"
TRAY_PAGE: Final = "Open in the browser"
TRAY_SETTINGS: Final = "Settings…"
TRAY_PAUSE: Final = "Pause indexing"
TRAY_RESUME: Final = "Resume indexing"
TRAY_QUIT: Final = "Close the search bar"
TRAY_STOP: Final = "Stop photosearch"
KEYS_TITLE: Final = "Keys"
# The same rows as the page's list, where the bar has nothing of its own.
KEYS: Final = (
    ("/", "Go to the search box"),
    ("↓", "From the box into the photos"),
    ("← → ↑ ↓", "Move between photos"),
    ("Home End", "First and last photo"),
    ("End", "At the end of the words: take the first suggestion"),
    ("Space", "Preview, and close it"),
    ("Enter", "Open the photo"),
    ("Ctrl Enter", "Show the photo in its folder"),
    ("Ctrl C", "Copy the photo's file"),
    ("Ctrl Shift C", "Copy its path"),
    ("Shift Enter", "More like this photo"),
    ("Alt Enter", "The similar photos it stands for"),
    ("Delete", "Hide the photo from search; the file stays"),
    ("Ctrl Z", "Undo that"),
    ("Esc", "Back: preview, photos, text, away"),
    ("?", "This list"),
)
MONTHS: Final = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September",
    "October", "November", "December",
)  # fmt: skip


def photos(count: int, *, more: bool = False) -> str:
    return f"{count:,}{'+' if more else ''} {'photo' if count == 1 and not more else 'photos'}"


def no_match(query: str) -> str:
    return f"Nothing looks like “{query}”" if query else "Nothing looks like the chosen photo"


def like(name: str) -> str:
    return f"like: {name}   ×"


def leave_like(name: str) -> str:
    return f"Stop looking for photos like {name}"


def similar_to(name: str) -> str:
    return f"with {name}   ×"


def leave_similar(name: str) -> str:
    return f"Back from the photos similar to {name}"


def show_similar(count: int) -> str:
    return f"Show {count:,} similar {'photo' if count == 1 else 'photos'}"


def similar_short(count: int) -> str:
    return f"+{count:,}"


def forget(query: str) -> str:
    return f"Forget the search {query}"


def change(part: str) -> str:
    return f"Change {part}"


def take_out(part: str) -> str:
    return f"Remove {part}"


def switch(name: str) -> str:
    """A setting by its name in the file, where it has no other yet."""
    return SWITCHES.get(name, name.replace("_", " ").capitalize())


def key_held(chord: str) -> str:
    return f"{chord} shows and hides this bar. Another: photosearch bar --hotkey …"


def opening(name: str) -> str:
    return f"Opening {name}…"


def revealing(name: str) -> str:
    return f"Showing {name} in its folder…"


def hidden_now(name: str, count: int) -> str:
    what = photos(count) if count > 1 else name
    return f"{what} will not be found any more. Ctrl Z takes it back."


def found_again(name: str, count: int) -> str:
    return f"{photos(count) if count > 1 else name} can be found again."


def not_connected(name: str) -> str:
    return f"{name} is in a folder that is not connected now."


def shown(path: str) -> str:
    """A path as it can be shown: what is not UTF-8 becomes a question mark."""
    return path.encode("utf-8", "replace").decode()


def name_of(path: str) -> str:
    """The file's name, as it can be shown."""
    return shown(re.split(r"[\\/]" if os.name == "nt" else "/", path)[-1])


def day(taken: str | None) -> str:
    """A camera's clock has no zone: the date is shown as it was written."""
    found = re.match(r"(\d{4})-(\d\d)-(\d\d)", taken or "")
    if not found or not 1 <= int(found[2]) <= 12:
        return ""
    return f"{int(found[3])} {MONTHS[int(found[2]) - 1]} {found[1]}"


def alt(hit: Hit) -> str:
    """What a screen reader says of a photo."""
    similar = f"and {hit.similar:,} similar" if hit.similar else ""
    parts = (name_of(hit.path), day(hit.taken), hit.place, OFFLINE if hit.offline else "", similar)
    return ", ".join(filter(None, parts))


def facts(hit: Hit) -> str:
    """A photo's line: when, how large, why it was found."""
    size = f"{hit.width_px:,} × {hit.height_px:,}"
    likely = "" if hit.relevant else LESS_LIKELY
    parts = (day(hit.taken), hit.place, size, OFFLINE if hit.offline else "", likely, *hit.why)
    return "  ·  ".join(filter(None, parts))


def progress(status: StatusReply) -> str:
    """The right end of the foot; empty where there is nothing to say."""
    now: IndexingMessage = status.indexing
    if now.state == "paused":
        return "Indexing is paused"
    if now.state != "working":
        return ""
    if not now.to_do:
        return "Looking through your folders…"
    left = f", {duration(now.eta_seconds)}" if now.eta_seconds else ""
    return f"Indexed {now.done:,} of {now.to_do:,}{left}"


def duration(seconds: float) -> str:
    if seconds < 50:
        return "less than a minute"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"about {minutes} min"
    hours = round(minutes / 60)
    return f"about {hours} {'hour' if hours == 1 else 'hours'}"
