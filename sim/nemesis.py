"""Who breaks things, and who gives orders: the timeline of a schedule, played in the simulated world.

Owns when each fault begins and ends; how is `sim.injectors`'. Every fault is armed at the start, on when its trigger comes, fired when it first made
a difference, and off after its time or at the heal; all of these are facts. Decides nothing: the schedule has.
"""

from __future__ import annotations

from itertools import chain

from harness.shared import operations
from harness.shared.history import Fact
from harness.shared.triggers import POLL_NS, Triggers
from scenarios.deploy import OPERATOR
from scenarios.faults import FAULTS
from scenarios.schedule import Entry, Fault, Operation
from sim.injectors import FAMILIES
from sim.injectors.load import lift
from sim.node import Node
from sim.world import World

LEFT_OUT = ""  # the network's own nature, as it were: no fault of the schedule does this


class Nemesis:
    """Plays the timeline of one run, and undoes at the heal whatever is still on."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._triggers = Triggers(world.schedule.timeline, world.schedule.parameters.lease_ns)
        self._on: dict[str, Entry] = {}
        self._healed = False
        families = [family(world) for family in FAMILIES]
        self.begins = {what: injector for family in families for what, injector in family.begins.items()}
        self.ends = {what: injector for family in families for what, injector in family.ends.items()}

    def arm(self) -> None:
        """Record what is armed, and set everything going."""
        world = self._world
        for entry in world.schedule.timeline:
            if isinstance(entry.action, Fault):
                world.fact("fault-armed", None, {"fault": entry.id, "what": entry.action.what})
        for at_ns, entry in self._triggers.timed:
            world.queue.at(at_ns, self._play, entry)
        for kind in self._triggers.kinds:
            world.listeners.setdefault(kind, []).append(self._see)
        if self._triggers.waiting:
            world.queue.at(POLL_NS, self._poll)

    def heal_core(self, core: tuple[str, ...]) -> None:
        """End every fault that touches the core and bring its nodes back; break everybody else: cut off, and perhaps down or stopped besides.

        Nothing new begins any more. A fault that is wholly outside goes on.
        """
        self._healed = True
        members, world = frozenset(core), self._world
        for entry in list(self._on.values()):
            if isinstance(entry.action, Fault) and members.intersection((*entry.action.targets, *chain(*entry.action.links))):
                self._end(entry)
        for node in world.nodes.values():
            if node.address in members:
                self._bring_back(node)
            elif node.config.role != "agent":
                self._leave_out(node, members)
        world.fact("core-healed", None, {"members": list(core)})

    def _leave_out(self, node: Node, members: frozenset[str]) -> None:
        world = self._world
        for member in sorted(members):
            for ends in ((node.address, member), (member, node.address)):
                world.network.block(*ends, LEFT_OUT, "blackhole")
        fate = world.tape.stream(f"left.out/{node.address}")(3)
        if fate == 1:
            world.crash(node, power=False)
        elif fate == 2:
            node.pause(LEFT_OUT)

    def heal(self) -> None:
        """End every fault, bring back every node, and let nothing begin any more."""
        self._healed = True
        for entry in list(self._on.values()):
            self._end(entry)
        for ends in self._world.network.blocked(LEFT_OUT):
            self._world.network.unblock(*ends, LEFT_OUT)
        for node in self._world.nodes.values():
            self._bring_back(node)
        self._world.fact("healed", None, {})

    def _bring_back(self, node: Node) -> None:
        node.continue_()
        lift(node)  # a storm is over long before what it left in front of its receivers is
        if not node.running and node.config.role != "agent":
            node.boot_up()

    # -- triggers

    def _see(self, fact: Fact) -> None:
        for delay_ns, entry in self._triggers.see(fact):
            if delay_ns:
                self._world.queue.at(self._world.queue.now + delay_ns, self._play, entry)
            else:
                self._play(entry)

    def _poll(self, _: object) -> None:
        world = self._world
        for entry in self._triggers.poll(lambda node: world.nodes[node].clock.read(world.queue.now)):
            self._play(entry)
        if self._triggers.waiting and not self._healed:
            world.queue.at(world.queue.now + POLL_NS, self._poll)

    def _play(self, entry: Entry) -> None:
        if isinstance(entry.action, Operation):
            self._operate(entry.id, entry.action)
        elif not self._healed:
            self._begin(entry, entry.action)

    def _operate(self, operation: str, action: Operation) -> None:
        world = self._world
        world.fact("operation-played", None, {"operation": operation, "what": action.verb})
        world.nodes[OPERATOR].receive(operations.command(action))

    # -- faults

    def _begin(self, entry: Entry, fault: Fault) -> None:
        world = self._world
        target = list(fault.targets) or [f"{source} -> {target}" for source, target in fault.links]
        world.fact("fault-on", None, {"fault": entry.id, "what": fault.what, "target": target})
        self._on[entry.id] = entry
        self.begins[fault.what](entry.id, fault)
        if not FAULTS[fault.what].lasting:
            self._end(entry)
        elif fault.for_ns is not None:
            world.queue.at(world.queue.now + fault.for_ns, self._end, entry)

    def _end(self, entry: Entry) -> None:
        fault = entry.action
        if self._on.pop(entry.id, None) is None or not isinstance(fault, Fault):
            return
        end = self.ends.get(fault.what)
        if end is not None:
            end(entry.id, fault)
        self._world.fact("fault-off", None, {"fault": entry.id, "what": fault.what})
