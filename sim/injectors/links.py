"""Faults of the links between nodes: partitions, and all that makes a link worse without closing it."""

from __future__ import annotations

from scenarios.schedule import Fault
from sim.injectors.family import Family, whole
from sim.network import Impairment
from sim.world import World


PARTITIONS = ("partition", "ring-partition", "majorities-ring")  # they differ in their links alone
IMPAIRMENTS = ("delay", "loss", "duplicate-messages", "reorder", "bandwidth")


class Links(Family):
    """Works on `sim.network`, a link at a time."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._flapping: dict[str, bool] = {}
        self.begins = {**dict.fromkeys(PARTITIONS, self._block), "flapping-partition": self._flap, **dict.fromkeys(IMPAIRMENTS, self._impair)}
        self.ends = {**dict.fromkeys(PARTITIONS, self._unblock), "flapping-partition": self._settle, **dict.fromkeys(IMPAIRMENTS, self._mend)}

    def _block(self, id_: str, fault: Fault) -> None:
        for source, target in fault.links:
            self.world.network.block(source, target, id_, str(fault.settings.get("shape", "blackhole")))

    def _unblock(self, id_: str, fault: Fault) -> None:
        for source, target in fault.links:
            self.world.network.unblock(source, target, id_)

    def _flap(self, id_: str, fault: Fault) -> None:
        self._flapping[id_] = False
        self._turn((id_, fault))

    def _turn(self, ticket: tuple[str, Fault]) -> None:
        """Half a period is over: cut what is joined, join what is cut."""
        id_, fault = ticket
        if id_ not in self._flapping:
            return
        self._flapping[id_] = not self._flapping[id_]
        (self._block if self._flapping[id_] else self._unblock)(id_, fault)
        self.world.queue.at(self.world.queue.now + max(1, whole(fault, "period_ns") // 2), self._turn, ticket)

    def _settle(self, id_: str, fault: Fault) -> None:
        if self._flapping.pop(id_):
            self._unblock(id_, fault)

    def _impair(self, id_: str, fault: Fault) -> None:
        by_ns, chance = whole(fault, "by_ns"), whole(fault, "chance_ppm")
        impairment = Impairment(
            id_,
            delay_ns=by_ns if fault.what == "delay" else 0,
            loss_ppm=chance if fault.what == "loss" else 0,
            duplicate_ppm=chance if fault.what == "duplicate-messages" else 0,
            reorder_ppm=chance if fault.what == "reorder" else 0,
            reorder_ns=by_ns,
            bytes_per_s=whole(fault, "bytes_per_s"),
        )
        for source, target in fault.links:
            self.world.network.impair(source, target, impairment)

    def _mend(self, id_: str, fault: Fault) -> None:
        for source, target in fault.links:
            self.world.network.mend(source, target, id_)
