"""Faults of load: floods, and everybody coming back at once."""

from __future__ import annotations

from harness.shared.floods import useless
from scenarios.schedule import Fault
from sim.injectors.family import Family, whole
from sim.lanes import SECOND_NS, Intake
from sim.node import Node
from sim.world import World


class Load(Family):
    """Of several limits on one node the latest counts. A limit that a storm left goes by itself, when nothing waits any more, or with the heal."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._floods: set[str] = set()
        self.begins = {"overload": self._flood, "reconnect-storm": self._cut}
        self.ends = {"overload": self._ebb, "reconnect-storm": self._reconnect}

    def _flood(self, id_: str, fault: Fault) -> None:
        self._floods.add(id_)
        for node in self._receivers(fault):
            self._limit(node, whole(fault, "capacity_per_s"), passing=False)
        self._wave((id_, fault, 0))

    def _wave(self, ticket: tuple[str, Fault, int]) -> None:
        """One message on each link, and the next in its time."""
        id_, fault, number = ticket
        if id_ not in self._floods:
            return
        for source, target in fault.links:
            self.world.fault_fired(id_)
            self.world.send(source, target, useless(source, str(fault.settings.get("message", "any")), number))
        self.world.queue.at(self.world.queue.now + SECOND_NS // whole(fault, "per_s"), self._wave, (id_, fault, number + 1))

    def _ebb(self, id_: str, fault: Fault) -> None:
        self._floods.discard(id_)
        for node in self._receivers(fault):
            lift(node)

    def _cut(self, id_: str, fault: Fault) -> None:
        for source, target in fault.links:
            self.world.network.block(source, target, id_, "stall")

    def _reconnect(self, id_: str, fault: Fault) -> None:
        for node in self._receivers(fault):
            self._limit(node, whole(fault, "capacity_per_s"), passing=True)
        for source, target in fault.links:
            self.world.network.unblock(source, target, id_)

    def _receivers(self, fault: Fault) -> list[Node]:
        return [self.world.nodes[node] for node in sorted({target for _, target in fault.links})]

    def _limit(self, node: Node, per_s: int, *, passing: bool) -> None:
        lift(node)
        node.intake = Intake(self.world.queue, per_s, self.world.hand_over, lambda: lift(node) if passing else None)


def lift(node: Node) -> None:
    """From now on the node takes in whatever comes, and at once what waits."""
    intake, node.intake = node.intake, None
    if intake is not None:
        intake.finish()
