"""What all families of faults share: the tables that the nemesis reads, and how a fault's settings and targets are looked up."""

from __future__ import annotations

from collections.abc import Callable

from scenarios.schedule import Fault
from sim.node import Node
from sim.world import World

Injector = Callable[[str, Fault], None]


class Family:
    """``begins`` and ``ends``: {fault: injector}, called with the fault's id in the schedule and the fault."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.begins: dict[str, Injector] = {}
        self.ends: dict[str, Injector] = {}

    def targets(self, fault: Fault) -> list[Node]:
        return [self.world.nodes[target] for target in fault.targets]

    def restart(self, node: Node, fault: Fault) -> None:
        """Boot a node that has crashed when its time has come; an agent is started by its sidecar, if that runs."""
        after_ns = whole(fault, "restart_after_ns")
        restarted = self.world.sidecar_of(node) if node.config.role == "agent" else node
        if after_ns >= 0 and not restarted.running:
            self.world.queue.at(self.world.queue.now + after_ns, Node.boot_up, restarted)


def whole(fault: Fault, key: str) -> int:
    """A setting that is a whole number; 0 if the fault has none of that name."""
    return int(fault.settings.get(key, 0))
