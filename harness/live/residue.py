"""What a run left on this host, searched for and not deduced: no ledger, no exit status and no good will is believed here.

Owns the search: processes that carry the run's cookie, ports that somebody still listens on, control groups, mounts, network namespaces, shared
memory and sockets. Must not know how anything is undone.
"""

from __future__ import annotations

import re
import stat
from collections.abc import Collection
from pathlib import Path

from harness.live.guard import COOKIE
from harness.live.ledger import Story
from killswitch.live import process

LISTENING = "0A"  # of the states in /proc/net/tcp


def search(story: Story, ports: Collection[int] = ()) -> tuple[str, ...]:
    """Everything of the run that is still there, by name; empty: nothing.

    ``ports``: where it listened. To be asked of as the run ends, for later a port may be anybody's.
    """
    run, directory = story.opened.run, Path(story.opened.directory)
    return (
        *(f"process {pid}" for pid in process.processes_with(f"{COOKIE}={run}")),
        *(f"port {port} is listened on" for port in sorted(listened_ports() & set(ports))),
        *(f"control group {group}" for group in story.groups if Path(group).exists()),
        *(f"mount {mount}" for mount in mounts_below(directory)),
        *(f"network namespace {name}" for name in _named(Path("/run/netns"), run)),
        *(f"shared memory {name}" for name in _named(Path("/dev/shm"), run)),  # noqa: S108  # looked at, not written to
        *(f"socket {path}" for path in sorted(directory.glob("*")) if stat.S_ISSOCK(path.lstat().st_mode)),
    )


def listened_ports() -> set[int]:
    """Ports of this host on which something listens for TCP connections."""
    ports = set()
    for table in (Path("/proc/net/tcp"), Path("/proc/net/tcp6")):
        rows = table.read_text().splitlines()[1:] if table.exists() else []
        ports |= {int(fields[1].rpartition(":")[2], 16) for fields in map(str.split, rows) if fields[3] == LISTENING}
    return ports


def mounts_below(directory: Path) -> list[str]:
    """The kernel writes a space, a tab, a line's end and a backslash in a path as octal numbers."""
    paths = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
    mounts = [Path(re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), path)) for path in paths]
    return [str(mount) for mount in mounts if mount.is_relative_to(directory.resolve())]


def _named(directory: Path, run: str) -> list[str]:
    return sorted(entry.name for entry in directory.iterdir() if f"haltproof-{run}" in entry.name) if directory.is_dir() else []
