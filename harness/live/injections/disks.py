"""Faults of disks, through the ports of the nodes' logs; attested by the nodes' own traces.

Owns the switching. A trace shows when a record was handed to the log and when the node heard that it was durable, or that it never will be.
"""

from __future__ import annotations

import asyncio

from harness.live import log_port
from harness.live.injections.family import SETTLE_S, Attestation, Stage
from harness.live.ledger import File
from killswitch.core.events import Append, DiskFailed, Durable
from killswitch.live.trace import Step, monotonic_ns
from scenarios.schedule import Entry, Fault


class DiskFault:
    """A fault of the disks of ``targets``."""

    def __init__(self, stage: Stage, entry: Entry, fault: Fault) -> None:
        self.stage = stage
        self.name = entry.id
        self.switches = {node: stage.cell.disks[node] for node in fault.targets}
        self.entries: tuple[int, ...] = ()
        self.counted_before: dict[str, tuple[int, int]] = {}
        self.began_ns = self.ended_ns = 0

    def begin(self) -> None:
        pages = (log_port.page_of(node, self.stage.directory) for node in self.switches)
        self.entries = self.stage.ledger.intend(*(File(str(page)) for page in pages))
        self.counted_before = {node: switch.counts() for node, switch in self.switches.items()}
        self.began_ns = monotonic_ns()

    async def attest(self) -> Attestation | None:
        return None  # seen when something has been written

    async def off(self) -> None:
        self.ended_ns = monotonic_ns()
        for switch in self.switches.values():
            switch.let_be(self.name)
        self.stage.ledger.settle(self.entries)

    def counted(self, which: int) -> int:
        """How many commits the ports say they failed (0) or slowed (1) since the fault began."""
        return sum(switch.counts()[which] - self.counted_before[node][which] for node, switch in self.switches.items())

    def lives(self, node: str) -> list[list[Step]]:
        self.stage.sight.look()
        return self.stage.sight.nodes[node].lives


class DiskFail(DiskFault):
    """Every commit fails, and those of a process that saw one fail for good."""

    async def on(self) -> None:
        self.begin()
        for switch in self.switches.values():
            switch.fail(self.name)

    async def aftermath(self) -> Attestation | None:
        await asyncio.sleep(SETTLE_S)
        failed = self.counted(0)
        heard = sum(
            isinstance(step.event, DiskFailed) and step.at_ns >= self.began_ns
            for node in self.switches for life in self.lives(node) for step in life
        )  # fmt: skip
        return Attestation(heard > 0 or not failed, "failures in the nodes' traces", {"failed": failed, "heard": heard}, fired=heard > 0)


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
        measured: dict[str, int | str] = {"slowed": self.counted(1), "commits": len(took_ns), "least_ms": min(took_ns, default=0) // 1_000_000}
        return Attestation(all(took >= self.by_ns for took in took_ns), "from append to durable, in the nodes' traces", measured, fired=bool(took_ns))

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
