"""The undo ledger: what a live run is about to do to this host, on disk before it is done, so that anybody can undo it later.

Owns the file and what each kind of entry takes to be undone. Must not know why anything was done. An entry is written and synced before
its act; that it has been undone is written after, and need not be synced, because undoing twice does nothing more than undoing once.
So a harness that is killed between any two instructions leaves a ledger from which `harness.live.recovery` can finish.

Everything is undone in reverse, each entry within `UNDO_S`: one that hangs must not keep the others from being undone.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
from msgspec import Struct

from harness.live import netfilter, own_network
from harness.live.guard import COOKIE
from harness.live.toxiproxy import Toxiproxy, ToxiproxyFailed, Unreachable
from killswitch.live import process
from killswitch.live.checkpoint import sync_directory, write_all
from killswitch.live.process import Identified

FILE = "ledger.jsonl"
UNDO_S = 6.0
POLL_S = 0.01


class NotUndone(Exception):
    """An entry could not be undone; the text names what is left."""


# -- What can be undone --------------------------------------------------------------------------------------------------------------


class Place(Struct, frozen=True):
    """What stands at ``path``; a path that hangs on somebody's working directory would be another one for whoever recovers."""

    path: str

    def __post_init__(self) -> None:
        if not Path(self.path).is_absolute():
            raise ValueError(f"path: has to be absolute (got {self.path!r})")


class Cookie(Struct, frozen=True, tag=True):
    """Processes of the run may be started: any that carries its cookie. Written before the first one, whose pid nobody knows yet."""

    run: str

    def undo(self) -> None:
        while left := process.processes_with(f"{COOKIE}={self.run}"):
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(POLL_S)


class Process(Struct, frozen=True, tag=True):
    """A process was started; ``identified`` cannot be mistaken for a later one of the same pid."""

    what: str
    identified: Identified

    def undo(self) -> None:
        while process.identify(self.identified.pid) == self.identified:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.identified.pid, signal.SIGKILL)
            time.sleep(POLL_S)


class Stopped(Struct, frozen=True, tag=True):
    """A process is sent SIGSTOP."""

    identified: Identified

    def undo(self) -> None:
        if process.identify(self.identified.pid) == self.identified:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.identified.pid, signal.SIGCONT)


class Group(Place, frozen=True, tag=True):
    """A control group may be made at ``path``."""

    def undo(self) -> None:
        group = Path(self.path)
        while group.exists():
            with contextlib.suppress(OSError):
                (group / "cgroup.kill").write_text("1")
            with contextlib.suppress(OSError):  # busy until its last process has been reaped
                group.rmdir()
            time.sleep(POLL_S)


class Impaired(Struct, frozen=True, tag=True):
    """Toxics are put into a proxy of the server at ``host:port``, or (``cut``) it is taken down. A server that is gone took all of it along.

    ``network``: the run's own network namespace that the server is in; from outside, the same port is somebody else's. 0: the host's.
    """

    host: str
    port: int
    proxy: str
    toxics: tuple[str, ...] = ()
    cut: bool = False
    network: int = 0

    def undo(self) -> None:
        if own_network.own() != self.network:
            return  # we are outside, and the server died with its namespace
        server = Toxiproxy(self.host, self.port)
        with contextlib.suppress(Unreachable):
            if self.toxics:
                server.remove(self.proxy, *self.toxics)
            if self.cut:
                server.restore(self.proxy)


class File(Place, frozen=True, tag=True):
    """A file that something reads as a command, or a socket, is made at ``path``."""

    def undo(self) -> None:
        Path(self.path).unlink(missing_ok=True)


class Mount(Place, frozen=True, tag=True):
    """A file system is mounted at ``path``."""

    def undo(self) -> None:
        umount = shutil.which("umount")
        while os.path.ismount(self.path):
            if umount is None:
                raise NotUndone(f"mount {self.path}: no umount on PATH")
            subprocess.run([umount, "--lazy", self.path], capture_output=True, timeout=UNDO_S, check=False)
            time.sleep(POLL_S)


class Diverted(Struct, frozen=True, tag=True):
    """Packets are queued by the rules of ``table`` in the network namespace ``network``, which dies with the processes in it, rules and all."""

    network: int
    table: str

    def undo(self) -> None:
        if self.network and own_network.own() == self.network:
            netfilter.divert(self.table, ())


Undo = Cookie | Process | Stopped | Group | Impaired | File | Mount | Diverted


