"""What all faults share that are in force through pages, which the harness writes and nodes read: disks, clocks, paces, conduct.

Owns that a page is in the ledger before it says anything, and that the switches are let be afterwards. Must not know what stands on a page.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from harness.live.injections.family import Attestation, Stage
from harness.live.injections.hosts import NodeFault
from harness.live.ledger import File
from killswitch.live.trace import monotonic_ns
from scenarios.schedule import Entry, Fault


class Switch(Protocol):
    """The harness's end of a page. Several faults may have hold of it at once."""

    path: Path

    def let_be(self, fault: str) -> None: ...


SwitchT = TypeVar("SwitchT", bound=Switch)


class Switched(NodeFault, Generic[SwitchT]):
    """A fault of ``targets`` through the switch of each."""

    def __init__(self, stage: Stage, entry: Entry, fault: Fault, switches: Mapping[str, SwitchT]) -> None:
        super().__init__(stage, entry, fault)
        self.switches = {node: switches[node] for node in fault.targets}
        self.entries: tuple[int, ...] = ()
        self.began_ns = self.ended_ns = 0

    def intend(self) -> None:
        """Before any of the pages says something."""
        self.entries = self.stage.ledger.intend(*(File(str(switch.path.resolve())) for switch in self.switches.values()))

    async def attest(self) -> Attestation | None:
        return None  # seen when a node has done something

    async def off(self) -> None:
        self.ended_ns = monotonic_ns()
        for switch in self.switches.values():
            switch.let_be(self.name)
        self.stage.ledger.settle(self.entries)
