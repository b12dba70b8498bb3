"""L3: a soft stop that does not complete becomes a hard one."""

from __future__ import annotations

from harness.checkers.bounds import MILLION, stretch
from harness.checkers.countdowns import Countdowns
from harness.checkers.run import Run
from harness.checkers.subjects import Learned, Order
from harness.checkers.well import Well
from harness.checkers.words import KILL, NO_TOKEN, STOP, STOPPED, Token, token_of
from harness.shared.history import Fact


class Escalate(Countdowns):
    """L3. Under an order with life STOP a live process is killed, or gone by itself, within G/(1-rho) + kappa of the sidecar's time since it
    learned the order; with gate CLOSED the stop timeout stands for G if it is longer. A certificate spares it that only before it was asked to stop:
    who was asked to stop, stops. Asked for another reason, a prohibition that it could not read or a fence above its token, it has the stop timeout
    from then on, or what an order that its sidecar had read gave it, if that was longer.

    And a replica that no fault touched, but of links, issues the child order of a soft order, or knows one of KILL for the agent, within (G +
    slack)/(1-rho) + 1 s of learning it; so does one that was touched, from when it was healed, with everybody or with a core alone, or last started
    or resumed. It owes that if it had promised the agent a token by then, or before that is due answers it under one that it only heard of, unless
    the agent sent STOPPED evidence of its last start: a proof of an earlier token is none.

    That child is an order of KILL without a grace, and reaches the agent: its tenant's, whoever gave the soft order. It is given by whom that was,
    and rests on the same ruling; and it is one order, whichever replicas make it. And none is made for an agent that was never promised a token, nor
    asked anything under one: of it there is nothing to stop.

    And no replica escalates sooner than G + slack, on its own clock, since it learned the order, started, or last began or ceased to doubt that
    clock: what may still be finished is not killed.

    Nor does one escalate for an agent of which it has taken in a proof of a stop under that order, since its own start, that nothing has outdated: no
    token above that of the proof was asked for, be it of promises or of leases, by anybody who speaks for the agent.

    Evidence may be lost on its way, and then a replica escalates too: that is not judged. An instance is an order and a live process, an
    order, an agent and an untouched replica, or an escalation.
    """

    invariant = "L3"
    title = "Escalate: a soft stop that does not complete in time becomes a hard one"
    kinds = Countdowns.kinds | Well.KINDS | {"process-killed", "process-termed", "escalated", "token-promised", "evidence-taken", "start-proposed",
                                             "lease-requested", "lease-denied"}  # fmt: skip
    outcome = "killed or reaped"

    def __init__(self, run: Run) -> None:
        super().__init__(run)
        self._children: dict[tuple[str, str], int] = {}
        self._promised_ns: dict[tuple[str, str], int] = {}
        self._heard_ns: dict[tuple[str, str], int] = {}  # replica, agent -> when this start of it first denied a lease under a token of the agent's
        self._tokens: dict[str, Token] = {}  # of each agent's latest start
        self._stopped_ns: dict[str, int] = {}
        self._proven_ns: dict[tuple[str, str], int] = {}
        self._well = Well(run)
        self._begun: set[str] = set()  # agents that ever had a token, as far as anybody knows
        self._made: dict[tuple[str, str], tuple[str, int]] = {}  # parent, agent -> the child that was made first, and the fact
        self._asked_for: dict[str, Token] = {}  # agent -> the greatest token for which anything was asked
        self._taken: dict[str, dict[tuple[str, str], tuple[str, Token, int]]] = {}  # replica -> {(order, agent): the latest proof, its index}

    def allowed_ns(self, order: Order) -> int | None:
        if order.life != STOP:
            return None
        bounds = self.run.bounds
        return stretch(order.time_to_stop_ns(bounds), bounds.drift_ppm) + bounds.death_ns

    def see(self, index: int, fact: Fact) -> None:
        if fact.kind in Well.KINDS:
            self._well.see(fact)
        if fact.kind in ("core-healed", "healed", "fault-on"):
            return
        if fact.kind == "escalated":
            self._children.setdefault((fact.body["parent"], fact.body["agent"]), fact.at_ns)
            self._judge_child(index, fact)
            return
        agent = fact.body.get("agent", "")
        if fact.kind in ("token-promised", "lease-denied"):
            self._begun.add(agent)
            (self._promised_ns if fact.kind == "token-promised" else self._heard_ns).setdefault((fact.node, agent), fact.at_ns)
            return
        if fact.kind in ("start-proposed", "lease-requested"):
            self._note_asked(fact)
            return
        if fact.kind == "evidence-taken":
            proof = (fact.body["stage"], token_of(fact.body["token"]), index)
            self._taken.setdefault(fact.node, {})[fact.body["order"], agent] = proof
            return
        if fact.kind == "node-crashed":
            self._taken.pop(fact.node, None)  # what of it was durable, nobody tells
            self._heard_ns = {key: at_ns for key, at_ns in self._heard_ns.items() if key[0] != fact.node}
        if fact.kind == "process-termed":
            self._asked.add(agent)
            self._asks(index, agent, fact.at_ns)
            return
        if fact.kind == "process-started":
            self._asked.discard(agent)
            self._tokens[agent] = token_of(fact.body["token"])
            self._stopped_ns.pop(agent, None)
        elif fact.kind == "evidence-sent" and fact.body["stage"] in STOPPED and token_of(fact.body["token"]) >= self._tokens.get(agent, NO_TOKEN):
            self._stopped_ns.setdefault(agent, fact.at_ns)
            self._proven_ns.setdefault((fact.body["order"], agent), fact.at_ns)
        super().see(index, fact)

    def see_twin(self, _index: int, fact: Fact) -> None:
        if fact.kind in ("start-proposed", "lease-requested"):
            self._note_asked(fact)

    def _note_asked(self, fact: Fact) -> None:
        agent = fact.body["agent"]
        self._begun.add(agent)
        self._asked_for[agent] = max(token_of(fact.body["token"]), self._asked_for.get(agent, NO_TOKEN))

    def _asks(self, index: int, agent: str, at_ns: int) -> None:
        """Where no order that the sidecar has read asks for the stop, nothing says how long it may take: then it is the stop timeout."""
        if not self._countdowns.get(agent):
            bounds = self.run.bounds
            stops = (self.run.orders[order] for order in self.run.sidecar(agent).known)
            named = (order.time_to_stop_ns(bounds) for order in stops if order.life == STOP and agent in order.agents)
            self._count(agent, None, index, stretch(max(bounds.stop_timeout_ns, *named, 0), bounds.drift_ppm) + bounds.death_ns, at_ns)

    def _judge_child(self, index: int, fact: Fact) -> None:
        """All by the replica's own clock, so that no drift or fault of it needs an exemption."""
        node, order = self.run.node(fact.node), self.run.orders.get(fact.body["parent"])
        learned = node.known.get(fact.body["parent"])
        child, agent = self.run.orders.get(fact.body["child"]), fact.body["agent"]
        if child is not None and not (child.life == KILL and agent in child.agents and child.grace_ns == 0):
            self.blame(f"{fact.node} escalated for {agent} by {child.severity} {child.order[:12]}, which does not kill it", child.first_index, index)
        self._judge_birth(index, fact, order, child)
        stage, token, proven = self._taken.get(fact.node, {}).get((fact.body["parent"], agent), ("", NO_TOKEN, index))
        if stage in STOPPED and token >= self._asked_for.get(agent, NO_TOKEN):
            self.blame(
                f"{fact.node} escalated for {agent}, though it had a proof that this had stopped, and nothing has started since", proven, index
            )
        if order is None or learned is None or fact.node in self.run.custody:
            return
        self.examined += 1
        due_ns, waited_ns = order.time_to_stop_ns(self.run.bounds) + self.run.bounds.slack_ns, node.measured_ns(learned, fact.clock_ns)
        if waited_ns < due_ns:
            why = f"{fact.node} escalated {order.severity} {order.order[:12]} after {waited_ns} ns on its clock; {due_ns} ns are given"
            self.blame(why, learned.index, index)

    def _judge_birth(self, index: int, fact: Fact, parent: Order | None, child: Order | None) -> None:
        """What a child has of its parent, and that there is somebody whom it can stop."""
        agent, made = fact.body["agent"], (fact.body["child"], index)
        if agent not in self._begun:
            self.blame(f"{fact.node} escalated {fact.body['parent'][:12]} for {agent}, which never had a token", index)
        if parent is not None and child is not None and (child.issuer, child.decided) != (parent.issuer, parent.decided):
            why = f"{fact.node} escalated {parent.order[:12]} by an order that is not of its issuer and its ruling"
            self.blame(why, parent.first_index, child.first_index, index)
        first, first_index = self._made.setdefault((fact.body["parent"], agent), made)
        if first != made[0]:
            self.blame(
                f"{fact.node} escalated {fact.body['parent'][:12]} for {agent} by another order than was made of it before", first_index, index
            )

    def settle(self) -> None:
        super().settle()
        for replica in self.run.replicas:
            well_ns = self._well.since_ns(replica)
            known = self.run.node(replica).known
            for order in self.run.orders.values() if well_ns is not None else ():
                if order.drains and order.order in known:
                    self._judge_replica(order, replica, known[order.order], max(well_ns or 0, known[order.order].at_ns))

    def _judge_replica(self, order: Order, replica: str, learned: Learned, since_ns: int) -> None:
        due_ns = since_ns + self.run.bounds.escalation_ns(order.grace_ns)
        covered = self.run.covered.get(order.order)
        if due_ns > self.run.end_ns or (covered is not None and covered.at_ns <= due_ns):
            return
        known, bounds = self.run.node(replica).known, self.run.bounds
        soonest_ns = learned.at_ns + (order.grace_ns + bounds.slack_ns) * MILLION // (MILLION + bounds.drift_ppm)
        for agent in sorted(order.agents):
            promised = self._promised_ns.get((replica, agent), learned.at_ns) < learned.at_ns
            if not (promised or self._heard_ns.get((replica, agent), soonest_ns) < soonest_ns) or self._stopped_ns.get(agent, due_ns + 1) <= due_ns:
                continue
            if self._proven_ns.get((order.order, agent), due_ns + 1) <= due_ns:
                continue
            if any(other.life == KILL and other.order in known and known[other.order].at_ns <= due_ns for other in self.run.orders_of[agent]):
                continue
            self.examined += 1
            if self._children.get((order.order, agent), due_ns + 1) > due_ns:
                why = f"{replica} did not escalate {order.severity} {order.order[:12]} for {agent}, which showed no proof of a stop in time"
                self.blame(why, learned.index)
