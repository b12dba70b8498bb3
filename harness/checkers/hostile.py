"""S22 and S26: what a node cannot read it obeys all the same, and what should not be read harms nothing but itself."""

from __future__ import annotations

from harness.checkers.checker import InvariantChecker
from harness.checkers.own_logs import OwnLogs
from harness.checkers.run import Run
from harness.checkers.subjects import Order
from harness.checkers.words import CLOSED, NEW, agent_of, gate_of, life_of
from harness.shared.history import Fact

UNSIGNED = ("order without a signature", "order by a signature of something else")
UNREAD = "unread, of "  # and whoever said it: the reason of a floor
READINGS_MAX = 3  # once unsuspecting, and twice with a mark on record that tells of it (protocol 3.7)


class Version(InvariantChecker):
    """S22 (V3, V4, D7). From when a replica's word of an order reaches the agent's sidecar in a version, or under a key, that this may not
    know, nothing leaves that the newest reading of the order forbids, and no gate opens to it, with the gate at CLOSED where the reading was
    refused: until the sidecar learns the order (from then on S3 judges), or it is lifted, or no replica knows it any more, or the sidecar's
    process ends. An instance is such an arrival.

    And what a sidecar enforces beside the orders that it has read (``floor-held``) is at least what it said before of the same reason, until that is
    over, and at least all reasons together: a predicate on the variable, for a gate that is closed hides what was forgotten of a life. What it says
    at the instant at which an unreadable order came is at least that order, with the gate at CLOSED (V3).
    It is over only when each order that came so from that sender is learned by then, or lifted, or no more known to who said it.
    Where the reason is an order that nobody outlived reading, it is over only with a certificate that lists the order and may speak of it; and it is
    held from the instant at which the sidecar says that it reads that order no more, unless such a certificate is there.

    And a replica to which a peer has handed an order under a key that this may not know grants nothing against it until it has taken the order in, or
    put it off for a mark (3.7), or its process ends: also not when the keyset comes that it waits for.

    And who finds orders on his own log in a form that he does not know (``log-unread``) holds back until he starts anew: a sidecar admits nothing and
    opens no gate, a replica grants nothing. Each of these, and each such start, is an instance.

    Cannot see: a permission in a version that its reader does not know, counted all the same; the grants that a lease rests on are S19's.
    """

    invariant = "S22"
    title = "Version: in a mixed fleet nobody enforces less than the newest node reads"
    kinds = frozenset({"prohibition-arrived", "effect-admitted", "gate-changed", "node-crashed", "node-started", "floor-held", "floor-dropped",
                       "order-quarantined", "order-handed-on", "lease-granted", "order-deferred", *OwnLogs.KINDS})  # fmt: skip

    def __init__(self, run: Run) -> None:
        super().__init__(run)
        self._floors: dict[str, dict[str, tuple[int, int, int]]] = {}  # agent -> {reason: gate, life, index of that fact}
        self._quarantined: dict[tuple[str, str], int] = {}
        self._unenforced: dict[str, dict[str, tuple[int, int]]] = {}  # sidecar -> {order in quarantine, with nothing held for it: when, and the fact}
        self._pending: dict[str, dict[str, tuple[int, bool]]] = {}  # agent -> {order: (index of its arrival, whether it could not be read)}
        self._unread: dict[tuple[str, str], dict[str, int]] = {}  # agent, replica -> {order: index of its arrival}
        self._waiting: dict[str, dict[str, int]] = {}  # replica -> {order that a peer handed on: index}, until it has taken that in
        self._own_logs = OwnLogs(self)
        self._came: dict[str, tuple[int, int, int]] = {}  # agent -> the life of the gravest unreadable order of one instant, instant, index

    def see(self, index: int, fact: Fact) -> None:
        if self._unenforced.get(fact.node):
            self._judge_unenforced(fact.node, fact.at_ns)
        self._own_logs.see(index, fact)
        if fact.kind == "prohibition-arrived":
            self._arrived(index, fact)
        elif fact.kind == "order-handed-on":
            self.examined += 1
            self._waiting.setdefault(fact.node, {}).setdefault(fact.body["order"], index)
        elif fact.kind == "order-deferred":
            self._waiting.get(fact.node, {}).pop(fact.body["order"], None)
        elif fact.kind == "lease-granted":
            if self._waiting.get(fact.node):
                self._judge_grant(index, fact, self._waiting[fact.node])
        elif fact.kind in ("node-crashed", "node-started"):
            self._waiting.pop(fact.node, None)
            self._unenforced.pop(fact.node, None)
            if fact.node.startswith("sidecar/"):
                self._floors.pop(agent_of(fact.node), None)
                self._pending.pop(agent_of(fact.node), None)
                for key in [key for key in self._unread if key[0] == agent_of(fact.node)]:
                    del self._unread[key]
        elif fact.kind == "floor-held":
            self._unenforced.get(fact.node, {}).pop(fact.body["reason"], None)
            self._floor(index, fact)
        elif fact.kind == "floor-dropped":
            self._floors.get(fact.body["agent"], {}).pop(fact.body["reason"], None)
            self._released(index, fact)
        elif fact.kind == "order-quarantined":
            self._quarantined.setdefault((fact.node, fact.body["order"]), index)
            if fact.node.startswith("sidecar/"):
                self._unenforced.setdefault(fact.node, {})[fact.body["order"]] = (fact.at_ns, index)
        elif fact.body.get("agent") in self._pending:
            self._judge(index, fact, self._pending[fact.body["agent"]])

    def settle(self) -> None:
        for sidecar in self._unenforced:
            self._judge_unenforced(sidecar, self.run.end_ns + 1)

    def _judge_unenforced(self, sidecar: str, now_ns: int) -> None:
        """What it said before this instant that it reads no more, it holds something for by now."""
        agent, unenforced = agent_of(sidecar), self._unenforced[sidecar]
        for identity, (at_ns, index) in list(unenforced.items()):
            if at_ns < now_ns:
                del unenforced[identity]
                order = self.run.orders.get(identity)
                if order is None or not self.run.lifted(order, agent):
                    self.blame(f"{sidecar} reads {identity[:12]} no more, and holds nothing for it", index)

    def _arrived(self, index: int, fact: Fact) -> None:
        agent, order = agent_of(fact.node), self.run.orders.get(fact.body["order"])
        if order is not None and agent in order.agents:
            self.examined += 1
            unread = fact.body["how"] != "under a new key"
            self._pending.setdefault(agent, {}).setdefault(order.order, (index, unread))
            if unread:
                self._unread.setdefault((agent, fact.body["sender"]), {})[order.order] = index
            life, at_ns, _ = self._came.get(agent, (0, -1, 0))
            if unread and (at_ns != fact.at_ns or order.life > life):
                self._came[agent] = (order.life, fact.at_ns, index)

    def _floor(self, index: int, fact: Fact) -> None:
        self.examined += 1
        agent, reason = fact.body["agent"], fact.body["reason"]
        gate, life = gate_of(fact.body["gate"]), life_of(fact.body["life"])
        held = self._floors.setdefault(agent, {})
        before = held.get(reason, (gate, life, index))
        if gate < before[0] or life < before[1]:
            self.blame(f"{fact.node} enforces less for the same reason ({reason[:40]}) than it did", before[2], index)
        held[reason] = (gate, life, index)
        least, at_ns, arrival = self._came.get(agent, (0, -1, 0))
        if at_ns == fact.at_ns and (gate < CLOSED or life < least):
            self.blame(f"{fact.node} enforces less than what it could not read demands", arrival, index)
        for each in held.values():
            if gate_of(fact.body["all"][0]) < each[0] or life_of(fact.body["all"][1]) < each[1]:
                self.blame(f"{fact.node} enforces less for all reasons together than for one of them", each[2], index)

    def _released(self, index: int, fact: Fact) -> None:
        agent, order = fact.body["agent"], self.run.orders.get(fact.body["reason"])
        sender = fact.body["reason"].removeprefix(UNREAD)
        for identity, arrival in self._unread.pop((agent, sender), {}).items():
            known = identity in self.run.sidecar(agent).known or identity not in self.run.node(sender).known
            if not known and not self.run.lifted(self.run.orders[identity], agent):
                self.blame(f"{fact.node} took {sender} to have said all, and never read {identity[:12]}, which had come from there", arrival, index)
        quarantined = self._quarantined.get((fact.node, fact.body["reason"]))
        if order is None or quarantined is None:
            return
        self.examined += 1
        if not self.run.lifted(order, agent):
            self.blame(f"{fact.node} released what nobody outlived reading, {order.order[:12]}, which nobody lifted", quarantined, index)

    def _judge(self, index: int, fact: Fact, pending: dict[str, tuple[int, bool]]) -> None:
        agent = fact.body["agent"]
        for identity in [identity for identity in pending if self._is_over(self.run.orders[identity], agent)]:
            del pending[identity]
        opens = fact.kind == "gate-changed"
        what = f"{agent} opened its gate to {fact.body['gate']}" if opens else f"{agent} admitted an effect of class {fact.body['cls']}"
        for identity, (arrival, unread) in pending.items():
            order = self.run.orders[identity]
            most = CLOSED if unread else order.gate
            if gate_of(fact.body["gate"]) < most if opens else most == CLOSED or fact.body["cls"] == NEW:
                self.blame(
                    f"{what} although {order.severity} {identity[:12]} had reached its sidecar in a form that it could not read", arrival, index
                )

    def _judge_grant(self, index: int, fact: Fact, waiting: dict[str, int]) -> None:
        agent, known = fact.body["agent"], self.run.node(fact.node).known
        for identity in [identity for identity in waiting if identity in known]:
            del waiting[identity]
        for identity, handed in waiting.items():
            order = self.run.orders.get(identity)
            if order is not None and agent in order.agents and self._is_known(order) and not self.run.lifted(order, agent):
                self.blame(f"{fact.node} granted {agent} a lease, and had been handed {order.severity} {identity[:12]}", handed, index)

    def _is_over(self, order: Order, agent: str) -> bool:
        learned = order.order in self.run.sidecar(agent).known or self.run.lifted(order, agent)
        return learned or not self._is_known(order)

    def _is_known(self, order: Order) -> bool:
        """Whether any replica knows it still."""
        return any(order.order in self.run.node(replica).known for replica in self.run.replicas)


