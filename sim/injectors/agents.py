"""Faults of agents: what a program does that was not written to be stopped. Its state machine stays what it is; what reaches it, and what it leaves
behind, is changed.
"""

from __future__ import annotations

from killswitch.core.messages import EffectRequest, Message, StopAck, StopRequest
from scenarios.faults import agents
from scenarios.schedule import Fault
from sim.disk import without
from sim.injectors.family import Family, whole
from sim.node import Node
from sim.world import World

ASK_AGAIN_NS = 200_000_000
POWER_BACK_NS = 1_000_000_000
NEVER_WRITTEN = 1_000_000
CHECKPOINT_STEPS = {"written": 1, "renamed": 2, "synced": 3}
NAMES = frozenset(row.name for row in agents.ROWS)


class Agents(Family):
    """Stands in the pipe between a sidecar and its agent, but only where the schedule holds a fault that needs it."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._deaf: dict[str, dict[str, str]] = {}  # agent -> {fault: ignore-stop, leaves or stays}
        self.begins = {
            "ignore-stop": self._deafen, "lie": self._deafen, "drain-slowly": self._slow, "fork": self._fork,
            "die-mid-checkpoint": self._die_mid_checkpoint, "unkillable": self._hang, "hand-over-again": self._hand_over_again,
        }  # fmt: skip
        self.ends = {
            "ignore-stop": self._undeafen, "lie": self._undeafen, "drain-slowly": self._speed, "fork": self._unfork,
            "die-mid-checkpoint": self._let_write, "unkillable": self._unhang,
        }  # fmt: skip
        if any(isinstance(entry.action, Fault) and entry.action.what in NAMES for entry in world.schedule.timeline):
            world.before_pipe = self._pass
        if any(isinstance(entry.action, Fault) and entry.action.what == "hand-over-again" for entry in world.schedule.timeline):
            world.upstream.ended = {}

    def _pass(self, source: str, target: str, message: Message) -> bool:
        """Whether a message gets through. A child's memory is its parent's: it asks for what that asked for last."""
        if isinstance(message, StopRequest) and target in self._deaf:
            return self._misunderstand(self.world.nodes[target], source)
        if isinstance(message, EffectRequest):
            asking = self.world.nodes[source]
            asking.asks_on = dict.fromkeys(asking.asks_on, message)
        return True

    def _misunderstand(self, agent: Node, sidecar: str) -> bool:
        if not agent.running:
            return True
        for fault, how in list(self._deaf[agent.address].items()):
            self.world.fault_fired(fault)
            if how != "ignore-stop":
                self.world.send(agent.address, sidecar, StopAck(NEVER_WRITTEN, ()))
            if how == "leaves":
                self.world.agent_exits(agent, 0)
        return False

    def _deafen(self, id_: str, fault: Fault) -> None:
        for node in self.targets(fault):
            self._deaf.setdefault(node.address, {})[id_] = str(fault.settings.get("how", "ignore-stop"))

    def _undeafen(self, id_: str, fault: Fault) -> None:
        for node in self.targets(fault):
            self._deaf[node.address].pop(id_, None)
            if not self._deaf[node.address]:
                del self._deaf[node.address]

    def _slow(self, id_: str, fault: Fault) -> None:
        for node in self.targets(fault):
            node.timers_late_ns = {**node.timers_late_ns, id_: whole(fault, "by_ns")}
            self.world.fault_fired(id_)

    def _speed(self, id_: str, fault: Fault) -> None:
        for node in self.targets(fault):
            node.timers_late_ns = without(node.timers_late_ns, id_)

    def _fork(self, id_: str, fault: Fault) -> None:
        for node in self.targets(fault):
            node.lingers_ns = whole(fault, "linger_ns")
            node.asks_on = {**node.asks_on, id_: StopAck(0, ())}  # until the parent asks for something
            self.world.queue.at(self.world.queue.now + ASK_AGAIN_NS, self._ask_again, (node, id_))

    def _ask_again(self, ticket: tuple[Node, str]) -> None:
        node, fault = ticket
        message = node.asks_on.get(fault)
        if message is None:
            return
        if isinstance(message, EffectRequest):
            self.world.fault_fired(fault)
            self.world.send(node.address, self.world.sidecar_of(node).address, message)
        self.world.queue.at(self.world.queue.now + ASK_AGAIN_NS, self._ask_again, ticket)

    def _unfork(self, id_: str, fault: Fault) -> None:
        for node in self.targets(fault):
            node.lingers_ns = 0
            node.asks_on = without(node.asks_on, id_)

    def _die_mid_checkpoint(self, id_: str, fault: Fault) -> None:
        at, power = CHECKPOINT_STEPS[str(fault.settings.get("after", "written"))], bool(fault.settings.get("power"))
        for node in self.targets(fault):

            def die(done: int, node: Node = node) -> None:
                if done == at:
                    node.disk.on_checkpoint_step = None
                    self.world.fault_fired(id_)
                    self.world.crash(node, power=power)
                    if power:
                        self.world.queue.at(self.world.queue.now + POWER_BACK_NS, self._power_back, self.world.sidecar_of(node))

            node.disk.on_checkpoint_step = die

    def _power_back(self, sidecar: Node) -> None:
        sidecar.boot_up()

    def _let_write(self, id_: str, fault: Fault) -> None:
        for node in self.targets(fault):
            node.disk.on_checkpoint_step = None

    def _hand_over_again(self, id_: str, fault: Fault) -> None:
        for node in self.targets(fault):
            if node.running:
                self.world.fault_fired(id_)
                self.world.upstream.forget_what_ended(node)
                self.world.upstream.hand_over_again(node)

    def _hang(self, id_: str, fault: Fault) -> None:
        for node in self.targets(fault):
            if node.running:
                self.world.fault_fired(id_)
            node.undying |= {id_}
            node.pause(id_)

    def _unhang(self, id_: str, fault: Fault) -> None:
        for node in self.targets(fault):
            node.undying -= {id_}
            if node.kill_pending is not None and not node.undying:
                kill, node.kill_pending = node.kill_pending, None
                kill()
            node.resume(id_)
