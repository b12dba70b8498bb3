"""L8: nothing grows without bound, and a kill is not late because others are loud.

Judged from counts that a run gives anyway, and from when orders were asked for and learned. The bounds are generous on purpose: what is to
be found is growth with traffic, which leaves any bound behind, and not a factor of two.
"""

from __future__ import annotations

from harness.checkers.checker import InvariantChecker
from harness.checkers.requests import Request, asked_for, ruled_on
from harness.checkers.run import Run
from harness.checkers.subjects import Order
from harness.checkers.words import is_replica
from harness.shared.history import Fact

LOAD_FAULTS = frozenset({"overload", "reconnect-storm"})
RECORDS_AT_EASE = 256
RECORDS_A_LEASE = 4  # of each agent, and of the writer itself: a lease won and lost, a gate opened and closed
RECORDS_AN_ORDER = 16  # of each agent: learned, enforced, proven, fenced, escalated
MESSAGES_AT_EASE = 256
MESSAGES_A_ROUND = 8  # of each node that speaks to it, in the shorter of renewal and gossip
MESSAGES_AN_ORDER = 64


class BoundedResources(InvariantChecker):
    """L8. (1) One request gives one order, or one under each rollout of the policy that it was ruled on under, by replicas that
    had not heard of each other's, and one more once several people ask for it, whoever they are; and one soft order one child for each agent: intent
    grows with what people ask for, and with nothing else but a sidecar's own stop (3.5), of which there is no second while the first stands. (2) A
    replica's or sidecar's log has at most 256 records, 4 a lease for each agent that it serves, one a round of gossip, and 16 for each order and
    agent. (3) After the heal a node hears at most 256 messages, 8 for each node that speaks to it in each renewal or gossip, and 64 for each order
    (where the driver counts them). (4) While others flood, and after a fleet has come back at once, a sidecar that nothing else troubles learns an
    order within (2 R + gossip) / (1 - rho) + slack, and three hops of the network as it always is, of when it was asked for, or escalated to, or of
    when its link came back, unless it is one that it openly does not read.

    (5) Meanwhile a sidecar that has no part in the flood, and nothing against it, keeps its lease.

    An instance is an order, a log, a count, or an order and a sidecar under load. Cannot see: memory, and queues inside a process.
    """

    invariant = "L8"
    title = "BoundedResources: intent, logs and messages stay bounded, and a kill is on time under load"
    kinds = frozenset({
        "order-requested", "order-learned", "order-status", "log-verified", "messages-heard", "fault-on", "fault-off", "lease-lost", "decision",
        "rollout-changed", "order-quarantined",
    })  # fmt: skip

    def __init__(self, run: Run) -> None:
        super().__init__(run)
        self._asked: dict[Request, tuple[int, int]] = {}  # (index, when)
        self._named: dict[str, tuple[int, int]] = {}  # likewise, of what was asked for first by that name
        self._people: set[str] = set()  # who asked for anything; what is signed in anybody else's name came of no request, and is S13's matter
        # request -> what it was first ruled on under: rollout, policy, canary, whether several keys asked; and, once there are rollouts, what else
        self._first: dict[Request, tuple[int, str, str, bool]] = {}
        self._rulings: set[tuple[Request, int, str, str, bool]] | None = None
        self._made_of: dict[str, Request] = {}  # order -> what it was made of
        self._surplus = 0  # the last order that was one too many, as far as its ruling was seen
        self._roots: dict[str, int] = {}
        self._children: dict[tuple[str, str], str] = {}
        self._own: dict[str, str] = {}  # sidecar -> the latest order that it gave itself
        self._own_count = 0
        self._requested: dict[str, str] = {}  # order -> name of the request
        self._on: dict[str, tuple[bool, int]] = {}  # fault -> (of load, since)
        self._lost: list[tuple[int, int, str]] = []
        self._spared: list[tuple[int, int, frozenset[str]]] = []  # floods, with the nodes that have a part in them
        self._parts: dict[str, frozenset[str]] = {}
        self._loads: list[tuple[int, int]] = []
        self._unread: set[tuple[str, str]] = set()  # node, and the order that it openly does not read again
        self._troubles: list[tuple[int, int]] = []
        self._steps = {
            "order-requested": self._order_requested, "order-learned": self._order_learned, "order-status": self._order_status,
            "log-verified": self._log, "messages-heard": self._heard, "fault-on": self._fault_on, "fault-off": self._fault_off,
            "lease-lost": self._lease_lost, "decision": self._decision, "rollout-changed": self._rolled_out, "order-quarantined": self._quarantined,
        }  # fmt: skip

    def see(self, index: int, fact: Fact) -> None:
        self._steps[fact.kind](index, fact)

    # -- intent

    def _order_requested(self, index: int, fact: Fact) -> None:
        self._people.add(fact.body["principal"])
        self._asked.setdefault(asked_for(fact), (index, fact.at_ns))
        self._named.setdefault(fact.body["request"], (index, fact.at_ns))

    def _order_learned(self, index: int, fact: Fact) -> None:
        body = fact.body
        order, parent = body["order"], body["parent"]
        own = body["signer"].startswith("sidecar/")
        if order in self._roots or not body["authentic"] or not (own or body["issuer"] in self._people):
            return
        self._roots[order] = index
        self.examined += 1
        if parent:
            known = self._children.setdefault((parent, body["scope"][1]), order)
            if known != order:
                self.blame(f"the soft order {parent[:12]} has two children for {body['scope'][1]}", self._roots[known], index)
        elif own:
            self._own_order(index, body["signer"], order)
        elif self._too_many():
            self._surplus = index
            if self._rulings is None:
                self._blame_surplus()

    def _rolled_out(self, _index: int, _fact: Fact) -> None:
        """From here on a ruling has to be waited for, which comes on record right after its order."""
        if self._rulings is None:
            self._rulings = set()

    def _decision(self, _index: int, fact: Fact) -> None:
        body = fact.body
        if body["action"] == "order" and body["order"]:
            under = (body["seq"], body["policy"], body["canary"], body["asking"] > 1)
            request = ruled_on(fact, self.run.orders.get(body["order"]))
            self._made_of.setdefault(body["order"], request)
            self._first.setdefault(request, under)
            if self._rulings is not None and self._first[request] != under:
                self._rulings.add((request, *under))

    def _too_many(self) -> bool:
        return self._asked_for() > len(self._asked) + len(self._rulings or ())

    def _asked_for(self) -> int:
        return len(self._roots) - len(self._children) - self._own_count

    def _blame_surplus(self) -> None:
        self.blame(f"{self._asked_for()} orders came of {len(self._asked)} requests", self._surplus)

    def _own_order(self, index: int, sidecar: str, order: str) -> None:
        self._own_count += 1
        earlier = self._own.get(sidecar)
        if earlier is not None and earlier not in self.run.covered:
            self.blame(f"{sidecar} stopped its agent again before anybody had lifted its first stop", self._roots[earlier], index)
        self._own[sidecar] = order

    def _quarantined(self, _index: int, fact: Fact) -> None:
        self._unread.add((fact.node, fact.body["order"]))

    def _order_status(self, _index: int, fact: Fact) -> None:
        self._requested.setdefault(fact.body["order"], fact.body["request"])

    # -- logs and messages

    def _log(self, index: int, fact: Fact) -> None:
        self.examined += 1
        writer, records = fact.body["writer"], int(fact.body["records"])
        agents = 1 + (len(self.run.agents) if is_replica(writer) else 1)
        bounds = self.run.bounds
        rounds = fact.at_ns // bounds.gossip_ns if is_replica(writer) else 0
        most = RECORDS_AT_EASE + RECORDS_A_LEASE * agents * (fact.at_ns // bounds.lease_ns) + rounds + RECORDS_AN_ORDER * agents * len(self._roots)
        if records > most:
            self.blame(f"the log of {writer} has {records} records; its share is {most}", index)

    def _heard(self, index: int, fact: Fact) -> None:
        self.examined += 1
        healed_ns = fact.at_ns if self.run.healed_ns is None else self.run.healed_ns
        speakers = len(self.run.replicas) + (len(self.run.agents) if is_replica(fact.node) else 1)
        rounds = 1 + (fact.at_ns - healed_ns) // min(self.run.bounds.renew_ns, self.run.bounds.gossip_ns)
        most = MESSAGES_AT_EASE + MESSAGES_A_ROUND * speakers * rounds + MESSAGES_AN_ORDER * speakers * len(self._roots)
        heard = int(fact.body["since_heal"])
        if heard > most:
            self.blame(f"{fact.node} heard {heard} messages after the heal; its share is {most}", index)

    # -- a kill under load

    def _lease_lost(self, index: int, fact: Fact) -> None:
        if not any(True for _ in self.run.in_force(self.run.node(fact.node), fact.body["agent"])):
            self._lost.append((fact.at_ns, index, fact.node))

    def _fault_on(self, _index: int, fact: Fact) -> None:
        self._parts[fact.body["fault"]] = frozenset(fact.body["target"])
        self._on[fact.body["fault"]] = (fact.body["what"] in LOAD_FAULTS, fact.at_ns)

    def _fault_off(self, _index: int, fact: Fact) -> None:
        of_load, since_ns = self._on.pop(fact.body["fault"], (False, fact.at_ns))
        if of_load and fact.body["what"] == "reconnect-storm":
            since_ns = fact.at_ns  # it is the coming back that is the load; before that, nothing passes
        elif of_load:
            self._spared.append((since_ns, fact.at_ns, self._parts[fact.body["fault"]]))
        (self._loads if of_load else self._troubles).append((since_ns, fact.at_ns))

    def settle(self) -> None:
        if self._too_many():
            self._blame_surplus()
        if not self._loads:
            return
        for lost_ns, index, node in self._lost:
            flooded = any(begun < lost_ns <= ended and node not in parts for begun, ended, parts in self._spared)
            if flooded and not self._troubled(lost_ns - 2 * self.run.bounds.hard_ns, lost_ns):
                self.blame(f"{node} lost its lease to a flood in which it had no part", index)
        escalated = set(self._children.values())
        for order in self.run.orders.values():
            made_of = self._made_of.get(order.order)
            asked = self._asked.get(made_of) if made_of in self._asked else self._named.get(self._requested.get(order.order, ""))
            if asked is not None and order.order in escalated:  # nobody asked for it before the grace of what was asked for had passed
                asked = (order.first_index, order.first_ns)
            if asked is not None:
                for agent in sorted(order.agents):
                    self._judge(order, agent, *asked)

    def _judge(self, order: Order, agent: str, asked_index: int, asked_ns: int) -> None:
        latency_ns = self.run.bounds.kill_under_load_ns
        sidecar = self.run.sidecar(agent)
        learned = sidecar.known.get(order.order)
        learned_ns = self.run.end_ns if learned is None else learned.at_ns
        loads = [load for load in self._loads if load[0] <= learned_ns and asked_ns <= load[1] + latency_ns]
        unread = (sidecar.node, order.order) in self._unread
        if not loads or order.order in self.run.covered or unread or not sidecar.works:
            return
        since_ns = max(asked_ns, sidecar.since_ns, *(begun for begun, _ in loads))
        due_ns = since_ns + latency_ns
        if self._troubled(since_ns, min(learned_ns, due_ns)):
            return
        self.examined += 1
        if learned is None and self.run.end_ns < due_ns:
            self.leave_undecided(f"{sidecar.node} had not learned order {order.order[:12]} when the run ended, before that was due")
            return
        self.measure(max(0, learned_ns - since_ns), latency_ns)
        if learned_ns > due_ns:
            witness = (asked_index,) if learned is None else (asked_index, learned.index)
            self.blame(
                f"under load, {sidecar.node} learned {order.severity} {order.order[:12]} {learned_ns - due_ns} ns after that was due", *witness
            )

    def _troubled(self, since_ns: int, until_ns: int) -> bool:
        """Whether anything else was broken in that time, or has had to be started again since: a fault, a crash or a pause of a replica."""
        replicas = [self.run.node(replica) for replica in self.run.replicas]
        broken = any(begun <= until_ns and since_ns <= ended for begun, ended in self._troubles)
        return broken or any(node.since_ns > since_ns or not node.works for node in replicas)
