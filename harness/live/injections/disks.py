"""Faults of disks: slow, failing or read-only by the ports of logs, full or lost in earnest; statvfs and the nodes' own traces attest them.

Owns the switching, the filling, the emptying and the turning of single bits. A trace shows when a record was handed to the log and when the node
heard that it was durable, or that it never will be.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import shutil
import sqlite3
from pathlib import Path

from msgspec import structs

from harness.live import guard, refold
from harness.live.cell import deployment_file
from harness.live.injections.family import BOOT_S, SETTLE_S, Attestation, CapabilityMissing, Stage, becomes
from harness.live.injections.hosts import Crash, NodeFault
from harness.live.injections.switched import Switched
from harness.live.ledger import File
from harness.live.log_port import DiskSwitch
from harness.live.small_disks import BALLAST, SIZE_BYTES
from killswitch.core import events
from killswitch.core.events import Append, Boot, DiskFailed, Durable
from killswitch.live.log import RELEASED_BYTES, RESERVE
from killswitch.live.trace import Step, monotonic_ns
from scenarios.schedule import Entry, Fault
from scenarios.units import MS_NS

ROT_S = 1.0  # for the node to let go of its log
RESERVE_MAX = SIZE_BYTES // 2 // RELEASED_BYTES


class DiskFault(Switched[DiskSwitch]):
    """A fault of the disks of ``targets``, made by the ports of their logs."""

    def __init__(self, stage: Stage, entry: Entry, fault: Fault) -> None:
        super().__init__(stage, entry, fault, stage.cell.disks)
        self.counted_before: dict[str, tuple[int, int]] = {}

    def begin(self) -> None:
        self.intend()
        self.counted_before = {node: switch.counts() for node, switch in self.switches.items()}
        self.began_ns = monotonic_ns()

    def counted(self, which: int) -> int:
        """How many commits the ports say they failed (0) or slowed (1) since the fault began."""
        return sum(switch.counts()[which] - self.counted_before[node][which] for node, switch in self.switches.items())

    def lives(self, node: str) -> list[list[Step]]:
        self.stage.sight.look()
        return self.stage.sight.nodes[node].lives


class DiskLost(Crash):
    """A replica's process dies and its directory is emptied; it comes back as one that joins."""

    def __init__(self, stage: Stage, entry: Entry, fault: Fault) -> None:
        super().__init__(stage, entry, fault)
        if any(not node.startswith("replica/") for node in fault.targets):
            raise CapabilityMissing(f"{self.name}: nodes: the live driver takes the disks of replicas only (got {', '.join(fault.targets)})")

    async def note_death(self, node: str) -> None:
        deployment = self.stage.cell.deployments[node]
        home = guard.own_path(Path(deployment.directory), self.stage.directory)
        lost = len(refold.on_disk(home / "log.db"))
        shutil.rmtree(home)
        structs.replace(deployment, config=structs.replace(deployment.config, joins=True)).save(deployment_file(node, self.stage.directory))
        self.stage.sight.look()
        sight = self.stage.sight.nodes[node]
        sight.joins_from = len(sight.lives)
        self.stage.sight.note_death(node, lost_records=lost, power=lost > 0)

    async def attest(self) -> Attestation | None:
        killed = await super().attest()
        assert killed is not None, "a crash is always measured"
        gone = [not self._home(node).exists() for node in self.killed]
        return structs.replace(killed, holds=killed.holds and all(gone), how="status from wait: SIGKILL; the directory is gone")

    async def aftermath(self) -> Attestation | None:
        """It booted with nothing: so its own trace says."""
        started = await super().aftermath()
        if started is None:
            return None
        empty = [await becomes(self._booted_empty, node, within_s=BOOT_S) for node in self.killed]
        return structs.replace(started, holds=started.holds and all(empty), how="a new pid; no record at boot, in its trace")

    def _home(self, node: str) -> Path:
        return Path(self.stage.cell.deployments[node].directory)

    def _booted_empty(self, node: str) -> bool:
        self.stage.sight.look()
        sight = self.stage.sight.nodes[node]
        boots = [life[0].event for life in sight.lives[sight.joins_from :]]
        return bool(boots) and isinstance(boots[0], Boot) and not boots[0].records


