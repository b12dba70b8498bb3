"""Faults of processes and the hosts that they run on: they die, stand still, or are slow."""

from __future__ import annotations

from scenarios.schedule import Fault
from sim.injectors.family import Family, whole
from sim.node import Node
from sim.world import World


class Hosts(Family):
    """A process that dies is started again; an agent by its sidecar, if that still runs."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._asleep: dict[tuple[str, str], int] = {}  # (fault, node) -> the reading of its clock when it fell asleep
        self._to_clone: set[str] = set()  # faults of cloning that are on
        self._doubled: dict[str, str] = {}  # fault -> whose host there are two of
        self.begins = {"crash": self._crash, "pause": self._pause, "suspend": self._suspend, "slow-node": self._slow, "clone": self._clone}
        self.ends = {"pause": self._resume, "suspend": self._wake, "slow-node": self._speed, "clone": self._end_clone}

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
            if self.world.tape.stream(f"pause.style/{node.address}")(2) and node.running and not node.stands_still():
                node.pause_soon(id_)
            else:
                node.pause(id_)

    def _resume(self, id_: str, fault: Fault) -> None:
        for node in self.targets(fault):
            node.resume(id_)

    def _clone(self, id_: str, fault: Fault) -> None:
        """A snapshot is of a host between two steps, though a fact in the middle of one may have called for it."""
        self._to_clone.add(id_)
        for node in self.targets(fault):
            self.world.queue.at(self.world.queue.now, self._copy, (id_, node))

    def _copy(self, ticket: tuple[str, Node]) -> None:
        id_, node = ticket
        if id_ in self._to_clone and self.world.clone(node):
            self.world.fault_fired(id_)
            self._doubled[id_] = node.config.node

    def _end_clone(self, id_: str, fault: Fault) -> None:
        self._to_clone.discard(id_)
        if id_ in self._doubled:
            self.world.end_double(self._doubled.pop(id_), keep_copy=fault.settings.get("survivor") == "clone")

    def _slow(self, id_: str, fault: Fault) -> None:
        for node in self.targets(fault):
            if node.running:
                self.world.fault_fired(id_)
            node.slow_down(id_, whole(fault, "by_ns"))

    def _speed(self, id_: str, fault: Fault) -> None:
        for node in self.targets(fault):
            node.speed_up(id_)

    def _suspend(self, id_: str, fault: Fault) -> None:
        """Whatever is sent to a host that sleeps finds nobody; its own pipes keep what is in them."""
        for node in self._hosted(fault):
            if node.running:
                self.world.fault_fired(id_)
                self._asleep[id_, node.address] = node.clock.read(self.world.queue.now)
            node.pause(id_)
            for other in self.world.nodes:
                self.world.network.block(other, node.address, id_, "blackhole")

    def _wake(self, id_: str, fault: Fault) -> None:
        """An implementation that runs on CLOCK_MONOTONIC finds its clock where it was when the host fell asleep."""
        for node in self._hosted(fault):
            began = self._asleep.pop((id_, node.address), None)
            if began is not None and self.world.runs_on_monotonic and id_ in node.paused_by:
                node.clock.step(self.world.queue.now, began - node.clock.read(self.world.queue.now))
                node.clock_changed()
            for other in self.world.nodes:
                self.world.network.unblock(other, node.address, id_)
            node.resume(id_)

    def _hosted(self, fault: Fault) -> list[Node]:
        """The targets, and with each sidecar the agent on its host."""
        return [each for node in self.targets(fault) for each in ((node, self.world.agent_of(node)) if node.config.role == "sidecar" else (node,))]
