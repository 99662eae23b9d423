"""Whether a folder lies on another computer: there, changes send no events."""

from __future__ import annotations

import functools
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Final

MOUNTINFO: Final = Path("/proc/self/mountinfo")
MOUNT_SECONDS: Final = 5.0
NETWORK: Final = frozenset(
    ("nfs", "nfs4", "cifs", "smb2", "smb3", "smbfs", "9p", "afs", "afpfs", "ceph", "glusterfs",
     "lustre", "ncpfs", "webdav", "davfs", "ocfs2", "virtiofs", "vboxsf", "vmhgfs", "prl_fs")
)  # fmt: skip
# FUSE names what stands behind it; gvfs and others mount there too.
NETWORK_FUSE: Final = re.compile(
    r"fuse\.(sshfs|rclone|davfs2?|s3fs|curlftpfs|gvfsd-fuse|smbnetfs|glusterfs|ceph|cifs|"
    r"google-drive-ocamlfuse|onedriver|vmhgfs-fuse|mergerfs)"
)


def is_network(path: str) -> bool:
    """False where the system does not tell: then events are tried, and sweeps go on.
    Looked up once for each path and the device that is there."""
    try:
        return _is_network(path, os.stat(path).st_dev)
    except OSError:
        return False


@functools.lru_cache(maxsize=256)
def _is_network(path: str, device: int) -> bool:
    try:
        if sys.platform == "win32":
            return _windows_is_network(path)
        if sys.platform == "darwin":
            said = subprocess.run(
                ["/sbin/mount"], capture_output=True, timeout=MOUNT_SECONDS, check=True, text=True
            ).stdout
            return type_in_mount(said, os.path.realpath(path)) in NETWORK
        kind = type_in_mountinfo(
            MOUNTINFO.read_text(encoding="utf-8", errors="surrogateescape"), os.path.realpath(path)
        )
    except (OSError, subprocess.SubprocessError):
        return False
    return kind in NETWORK or bool(NETWORK_FUSE.fullmatch(kind))


def type_in_mountinfo(text: str, path: str) -> str:
    """The type of the file system at a path, by /proc/self/mountinfo (proc(5)); "" if unknown.
    Of two mounts on one folder the later lies on top."""
    best, kind = "", ""
    for line in text.splitlines():
        fields, _, behind = line.partition(" - ")
        parts = fields.split(" ")
        if len(parts) < 5 or not behind:
            continue
        at = re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), parts[4])
        if _lies_in(path, at) and len(at) >= len(best):
            best, kind = at, behind.split(" ")[0]
    return kind


def type_in_mount(text: str, path: str) -> str:
    """The same by macOS's `mount`: "//me@nas/photos on /Volumes/photos (smbfs, nodev)"."""
    best, kind = "", ""
    for line in text.splitlines():
        found = re.fullmatch(r".+? on (/.*) \((\w+)[,)].*", line)
        if found and _lies_in(path, found[1]) and len(found[1]) >= len(best):
            best, kind = found[1], found[2]
    return kind


def _lies_in(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def _windows_is_network(path: str) -> bool:
    if sys.platform != "win32":
        return False
    import ctypes

    if path.startswith(("\\\\", "//")):
        return True
    drive_remote = 4
    drive = os.path.splitdrive(os.path.abspath(path))[0] + "\\"
    return bool(ctypes.windll.kernel32.GetDriveTypeW(drive) == drive_remote)
