"""Faults of nodes' own clocks."""

from __future__ import annotations

from scenarios.schedule import ClockSpec, Fault
from sim.injectors.family import Family, whole
from sim.node import Node
from sim.world import World


class Clocks(Family):
    """Of several drifts on one clock the latest counts, for as long as it is on."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._drifts: dict[str, dict[str, int]] = {}
        self.begins = {"clock-step": self._step, "clock-drift": self._drift, "wall-step": self._wall_step}
        self.ends = {"clock-drift": self._undrift}

    def _step(self, id_: str, fault: Fault) -> None:
        for node in self.targets(fault):
            node.clock.step(self.world.queue.now, whole(fault, "by_ns"))
            self.world.fault_fired(id_)

    def _wall_step(self, id_: str, fault: Fault) -> None:
        for node in self.targets(fault):
            for each in (node, self.world.agent_of(node)) if node.config.role == "sidecar" else (node,):  # they share a host
                each.wall_stepped_ns += whole(fault, "by_ns")
            self.world.fault_fired(id_)

    def _drift(self, id_: str, fault: Fault) -> None:
        for node in self.targets(fault):
            self._drifts.setdefault(node.id, {})[id_] = whole(fault, "rate_ppm")
            self._set_drift(node)
            self.world.fault_fired(id_)

    def _undrift(self, id_: str, fault: Fault) -> None:
        for node in self.targets(fault):
            self._drifts[node.id].pop(id_, None)
            self._set_drift(node)

    def _set_drift(self, node: Node) -> None:
        """The latest drift that is still on, or the clock's own."""
        own = self.world.schedule.clocks.get(node.id, ClockSpec()).drift_ppm
        node.clock.set_drift(self.world.queue.now, next(reversed(self._drifts[node.id].values()), own))
