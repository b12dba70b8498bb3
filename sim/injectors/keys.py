"""Faults of keys: the people with the root keys, who sign a change and hand it to replicas."""

from __future__ import annotations

from harness.shared.root_keys import FIRST, RootKeys
from harness.shared.signals import orders_of
from killswitch.core.events import Receive
from killswitch.core.keys import SUCCESSOR, KeyedHash
from killswitch.core.messages import Message
from scenarios.deploy import OPERATOR
from scenarios.faults.keys import EVERY_REPLICA
from scenarios.schedule import Fault
from sim.injectors.family import Family
from sim.node import Node
from sim.world import World

TRY_AGAIN_NS = 200_000_000


class Keys(Family):
    """What they have signed is handed over whole, to whichever replicas the fault names."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._roots = RootKeys(KeyedHash(world.secret))
        self.look_at_deliveries(self._look, "rotate-keys", "revoke-key")
        self.begins = {"rotate-keys": self._rotate, "revoke-key": self._revoke}

    def _look(self, source: str, target: str, message: Message) -> None:
        """An order under a key that is new: the receiver may not have heard of it, and has to obey all the same (D7)."""
        for order in orders_of(message):
            if SUCCESSOR in order.signer:
                self.note_arrival(source, target, order, "under a new key")

    def _rotate(self, id_: str, fault: Fault) -> None:
        whose = str(fault.settings.get("whose", EVERY_REPLICA))
        replicas = (node.address for node in self.world.nodes.values() if node.config.role == "replica")
        self._roots.rotate(replicas if whose == EVERY_REPLICA else (whose,))
        self._tell(id_, fault)

    def _revoke(self, id_: str, fault: Fault) -> None:
        key = str(fault.settings.get("key", "issuer"))
        if key == "issuer":
            learned = (fact for fact in reversed(self.world.facts) if fact.kind == "order-learned")
            key = next((str(fact.body["signer"]) for fact in learned), FIRST)
        elif key == "sidecar":
            key = min(node.address for node in self.world.nodes.values() if node.config.role == "sidecar")
        self._roots.revoke(key)
        self._tell(id_, fault)

    def _tell(self, id_: str, fault: Fault) -> None:
        for node in self.targets(fault):  # not at once: what brings it about may be a fact of a step that is still under way
            self.world.queue.at(self.world.queue.now, self._hand_over, (node, id_))

    def _hand_over(self, errand: tuple[Node, str]) -> None:
        """Somebody who finds a replica down comes again."""
        node, id_ = errand
        if node.running:
            self.world.fault_fired(id_)
            node.receive(Receive(OPERATOR, self._roots.news))
        else:
            self.world.queue.at(self.world.queue.now + TRY_AGAIN_NS, self._hand_over, errand)
