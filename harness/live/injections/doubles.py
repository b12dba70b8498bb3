"""A sidecar's host is cloned: a second one, of the same name and keys, boots from a copy of its directories, and later one of the two is ended.

Owns the snapshot, and which of the two goes on. The snapshot is of processes that stand still, as a hypervisor's is; logs are copied by SQLite, so
that a copy holds what was committed and no more. Nothing here makes a place: the copy's were laid out with the cell.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import sqlite3
from pathlib import Path

import msgspec

from harness.live import guard, refold
from harness.live.injections.family import BOOT_S, Attestation, Stage, becomes
from harness.live.injections.hosts import BOOT_READS_MAX_NS, NodeFault, Standstill, boot_of
from harness.live.kernel import is_gone, stands_still
from harness.live.ledger import File
from harness.shared.doubles import COPY
from killswitch.core.events import Receive
from killswitch.live.node import Deployment
from killswitch.live.process import Identified
from killswitch.live.trace import monotonic_ns
from scenarios.deploy import hosted_by
from scenarios.schedule import Entry, Fault

STAYS = ("lock", "process")  # in the directory of a process: its lock, and what it remembers of its agent's pid
BESIDE_A_DATABASE = (".db-wal", ".db-shm")


class Clone(NodeFault):
    """One host in a run: a second such fault does nothing, and is not seen to have done anything."""

    def __init__(self, stage: Stage, entry: Entry, fault: Fault) -> None:
        super().__init__(stage, entry, fault)
        self.original = fault.targets[0]
        self.copy = self.original + COPY
        self.ended, self.left = (self.original, self.copy) if fault.settings.get("survivor") == "clone" else (self.copy, self.original)
        self.cloned = False
        self.still = True  # all that ran did, while the snapshot was taken
        self.began_ns = 0
        self.pids: dict[str, Identified] = {}  # of both, as they were seen to live

    async def on(self) -> None:
        if self.stage.sight.doubled:
            return
        self.stage.sight.doubled = self.original
        self.cloned = True
        hosted = (self.original, hosted_by(self.original))
        standstill = Standstill(self.stage, self.name)
        standstill.begin({node: identified for node in hosted if (identified := self.own(node)) is not None})
        try:
            self.still = all([await becomes(stands_still, identified.pid) for identified in standstill.held.values()])
            records = self._snapshot(hosted)
            self.stage.sight.note("node-cloned", self.original, {"copy": self.copy, "records": records})
        finally:
            standstill.end()
        self.stage.fleet.start(self.copy)

    def _snapshot(self, nodes: tuple[str, ...]) -> int:
        """Copy what these keep, and all that is known of them so far; how many records the sidecar's log has."""
        for node in nodes:
            home, twin = (Path(self.stage.cell.deployments[name].directory) for name in (node, node + COPY))
            copy_directory(guard.own_path(home, self.stage.directory), guard.own_path(twin, self.stage.directory))
        self.stage.sight.look()
        self.stage.sight.double(*nodes)
        clock = self.stage.cell.clocks[self.copy]
        self.stage.ledger.intend(File(str(clock.path.resolve())))
        clock.restart(random.Random(f"{self.stage.seed}/{self.name}/{self.copy}").randrange(BOOT_READS_MAX_NS))
        self.began_ns = monotonic_ns()
        return len(refold.on_disk(Path(self.stage.cell.deployments[self.copy].directory) / "log.db"))

    async def attest(self) -> Attestation | None:
        """Two processes live, both told that they are the same node; the trace of the second begins with another boot of a host."""
        booted = self.cloned and await becomes(self._booted_anew, within_s=BOOT_S)
        for node in (self.original, self.copy) if self.cloned else ():
            if (identified := self.own(node)) is not None and told(identified.pid) == self.original:
                self.pids[node] = identified
        measured: dict[str, int | str] = {"living": len(self.pids), "booted_anew": int(booted)}
        lives = self.copy in self.pids
        holds = not self.cloned or (self.still and booted and lives)
        return Attestation(holds, "living processes that are told to be this node; a boot of its own in the copy's trace", measured, fired=lives)

    async def off(self) -> None:
        if not self.cloned:
            return
        agent = hosted_by(self.ended)
        pid = self.pid(agent)
        await self.stage.fleet.retire(self.ended)
        if pid:
            await becomes(is_gone, pid)
        self.stage.fleet.end_tree(self.ended)
        self.stage.sight.look()
        for node in (self.ended, agent):
            self.stage.sight.note_death(node, power=True)
        self.stage.sight.note("clone-ended", self.ended, {"survivor": self.left})
        self.stage.sight.retire(self.ended, agent)

    async def aftermath(self) -> Attestation | None:
        """One of them is gone, and while there were two, both were spoken to."""
        if not self.cloned:
            return None
        heard = {node: self._heard_by(node) for node in (self.original, self.copy)}
        gone = self.ended not in self.pids or await becomes(is_gone, self.pids[self.ended].pid)
        measured: dict[str, int | str] = {"gone": int(gone), "original_heard": heard[self.original], "copy_heard": heard[self.copy]}
        both = all(heard[node] for node in self.pids)
        return Attestation(gone and both, "no process any more; messages that came in, in both traces", measured)

    def _heard_by(self, node: str) -> int:
        """How many messages from others than its agent it took since there were two."""
        steps = (step for life in self.stage.sight.nodes[node].lives for step in life if step.at_ns >= self.began_ns)
        return sum(isinstance(step.event, Receive) and not step.event.sender.startswith("agent/") for step in steps)

    def _booted_anew(self) -> bool:
        self.stage.sight.look()
        lives = {node: self.stage.sight.nodes[node].lives for node in (self.original, self.copy)}
        return bool(lives[self.copy]) and boot_of(lives[self.copy][0][0]) not in {boot_of(life[0]) for life in lives[self.original]}


def told(pid: int) -> str:
    """Which node a process was told to be, by the deployment record that its command line names; empty if it has ended."""
    try:
        argv = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        file = next(word for word in argv if word.endswith(b".json"))
        return msgspec.json.decode(Path(os.fsdecode(file)).read_bytes(), type=Deployment).config.node
    except (OSError, StopIteration):
        return ""


def copy_directory(home: Path, twin: Path) -> None:
    """Copy what a node keeps; its databases as SQLite reads them, whatever lies half written beside them."""
    twin.mkdir(parents=True, exist_ok=True, mode=0o700)
    for path in sorted(home.iterdir()):
        if path.name in STAYS or path.suffix in BESIDE_A_DATABASE:
            continue
        if path.is_dir():
            shutil.copytree(path, twin / path.name, dirs_exist_ok=True)
        elif path.suffix == ".db":
            with (
                contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as kept,
                contextlib.closing(sqlite3.connect(twin / path.name)) as to,
            ):
                kept.backup(to)
        else:
            shutil.copy2(path, twin / path.name)
