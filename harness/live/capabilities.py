"""What this host lets live runs do: each mechanism of `scenarios.faults`, tried and not guessed.

Owns the trials. Each answers with the reason why not, empty if it can be had. A trial leaves nothing behind and takes well under a second.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable

from msgspec import Struct

from harness.live import packet_queue, small_disks, wall_port
from harness.live.server import ServerMissing, locate
from killswitch.live import process
from scenarios.faults import FAULTS, MECHANISMS


class Capability(Struct, frozen=True):
    """One mechanism. ``why_not``: empty if it is there. ``faults``: {fault: fidelity} of what is made with it."""

    mechanism: str
    what: str
    why_not: str
    faults: dict[str, str]

    @property
    def available(self) -> bool:
        return not self.why_not


def toxiproxy() -> str:
    try:
        locate()
    except ServerMissing as missing:
        return str(missing)
    return ""


def processes() -> str:
    """Stop a process of our own, see that it stands still, and end it."""
    child = subprocess.Popen([sys.executable, "-I", "-S", "-c", "input()"], stdin=subprocess.PIPE)
    try:
        child.send_signal(signal.SIGSTOP)
        _, status = os.waitpid(child.pid, os.WUNTRACED)
        return "" if os.WIFSTOPPED(status) else "SIGSTOP does not stop a process here"
    finally:
        child.kill()
        child.communicate()


def cgroup() -> str:
    if process.own_cgroup(f"haltproof-doctor-{os.getpid()}") is None:
        return "no cgroup v2 hierarchy with cgroup.kill is writable: trees are held by their session and a cookie"
    return ""


def built_in() -> str:
    """It is our own code, and needs nothing of the host."""
    return ""


TRIALS: dict[str, Callable[[], str]] = {
    "toxiproxy": toxiproxy,
    "frame-relay": built_in,
    "processes": processes,
    "clock-port": built_in,
    "log-port": built_in,
    "pace-port": built_in,
    "conduct-port": built_in,
    "root-keys": built_in,
    "wall-shim": wall_port.why_not,
    "tmpfs": small_disks.why_not,
    "packet-queue": packet_queue.why_not,
    "cgroup": cgroup,
}


def examine(names: Iterable[str] = tuple(MECHANISMS)) -> list[Capability]:
    """Try the mechanisms of these names, in the order of the table."""
    wanted = set(names)
    return [
        Capability(
            name, what, TRIALS[name](),
            {kind.name: kind.live.fidelity for kind in FAULTS.values() if kind.live is not None and kind.live.mechanism == name},
        )
        for name, what in MECHANISMS.items() if name in wanted
    ]  # fmt: skip
