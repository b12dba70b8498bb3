"""Faults of disks."""

from __future__ import annotations

from functools import partial

from msgspec import structs

from scenarios.schedule import Fault
from sim.disk import Loss, without
from sim.injectors.family import Family, Injector, whole
from sim.node import Node
from sim.world import World


class Disks(Family):
    """Works on `sim.disk`; what a disk does while a fault is on is its own to know."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        torn: Injector = partial(self._lose_power, Loss.TORN)
        reordered: Injector = partial(self._lose_power, Loss.REORDERED)
        self.begins = {
            "disk-fail": self._fail, "disk-read-only": self._fail, "disk-slow": self._slow, "disk-torn": torn, "disk-reorder": reordered,
            "disk-lie": self._lie, "bit-flip": self._flip, "disk-lost": self._lose, "disk-full": self._fill,
        }  # fmt: skip
        self.ends = {
            "disk-fail": self._mend, "disk-read-only": self._mend, "disk-slow": self._speed, "disk-lie": self._tell_truth, "disk-full": self._free,
        }  # fmt: skip

    def _fail(self, id_: str, fault: Fault) -> None:
        """What cannot be synced and what cannot be written comes to the same: nothing becomes durable, and what was is read back."""
        for node in self.targets(fault):
            node.disk.failing |= {id_}
            self.world.fault_fired(id_)

    def _mend(self, id_: str, fault: Fault) -> None:
        for node in self.targets(fault):
            node.disk.failing -= {id_}

    def _slow(self, id_: str, fault: Fault) -> None:
        for node in self.targets(fault):
            node.disk.slow_ns = {**node.disk.slow_ns, id_: whole(fault, "by_ns")}
            self.world.fault_fired(id_)

    def _speed(self, id_: str, fault: Fault) -> None:
        for node in self.targets(fault):
            node.disk.slow_ns = without(node.disk.slow_ns, id_)

    def _fill(self, id_: str, fault: Fault) -> None:
        """A node that keeps a reserve knows what did not fit; to one that keeps none a write that does not fit is a disk that failed."""
        reserve = whole(fault, "reserve")
        if not reserve:
            self._fail(id_, fault)
            return
        for node in self.targets(fault):
            node.disk.fill(id_, reserve, self.world.fault_fired)

    def _free(self, id_: str, fault: Fault) -> None:
        self._mend(id_, fault)
        for node in self.targets(fault):
            node.disk.free(id_)

    def _host(self, node: Node) -> tuple[Node, ...]:
        """All whose disk is the node's: a sidecar and its agent share a host."""
        if node.config.role not in ("agent", "sidecar"):
            return (node,)
        sidecar = node if node.config.role == "sidecar" else self.world.sidecar_of(node)
        return (sidecar, self.world.agent_of(sidecar))

    def _lose_power(self, loss: Loss, id_: str, fault: Fault) -> None:
        for node in self.targets(fault):
            for each in self._host(node):
                each.disk.loss = loss
            self.world.fault_fired(id_)
            self.world.crash(node, power=True)
            self.restart(node, fault)

    def _lie(self, id_: str, fault: Fault) -> None:
        for node in self.targets(fault):
            node.disk.lying = {**node.disk.lying, id_: self.world.fault_fired}

    def _tell_truth(self, id_: str, fault: Fault) -> None:
        for node in self.targets(fault):
            node.disk.tell_truth(id_)

    def _flip(self, id_: str, fault: Fault) -> None:
        for node in self.targets(fault):
            if node.disk.flip(slots=fault.settings.get("slots") == "slots"):
                self.world.fault_fired(id_)

    def _lose(self, id_: str, fault: Fault) -> None:
        for node in self.targets(fault):
            self.world.fault_fired(id_)
            self.world.crash(node, power=True)
            for each in self._host(node):
                each.disk.wipe()
            if node.config.role == "replica":
                node.config = structs.replace(node.config, joins=True)
            self.restart(node, fault)
