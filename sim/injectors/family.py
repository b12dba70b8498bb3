"""What all families of faults share: the tables that the nemesis reads, and how a fault's settings and targets are looked up."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from harness.shared.signals import ARRIVED
from killswitch.core.messages import Message, Order
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

    def look_at_deliveries(self, look: Callable[[str, str, Message], None], *faults: str) -> None:
        """Have ``look`` see each message that arrives over the network; only where the schedule holds one of these faults."""
        if not any(isinstance(entry.action, Fault) and entry.action.what in faults for entry in self.world.schedule.timeline):
            return
        earlier = self.world.before_delivery

        def both(source: str, target: str, message: Message) -> int:
            look(source, target, message)
            return 1 if earlier is None else earlier(source, target, message)

        self.world.before_delivery = both

    def note_arrival(self, source: str, target: str, order: Order, how: str) -> None:
        """A replica's word of an order arrives at a sidecar, or a peer, that may be unable to read or verify it: once for each start of that."""
        node = self.world.nodes[target]
        mark, kind = (target, node.start, order.raw), ARRIVED.get(node.config.role)
        if kind is None or not (source.startswith("replica/") and node.running) or mark in self.world.arrivals:
            return
        self.world.arrivals.add(mark)
        self.world.fact(kind, node, {"order": hashlib.sha256(order.raw).hexdigest(), "sender": source, "how": how})

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
