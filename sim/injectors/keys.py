"""Faults of keys: the people with the root keys, who sign a change and hand it to replicas."""

from __future__ import annotations

from harness.signals import orders_of
from killswitch.core import intent, keysets
from killswitch.core.events import Receive
from killswitch.core.keychanges import KeyChange, KeysetNews, SignedChange
from killswitch.core.keys import ROOTS, SUCCESSOR, KeyedHash
from killswitch.core.messages import Message
from scenarios.deploy import OPERATOR
from scenarios.schedule import Fault
from sim.injectors.family import Family
from sim.node import Node
from sim.world import World

TRY_AGAIN_NS = 200_000_000


class Keys(Family):
    """There is one chain of changes, whoever has heard of which part of it: the people know what they signed before."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._signed: list[SignedChange] = []
        self._generation: dict[str, int] = {}
        self.look_at_deliveries(self._look, "rotate-keys", "revoke-key")
        self.begins = {"rotate-keys": self._rotate, "revoke-key": self._revoke}

    def _look(self, source: str, target: str, message: Message) -> None:
        """An order under a key that is new: the receiver may not have heard of it, and has to obey all the same (D7)."""
        for order in orders_of(message):
            if SUCCESSOR in order.signer:
                self.note_arrival(source, target, order, "under a new key")

    def _rotate(self, id_: str, fault: Fault) -> None:
        self._change(id_, fault, (), [node.address for node in self.world.nodes.values() if node.config.role == "replica"])

    def _revoke(self, id_: str, fault: Fault) -> None:
        key = str(fault.settings.get("key", "issuer"))
        if key == "issuer":
            learned = (fact for fact in reversed(self.world.facts) if fact.kind == "order-learned")
            key = next((str(fact.body["signer"]) for fact in learned), "replica/1")
        whose = key.partition(SUCCESSOR)[0]
        self._change(id_, fault, (key,), [whose] if whose.startswith("replica/") else [])

    def _change(self, id_: str, fault: Fault, revokes: tuple[str, ...], rotated: list[str]) -> None:
        for who in rotated:
            self._generation[who] = self._generation.get(who, 1) + 1
        rotates = {who: f"{who}{SUCCESSOR}{self._generation[who]}" for who in rotated}
        previous = intent.content_id(self._signed[-1].raw) if self._signed else ""
        change = KeyChange(len(self._signed) + 2, previous, revokes, rotates)
        self._signed.append(keysets.sign_change(KeyedHash(self.world.secret), change, ROOTS[:2]))
        for node in self.targets(fault):  # not at once: what brings it about may be a fact of a step that is still under way
            self.world.queue.at(self.world.queue.now, self._hand_over, (node, id_))

    def _hand_over(self, errand: tuple[Node, str]) -> None:
        """Somebody who finds a replica down comes again."""
        node, id_ = errand
        if node.running:
            self.world.fault_fired(id_)
            node.receive(Receive(OPERATOR, KeysetNews(tuple(self._signed))))
        else:
            self.world.queue.at(self.world.queue.now + TRY_AGAIN_NS, self._hand_over, errand)
