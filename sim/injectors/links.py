"""Faults of the links between nodes: partitions, and all that makes a link worse without closing it."""

from __future__ import annotations

from scenarios.schedule import Fault
from sim.injectors.family import Family, whole
from sim.network import Impairment
from sim.world import World


class Links(Family):
    """Works on `sim.network`, a link at a time."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.begins = {"partition": self._block, **dict.fromkeys(("delay", "loss", "duplicate-messages", "reorder"), self._impair)}
        self.ends = {"partition": self._unblock, **dict.fromkeys(("delay", "loss", "duplicate-messages", "reorder"), self._mend)}

    def _block(self, id_: str, fault: Fault) -> None:
        for source, target in fault.links:
            self.world.network.block(source, target, id_, str(fault.settings.get("shape", "blackhole")))

    def _unblock(self, id_: str, fault: Fault) -> None:
        for source, target in fault.links:
            self.world.network.unblock(source, target, id_)

    def _impair(self, id_: str, fault: Fault) -> None:
        by_ns, chance = whole(fault, "by_ns"), whole(fault, "chance_ppm")
        impairment = Impairment(
            id_,
            delay_ns=by_ns if fault.what == "delay" else 0,
            loss_ppm=chance if fault.what == "loss" else 0,
            duplicate_ppm=chance if fault.what == "duplicate-messages" else 0,
            reorder_ppm=chance if fault.what == "reorder" else 0,
            reorder_ns=by_ns,
        )
        for source, target in fault.links:
            self.world.network.impair(source, target, impairment)

    def _mend(self, id_: str, fault: Fault) -> None:
        for source, target in fault.links:
            self.world.network.mend(source, target, id_)
