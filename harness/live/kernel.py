"""What the kernel says of a process: whether it is there, whether it stands still, whose child it is, what it ignores; and of connections.

Owns the reading of ``/proc``. Attestation rests on this: the kernel's word on what a signal has done, never on the signal having been sent.
"""

from __future__ import annotations

import signal
from pathlib import Path

from killswitch.live.process import identify

STATE, PARENT, SESSION = 0, 1, 3  # fields of /proc/PID/stat, counted from the one behind the name
ESTABLISHED = "01"  # the kernel's word for it, in /proc/net/tcp
SIGTERM_BIT = 1 << (signal.SIGTERM - 1)


def is_stopped(pid: int) -> bool:
    return _stat(pid)[STATE] == "T"


def is_gone(pid: int) -> bool:
    return identify(pid) is None


def stands_still(pid: int) -> bool:
    """It does nothing any more, for it is stopped or gone."""
    return is_stopped(pid) or is_gone(pid)


def parent_of(pid: int) -> int:
    """0 if there is no such process."""
    return int(_stat(pid)[PARENT])


def session_of(pid: int) -> int:
    """0 if there is no such process."""
    return int(_stat(pid)[SESSION])


def ignores_sigterm(pid: int) -> bool:
    """Or has ended, not for having been asked."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return True
    ignored = next(line for line in status.splitlines() if line.startswith("SigIgn:"))
    return bool(int(ignored.split()[1], 16) & SIGTERM_BIT)


def connections() -> set[tuple[int, int]]:
    """(own port, the other's port) of each end of every open connection over IPv4."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return {(_port(fields[1]), _port(fields[2])) for fields in rows if fields[3] == ESTABLISHED}


def _port(address: str) -> int:
    return int(address.rpartition(":")[2], 16)


def _stat(pid: int) -> list[str]:
    """Behind the name, which may hold anything; all zeros if there is no such process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ["0"] * (SESSION + 1)