# -- The file ------------------------------------------------------------------------------------------------------------------------


class Opened(Struct, frozen=True, tag=True):
    """The first line: whose ledger it is, and the directory below which the run keeps everything."""

    run: str
    owner: Identified
    directory: str


class Intended(Struct, frozen=True, tag=True):
    """About to be done."""

    entry: int
    undo: Undo


class Settled(Struct, frozen=True, tag=True):
    """Undone."""

    entries: tuple[int, ...]


class Closed(Struct, frozen=True, tag=True):
    """Nothing is left; the last line."""


Line = Opened | Intended | Settled | Closed


class Story(Struct):
    """What a ledger says: ``open`` are the entries that were not undone, by number; ``groups`` all control groups there may have been."""

    opened: Opened
    open: dict[int, Undo] = {}
    groups: tuple[str, ...] = ()
    closed: bool = False

    def intend(self, entry: int, undo: Undo) -> None:
        self.open[entry] = undo
        if isinstance(undo, Group):
            self.groups += (undo.path,)


class Ledger:
    """The ledger of a run that goes on. Used by one thread at a time. Every method that writes raises `OSError` if the disk does."""

    def __init__(self, path: Path, opened: Opened) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self.story = Story(opened)
        self._entries = 0
        self._write(opened)
        os.fsync(self._file)
        sync_directory(path.parent)

    def intend(self, *undos: Undo) -> tuple[int, ...]:
        """When it returns, what is about to be done is on disk; the numbers under which to say that it has been undone."""
        numbers = []
        for undo in undos:
            self._entries += 1
            self.story.intend(self._entries, undo)
            self._write(Intended(self._entries, undo))
            numbers.append(self._entries)
        if undos:
            os.fsync(self._file)
        return tuple(numbers)

    def settle(self, entries: Sequence[int]) -> None:
        """These have been undone; what was settled already is passed over."""
        settled = tuple(entry for entry in entries if self.story.open.pop(entry, None) is not None)
        if settled:
            self._write(Settled(settled))

    def undo_all(self) -> tuple[str, ...]:
        """Undo whatever is open; what could not be. Never raises."""
        return undo(self.story, self.settle)

    def close(self) -> None:
        os.close(self._file)

    def _write(self, line: Line) -> None:
        write_all(self._file, msgspec.json.encode(line) + b"\n")


def mark_closed(path: Path) -> None:
    """Nothing is left of the run: nobody needs to look at its ledger again."""
    with path.open("ab") as lines:
        lines.write(b"\n" + msgspec.json.encode(Closed()) + b"\n")  # on a line of its own, also after a torn one


def read(path: Path) -> Story:
    """What the ledger at ``path`` says. A torn line was never acted on, and is passed over. Raises `ValueError`, `OSError`."""
    story: Story | None = None
    for text in path.read_bytes().split(b"\n"):
        try:
            line = msgspec.json.decode(text, type=Line)
        except msgspec.DecodeError:
            continue
        match line:
            case Opened():
                story = Story(line)
            case Intended() if story:
                story.intend(line.entry, line.undo)
            case Settled() if story:
                for entry in line.entries:
                    story.open.pop(entry, None)
            case Closed() if story:
                story.closed = True
    if story is None:
        raise ValueError(f"{path}:1: a ledger begins by saying whose it is; this one is empty or torn")
    return story


def undo(story: Story, settle: Callable[[Sequence[int]], None] = lambda _entries: None) -> tuple[str, ...]:
    """Undo all open entries of ``story``, the latest first; what could not be undone. ``settle`` is told of each that was. Never raises."""
    left: list[str] = []
    for entry, what in reversed(tuple(story.open.items())):
        why = _within(what)
        if why:
            left.append(why)
        else:
            settle((entry,))
    return tuple(left)


def _within(what: Undo) -> str:
    """Undo ``what`` in a thread of its own, for `UNDO_S`; why not, if not. A thread that hangs is left behind: it ends with the process."""
    outcome = [f"{what}: not undone within {UNDO_S} s"]

    def act() -> None:
        try:
            what.undo()
        except (NotUndone, ToxiproxyFailed, OSError, subprocess.SubprocessError) as error:
            outcome[0] = f"{what}: {error}"
        else:
            outcome[0] = ""

    worker = threading.Thread(target=act, name="undo", daemon=True)
    worker.start()
    worker.join(UNDO_S)
    return outcome[0]
