"""Faults of a node's pace: it takes its time over each input. The nodes' own traces attest it.

Owns the switching. The inputs that come meanwhile wait in the node's own inbox (`harness.live.pace_port`).
"""

from __future__ import annotations

from itertools import pairwise

from harness.live.injections.family import Attestation, Stage
from harness.live.injections.switched import Switched
from harness.live.pace_port import PaceSwitch
from killswitch.live.trace import monotonic_ns
from scenarios.schedule import Entry, Fault


class Slow(Switched[PaceSwitch]):
    """Each input takes a time, and those that come meanwhile wait. So no two steps of such a node are nearer to each other than that."""

    def __init__(self, stage: Stage, entry: Entry, fault: Fault) -> None:
        super().__init__(stage, entry, fault, stage.cell.paces)
        self.by_ns = int(fault.settings["by_ns"])

    async def on(self) -> None:
        self.intend()
        for switch in self.switches.values():
            switch.slow(self.name, self.by_ns)
        self.began_ns = monotonic_ns()

    async def aftermath(self) -> Attestation | None:
        """The first step after it began may have been under way."""
        self.stage.sight.look()
        lives = [life for node in self.switches for life in self.stage.sight.nodes[node].lives]
        slow = [[step.at_ns for step in life if self.began_ns <= step.at_ns <= self.ended_ns][1:] for life in lives]
        gaps_ns = [later - earlier for steps in slow for earlier, later in pairwise(steps)]
        measured: dict[str, int | str] = {"steps": sum(map(len, slow)), "least_gap_us": min(gaps_ns, default=0) // 1000}
        return Attestation(all(gap >= self.by_ns for gap in gaps_ns), "from step to step, in the nodes' traces", measured, fired=bool(gaps_ns))
