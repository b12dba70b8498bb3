"""Small file systems in memory, so that a disk can be full without filling the host's.

Owns the mounting; that it is undone is the ledger's. Needs root, or a user namespace in which one is.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

SIZE_BYTES = 8 << 20
BALLAST = "ballast"
MOUNT_S = 5.0


class NoSmallDisk(OSError):
    """This host lets us mount no file system."""


def mount(place: Path) -> None:
    """Make ``place`` and mount a small file system there. Raises `NoSmallDisk`."""
    place.mkdir(parents=True, exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={SIZE_BYTES},mode=0700,nosuid,nodev,noexec", "haltproof", str(place)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=MOUNT_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NoSmallDisk(f"{place}: {error}") from error
    if done.returncode:
        raise NoSmallDisk(f"{place}: {done.stderr.strip() or 'mount failed'}")


def copy_out(place: Path) -> None:
    """Keep what is on the small disk at ``place`` beside it, for whoever reads it when it is gone."""
    if place.is_mount():
        shutil.copytree(place, kept(place), dirs_exist_ok=True, ignore=shutil.ignore_patterns(f"{BALLAST}*"))


def put_back(place: Path) -> None:
    """What was kept takes the place of the small disk, which is gone."""
    if kept(place).exists() and not place.is_mount():
        place.rmdir()
        kept(place).rename(place)


def kept(place: Path) -> Path:
    return place.with_name(f"{place.name}.kept")


def why_not() -> str:
    """Mount one and take it away again; why that does not work here, empty if it does."""
    with tempfile.TemporaryDirectory(prefix="haltproof-doctor-") as scratch:
        try:
            mount(Path(scratch))
        except NoSmallDisk as error:
            return str(error)
        done = subprocess.run(["umount", scratch], capture_output=True, text=True, timeout=MOUNT_S, check=False)
        return done.stderr.strip()
