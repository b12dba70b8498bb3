"""An agent's process tree: started, asked to stop, killed whole, and reaped, by the sidecar that guards it.

Owns everything that the agent's program may have become: its children, theirs, and what tried to get away with ``setsid``. Must not know
why it is started or stopped. The program itself is not trusted to stop.

Where a cgroup v2 hierarchy is writable the tree lives in a group of its own, and ``cgroup.kill`` takes all of it in one act. Elsewhere
it is held by its session and by a cookie in the environment, which a hostile program can shed: `containment` says which is in force.
Pids are guarded against reuse by the start time of the process.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import msgspec
from msgspec import Struct

from killswitch.live import tether

COOKIE = "KILLSWITCH_TREE"
REAP_POLL_S = 0.005
ORPHAN_DEADLINE_S = 1.0


class Identified(Struct, frozen=True):
    """A process that cannot be mistaken for a later one of the same pid: ``start`` is field 22 of its ``stat``, in ticks since boot."""

    pid: int
    start: int
    boot: str


class ProcessTree:
    """The one tree of the agent that ``identity`` names; ``directory`` remembers it for a sidecar that comes after a crash.

    ``adopts``: the calling process is the subreaper of the tree and has no other children, so it collects whatever is handed to it.
    """

    def __init__(self, identity: str, directory: Path, *, adopts: bool) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._adopts = adopts
        self._memo = directory / "tree.json"
        self._cookie = hashlib.sha256(f"{directory.resolve()}\0{identity}".encode()).hexdigest()[:24]
        self._cgroup = own_cgroup(f"killswitch-{self._cookie}")
        self._leader: subprocess.Popen[bytes] | None = None

    @property
    def containment(self) -> str:
        return "session" if self._cgroup is None else "cgroup"

    @property
    def group(self) -> Path | None:
        """The control group that the tree lives in, where there is one; it exists only while somebody uses it."""
        return self._cgroup

    @property
    def leader(self) -> int | None:
        """Pid of the running program."""
        return None if self._leader is None else self._leader.pid

    def spawn(self, argv: Sequence[str], environment: Mapping[str, str], pass_fds: Sequence[int], on_gone: Callable[[int], None]) -> None:
        """Start the program. ``on_gone(status)`` is called once, on the running loop, when the whole tree is gone; a status
        below 0 is the negative number of the signal that ended the program.

        Call it on the thread that lives as long as the process: the parent-death signal is bound to that. Raises `RuntimeError` if a tree is
        running (two at once is what fencing exists to forbid), `OSError` if nothing could be started.
        """
        if self._leader is not None:
            raise RuntimeError(f"a tree is running already (leader {self._leader.pid})")
        if self._cgroup is not None:
            self._cgroup.mkdir(exist_ok=True)
        self._leader = subprocess.Popen(
            tether.command_line(list(argv), cgroup=self._cgroup),
            env={**environment, COOKIE: self._cookie},
            pass_fds=tuple(pass_fds),
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        self._remember(self._leader.pid)
        pidfd = os.pidfd_open(self._leader.pid)
        asyncio.get_running_loop().add_reader(pidfd, self._leader_exited, pidfd, on_gone)

    def proceed(self) -> None:
        """Let a program go on that something stopped: it would hear of anything but its kill only then."""
        if self._leader is not None:
            _signal_session(self._leader.pid, signal.SIGCONT)

    def terminate(self) -> None:
        """Ask the program to stop."""
        if self._leader is not None:
            _signal_session(self._leader.pid, signal.SIGTERM)

    def kill(self) -> None:
        """End the whole tree. To be repeated until it is gone; harmless when it is."""
        if self._cgroup is not None and self._cgroup.exists():
            (self._cgroup / "cgroup.kill").write_text("1")
        if self._leader is not None:
            _signal_session(self._leader.pid, signal.SIGKILL)
        for pid in self._strays():
            _signal(pid, signal.SIGKILL)

    def reap_orphans(self) -> bool:
        """End what an earlier sidecar left; whether nothing of it is left. Waits, since nothing may start before (protocol 3.6)."""
        deadline = time.monotonic() + ORPHAN_DEADLINE_S
        while not (gone := self._is_empty()) and time.monotonic() < deadline:
            remembered = self._remembered()
            if remembered is not None and identify(remembered.pid) == remembered:
                _signal_session(remembered.pid, signal.SIGKILL)
            self.kill()
            self._collect_adopted()
            time.sleep(REAP_POLL_S)
        if gone:
            self._forget()
        return gone

    # -- The tree --------------------------------------------------------------------------------------------------------------------

    def _leader_exited(self, pidfd: int, on_gone: Callable[[int], None]) -> None:
        loop = asyncio.get_running_loop()
        loop.remove_reader(pidfd)
        os.close(pidfd)
        assert self._leader is not None
        status = self._leader.wait()
        self._await_empty(loop, on_gone, status)

    def _await_empty(self, loop: asyncio.AbstractEventLoop, on_gone: Callable[[int], None], status: int) -> None:
        """The program has ended; what it started has no business living on. Kill until the tree is empty."""
        self._collect_adopted()
        if self._is_empty():
            self._leader = None
            self._forget()
            on_gone(status)
            return
        self.kill()
        loop.call_later(REAP_POLL_S, self._await_empty, loop, on_gone, status)

    def _is_empty(self) -> bool:
        if self._cgroup is not None and self._cgroup.exists() and "populated 1" in (self._cgroup / "cgroup.events").read_text():
            return False
        return not self._strays()

    def _strays(self) -> list[int]:
        """Living processes that carry the tree's cookie. Where there is a cgroup it alone is asked: it cannot be shed."""
        return processes_with(f"{COOKIE}={self._cookie}") if self._cgroup is None else []

    def _collect_adopted(self) -> None:
        """Reap the dead that their own parents left; the leader is collected by itself, before."""
        while self._adopts:
            try:
                pid, _ = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return

    def _remember(self, pid: int) -> None:
        identified = identify(pid)
        if identified is not None:
            self._memo.write_bytes(msgspec.json.encode(identified))

    def _remembered(self) -> Identified | None:
        try:
            return msgspec.json.decode(self._memo.read_bytes(), type=Identified)
        except (OSError, msgspec.DecodeError):
            return None

    def _forget(self) -> None:
        self._memo.unlink(missing_ok=True)
        if self._cgroup is not None and self._cgroup.exists():
            with contextlib.suppress(OSError):  # busy for an instant more: an empty group harms nobody and is used again
                self._cgroup.rmdir()


