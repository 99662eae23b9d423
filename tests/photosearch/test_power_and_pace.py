"""Batteries, network mounts, rates and rests: each told by hand-made evidence."""

from __future__ import annotations

from pathlib import Path

import pytest

from photosearch import mounts
from photosearch.commands.index import duration
from photosearch.pace import Rate, Throttle
from photosearch.power import linux_on_battery


class Clock:
    def __init__(self) -> None:
        self.now = 100.0
        self.slept = 0.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.slept += seconds


@pytest.mark.parametrize(
    ("supplies", "expected"),
    [
        pytest.param({}, False, id="a desktop"),
        pytest.param({"BAT0": {"type": "Battery", "status": "Discharging"}}, True, id="unplugged"),
        pytest.param({"BAT0": {"type": "Battery", "status": "Charging"}}, False, id="charging"),
        pytest.param(
            {
                "AC": {"type": "Mains", "online": "1"},
                "BAT0": {"type": "Battery", "status": "Discharging"},
            },
            False,
            id="plugged in, the load is larger than the charger",
        ),
        pytest.param(
            {
                "AC": {"type": "Mains", "online": "0"},
                "BAT0": {"type": "Battery", "status": "Full"},
                "BAT1": {"type": "Battery", "status": "Discharging"},
            },
            True,
            id="two batteries, one at work",
        ),
        pytest.param(
            {"mouse": {"type": "Battery", "status": "Discharging", "scope": "Device"}},
            False,
            id="a mouse's battery is not the machine's",
        ),
    ],
)
def test_batteries(tmp_path: Path, supplies: dict[str, dict[str, str]], expected: bool) -> None:
    for name, files in supplies.items():
        (tmp_path / name).mkdir()
        for file, text in files.items():
            (tmp_path / name / file).write_text(text + "\n")
    assert linux_on_battery(tmp_path) is expected
    assert not linux_on_battery(tmp_path / "none")


MOUNTINFO = r"""
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
40 22 0:50 / /mnt/nas rw - nfs4 nas:/photos rw,vers=4.2
41 22 0:51 / /mnt/my\040pictures rw - cifs //nas/p rw
42 22 0:52 / /home/me/phone rw - fuse.sshfs me@phone: rw
43 22 0:53 / /mnt/nas/disk rw - ext4 /dev/sdb1 rw
44 22 0:54 / /mnt/stick rw - vfat /dev/sdc1 rw
45 22 0:55 / /mnt/stick rw - nfs nas:/over rw
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/home/me/Pictures", "ext4"),
        ("/mnt/nas", "nfs4"),
        ("/mnt/nas/2019/07", "nfs4"),
        ("/mnt/nasty", "ext4"),
        ("/mnt/my pictures/a", "cifs"),
        ("/home/me/phone/DCIM", "fuse.sshfs"),
        ("/mnt/nas/disk/a", "ext4"),
        ("/mnt/stick", "nfs"),
    ],
)
def test_mounts_on_linux(path: str, kind: str) -> None:
    assert mounts.type_in_mountinfo(MOUNTINFO, path) == kind


def test_mounts_on_macos() -> None:
    said = (
        "/dev/disk3s1s1 on / (apfs, sealed, local, read-only, journaled)\n"
        "//me@nas._smb._tcp.local/photos on /Volumes/photos (smbfs, nodev, nosuid, mounted by me)\n"
    )
    assert mounts.type_in_mount(said, "/Volumes/photos/2019") == "smbfs"
    assert mounts.type_in_mount(said, "/Users/me") == "apfs"


@pytest.mark.parametrize("kind", ["nfs4", "cifs", "fuse.sshfs", "smbfs", "9p"])
def test_network_kinds(kind: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    table = tmp_path / "mountinfo"
    table.write_text(f"22 1 8:1 / {tmp_path} rw - {kind} x rw\n")
    monkeypatch.setattr(mounts, "MOUNTINFO", table)
    mounts._is_network.cache_clear()
    assert mounts.is_network(str(tmp_path))
    table.write_text(f"22 1 8:1 / {tmp_path} rw - ext4 x rw\n")
    mounts._is_network.cache_clear()
    assert not mounts.is_network(str(tmp_path))


def test_a_rate_follows_the_last_seconds() -> None:
    clock = Clock()
    rate = Rate(clock=clock)
    assert (rate.per_second, rate.seconds_for(10)) == (0.0, None)
    done = 0
    for _ in range(300):  # 10 a second for 30 s
        clock.now += 0.1
        done += 1
        rate.update(done)
    assert rate.per_second == pytest.approx(10, rel=0.05)
    for _ in range(300):  # then 2 a second, for longer than the window
        clock.now += 0.5
        done += 1
        rate.update(done)
    assert rate.per_second == pytest.approx(2, rel=0.05)
    assert rate.seconds_for(20) == pytest.approx(10, rel=0.05)


@pytest.mark.parametrize(
    ("max_cpu", "cores", "threads", "share"),
    [(100, 8, 8, 1.0), (25, 2, 1, 0.5), (10, 4, 1, 0.4), (50, 2, 1, 1.0), (1, 1, 1, 0.01)],
)
def test_rests_make_up_for_what_whole_threads_cannot_express(
    max_cpu: int, cores: int, threads: int, share: float
) -> None:
    clock = Clock()
    throttle = Throttle(
        max_cpu=max_cpu, threads=threads, cores=cores, clock=clock, sleep=clock.sleep
    )
    clock.now += 50.0  # idle before: no reason to rest
    throttle.begin()
    for _ in range(10):
        clock.now += 1.0
        throttle.rest()
    assert 10.0 / (10.0 + clock.slept) == pytest.approx(share)


def test_durations_are_said_as_people_say_them() -> None:
    assert [duration(s) for s in (40, 720, 12_000)] == ["40 s", "12 min", "3 h 20 min"]
