"""Faults of nodes' own clocks, and of their hosts' wall clocks."""

from __future__ import annotations

from collections.abc import Callable

from scenarios.schedule import ClockSpec, Fault
from sim.clock import PPM
from sim.injectors.family import Family, whole
from sim.node import Node
from sim.world import World


class Clocks(Family):
    """Of several drifts on one clock the latest counts, for as long as it is on; a freeze is a drift that leaves nothing."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._drifts: dict[str, dict[str, int]] = {}
        self._wall_drifts: dict[str, dict[str, int]] = {}
        self._strobing: dict[str, int] = {}
        self.begins = {
            "clock-step": self._step, "clock-drift": self._drift, "clock-freeze": self._freeze, "clock-strobe": self._strobe,
            "wall-step": self._wall_step, "wall-drift": self._wall_drift, "wall-strobe": self._strobe,
        }  # fmt: skip
        self.ends = {
            "clock-drift": self._undrift, "clock-freeze": self._undrift, "clock-strobe": self._unstrobe,
            "wall-drift": self._wall_undrift, "wall-strobe": self._unstrobe,
        }  # fmt: skip

    def _step(self, id_: str, fault: Fault) -> None:
        for node in self.targets(fault):
            self._jump(node, whole(fault, "by_ns"))
            self.world.fault_fired(id_)

    def _jump(self, node: Node, by_ns: int) -> None:
        node.clock.step(self.world.queue.now, by_ns)
        node.clock_changed()

    def _strobe(self, id_: str, fault: Fault) -> None:
        self._strobing[id_] = whole(fault, "by_ns")
        self._flash((id_, fault))

    def _flash(self, ticket: tuple[str, Fault]) -> None:
        """One jump, and the next one the other way."""
        id_, fault = ticket
        by_ns = self._strobing.get(id_)
        if by_ns is None:
            return
        jump: Callable[[Node, int], None] = self._wall_jump if fault.what == "wall-strobe" else self._jump
        for node in self.targets(fault):
            jump(node, by_ns)
            self.world.fault_fired(id_)
        self._strobing[id_] = -by_ns
        self.world.queue.at(self.world.queue.now + whole(fault, "every_ns"), self._flash, ticket)

    def _unstrobe(self, id_: str, fault: Fault) -> None:
        del self._strobing[id_]

    def _freeze(self, id_: str, fault: Fault) -> None:
        self._run_at(id_, fault, -PPM)

    def _wall_step(self, id_: str, fault: Fault) -> None:
        for node in self.targets(fault):
            self._wall_jump(node, whole(fault, "by_ns"))
            self.world.fault_fired(id_)

    def _wall_jump(self, node: Node, by_ns: int) -> None:
        node.wall.step(self.world.queue.now, by_ns)

    def _wall_drift(self, id_: str, fault: Fault) -> None:
        for node in self.targets(fault):
            self._wall_drifts.setdefault(node.address, {})[id_] = whole(fault, "rate_ppm")
            self._set_wall_drift(node)
            self.world.fault_fired(id_)

    def _wall_undrift(self, id_: str, fault: Fault) -> None:
        for node in self.targets(fault):
            self._wall_drifts[node.address].pop(id_, None)
            self._set_wall_drift(node)

    def _set_wall_drift(self, node: Node) -> None:
        node.wall.set_drift(self.world.queue.now, next(reversed(self._wall_drifts[node.address].values()), 0))

    def _drift(self, id_: str, fault: Fault) -> None:
        self._run_at(id_, fault, whole(fault, "rate_ppm"))

    def _run_at(self, id_: str, fault: Fault, drift_ppm: int) -> None:
        for node in self.targets(fault):
            self._drifts.setdefault(node.address, {})[id_] = drift_ppm
            self._set_drift(node)
            self.world.fault_fired(id_)

    def _undrift(self, id_: str, fault: Fault) -> None:
        for node in self.targets(fault):
            self._drifts[node.address].pop(id_, None)
            self._set_drift(node)

    def _set_drift(self, node: Node) -> None:
        """The latest drift that is still on, or the clock's own."""
        own = self.world.schedule.clocks.get(node.config.node, ClockSpec()).drift_ppm
        node.clock.set_drift(self.world.queue.now, next(reversed(self._drifts[node.address].values()), own))
        node.clock_changed()