class DiskFull(NodeFault):
    """Nothing more fits on the small file system that the node's directory is: a file of ours takes up all that is left.

    The node's reserve is a file of its own. What is free is what the node itself has given back of that.
    """

    def __init__(self, stage: Stage, entry: Entry, fault: Fault) -> None:
        super().__init__(stage, entry, fault)
        reserve = int(fault.settings.get("reserve", 0))
        if reserve > RESERVE_MAX:
            raise CapabilityMissing(f"{self.name}: reserve: small disks have room for one of {RESERVE_MAX} records or fewer (got {reserve})")
        self.ballast = {node: stage.cell.small[node] / f"{BALLAST}.{self.name}" for node in fault.targets}
        self.entries: tuple[int, ...] = ()
        self.began_ns = self.lent_bytes = 0

    async def on(self) -> None:
        self.entries = self.stage.ledger.intend(*(File(str(ballast.resolve())) for ballast in self.ballast.values()))
        self.began_ns = monotonic_ns()
        for ballast in self.ballast.values():
            _fill(guard.own_path(ballast, self.stage.directory))

    async def attest(self) -> Attestation | None:
        full = {node: self._free_bytes(ballast) <= self._lent_bytes(node) for node, ballast in self.ballast.items()}
        measured: dict[str, int | str] = {f"{node} free": os.statvfs(ballast.parent).f_bavail for node, ballast in self.ballast.items()}
        return Attestation(all(full.values()), "blocks free, by statvfs, but for what a node gave back", measured)

    async def off(self) -> None:
        self.lent_bytes = sum(map(self._lent_bytes, self.ballast))
        for ballast in self.ballast.values():
            _empty(ballast)
        self.stage.ledger.settle(self.entries)

    async def aftermath(self) -> Attestation | None:
        await asyncio.sleep(SETTLE_S)
        self.stage.sight.look()
        steps = [step for node in self.targets for life in self.stage.sight.nodes[node].lives for step in life if step.at_ns >= self.began_ns]
        heard = sum(isinstance(step.event, DiskFailed | events.DiskFull) for step in steps)
        free = min(os.statvfs(ballast.parent).f_bavail for ballast in self.ballast.values())
        measured: dict[str, int | str] = {"free": free, "heard": heard, "lent_bytes": self.lent_bytes}
        return Attestation(free > 0, "blocks free, by statvfs; what the nodes heard, in their traces", measured, fired=heard > 0)

    def _free_bytes(self, ballast: Path) -> int:
        found = os.statvfs(ballast.parent)
        return found.f_bavail * found.f_frsize

    def _lent_bytes(self, node: str) -> int:
        """How much of its reserve the node has given back; 0 if it keeps none."""
        deployment = self.stage.cell.deployments[node]
        reserve = Path(deployment.directory) / RESERVE
        return deployment.reserve_bytes - reserve.stat().st_size if reserve.exists() else 0


class BitFlip(NodeFault):
    """One bit turns of what a node holds durably: of a record in its log, or of a checkpoint. Nobody is told; the next boot finds it."""

    def __init__(self, stage: Stage, entry: Entry, fault: Fault) -> None:
        super().__init__(stage, entry, fault)
        self.rots = {"log": rot_a_record, "slots": rot_a_slot}[str(fault.settings["slots"])]
        self.turned: dict[str, int] = {}

    async def on(self) -> None:
        for node in self.targets:
            home = guard.own_path(Path(self.stage.cell.deployments[node].directory), self.stage.directory)
            self.turned[node] = self.rots(home, random.Random(f"{self.stage.seed}/{self.name}/{node}"))

    async def attest(self) -> Attestation | None:
        measured: dict[str, int | str] = {f"{node} bits": bits for node, bits in self.turned.items()}
        fired = any(self.turned.values())
        return Attestation(all(bits <= 1 for bits in self.turned.values()), "what is on the disk, read before and after", measured, fired=fired)

    async def off(self) -> None:
        """The bit stays as it is."""


def rot_a_record(home: Path, dice: random.Random) -> int:
    """Turn a bit of a durable record; how many bits differ of what is read back (0: there was no record)."""
    with contextlib.closing(sqlite3.connect(home / "log.db", isolation_level=None, timeout=ROT_S)) as log:
        held = log.execute("SELECT seq, body FROM record ORDER BY seq").fetchall()
        if not held:
            return 0
        seq, body = dice.choice(held)
        log.execute("UPDATE record SET body = ? WHERE seq = ?", (_turned(body, dice), seq))
        (after,) = log.execute("SELECT body FROM record WHERE seq = ?", (seq,)).fetchone()
    return _bits(body, after)