class FailureIsolation(InvariantChecker):
    """S26. A signal that somebody made up raises nothing in the step that takes it; and an order whose reading kills the process is read at most once
    unsuspecting and twice with a mark, and is out of the way of all others after that. In the step that takes an order that nobody signed as one, no
    mark of it goes on record: else anybody could fill a log. An instance is a hostile signal, or a death by an order.

    That all other orders are learned and enforced meanwhile is what every other invariant judges. Cannot see: what a hostile signal merely delays.
    """

    invariant = "S26"
    title = "FailureIsolation: a poisonous or malformed input harms nothing but its own outcome"
    kinds = frozenset({"hostile-input", "input-poisoned", "step-raised", "order-deferred"})

    def __init__(self, run: Run) -> None:
        super().__init__(run)
        self._last: dict[str, tuple[int, int, str]] = {}
        self._deaths: dict[tuple[str, str], list[int]] = {}

    def see(self, index: int, fact: Fact) -> None:
        if fact.kind == "hostile-input":
            self.examined += 1
            self._last[fact.node] = (fact.at_ns, index, fact.body["what"])
        elif fact.kind == "input-poisoned":
            self.examined += 1
            deaths = self._deaths.setdefault((fact.node, fact.body["order"]), [])
            deaths.append(index)
            if len(deaths) > READINGS_MAX:
                self.blame(f"{fact.node} died {len(deaths)} times of reading order {fact.body['order'][:12]}", *deaths)
        elif fact.node in self._last and self._last[fact.node][0] == fact.at_ns:
            _, hostile, what = self._last[fact.node]
            if fact.kind == "step-raised":
                self.blame(f"{fact.node} broke down over a hostile signal ({what})", hostile, index)
            elif what in UNSIGNED:
                self.blame(f"{fact.node} put a mark of an order on record that nobody had signed ({what})", hostile, index)
