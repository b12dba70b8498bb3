"""Faults of what arrives: frames broken, forged or of another version, and orders that kill whoever reads them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import msgspec

from harness.shared.forgery import ASKED, Aim, aim_at, answers_for_others, borrowed_effects, broken_frame, foreign_certificate, forged
from harness.shared.signals import orders_of
from killswitch.core import audit, hlc
from killswitch.core.events import Append, Effect, Receive
from killswitch.core.keys import KeyedHash
from killswitch.core.messages import Message, Order, UnknownProhibition
from scenarios.deploy import OPERATOR
from scenarios.schedule import Fault
from sim import frames
from sim.injectors.family import Family, whole
from sim.network import Impairment, stream_of
from sim.node import Node
from sim.tape import PPM
from sim.world import World

GAP_NS = 1_000_000
VERSION_RESTART_NS = 200_000_000
ACROSS = "versions"  # the one impairment of a link between nodes of different versions, whatever made them so


class Hostile(Family):
    """A signal that somebody made up comes from a peer that the target knows and has no reason to believe, through the real codec."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._ring = KeyedHash(world.secret)
        self._made = 0
        self.begins = {"forge": self._forge, "cross-tenant": self._cross, "malformed": self._malform, "corrupt": self._corrupt}
        self.begins |= {"impersonate": self._impersonate, "answer-for": self._answer}
        self.ends = {"corrupt": self._mend}

    def _forge(self, id_: str, fault: Fault) -> None:
        for node in self.targets(fault):
            choose = self.world.tape.stream(f"forge/{node.address}")
            aim = self._aim(node, choose(1 << 16))
            source = self._source(fault, node, aim, choose)
            for number in range(whole(fault, "times")):
                self._made += 1
                self._send(id_, number, aim, source, *forged(self._ring, aim, self._made, choose, source))

    def _cross(self, id_: str, fault: Fault) -> None:
        for node in self.targets(fault):
            choose = self.world.tape.stream(f"forge/{node.address}")
            aim = self._aim(node, choose(1 << 16))
            source = self._source(fault, node, aim, choose)
            self._made += 1
            self._send(id_, 0, aim, source, "certificate of another tenant", foreign_certificate(self._ring, aim, self._made))

    def _impersonate(self, id_: str, fault: Fault) -> None:
        for node in self.targets(fault):
            self._made += 1
            for number, (source, message) in enumerate(borrowed_effects(node.address, node.config.fleet, self._made)):
                self.world.queue.at(self.world.queue.now + number * GAP_NS, self._arrive, (id_, node, source, "effect of another's agent", message))

    def _answer(self, id_: str, fault: Fault) -> None:
        for node in self.targets(fault):
            draw = self.world.tape.stream(f"forge/{node.address}")(1 << 16)
            told = [fact for fact in self.world.facts if fact.node == node.address and fact.kind in ASKED]
            asked = {(fact.kind, fact.body.get("sink", "")): fact.body for fact in told}
            for number, (source, what, message) in enumerate(answers_for_others(node.config, asked, draw)):
                self._send(id_, number, self._aim(node, draw), source, what, message)

    def _aim(self, node: Node, draw: int) -> Aim:
        learned = [fact.body for fact in self.world.facts if fact.kind == "order-learned"]
        return aim_at(node.config, draw, lambda tenant: (body["order"] for body in learned if body["tenant"] == tenant))

    def _source(self, fault: Fault, node: Node, aim: Aim, choose: Callable[[int], int]) -> str:
        """One of the target's own replicas, gone wrong; or a peer of its with nothing to say about its agent."""
        if fault.settings.get("source") == "replica":
            replicas = [replica for replica in node.config.replicas if replica != node.address]
            return replicas[choose(len(replicas))]
        strangers = [each for each in self.world.nodes if each.startswith(f"sidecar/{aim.other}/")]
        return strangers[0] if strangers and aim.node.startswith("replica/") else OPERATOR

    def _send(self, id_: str, number: int, aim: Aim, source: str, what: str, message: Message) -> None:
        found = frames.across(message, source, aim.node, frames.CURRENT, frames.CURRENT)
        self._hand_over(id_, number, aim, source, what, found)

    def _malform(self, id_: str, fault: Fault) -> None:
        for node in self.targets(fault):
            choose = self.world.tape.stream(f"malform/{node.address}")
            aim = self._aim(node, choose(1 << 16))
            source = self._source(fault, node, aim, choose)
            for number in range(whole(fault, "times")):
                what, frame = broken_frame(self._ring, aim, source, number, choose)
                self._hand_over(id_, number, aim, source, what, frames.read(frame, source, aim.node))

    def _hand_over(self, id_: str, number: int, aim: Aim, source: str, what: str, message: Message | None) -> None:
        at = self.world.queue.now + number * GAP_NS
        self.world.queue.at(at, self._arrive, (id_, self.world.nodes[aim.node], source, what, message))

    def _arrive(self, arrival: tuple[str, Node, str, str, Message | None]) -> None:
        """What the codec refuses never reaches the machine; what it reads does, and means nothing, or no more than it may."""
        id_, node, source, what, message = arrival
        if node.running:
            self.world.fault_fired(id_)
            self.world.fact("hostile-input", node, {"sender": source, "what": what, "read": message is not None})
            if message is not None:
                node.receive(Receive(source, message))

    # -- bits that flip

    def _corrupt(self, id_: str, fault: Fault) -> None:
        share = whole(fault, "chance_ppm")

        def spoil(source: str, target: str, message: Message) -> Message | None:
            choose = self.world.tape.stream(f"corrupt/{stream_of(source, target)}")
            if choose(PPM) < PPM - share:
                return message
            self.world.fault_fired(id_)
            return frames.corrupted(message, source, target, choose)

        for source, target in fault.links:
            self.world.network.impair(source, target, Impairment(id_, spoils=spoil))

    def _mend(self, id_: str, fault: Fault) -> None:
        for source, target in fault.links:
            self.world.network.mend(source, target, id_)


