"""Who breaks things, and who gives orders: the timeline of a schedule, played in the simulated world.

Owns each fault's injection and its end. Every fault is armed at the start, on when its trigger comes, fired when it first made a difference,
and off after its time or at the heal; all of these are facts. Decides nothing: the schedule has.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from harness import operations
from harness.history import Fact
from harness.signals import carries
from harness.triggers import POLL_NS, Triggers
from killswitch.core.events import Receive
from killswitch.core.messages import Message
from scenarios.deploy import OPERATOR
from scenarios.faults import FAULTS
from scenarios.schedule import ClockSpec, Entry, Fault, Operation
from sim.network import Impairment
from sim.node import Node
from sim.world import World

SIGNALS_KEPT = 64
REPLAY_GAP_NS = 1_000_000


class Nemesis:
    """Plays the timeline of one run, and undoes at the heal whatever is still on."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._triggers = Triggers(world.schedule.timeline, world.schedule.parameters.lease_ns)
        self._on: dict[str, Entry] = {}
        self._healed = False
        self._drifts: dict[str, dict[str, int]] = {}
        self._pause_style = world.tape.stream("pause.style")
        self._received: dict[str, deque[tuple[str, Message]]] = {}
        self._duplicating: list[tuple[str, Fault]] = []
        faults = [entry.action for entry in world.schedule.timeline if isinstance(entry.action, Fault)]
        self._replays = {target for fault in faults if fault.what == "replay" for target in fault.targets}
        if self._replays or any(fault.what == "duplicate" for fault in faults):
            world.before_delivery = self._pass_signal

    def arm(self) -> None:
        """Record what is armed, and set everything going."""
        world = self._world
        for entry in world.schedule.timeline:
            if isinstance(entry.action, Fault):
                world.fact("fault-armed", None, {"fault": entry.id, "what": entry.action.what})
        for at_ns, entry in self._triggers.timed:
            world.queue.at(at_ns, self._play, entry)
        world.watchers.append(self._see)
        if self._triggers.waiting:
            world.queue.at(POLL_NS, self._poll)

    def heal(self) -> None:
        """End every fault, bring back every node, and let nothing begin any more."""
        self._healed = True
        for entry in list(self._on.values()):
            self._end(entry)
        for node in self._world.nodes.values():
            node.continue_()
            if not node.running and node.config.role != "agent":
                node.boot_up()
        self._world.fact("healed", None, {})

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
        _BEGIN[fault.what](self, entry.id, fault)
        if not FAULTS[fault.what].lasting:
            self._end(entry)
        elif fault.for_ns is not None:
            world.queue.at(world.queue.now + fault.for_ns, self._end, entry)

    def _end(self, entry: Entry) -> None:
        fault = entry.action
        if self._on.pop(entry.id, None) is None or not isinstance(fault, Fault):
            return
        end = _END.get(fault.what)
        if end is not None:
            end(self, entry.id, fault)
        self._world.fact("fault-off", None, {"fault": entry.id, "what": fault.what})

    def _targets(self, fault: Fault) -> list[Node]:
        return [self._world.nodes[target] for target in fault.targets]

    def _block(self, id_: str, fault: Fault) -> None:
        for source, target in fault.links:
            self._world.network.block(source, target, id_, str(fault.settings.get("shape", "blackhole")))

    def _unblock(self, id_: str, fault: Fault) -> None:
        for source, target in fault.links:
            self._world.network.unblock(source, target, id_)

    def _impair(self, id_: str, fault: Fault) -> None:
        by_ns, chance = _whole(fault, "by_ns"), _whole(fault, "chance_ppm")
        impairment = Impairment(
            id_,
            delay_ns=by_ns if fault.what == "delay" else 0,
            loss_ppm=chance if fault.what == "loss" else 0,
            duplicate_ppm=chance if fault.what == "duplicate-messages" else 0,
            reorder_ppm=chance if fault.what == "reorder" else 0,
            reorder_ns=by_ns,
        )
        for source, target in fault.links:
            self._world.network.impair(source, target, impairment)

    def _mend(self, id_: str, fault: Fault) -> None:
        for source, target in fault.links:
            self._world.network.mend(source, target, id_)

    def _step_clock(self, id_: str, fault: Fault) -> None:
        for node in self._targets(fault):
            node.clock.step(self._world.queue.now, _whole(fault, "by_ns"))
            self._world.fault_fired(id_)

    def _drift(self, id_: str, fault: Fault) -> None:
        for node in self._targets(fault):
            self._drifts.setdefault(node.id, {})[id_] = _whole(fault, "rate_ppm")
            self._set_drift(node)
            self._world.fault_fired(id_)

    def _undrift(self, id_: str, fault: Fault) -> None:
        for node in self._targets(fault):
            self._drifts[node.id].pop(id_, None)
            self._set_drift(node)

    def _set_drift(self, node: Node) -> None:
        """The latest drift that is still on, or the clock's own."""
        own = self._world.schedule.clocks.get(node.id, ClockSpec()).drift_ppm
        node.clock.set_drift(self._world.queue.now, next(reversed(self._drifts[node.id].values()), own))

    def _crash(self, id_: str, fault: Fault) -> None:
        after_ns = _whole(fault, "restart_after_ns")
        for node in self._targets(fault):
            if node.running or fault.settings.get("power"):
                self._world.fault_fired(id_)
            self._world.crash(node, power=bool(fault.settings.get("power")))
            restarted = self._world.sidecar_of(node) if node.config.role == "agent" else node
            if after_ns >= 0 and not restarted.running:
                self._world.queue.at(self._world.queue.now + after_ns, self._restart, restarted)

    def _restart(self, node: Node) -> None:
        node.boot_up()

    def _pause(self, id_: str, fault: Fault) -> None:
        """Stop a process between two steps, or in the middle of its next one: after it decided, before anything left it."""
        for node in self._targets(fault):
            if node.running:
                self._world.fault_fired(id_)
            if self._pause_style(2) and node.running and not node.stands_still():
                node.pause_soon(id_)
            else:
                node.pause(id_)

    def _resume(self, id_: str, fault: Fault) -> None:
        for node in self._targets(fault):
            node.resume(id_)

    def _fail_disk(self, id_: str, fault: Fault) -> None:
        for node in self._targets(fault):
            node.disk.failing.add(id_)
            self._world.fault_fired(id_)

    def _mend_disk(self, id_: str, fault: Fault) -> None:
        for node in self._targets(fault):
            node.disk.failing.discard(id_)

    def _slow_disk(self, id_: str, fault: Fault) -> None:
        for node in self._targets(fault):
            node.disk.slow_ns[id_] = _whole(fault, "by_ns")
            self._world.fault_fired(id_)

    def _speed_disk(self, id_: str, fault: Fault) -> None:
        for node in self._targets(fault):
            node.disk.slow_ns.pop(id_, None)

    # -- signals

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
                self._world.fault_fired(id_)
                copies = max(copies, _whole(fault, "times"))
        return copies

    def _replay(self, id_: str, fault: Fault) -> None:
        """Deliver old signals again, the latest first, as old as they are."""
        world = self._world
        for target in fault.targets:
            wanted = str(fault.settings.get("message", "any"))
            old = [entry for entry in self._received.get(target, ()) if carries(entry[1], wanted)]
            for number, (source, message) in enumerate(reversed(old[-_whole(fault, "times") :])):
                world.fault_fired(id_)
                world.queue.at(world.queue.now + (number + 1) * REPLAY_GAP_NS, self._redeliver, (source, target, message))

    def _redeliver(self, journey: tuple[str, str, Message]) -> None:
        source, target, message = journey
        self._world.nodes[target].receive(Receive(source, message))


def _whole(fault: Fault, key: str) -> int:
    return int(fault.settings.get(key, 0))


_Injector = Callable[[Nemesis, str, Fault], None]
_BEGIN: dict[str, _Injector] = {
    "partition": Nemesis._block,
    "delay": Nemesis._impair,
    "loss": Nemesis._impair,
    "duplicate-messages": Nemesis._impair,
    "reorder": Nemesis._impair,
    "duplicate": Nemesis._duplicate,
    "replay": Nemesis._replay,
    "clock-step": Nemesis._step_clock,
    "clock-drift": Nemesis._drift,
    "crash": Nemesis._crash,
    "pause": Nemesis._pause,
    "disk-fail": Nemesis._fail_disk,
    "disk-slow": Nemesis._slow_disk,
}
_END: dict[str, _Injector] = {
    "partition": Nemesis._unblock,
    "delay": Nemesis._mend,
    "loss": Nemesis._mend,
    "duplicate-messages": Nemesis._mend,
    "reorder": Nemesis._mend,
    "duplicate": Nemesis._unduplicate,
    "clock-drift": Nemesis._undrift,
    "pause": Nemesis._resume,
    "disk-fail": Nemesis._mend_disk,
    "disk-slow": Nemesis._speed_disk,
}
