"""Faults of disks."""

from __future__ import annotations

from scenarios.schedule import Fault
from sim.injectors.family import Family, whole
from sim.world import World


class Disks(Family):
    """Works on `sim.disk`; what a disk does while a fault is on is its own to know."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.begins = {"disk-fail": self._fail, "disk-slow": self._slow}
        self.ends = {"disk-fail": self._mend, "disk-slow": self._speed}

    def _fail(self, id_: str, fault: Fault) -> None:
        for node in self.targets(fault):
            node.disk.failing.add(id_)
            self.world.fault_fired(id_)

    def _mend(self, id_: str, fault: Fault) -> None:
        for node in self.targets(fault):
            node.disk.failing.discard(id_)

    def _slow(self, id_: str, fault: Fault) -> None:
        for node in self.targets(fault):
            node.disk.slow_ns[id_] = whole(fault, "by_ns")
            self.world.fault_fired(id_)

    def _speed(self, id_: str, fault: Fault) -> None:
        for node in self.targets(fault):
            node.disk.slow_ns.pop(id_, None)
