"""What to do about a file that could not be used, by the reason that is kept of it."""

from __future__ import annotations

from typing import Final

# By how a reason begins (decode.py and preprocess.py give them).
_BY_BEGINNING: Final = {
    "too large": (
        "It is more than is ever read here, so that no file can fill the memory, and stays left "
        "out. Save a smaller copy beside it, and that is found."
    ),
    "no permission": (
        "Change its permissions so that you may read it. It is read at the next full look at its "
        "folder, or at once by `photosearch retry`."
    ),
    "not supported": (
        "Save it as JPEG, PNG or a plain TIFF in the program that made it: this kind is not read."
    ),
    "not a photo": (
        "Its name is a photo's, and its bytes are not. Open it in another program: if it opens, "
        "save it there as JPEG; else rename or delete it."
    ),
    "empty": (
        "It holds nothing: a copy that was cut off, most likely. Copy it again, or delete it."
    ),
    "cannot be read": (
        "The disk or the network failed on it. Check them and the drive's cable, then run "
        "`photosearch retry`."
    ),
    "damaged": (
        "Restore it from a backup, or copy it again from the camera. If another program opens it, "
        "save it there under a new name, and that is found."
    ),
}
_OTHER: Final = (
    "Open the file in another program: if it is damaged, restore it from a backup or delete it. "
    "If it opens there, run `photosearch retry`."
)


def advice_for(reason: str) -> str:
    """What the user can do about a file rejected for this reason."""
    for beginning, advice in _BY_BEGINNING.items():
        if reason.startswith(beginning):
            return advice
    return _OTHER