class Poison(Family):
    """The process dies in the middle of the step that reads the order: nothing of that step leaves it."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._orders: dict[str, str] = {}  # fault -> the order
        self.begins = {"poison": self._poison}
        self.ends = {"poison": self._heal}

    def _poison(self, id_: str, fault: Fault) -> None:
        after_ns = whole(fault, "restart_after_ns")
        for node in self.targets(fault):
            node.tripwire = lambda effects, node=node: self._trips(id_, node, effects, after_ns)

    def _heal(self, id_: str, fault: Fault) -> None:
        for node in self.targets(fault):
            node.tripwire = None

    def _trips(self, id_: str, node: Node, effects: list[Effect], after_ns: int) -> bool:
        """Whether the step has read the order: its record shows it."""
        for effect in effects:
            if isinstance(effect, Append) and effect.record.kind == "ORDER_LEARNED":
                order = hashlib.sha256(msgspec.msgpack.decode(effect.record.body)["raw"]).hexdigest()
                if self._orders.setdefault(id_, order) == order:
                    self.world.fault_fired(id_)
                    self.world.fact("input-poisoned", node, {"order": order})
                    self.world.crash(node, power=False)
                    self.world.queue.at(self.world.queue.now + after_ns, self._restart, node)
                    return True
        return False

    def _restart(self, node: Node) -> None:
        node.boot_up()


class Versions(Family):
    """Which version each node runs. A link between two of the same version is as it always was; any other goes through the codec."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._running: dict[str, str] = {}
        self._unread: dict[int, tuple[Message, tuple[Order, ...]]] = {}
        self.begins = {"version": self._change}
        self.ends = {"version": self._back}
        self.look_at_deliveries(self._look, "version")

    def _change(self, id_: str, fault: Fault) -> None:
        for node in self.targets(fault):
            self._run(node, str(fault.settings.get("to", frames.NEXT_MINOR)))
            self.world.fault_fired(id_)

    def _back(self, id_: str, fault: Fault) -> None:
        for node in self.targets(fault):
            if self._version(node.address) == frames.NEXT_LOG:
                self._leave_unread(node)
            self._run(node, frames.CURRENT)

    def _leave_unread(self, node: Node) -> None:
        """The last thing that the later version put on record is an order, of which nothing but that can be told here."""
        disk, now = node.disk, self.world.queue.now
        if node.running and disk.records and not (disk.full or disk.broken or disk.damaged):
            kind = "ORDER_ACCEPTED" if node.config.role == "replica" else "ORDER_LEARNED"
            body = {"raw": msgspec.msgpack.encode(frames.UNHEARD_OF), "signer": "", "signature": b"", "deadline": None}
            node.stamp = hlc.tick(node.stamp, node.wall.read_ms(now))
            node.stamps.append(node.stamp)
            disk.append(audit.seal(disk.records[-1], kind, node.clock.read(now), disk.records[-1].boot, body))

    def _run(self, node: Node, version: str) -> None:
        """Restarted under another version, with the log that the one before wrote."""
        self._running[node.address] = version
        if node.running:
            self.world.crash(node, power=False)
            self.world.queue.at(self.world.queue.now + VERSION_RESTART_NS, self._restart, node)
        for other in self.world.nodes:
            if other != node.address and not other.startswith("agent/"):
                for ends in ((other, node.address), (node.address, other)):
                    if self._version(other) == version:
                        self.world.network.mend(*ends, ACROSS)
                    else:
                        self.world.network.impair(*ends, Impairment(ACROSS, spoils=self._cross))

    def _version(self, node: str) -> str:
        return self._running.get(node, frames.CURRENT)

    def _restart(self, node: Node) -> None:
        node.boot_up()

    def _cross(self, source: str, target: str, message: Message) -> Message | None:
        read = frames.across(message, source, target, self._version(source), self._version(target))
        if isinstance(read, UnknownProhibition):
            self._unread[id(read)] = (read, orders_of(message))
        return read

    def _look(self, source: str, target: str, message: Message) -> None:
        """Orders arrive at somebody who cannot read them, and has to obey them all the same (V3)."""
        if isinstance(message, UnknownProhibition) and id(message) in self._unread and target.startswith("sidecar/"):
            for order in self._unread[id(message)][1]:
                self.note_arrival(source, target, order, message.why)
