"""Faults of processes and the hosts that they run on: they die, stand still, or are slow."""

from __future__ import annotations

from scenarios.schedule import Fault
from sim.injectors.family import Family, whole
from sim.world import World


class Hosts(Family):
    """A process that dies is started again; an agent by its sidecar, if that still runs."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.begins = {"crash": self._crash, "pause": self._pause, "slow-node": self._slow}
        self.ends = {"pause": self._resume, "slow-node": self._speed}

    def _crash(self, id_: str, fault: Fault) -> None:
        for node in self.targets(fault):
            if node.running or fault.settings.get("power"):
                self.world.fault_fired(id_)
            self.world.crash(node, power=bool(fault.settings.get("power")))
            self.restart(node, fault)

    def _pause(self, id_: str, fault: Fault) -> None:
        """Stop a process between two steps, or in the middle of its next one: after it decided, before anything left it."""
        for node in self.targets(fault):
            if node.running:
                self.world.fault_fired(id_)
            if self.world.tape.stream(f"pause.style/{node.id}")(2) and node.running and not node.stands_still():
                node.pause_soon(id_)
            else:
                node.pause(id_)

    def _resume(self, id_: str, fault: Fault) -> None:
        for node in self.targets(fault):
            node.resume(id_)

    def _slow(self, id_: str, fault: Fault) -> None:
        for node in self.targets(fault):
            if node.running:
                self.world.fault_fired(id_)
            node.slow_down(id_, whole(fault, "by_ns"))

    def _speed(self, id_: str, fault: Fault) -> None:
        for node in self.targets(fault):
            node.speed_up(id_)
