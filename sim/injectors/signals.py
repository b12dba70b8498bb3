"""Faults of single signals on their way to nodes: delivered twice, or once more when they are old."""

from __future__ import annotations

from collections import deque

from harness.shared.signals import carries
from killswitch.core.events import Receive
from killswitch.core.messages import Message
from scenarios.schedule import Fault
from sim.injectors.family import Family, whole
from sim.world import World

SIGNALS_KEPT = 64
REPLAY_GAP_NS = 1_000_000


class Signals(Family):
    """Stands in the way of every message, but only where the schedule holds a fault that needs it."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._received: dict[str, deque[tuple[str, Message]]] = {}
        self._duplicating: list[tuple[str, Fault]] = []
        faults = [entry.action for entry in world.schedule.timeline if isinstance(entry.action, Fault)]
        self._replays = {target for fault in faults if fault.what == "replay" for target in fault.targets}
        self.begins = {"duplicate": self._duplicate, "replay": self._replay}
        self.ends = {"duplicate": self._unduplicate}
        if self._replays or any(fault.what == "duplicate" for fault in faults):
            world.before_delivery = self._pass_signal

    def _duplicate(self, id_: str, fault: Fault) -> None:
        self._duplicating.append((id_, fault))

    def _unduplicate(self, id_: str, fault: Fault) -> None:
        self._duplicating = [entry for entry in self._duplicating if entry[0] != id_]

    def _pass_signal(self, source: str, target: str, message: Message) -> int:
        """How many times a message is delivered; what may be replayed later is kept."""
        if target in self._replays:
            self._received.setdefault(target, deque(maxlen=SIGNALS_KEPT)).append((source, message))
        copies = 1
        for id_, fault in self._duplicating:
            if target in fault.targets and carries(message, str(fault.settings.get("message", "any"))):
                self.world.fault_fired(id_)
                copies = max(copies, whole(fault, "times"))
        return copies

    def _replay(self, id_: str, fault: Fault) -> None:
        """Deliver old signals again, the latest first, as old as they are."""
        world = self.world
        for target in fault.targets:
            wanted = str(fault.settings.get("message", "any"))
            old = [entry for entry in self._received.get(target, ()) if carries(entry[1], wanted)]
            for number, (source, message) in enumerate(reversed(old[-whole(fault, "times") :])):
                world.fault_fired(id_)
                world.queue.at(world.queue.now + (number + 1) * REPLAY_GAP_NS, self._redeliver, (source, target, message))

    def _redeliver(self, journey: tuple[str, str, Message]) -> None:
        source, target, message = journey
        self.world.nodes[target].receive(Receive(source, message))
