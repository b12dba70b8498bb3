"""A whole host that sleeps: its processes stand still, and whatever is sent to it meanwhile finds nobody.

Owns the joining of the two faults that this is. The clock of a live host goes on, as ``CLOCK_BOOTTIME`` does over a real sleep; so does here, and not
in a sleep, any other clock that an implementation may read, which is why only the simulator can tell those apart (B42).
"""

from __future__ import annotations

from msgspec import structs

from harness.live.injections.family import Attestation, Stage
from harness.live.injections.hosts import Pause
from harness.live.injections.links import Partition
from scenarios.deploy import hosted_by
from scenarios.schedule import Entry, Fault


class Suspend:
    """A black hole towards each target, and every process of its host stopped; it wakes up behind connections that are gone."""

    def __init__(self, stage: Stage, entry: Entry, fault: Fault) -> None:
        hosted = [hosted_by(node) for node in fault.targets if node.startswith("sidecar/")]
        links = tuple((other, node) for node in fault.targets for other in stage.cell.deployments if stage.cell.route((other, node)) is not None)
        self.processes = Pause(stage, entry, structs.replace(fault, targets=(*fault.targets, *hosted)))
        self.network = Partition(stage, entry, structs.replace(fault, links=links, settings={"shape": "blackhole"}))

    async def on(self) -> None:
        await self.network.on()
        await self.processes.on()

    async def attest(self) -> Attestation | None:
        stopped, silent = await self.processes.attest(), await self.network.attest()
        assert stopped is not None and silent is not None, "both are measured while they are on"
        measured = {**stopped.measured, **silent.measured}
        return Attestation(stopped.holds and silent.holds, f"{stopped.how}; {silent.how}", measured, fired=stopped.fired)

    async def off(self) -> None:
        await self.network.off()
        await self.processes.off()

    async def aftermath(self) -> Attestation | None:
        return None