# -- Processes of this host ----------------------------------------------------------------------------------------------------------


def identify(pid: int) -> Identified | None:
    """Who ``pid`` is now; None if there is no such process or it is dead and merely unreaped."""
    try:
        state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (OSError, ValueError):
        return None
    return None if state in "ZX" else Identified(pid, int(fields[18]), boot=Path("/proc/sys/kernel/random/boot_id").read_text().strip())


def processes_with(setting: str) -> list[int]:
    """Pids of living processes whose environment at their start held ``setting`` (``NAME=value``); this process is left out."""
    wanted = setting.encode()
    others = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit() and int(entry.name) != os.getpid()]
    return [pid for pid in others if wanted in environment(pid) and identify(pid) is not None]


def environment(pid: int) -> list[bytes]:
    """The settings that ``pid`` was started with; none for a process that has ended or is not ours to look into."""
    try:
        return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return []


def own_cgroup(name: str) -> Path | None:
    """Where a child group ``name`` of this process's cgroup v2 group can be made and killed at once; None where it cannot be had."""
    mounts = (line.split() for line in Path("/proc/mounts").read_text().splitlines())
    mount = next((fields[1] for fields in mounts if fields[2] == "cgroup2"), None)
    groups = (line.partition("::") for line in Path("/proc/self/cgroup").read_text().splitlines())
    own = next((path for number, _, path in groups if number == "0"), None)
    if mount is None or own is None:
        return None
    group = Path(mount + own.rstrip("/")) / name
    made_here = not group.exists()
    try:
        group.mkdir(exist_ok=True)
        return group if os.access(group / "cgroup.kill", os.W_OK) and os.access(group / "cgroup.procs", os.W_OK) else None
    except OSError:
        return None
    finally:
        if made_here and group.exists():
            group.rmdir()


def _signal_session(leader: int, number: signal.Signals) -> None:
    try:
        os.killpg(leader, number)
    except (ProcessLookupError, PermissionError):
        _signal(leader, number)


def _signal(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