def rot_a_slot(home: Path, dice: random.Random) -> int:
    """Turn a bit of a checkpoint, in its place; how many bits differ of what is read back (0: there was none)."""
    slots = sorted((home / "checkpoints").glob("slot[0-9]"))
    if not slots:
        return 0
    slot = dice.choice(slots)
    body = slot.read_bytes()
    with slot.open("r+b") as file:
        file.write(_turned(body, dice))
    return _bits(body, slot.read_bytes())


def _turned(body: bytes, dice: random.Random) -> bytes:
    place = dice.randrange(len(body) * 8)
    return body[: place // 8] + bytes([body[place // 8] ^ 1 << place % 8]) + body[place // 8 + 1 :]


def _bits(before: bytes, after: bytes) -> int:
    """How many bits differ."""
    return (int.from_bytes(before, "big") ^ int.from_bytes(after, "big")).bit_count()


def _fill(ballast: Path) -> None:
    """Write until nothing fits any more, to the last byte."""
    file = os.open(ballast, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        for size in (1 << 20, 1 << 12, 1):
            with contextlib.suppress(OSError):  # ENOSPC is what is wanted
                while True:
                    os.write(file, bytes(size))
    finally:
        os.close(file)


def _empty(ballast: Path) -> None:
    ballast.unlink(missing_ok=True)


class DiskFail(DiskFault):
    """Every commit fails, and those of a process that saw one fail for good."""

    async def on(self) -> None:
        self.begin()
        for switch in self.switches.values():
            switch.fail(self.name)

    async def aftermath(self) -> Attestation | None:
        await asyncio.sleep(SETTLE_S)
        failed, heard = self.counted(0), self.heard()
        return Attestation(heard > 0 or not failed, "failures in the nodes' traces", {"failed": failed, "heard": heard}, fired=heard > 0)

    def heard(self) -> int:
        """How many failures the nodes were told of since it began."""
        steps = (step for node in self.switches for life in self.lives(node) for step in life)
        return sum(isinstance(step.event, DiskFailed) and step.at_ns >= self.began_ns for step in steps)


class DiskReadOnly(DiskFail):
    """The database refuses every write. The file is read from outside: no record is added to it."""

    def __init__(self, stage: Stage, entry: Entry, fault: Fault) -> None:
        super().__init__(stage, entry, fault)
        self.added = 0
        self.held_before: dict[str, int] = {}

    async def on(self) -> None:
        self.begin()
        for switch in self.switches.values():
            switch.read_only(self.name)
        await asyncio.sleep(SETTLE_S / 4)  # for the commit that is under way
        self.held_before = self._held()

    async def off(self) -> None:
        self.added = sum(held - self.held_before[node] for node, held in self._held().items())
        await super().off()

    async def aftermath(self) -> Attestation | None:
        failed = await super().aftermath()
        assert failed is not None, "failures are always counted"
        return Attestation(
            failed.holds and not self.added, f"records in the log's file; {failed.how}", {**failed.measured, "added": self.added}, fired=failed.fired
        )

    def _held(self) -> dict[str, int]:
        return {node: len(refold.on_disk(Path(self.stage.cell.deployments[node].directory) / "log.db")) for node in self.switches}


class DiskSlow(DiskFault):
    """Every commit takes longer."""

    def __init__(self, stage: Stage, entry: Entry, fault: Fault) -> None:
        super().__init__(stage, entry, fault)
        self.by_ns = int(fault.settings["by_ns"])

    async def on(self) -> None:
        self.begin()
        for switch in self.switches.values():
            switch.slow(self.name, self.by_ns)

    async def aftermath(self) -> Attestation | None:
        took_ns = [took for node in self.switches for life in self.lives(node) for took in self._commits(life)]
        measured: dict[str, int | str] = {"slowed": self.counted(1), "commits": len(took_ns), "least_ms": min(took_ns, default=0) // MS_NS}
        holds = all(took >= self.by_ns for took in took_ns)
        return Attestation(holds, "from append to durable, in the nodes' traces", measured, fired=self.counted(1) > 0)

    def _commits(self, life: list[Step]) -> list[int]:
        """How long each record took that was both handed over and durable while the fault was on."""
        handed: dict[int, int] = {}
        took = []
        for step in life:
            if isinstance(step.event, Durable) and step.at_ns <= self.ended_ns:
                took += [step.at_ns - handed.pop(seq) for seq in sorted(handed) if seq <= step.event.lsn]
            if step.at_ns >= self.began_ns:
                handed.update({effect.record.seq: step.at_ns for effect in step.effects if isinstance(effect, Append)})
        return took
